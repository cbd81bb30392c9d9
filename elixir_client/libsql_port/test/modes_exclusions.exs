# What holds for a database in a file and not in these modes: the modes, the reason, and the tests that show it, by a part of their
# names. docs/modes.md shows the same table.
[
  {[:remote], "an infinite number is refused, since JSON has none", [{"query", ["go there and come back"]}]},
  {[:remote], "text that is no UTF-8 cannot be read",
   [{"query", ["text that is no UTF-8 comes back as it is"]}]},
  {[:remote], "errors of syntax do not say where in the text",
   [{"query", ["of syntax tell where", "stops at the first error and tells where in the text"]}]},
  {[:remote], "a description does not tell a plan from a query, nor the table of a column",
   [{"query", ["a plan is told from a query", "are described, run and closed"]}]},
  {[:remote], "a value of more than the server's limit is an error",
   [{"cursor", ["a row of several frames is put together, whenever it is asked for"]}]},
  {[:remote], "a batch in a transaction that fails to compile is an error without its place",
   [{"query", [{:skip, "inside a transaction is a savepoint"}]}]},
  {[:remote], "a transaction with `mode: :read_only` is not kept from writing",
   [{"transaction", [{:skip, "modes"}]}]},
  {[:remote],
   "a transaction that the engine has rolled back, or a request in it was stopped, is `:transaction_lost` until it is rolled back, where a file says `:no_transaction`",
   [
     {"transaction",
      [
        "a statement that rolls back everything ends it",
        "by INSERT",
        "in the middle of a nested one, neither runs on",
        "by a timeout in the middle of a write, nothing runs on",
        "in_transaction: true holds for a transaction that was begun by hand"
      ]},
     {"begun_by_hand",
      [
        "ended by engine",
        {:skip, "begun by rolled_back_and_begun"},
        {:skip, "begun by failing_batch"}
      ]}
   ]},
  {[:remote], "a cursor neither begins nor ends a transaction",
   [{"begun_by_hand", ["begun by stream, by", "begun by cursor, by"]}]},
  {[:remote],
   "a statement that is cancelled before the server has said what it does is `:outcome_unknown`, also if it reads",
   [{"request_options", ["the bytes of the requests that wait have a limit"]}]}
]
