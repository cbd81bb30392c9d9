# What holds for a database in a file and not in these modes: the modes, the reason, and the tests that show it, by a part of their
# names. docs/modes.md shows the same table.
[
  {[:remote], "an infinite number is refused, since JSON has none", [{"query", ["go there and come back"]}]},
  {[:remote], "text that is no UTF-8 cannot be read",
   [{"query", ["text that is no UTF-8 comes back as it is"]}]},
  {[:remote], "a description does not tell a plan from a query, nor the table of a column",
   [{"query", ["a plan is told from a query", "are described, run and closed"]}]},
  {[:remote], "a value of more than the server's limit is an error",
   [{"cursor", ["a row of several frames is put together, whenever it is asked for"]}]},
  {[:remote],
   "a transaction in which a request was stopped is `:transaction_lost` until it is rolled back, where a file says `:no_transaction`",
   [{"transaction", ["by a timeout in the middle of a write, nothing runs on"]}]},
  {[:remote], "a cursor neither begins nor ends a transaction",
   [{"begun_by_hand", [{:skip, "begun by stream, by"}, {:skip, "begun by cursor, by"}]}]},
  {[:remote], "a cursor of a statement that writes is `:unsupported` outside of a transaction",
   [{"claims", ["streams leave no claim: writing", {:skip, "writing_cursor of a process"}]}]},
  {[:remote], "`begin` waits for no lock, since the server hears of it with the first statement",
   [{"claims", [{:skip, "begun after its caller had ended"}]}]}
]
