# Rust    stdin → frame → request (decode) → router → connection/thread → statement|cursor|… → row_encoder → frame → stdout
# Elixir  Repo → Ecto.Adapters.LibSql → …LibSql.Connection (SQL) → EctoLibSql (DBConnection) → LibsqlPort → Port
# One function for each thing that a user does, with its documentation and its example: the module is long because there is one of it, and
# nothing that decides something is in it.
defmodule LibsqlPort do
  @moduledoc """
  A driver for libSQL and SQLite that runs the engine in a separate operating-system process.

      children = [{LibsqlPort, name: MyApp.Sidecar}]
      {:ok, _} = Supervisor.start_link(children, strategy: :one_for_one)

      {:ok, conn} = LibsqlPort.connect(MyApp.Sidecar, database: "app.db")
      {:ok, %LibsqlPort.Result{rows: [[1]]}} = LibsqlPort.query(conn, "SELECT ?1", [1])

  The process, called the *sidecar*, is started as an Erlang port and supervised. A VM may run several of them. A fault in
  the engine ends the sidecar, never the VM; a new one is started, with pauses if it ends again and again.

  ## Connections

  Any number of processes may share a connection. Statements of one connection run one after another; statements of
  different connections run in parallel. A connection is owned by the process that opened it and closes when that process
  exits (option `:owner`). A transaction, a cursor and a prepared statement are owned by the process that opened them, and are rolled
  back and closed when it exits; a request is cancelled when its caller exits. Connections may be used from other nodes, at the price of a hop.

  This holds for transactions that SQL text begins (`BEGIN`, `SAVEPOINT`) as well. Other processes on the connection are then
  inside the same transaction; prefer `transaction/3`, which keeps them waiting.

  A connection does not outlive its sidecar: requests on a connection of a sidecar that has ended return a
  `:not_sent` error, and `connect/2` opens a new one.

  ## Parameters and values

  Parameters are a list (`[1, "a"]`, by position), or a keyword list or map (`[id: 1]`, `%{"id" => 1}`, by name; a name
  without prefix matches `:name`, `@name` and `$name`).

  | Elixir | SQLite |
  |---|---|
  | `nil` | NULL |
  | integer of 64 bits | INTEGER |
  | `true`, `false` | INTEGER 1, 0 |
  | float, `:infinity`, `:neg_infinity` | REAL |
  | `"text"` | TEXT |
  | `{:blob, binary}` | BLOB |

  Anything else is an `:invalid_parameter` error. See `LibsqlPort.Result` for the values that a query returns.

  ## Errors and timeouts

  Functions return `{:error, %LibsqlPort.Error{}}`; those whose name ends in `!` raise it. See `LibsqlPort.ErrorCode` for the
  codes.

  `:timeout` (milliseconds or `:infinity`) bounds a whole request: waiting in the queue, waiting for locks, execution and
  encoding. A request that exceeds it is stopped and returns a `:timeout` error; the connection remains usable.

  If the sidecar ends, all waiting callers receive an error at once: `:sidecar_down` if the request cannot have changed the
  database, `:outcome_unknown` if a commit may or may not have taken place. Requests are never retried automatically.
  """

  alias LibsqlPort.{
    Authorizer,
    CallChain,
    CommitHook,
    Connection,
    Cursor,
    Description,
    Enquiry,
    Error,
    Function,
    Opening,
    Options,
    Registration,
    Result,
    Statement,
    Transaction
  }

  @type sidecar :: Supervisor.supervisor()
  @type sql :: String.t()
  @type params :: Connection.params()
  @type answer(type) :: {:ok, type} | {:error, Error.t()}

  # --- the sidecar ----------------------------------------------------------------------------------------------

  @doc """
  Returns a specification to start a sidecar under a supervisor: `{LibsqlPort, name: MyApp.Sidecar}`.

  ## Examples

      iex> LibsqlPort.child_spec(name: MyApp.Sidecar).id
      MyApp.Sidecar
  """
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    %{
      # What is no keyword list is refused by `start_link/1`, whose error a supervisor reports.
      id: if(Keyword.keyword?(options), do: options[:name]) || __MODULE__,
      start: {__MODULE__, :start_link, [options]},
      type: :supervisor
    }
  end

  @doc """
  Starts a sidecar under its own supervisor and waits until it is ready to accept requests.

  ## Options

  See `LibsqlPort.Options`.

  ## Examples

      {:ok, sidecar} = LibsqlPort.start_link(name: MyApp.Sidecar, log_level: :warn)
  """
  @spec start_link(keyword) :: {:ok, pid} | {:error, Error.t() | term}
  def start_link(options \\ []) do
    with {:ok, options} <- Options.sidecar(options), do: LibsqlPort.Supervisor.start_link(options)
  end

  @doc """
  Opens a connection to a database.

  If the sidecar is being restarted, waits for it for up to `:connect_timeout`, and returns a `:timeout` error after that.

  ## Options

  `:database` (a file) or `:url` (a database on a server) is required. See `LibsqlPort.Options` for all of them.

  ## Examples

      {:ok, conn} = LibsqlPort.connect(MyApp.Sidecar, database: "app.db", synchronous: :full)
  """
  @spec connect(sidecar, keyword) :: answer(Connection.t())
  def connect(sidecar, options) do
    with {:ok, options} <- Options.connection(options) do
      # Inside of a function that SQL has called no longer than that may take.
      options = %{options | connect_timeout: CallChain.within(options.connect_timeout)}
      Opening.open(sidecar, options)
    end
  end

  @doc """
  Closes a connection. Cancels the running statement and rolls back an open transaction.

  ## Examples

      :ok = LibsqlPort.close(conn)
  """
  @spec close(Connection.t(), keyword) :: :ok | {:error, Error.t()}
  def close(%Connection{} = conn, options \\ []), do: Connection.close(conn, options)

  # --- statements -----------------------------------------------------------------------------------------------

  @doc """
  Runs a statement and returns its result.

  Takes one round trip. The sidecar keeps the prepared statement in a cache, keyed by its text.

  ## Options

    * `:timeout` - milliseconds or `:infinity`; defaults to that of the connection
    * `:lock_timeout` - milliseconds of it that may be spent waiting for the writer turn and for locks, all together, before
      the request returns a `:busy` error that names who has them; 0 tries at once. Defaults to that of the connection
    * `:defensive` - `false` lets this one statement write what a defensive connection protects, such as the text of the
      schema; defaults to that of the connection
    * `:policy` - `false` runs this one statement without the connection's policy (`LibsqlPort.Policy`), as the application's own
    * `:rows_max`, `:bytes_max` - limits of the result. A larger one returns a `:result_too_large` error
    * `:in_transaction` - see `LibsqlPort.Connection`

  ## Examples

      {:ok, %LibsqlPort.Result{rows: [["Ada"]]}} =
        LibsqlPort.query(conn, "SELECT name FROM users WHERE id = :id", [id: 1], timeout: 5_000)
  """
  @spec query(Connection.t(), sql, params, keyword) :: answer(Result.t())
  def query(%Connection{} = conn, sql, params \\ [], options \\ []) do
    Connection.execute(conn, sql, params, options)
  end

  @doc """
  Same as `query/4`, but returns the result and raises a `LibsqlPort.Error` otherwise.

  ## Examples

      %LibsqlPort.Result{num_rows: 1} = LibsqlPort.query!(conn, "SELECT 1")
  """
  @spec query!(Connection.t(), sql, params, keyword) :: Result.t()
  def query!(%Connection{} = conn, sql, params \\ [], options \\ []) do
    bang(Connection.execute(conn, sql, params, options))
  end

  @doc """
  Runs a statement that must return exactly one row, and returns that row.

  Returns a `:no_rows` error if there is none, and a `:too_many_rows` error as soon as there is a second one. Takes the
  options of `query/4`.

  ## Examples

      {:ok, [3]} = LibsqlPort.query_one(conn, "SELECT count(*) FROM users")
  """
  @spec query_one(Connection.t(), sql, params, keyword) :: answer([Result.value()])
  def query_one(%Connection{} = conn, sql, params \\ [], options \\ []) do
    with {:ok, %Result{rows: [row]}} <- Connection.query_one(conn, sql, params, options), do: {:ok, row}
  end

  @doc """
  Same as `query_one/4`, but returns the row and raises a `LibsqlPort.Error` otherwise.

  ## Examples

      [3] = LibsqlPort.query_one!(conn, "SELECT count(*) FROM users")
  """
  @spec query_one!(Connection.t(), sql, params, keyword) :: [Result.value()]
  def query_one!(%Connection{} = conn, sql, params \\ [], options \\ []),
    do: bang(query_one(conn, sql, params, options))

  @doc """
  Prepares a statement.

  `query/4` caches prepared statements by itself. Prepare a statement to inspect its columns and parameters, or to avoid
  sending a long text with every request.

  ## Options

    * `:owner` - the process with whose exit the statement is closed, or `nil` for none; defaults to the calling process
    * `:timeout` - milliseconds or `:infinity`; defaults to that of the connection

  ## Examples

      {:ok, statement} = LibsqlPort.prepare(conn, "INSERT INTO users (name) VALUES (?1)")
  """
  @spec prepare(Connection.t(), sql, keyword) :: answer(Statement.t())
  def prepare(%Connection{} = conn, sql, options \\ []), do: Connection.prepare(conn, sql, options)

  @doc """
  Same as `prepare/3`, but returns the statement and raises a `LibsqlPort.Error` otherwise.

  ## Examples

      statement = LibsqlPort.prepare!(conn, "INSERT INTO users (name) VALUES (?1)")
  """
  @spec prepare!(Connection.t(), sql, keyword) :: Statement.t()
  def prepare!(%Connection{} = conn, sql, options \\ []), do: bang(Connection.prepare(conn, sql, options))

  @doc """
  Runs a prepared statement and returns its result. Takes the options of `query/4`.

  ## Examples

      {:ok, %LibsqlPort.Result{changes: 1}} = LibsqlPort.execute(conn, statement, ["Ada"])
  """
  @spec execute(Connection.t(), Statement.t(), params, keyword) :: answer(Result.t())
  def execute(%Connection{} = conn, %Statement{} = statement, params \\ [], options \\ []) do
    Connection.execute_prepared(conn, statement, params, options)
  end

  @doc """
  Same as `execute/4`, but returns the result and raises a `LibsqlPort.Error` otherwise.

  ## Examples

      %LibsqlPort.Result{changes: 1} = LibsqlPort.execute!(conn, statement, ["Ada"])
  """
  @spec execute!(Connection.t(), Statement.t(), params, keyword) :: Result.t()
  def execute!(%Connection{} = conn, %Statement{} = statement, params \\ [], options \\ []),
    do: bang(Connection.execute_prepared(conn, statement, params, options))

  @doc """
  Closes a prepared statement.

  ## Examples

      :ok = LibsqlPort.close_statement(conn, statement)
  """
  @spec close_statement(Connection.t(), Statement.t(), keyword) :: :ok | {:error, Error.t()}
  def close_statement(%Connection{} = conn, %Statement{} = statement, options \\ []) do
    Connection.close_statement(conn, statement, options)
  end

  @doc """
  Returns the columns and parameters of a statement without running it.

  ## Examples

      {:ok, %LibsqlPort.Description{parameters: [":id"]}} =
        LibsqlPort.describe(conn, "SELECT name FROM users WHERE id = :id")
  """
  @spec describe(Connection.t(), sql | Statement.t(), keyword) :: answer(Description.t())
  def describe(%Connection{} = conn, statement, options \\ []),
    do: Connection.describe(conn, statement, options)

  @doc """
  Same as `describe/3`, but returns the description and raises a `LibsqlPort.Error` otherwise.

  ## Examples

      %LibsqlPort.Description{columns: [_]} = LibsqlPort.describe!(conn, "SELECT 1")
  """
  @spec describe!(Connection.t(), sql | Statement.t(), keyword) :: Description.t()
  def describe!(%Connection{} = conn, statement, options \\ []),
    do: bang(Connection.describe(conn, statement, options))

  @doc """
  Returns a lazy stream of rows.

  The sidecar reads at most two chunks ahead of the consumer, so memory use does not depend on the size of the result. The stream must be
  consumed in one process; other requests may use the connection meanwhile. It runs under the policy of its connection: there is no
  `policy: false`, an `:invalid_option` error as any other option that it has not. Raises a `LibsqlPort.Error` on failure.

  ## Options

    * `:chunks` - if `true`, the elements are lists of rows, one for each chunk. Defaults to `false`
    * `:chunk_bytes`, `:chunk_rows` - the size of a chunk. Defaults to about 64 KiB
    * `:owner` - the process with whose exit the cursor is closed, or `nil` for none; defaults to the calling process
    * `:timeout` - milliseconds or `:infinity`, for each chunk; defaults to that of the connection

  ## Examples

      ["Ada" | _] = conn |> LibsqlPort.stream("SELECT name FROM users") |> Enum.map(fn [name] -> name end)
  """
  @spec stream(Connection.t(), sql | Statement.t(), params, keyword) :: Enumerable.t()
  def stream(%Connection{} = conn, statement, params \\ [], options \\ []) do
    Cursor.stream(conn, statement, params, options)
  end

  @doc """
  Runs a list of statements in one round trip. Each element is a text or a tuple `{text, params}`.

  ## Options

    * `:atomic` - if `true` (default), the statements run in a transaction: the first error rolls it back and is returned,
      with its position in `index`. If `false`, each statement runs on its own and the list of results contains
      `{:error, error}` for those that failed
    * `:timeout` - for the whole batch

  ## Examples

      {:ok, [_, _]} =
        LibsqlPort.batch(conn, [{"INSERT INTO users (name) VALUES (?1)", ["Ada"]}, "DELETE FROM guests"])
  """
  @spec batch(Connection.t(), [sql | {sql, params}], keyword) :: answer([Result.t() | {:error, Error.t()}])
  def batch(%Connection{} = conn, statements, options \\ []),
    do: Connection.batch(conn, statements, options)

  @doc """
  Same as `batch/3`, but returns the results and raises a `LibsqlPort.Error` otherwise. With `atomic: false` the errors of
  single statements are still in the list.

  ## Examples

      [_, _] = LibsqlPort.batch!(conn, ["DELETE FROM guests", {"INSERT INTO users (name) VALUES (?1)", ["Ada"]}])
  """
  @spec batch!(Connection.t(), [sql | {sql, params}], keyword) :: [Result.t() | {:error, Error.t()}]
  def batch!(%Connection{} = conn, statements, options \\ []),
    do: bang(Connection.batch(conn, statements, options))

  @doc """
  Runs all statements of a text, such as a schema, and discards their rows.

  Stops at the first error. Statements that ran before it are not rolled back, unless the text begins a transaction itself.

  ## Examples

      {:ok, %{statements: 2}} = LibsqlPort.script(conn, "CREATE TABLE a (x); CREATE TABLE b (y);")
  """
  @spec script(Connection.t(), sql, keyword) ::
          answer(%{
            statements: non_neg_integer,
            changes: non_neg_integer,
            tx_status: Result.tx_status()
          })
  def script(%Connection{} = conn, sql, options \\ []), do: Connection.script(conn, sql, options)

  @doc """
  Same as `script/3`, but returns the counts and raises a `LibsqlPort.Error` otherwise.

  ## Examples

      %{statements: 2} = LibsqlPort.script!(conn, "CREATE TABLE a (x); CREATE TABLE b (y);")
  """
  @spec script!(Connection.t(), sql, keyword) :: %{
          statements: non_neg_integer,
          changes: non_neg_integer,
          tx_status: Result.tx_status()
        }
  def script!(%Connection{} = conn, sql, options \\ []), do: bang(Connection.script(conn, sql, options))

  # --- transactions ---------------------------------------------------------------------------------------------

  @doc """
  Runs a function in a transaction.

  The function receives a connection that must be used for the statements of the transaction. Calling `transaction/3` on
  that connection creates a savepoint. Returns `{:ok, value}` with the value of the function after the commit,
  `{:error, value}` after `rollback/2`, and `{:error, %LibsqlPort.Error{}}` if begin or commit fails. An exception rolls back
  and is raised again.

  While the function runs, requests of other processes on the connection wait, within their timeouts; a process that is
  given the transaction's own connection takes part. If the process exits, the transaction is rolled back. Once the
  transaction has ended, also because SQLite rolled it back (`INSERT OR ROLLBACK`, a full disk, a timeout in the middle of a
  write), requests on its connection return a `:no_transaction` error, and so does `transaction/3`.

  ## Options

    * `:mode` - `:immediate` (default; waits for its turn to write at the beginning, so that no later statement fails because
      the database is locked), `:deferred`, `:exclusive` or `:read_only`
    * `:timeout` - of begin and commit each
    * `:lock_timeout` - of begin and commit each: how long to wait for the writer turn, see `query/4`

  ## Examples

      {:ok, id} =
        LibsqlPort.transaction(conn, fn conn ->
          LibsqlPort.query!(conn, "INSERT INTO users (name) VALUES (?1)", ["Ada"]).last_insert_rowid
        end)
  """
  @spec transaction(Connection.t(), (Connection.t() -> result), keyword) ::
          {:ok, result} | {:error, Error.t() | term}
        when result: var
  def transaction(%Connection{} = conn, fun, options \\ []) when is_function(fun, 1) do
    Transaction.run(conn, fun, options)
  end

  @doc """
  Rolls back the innermost transaction; its `transaction/3` returns `{:error, value}`.

  Raises an `ArgumentError` if the connection is not one that `transaction/3` passed to its function.

  ## Examples

      {:error, :changed_my_mind} =
        LibsqlPort.transaction(conn, fn conn -> LibsqlPort.rollback(conn, :changed_my_mind) end)
  """
  @spec rollback(Connection.t(), term) :: no_return
  def rollback(%Connection{} = conn, value), do: Transaction.rollback(conn, value)

  # --- functions ------------------------------------------------------------------------------------------------

  @doc """
  Creates an SQL function that is written in Elixir, on a connection or on a sidecar.

  The function gets the arguments one by one, or with the arity `:any` as one list, and returns a value. `LibsqlPort.Function` says what values are, where the function runs, and what becomes of its errors.

  While a statement of the connection runs or a cursor is open, replacing a function returns a `:locked` error.

  ## Options

    * `:deterministic` - `true` if the same arguments always give the same result, which indexes and generated columns
      require; defaults to `false`
    * `:directonly` - `false` if what is stored in the database, such as views, triggers and indexes, may call the function as
      well; defaults to `true`
    * `:timeout` - milliseconds that a call may take, or `:infinity`; defaults to 5000

  ## Examples

      :ok = LibsqlPort.create_function(conn, "initial", 1, fn name -> String.first(name) end, deterministic: true)
      {:ok, ["A"]} = LibsqlPort.query_one(conn, "SELECT initial(name) FROM users WHERE id = 1")

      :ok = LibsqlPort.create_function(MyApp.Sidecar, "concat", :any, &Enum.join/1)
      {:ok, ["abc"]} = LibsqlPort.query_one(conn, "SELECT concat('a', 'b', 'c')")
  """
  @spec create_function(
          Connection.t() | sidecar,
          Function.name(),
          Function.arity_of_call(),
          (... -> term),
          keyword
        ) ::
          :ok | {:error, Error.t()}
  def create_function(conn_or_sidecar, name, arity, fun, options \\ []),
    do: Registration.create(conn_or_sidecar, {:scalar, name, arity, fun, options})

  @doc """
  Creates an aggregate function that is written in Elixir, on a connection or on a sidecar; with `:inverse` it is a window function
  as well.

  `LibsqlPort.Function` says what the definition is. The sidecar, the options `:directonly` and `:timeout` (of each block of rows) and errors
  are as in `create_function/5`.

  ## Examples

      :ok =
        LibsqlPort.create_aggregate(conn, "longest", 1,
          start: "",
          step: fn name, longest -> if String.length(name) > String.length(longest), do: name, else: longest end
        )

      {:ok, ["Grace"]} = LibsqlPort.query_one(conn, "SELECT longest(name) FROM users")

      :ok =
        LibsqlPort.create_aggregate(conn, "moving_sum", 1,
          start: 0,
          step: fn x, sum -> sum + x end,
          inverse: fn x, sum -> sum - x end
        )

      {:ok, %{rows: [[1], [3], [5]]}} =
        LibsqlPort.query(conn, "SELECT moving_sum(id) OVER (ORDER BY id ROWS 1 PRECEDING) FROM users")
  """
  @spec create_aggregate(
          Connection.t() | sidecar,
          Function.name(),
          Function.arity_of_call(),
          keyword,
          keyword
        ) ::
          :ok | {:error, Error.t()}
  def create_aggregate(conn_or_sidecar, name, arity, definition, options \\ []),
    do: Registration.create(conn_or_sidecar, {:aggregate, name, arity, definition, options})

  @doc """
  Creates a table function that is written in Elixir, on a connection or on a sidecar: `SELECT * FROM name(1, 2)`, also in joins.

  `LibsqlPort.Function` says what the definition is. The options `:directonly` and `:timeout` (of each chunk of rows) and errors are as in
  `create_function/5`.

  ## Examples

      :ok =
        LibsqlPort.create_table_function(conn, "days",
          parameters: [:first],
          columns: [:day],
          rows: fn first ->
            first |> Date.from_iso8601!() |> Stream.iterate(&Date.add(&1, 1)) |> Stream.map(&[Date.to_iso8601(&1)])
          end
        )

      {:ok, %{rows: [["2024-02-28"], ["2024-02-29"], ["2024-03-01"]]}} =
        LibsqlPort.query(conn, "SELECT day FROM days('2024-02-28') LIMIT 3")
  """
  @spec create_table_function(Connection.t() | sidecar, Function.name(), keyword, keyword) ::
          :ok | {:error, Error.t()}
  def create_table_function(conn_or_sidecar, name, definition, options \\ []),
    do: Registration.create(conn_or_sidecar, {:table, name, definition, options})

  @doc """
  Creates a collation that is written in Elixir, on a connection or on a sidecar.

  The definition is `[key: fun]`, a function that makes a sort key of a text: see `LibsqlPort.Function`. The option `:timeout` is as in `create_function/5`.

  ## Examples

      :ok = LibsqlPort.create_collation(conn, "by_length", key: fn text -> <<String.length(text)::32, text::binary>> end)

      {:ok, %{rows: [["Ada"], ["Joan"], ["Grace"]]}} =
        LibsqlPort.query(conn, "SELECT name FROM users ORDER BY name COLLATE by_length")
  """
  @spec create_collation(Connection.t() | sidecar, Function.name(), keyword, keyword) ::
          :ok | {:error, Error.t()}
  def create_collation(conn_or_sidecar, name, definition, options \\ []),
    do: Registration.create(conn_or_sidecar, {:collation, name, definition, options})

  @doc """
  Drops a function that `create_function/5` or `create_aggregate/5` has created with this arity. Returns `{:ok, false}` if there is none.
  One of SQLite's own that it had replaced is there again.

  ## Examples

      {:ok, false} = LibsqlPort.drop_function(conn, "slugify", 1)
  """
  @spec drop_function(Connection.t() | sidecar, Function.name(), Function.arity_of_call()) :: answer(boolean)
  def drop_function(conn_or_sidecar, name, arity),
    do: Registration.drop(conn_or_sidecar, :scalar, name, arity)

  @doc """
  Drops what `create_table_function/4` has created. Returns `{:ok, false}` if there is none.

  ## Examples

      {:ok, false} = LibsqlPort.drop_table_function(conn, "days")
  """
  @spec drop_table_function(Connection.t() | sidecar, Function.name()) :: answer(boolean)
  def drop_table_function(conn_or_sidecar, name), do: Registration.drop(conn_or_sidecar, :table, name, :any)

  @doc """
  Drops what `create_collation/4` has created. Returns `{:ok, false}` if there is none.

  ## Examples

      {:ok, false} = LibsqlPort.drop_collation(conn, "by_length")
  """
  @spec drop_collation(Connection.t() | sidecar, Function.name()) :: answer(boolean)
  def drop_collation(conn_or_sidecar, name), do: Registration.drop(conn_or_sidecar, :collation, name, :any)

  # --- hooks ----------------------------------------------------------------------------------------------------

  @doc """
  Has a function decide about the commits of a connection, or with a sidecar about those of all its connections: see `LibsqlPort.Commit`.
  Replaces the hook that is set there.

  ## Options

    * `:timeout` - milliseconds that each call may take, or `:infinity`; default 1000. A call never takes longer than the rest of
      its request's `:timeout`: then the error is `:timeout`, and nothing is committed either
    * `:tables`, `:operations`, `:values`, `:columns`, `:changed_columns` - which changes it is asked about, and what it is told of them, as in
      `LibsqlPort.Changes.subscribe/2`

  ## Examples

      :ok =
        LibsqlPort.set_commit_hook(conn, fn commit ->
          if Enum.any?(commit.changes, &(&1.operation == :delete)), do: {:error, "users are kept"}, else: :ok
        end, tables: ["users"])

      {:error, %LibsqlPort.Error{code: :commit_vetoed}} = LibsqlPort.query(conn, "DELETE FROM users")
      {:ok, true} = LibsqlPort.remove_commit_hook(conn)
  """
  @spec set_commit_hook(
          Connection.t() | sidecar,
          (LibsqlPort.Commit.t() -> :ok | boolean | :error | {:error, term}),
          keyword
        ) ::
          :ok | {:error, Error.t()}
  def set_commit_hook(conn_or_sidecar, fun, options \\ []) do
    with {:ok, hook} <- CommitHook.new(fun, options), do: Registration.set(conn_or_sidecar, hook)
  end

  @doc """
  Removes the commit hook of a connection, or of a sidecar. Returns `{:ok, false}` if there is none.

  ## Examples

      {:ok, false} = LibsqlPort.remove_commit_hook(conn)
  """
  @spec remove_commit_hook(Connection.t() | sidecar) :: answer(boolean)
  def remove_commit_hook(conn_or_sidecar), do: Registration.remove(conn_or_sidecar, :commit)

  @doc """
  Has a function decide what the statements of a connection may do: see `LibsqlPort.Authorization`, which it gets. Replaces the one that is set.
  Returns a `:locked` error while the connection has open cursors, which have been allowed what they read.

      {:ok, conn} = LibsqlPort.connect(MyApp.Sidecar, database: "app.db")

      :ok =
        LibsqlPort.set_authorizer(conn, fn
          %{action: :read, object: "users", column: "password_hash"} -> :ignore
          %{action: :delete, object: "users"} -> :deny
          _anything_else -> :ok
        end)

      {:error, %LibsqlPort.Error{code: :not_authorized, denial: %{action: :delete, object: "users"}}} =
        LibsqlPort.query(conn, "DELETE FROM users")

  ## Options

    * `:timeout` - milliseconds that each call may take, or `:infinity`; default 5000. A call never takes longer than the rest of
      its request's `:timeout`
  """
  @spec set_authorizer(Connection.t(), (LibsqlPort.Authorization.t() -> :ok | :deny | :ignore), keyword) ::
          :ok | {:error, Error.t()}
  def set_authorizer(%Connection{} = conn, fun, options \\ []) do
    with {:ok, hook} <- Authorizer.new(fun, options), do: Registration.set(conn, hook)
  end

  @doc """
  Removes the authorizer of a connection. Returns `{:ok, false}` if there is none, and a `:locked` error while the connection has
  open cursors.

  ## Examples

      {:ok, conn} = LibsqlPort.connect(MyApp.Sidecar, database: "app.db")
      {:ok, false} = LibsqlPort.remove_authorizer(conn)
  """
  @spec remove_authorizer(Connection.t()) :: answer(boolean)
  def remove_authorizer(%Connection{} = conn), do: Registration.remove(conn, :authorizer)

  # --- care -----------------------------------------------------------------------------------------------------

  @doc """
  Cancels all in-flight requests on the connection. Returns the number of cancelled requests; their callers receive a
  `:cancelled` error. Requests sent later are not affected.

  ## Examples

      {:ok, 0} = LibsqlPort.cancel(conn)
  """
  @spec cancel(Connection.t()) :: answer(non_neg_integer)
  def cancel(%Connection{} = conn) do
    Enum.reduce_while(Connection.requests(conn), {:ok, 0}, fn {request, _caller}, {:ok, count} ->
      case Connection.cancel(conn, request, []) do
        {:ok, true} -> {:cont, {:ok, count + 1}}
        {:ok, false} -> {:cont, {:ok, count}}
        {:error, _} = error -> {:halt, error}
      end
    end)
  end

  @doc """
  Cancels one request, given its id from `requests/1`. Returns `{:ok, false}` if the request has already finished.

  ## Examples

      for {request, _caller} <- LibsqlPort.requests(conn), do: LibsqlPort.cancel(conn, request)
  """
  @spec cancel(Connection.t(), pos_integer, keyword) :: answer(boolean)
  def cancel(%Connection{} = conn, request, options \\ []), do: Connection.cancel(conn, request, options)

  @doc """
  Returns the in-flight requests of a connection: their ids and the processes that wait for them.

  ## Examples

      [] = LibsqlPort.requests(conn)
  """
  @spec requests(Connection.t()) :: [{pos_integer, pid}]
  def requests(%Connection{} = conn), do: Connection.requests(conn)

  @doc """
  Resets the connection: rolls back an open transaction, closes cursors and prepared statements, drops temporary objects,
  detaches databases and restores the pragmas and the policy given to `connect/2`. The authorizer, hooks, functions and the
  statement cache are kept.

  ## Examples

      :ok = LibsqlPort.reset(conn)
  """
  @spec reset(Connection.t(), keyword) :: :ok | {:error, Error.t()}
  def reset(%Connection{} = conn, options \\ []), do: Connection.reset(conn, options)

  @doc """
  Changes what SQL may do on the connection; see `LibsqlPort.Policy`. `nil` allows everything.

  Prepared and cached statements are compiled anew under the new policy. Returns a `:locked` error while the connection has open
  cursors, which have been allowed what they read, and an `:invalid_option` error for what is no policy. `reset/2` restores the
  policy that was given to `connect/2`.

  ## Examples

      {:ok, conn} = LibsqlPort.connect(MyApp.Sidecar, database: "app.db", policy: :read_only)
      :ok = LibsqlPort.set_policy(conn, :no_schema_changes)
      :ok = LibsqlPort.set_policy(conn, [{:deny, :read, table: "users", column: "password_hash"}, {:allow, :any}])
  """
  @spec set_policy(Connection.t(), LibsqlPort.Policy.t(), keyword) :: :ok | {:error, Error.t()}
  def set_policy(%Connection{} = conn, policy, options \\ []),
    do: Connection.set_policy(conn, policy, options)

  @doc """
  Runs a checkpoint: copies the content of the write-ahead log (WAL) into the database file.

  Returns whether it was blocked by a reader (`busy`), the number of frames in the WAL and the number of frames that have
  been copied; both are -1 if there is no WAL.

  ## Options

    * `:mode` - `:passive` (default), `:full`, `:restart` or `:truncate`; see
      [SQLite's documentation](https://www.sqlite.org/c3ref/wal_checkpoint_v2.html)
    * `:timeout` - milliseconds or `:infinity`

  ## Examples

      {:ok, %{busy: false}} = LibsqlPort.checkpoint(conn, mode: :truncate)
  """
  @spec checkpoint(Connection.t(), keyword) ::
          answer(%{busy: boolean, log_frames: integer, checkpointed_frames: integer})
  def checkpoint(%Connection{} = conn, options \\ []) do
    with :ok <- Options.request(:checkpoint, options),
         {mode, options} = Keyword.pop(options, :mode, :passive),
         {:ok, {busy, log, checkpointed}} <- Connection.checkpoint(conn, mode, options) do
      {:ok, %{busy: busy not in [false, 0], log_frames: log, checkpointed_frames: checkpointed}}
    end
  end

  @doc """
  Returns counters and gauges as a map.

  For a connection: `requests`, `rows`, `changes`, `errors`, `timeouts`, `cancelled`, `cache_hits`, `cache_misses`,
  `cache_used`, `cache_size`, `statements`, `cursors`, `autocommit`, `tx_status`, `memory` (bytes by kind), and `servers`: for a
  database on a server a map for each, the primary first, with `url`, `role` (`:primary` or `:replica`), `breaker` (`:closed`, `:open` or
  `:half_open`), `failures` (one after the other), `reason` (the last one in words), `since` (ms for which the breaker has not been closed),
  `probe` (ms until the next probe), `latency` (µs, measured for `read_from: :nearest` and by probes), `answered` (ms since its last answer)
  and `replication_index`. What is not known is `nil`.

  For a sidecar: `os_pid`, `uptime` (milliseconds), `connections`, `statements`, `cursors`, `threads`, `requests`,
  `queued_requests`, `memory` (bytes used by the engine), `rss` (bytes, or `nil`), `bytes_in`, `bytes_out`, `files`, and `replicas`, each as `LibsqlPort.Replica.status/2`
  returns it.

  ## Examples

      {:ok, %{os_pid: _, connections: _}} = LibsqlPort.status(MyApp.Sidecar)
  """
  @spec status(Connection.t() | sidecar, keyword) :: answer(map)
  def status(conn_or_sidecar, options \\ [])

  def status(%Connection{} = conn, options) do
    Connection.connection_status(conn, options)
  end

  def status(sidecar, options) do
    Enquiry.ask(sidecar, :status, options)
  end

  @doc """
  Checks that the sidecar responds. Defaults to a `:timeout` of 5 seconds.

  ## Examples

      :ok = LibsqlPort.ping(MyApp.Sidecar)
  """
  @spec ping(Connection.t() | sidecar, keyword) :: :ok | {:error, Error.t()}
  def ping(conn_or_sidecar, options \\ []) do
    with {:ok, _} <- Enquiry.ask(conn_or_sidecar, :ping, options), do: :ok
  end

  defp bang({:ok, result}), do: result
  defp bang({:error, error}), do: raise(error)
end
