defmodule EctoLibSql do
  @moduledoc """
  libSQL behind a pool of `DBConnection`. `Ecto.Adapters.LibSql` runs on it, and it can be used without Ecto, as Postgrex
  and MyXQL can:

      iex> {:ok, db} = EctoLibSql.start_link(database: ":memory:", pool_size: 2)
      iex> EctoLibSql.query!(db, "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)")
      iex> EctoLibSql.query!(db, "INSERT INTO users (name) VALUES (?), (?)", ["Ada", "Grace"]).num_rows
      2
      iex> EctoLibSql.query!(db, "SELECT name FROM users WHERE id = ?", [2]).rows
      [["Grace"]]

  As a child of a supervisor, with a name:

      children = [{EctoLibSql, database: "app.db", name: MyApp.DB}]

  For the options of the pool and the database see `EctoLibSql.Options`. Parameters and values are those of `LibsqlPort`;
  a `DateTime`, a `Decimal`, a list or a map that is given as a parameter is stored as the Ecto adapter stores it.

  ## Options of calls

    * `:timeout` – milliseconds for the whole call, or `:infinity`: waiting for a connection, waiting for locks, running and
      reading. Default 15000, or the pool's `:timeout`
    * `:deadline` – an absolute time in place of it, of `System.monotonic_time(:millisecond)`
    * `:queue` – `false` if the call must not wait for a connection
    * `:log` – a function that is called with a `DBConnection.LogEntry`
    * `:policy` – `false`: without the policy of the connections, as the application's own SQL. Of a transaction or a checkout it holds for
      all its statements, until it ends; streams in it are refused, because they run under the policy
    * `:defensive` – in place of that of the connections, in the same way
    * `:lock_timeout` – as in `EctoLibSql.Options`; of statements, and of the begin and the commit of a transaction
    * `:consistency`, `:max_lag` – of a statement: how new what it reads of a replica has to be, as in `LibsqlPort.Options`. A file and a server
      always are as new as they can be
    * `:ignored_options` – names of the application's own options that are taken for misspelt ones

  All other functions pass over those of `stream/4`, which change no rows.

  ## Errors

  Functions return `{:error, exception}`, or raise the exception if their name ends with `!`. A wrong value of an option is
  an `EctoLibSql.Error` of code `:invalid_option`, which `transaction/3`, `checkout/3` and `stream/4` raise. So is a name that is
  almost one of these, such as `:polcy`, and the message says which. Other names that no function knows are the application's, and are
  passed over, as those that `:ignored_options` lists.

  A call whose time is up was stopped when its error arrives: an `EctoLibSql.Error` of code `:timeout`. A lost connection
  is a `DBConnection.ConnectionError`: with the reason `:sidecar_down` or `:connection_closed` nothing of the request took
  effect, with `:outcome_unknown` a write may have been committed or not. No request is sent twice.

  A transaction that the engine had to roll back by itself (a full disk, a timeout in the middle of a write) stays rolled
  back: statements in it are refused until it ends, so that none is committed by itself.

  ## Callbacks

  `connect/1`, `disconnect/2`, `handle_execute/4` and the other callbacks of `DBConnection` are here for those who used
  ecto_libsql by them: see the guide from-ecto_libsql. The pool uses them without the names of `EctoLibSql.Native`.
  """

  use DBConnection

  alias EctoLibSql.{
    ByHand,
    CallOptions,
    Deadline,
    Health,
    Lane,
    Options,
    Pool,
    PoolDefaults,
    PoolStatus,
    Privileges,
    Protocol,
    Query,
    Result,
    Retry,
    State
  }

  @type conn :: DBConnection.conn()
  @type params :: [term] | keyword | %{optional(atom | String.t()) => term}

  # --- pool -----------------------------------------------------------------------------------------------------

  @doc """
  Starts a pool of connections, and a sidecar for it unless the option `:sidecar` names one. Returns the pool's process.

      iex> {:ok, db} = EctoLibSql.start_link(database: ":memory:")
      iex> EctoLibSql.query!(db, "SELECT 1").rows
      [[1]]
  """
  @spec start_link(keyword) :: {:ok, pid} | {:error, term}
  def start_link(options), do: Pool.start_link(options)

  @doc "A child specification: `{EctoLibSql, database: \"app.db\", name: MyApp.DB}`."
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options), do: %{Pool.child_spec(options) | id: options[:name] || __MODULE__}

  @doc """
  Returns what a pool is doing, as an `EctoLibSql.PoolStatus`: its connections, who holds them and for how long, how many
  calls wait, and counts since its start. Takes a Repo, the name or pid of a dynamic one, or a pool of `start_link/1`. Asks
  no process, so a busy pool does not delay it.

  An `EctoLibSql.Error` of code `:invalid_request` if there is no such Repo or pool on this node, or if it is in the sandbox
  or has a `:pool` of another module.

      iex> {:ok, db} = EctoLibSql.start_link(database: ":memory:", pool_size: 1)
      iex> EctoLibSql.checkout(db, fn _conn -> EctoLibSql.pool_status(db) end)
      ...> |> then(fn {:ok, status} -> {status.checked_out, status.idle, length(status.holders)} end)
      {1, 0, 1}
  """
  @spec pool_status(module | pid | GenServer.name()) :: {:ok, PoolStatus.t()} | {:error, Exception.t()}
  defdelegate pool_status(repo_or_pool), to: PoolStatus, as: :of

  @doc """
  Returns whether a Repo can do its work, as an `EctoLibSql.Health`: a statement on each way to the database, and what the pool, the
  sidecar, the file and the server say of themselves. Takes what `pool_status/1` takes, and Repos in the sandbox as well.

  Returns within its `:timeout`, whatever hangs, and raises nothing but an `EctoLibSql.Error` for an option that is none. See
  `EctoLibSql.HealthPlug` for the check of a load balancer.

  ## Options

    * `:timeout` – milliseconds; default 1000
    * `:disk_free_min` – bytes that have to be free where the file is; default 16 MiB. `nil` or 0: nobody asks, which spares the
      start of the program `df`
    * `:wal_bytes_max` – how long the write-ahead log may be, bytes
    * `:writer_held_max` – for how long (ms) a process of the pool may have had the connection that writes
    * `:pool_wait_max` – for how long (ms) the first caller in the queue of the pool may have waited
    * `:replica_age_max` – how long ago (ms) the last sync of an embedded replica may be

  The last four have no limit by default. What exceeds one is a reason not to be healthy.

      iex> {:ok, db} = EctoLibSql.start_link(database: ":memory:", pool_size: 1)
      iex> health = EctoLibSql.health(db, timeout: 10_000)
      iex> {health.healthy?, health.reasons, health.mode}
      {true, [], :local}
      iex> EctoLibSql.health(:no_such_repo).reasons
      [:not_running]
  """
  @spec health(module | pid | GenServer.name(), keyword) :: Health.t()
  def health(repo_or_pool, options \\ []), do: Health.check(repo_or_pool, options, &query/4)

  # --- statements -----------------------------------------------------------------------------------------------

  @doc """
  Runs a statement, in one round trip.

      iex> {:ok, db} = EctoLibSql.start_link(database: ":memory:")
      iex> {:ok, %EctoLibSql.Result{columns: ["sum"], rows: [[3]]}} = EctoLibSql.query(db, "SELECT ? + ? AS sum", [1, 2])
      iex> {:error, %EctoLibSql.Error{code: :sql_error}} = EctoLibSql.query(db, "SELEC 1")
      iex> EctoLibSql.query(db, "SELECT :name", name: "Ada") |> elem(1) |> Map.fetch!(:rows)
      [["Ada"]]
  """
  @spec query(conn, iodata, params, keyword) :: {:ok, Result.t()} | {:error, Exception.t()}
  def query(conn, statement, params \\ [], options \\ []) do
    with :ok <- checked(conn, options),
         {:ok, _query, result} <- enter(:execute, conn, Query.new(statement, nil, options), params, options),
         do: {:ok, result}
  end

  @doc "The same as `query/4`; raises the error."
  @spec query!(conn, iodata, params, keyword) :: Result.t()
  def query!(conn, statement, params \\ [], options \\ []), do: ok!(query(conn, statement, params, options))

  @doc """
  Runs all statements of a text, one after the other. Returns the result of each, or the first error; what ran before it
  stays, unless the text itself has a transaction.

      iex> {:ok, db} = EctoLibSql.start_link(database: ":memory:")
      iex> {:ok, [_, _, result]} = EctoLibSql.query_many(db, "CREATE TABLE t (x); INSERT INTO t VALUES (1); SELECT x FROM t")
      iex> result.rows
      [[1]]
  """
  @spec query_many(conn, iodata, [], keyword) :: {:ok, [Result.t()]} | {:error, Exception.t()}
  def query_many(conn, statements, params \\ [], options \\ []) do
    query = %{Query.new(statements) | operation: :script}
    with {:ok, _query, results} <- run(:execute, conn, query, params, options), do: {:ok, results}
  end

  @doc "The same as `query_many/4`; raises the error."
  @spec query_many!(conn, iodata, [], keyword) :: [Result.t()]
  def query_many!(conn, statements, params \\ [], options \\ []) do
    ok!(query_many(conn, statements, params, options))
  end

  @doc """
  A statement to be run with `execute/4`. It is not sent: the sidecar keeps what it has compiled by the text of the
  statement, so a query may be used on any connection and needs no closing.

      iex> {:ok, db} = EctoLibSql.start_link(database: ":memory:")
      iex> double = EctoLibSql.prepare("SELECT 2 * ?")
      iex> {:ok, _, %{rows: [[6]]}} = EctoLibSql.execute(db, double, [3])
      iex> {:ok, _, %{rows: rows}} = EctoLibSql.execute(db, double, [4])
      iex> rows
      [[8]]
  """
  @spec prepare(iodata, String.t() | nil) :: Query.t()
  def prepare(statement, name \\ nil) do
    query = Query.new(statement, name)
    %{query | command: Result.command(query.statement)}
  end

  @doc "Runs a query of `prepare/2`. Returns the query too, as `DBConnection.execute/4` does."
  @spec execute(conn, Query.t(), params, keyword) :: {:ok, Query.t(), Result.t()} | {:error, Exception.t()}
  def execute(conn, %Query{} = query, params, options \\ []), do: run(:execute, conn, query, params, options)

  @doc "The same as `prepare/2` and `execute/4`."
  @spec prepare_execute(conn, String.t() | nil, iodata, params, keyword) ::
          {:ok, Query.t(), Result.t()} | {:error, Exception.t()}
  def prepare_execute(conn, name, statement, params, options \\ []) do
    with :ok <- checked(conn, options),
         do: enter(:prepare_execute, conn, Query.new(statement, name, options), params, options)
  end

  defp run(call, conn, query, params, options) do
    with :ok <- checked(conn, options), do: enter(call, conn, query, params, options)
  end

  # The pool may know a name that is none of ours.
  defp checked(conn, options) do
    with {:error, _} = error <- CallOptions.check(options) do
      if Keyword.keyword?(options),
        do: conn |> PoolDefaults.added(options) |> CallOptions.check(),
        else: error
    end
  end

  # The one way into the pool, or past it: with options that are checked, and the deadline of the whole call.
  defp enter(call, conn, query, params, options) do
    no_repo!(conn)
    options = Deadline.limited(conn, PoolDefaults.added(conn, options))

    case Retry.of_call(conn, query, options) do
      nil -> enter_once(call, conn, query, params, options)
      retry -> Retry.statement(retry, options, fn -> enter_once(call, conn, query, params, options) end)
    end
  end

  defp enter_once(call, conn, query, params, options) do
    with :pool <- Lane.run(call, conn, query, params, options),
         options = Deadline.checking_out(conn, options),
         {:error, error} <- apply(DBConnection, call, [conn, query, params, options]) do
      {:error, Deadline.told(error, options)}
    end
  end

  @doc """
  Returns a lazy stream of results, each with up to `:max_rows` rows (default 500). Takes the connection of a
  `transaction/3`; raises an `ArgumentError` for a pool.

  It gives each row once, although the transaction writes to the same tables meanwhile: before the first write the sidecar
  reads the rest of the rows and keeps them, in memory and beyond 1 MiB in a temporary file. That takes the time of reading
  them, out of the `:timeout` of the statement that writes. Without a write it costs nothing. With `stream: :live` the
  cursor reads on beside what is written, and may give a changed row twice or leave it out.

  With `read_ahead: true` the sidecar reads the next chunk while the program works on this one, from the second chunk on. What
  the program sends to the connection meanwhile waits for that chunk. For statements that only read; `Repo.stream/2` sets it.

      iex> {:ok, db} = EctoLibSql.start_link(database: ":memory:")
      iex> {:ok, sum} =
      ...>   EctoLibSql.transaction(db, fn conn ->
      ...>     conn
      ...>     |> EctoLibSql.stream("SELECT value FROM json_each('[1, 2, 3]')", [], max_rows: 2)
      ...>     |> Stream.flat_map(& &1.rows)
      ...>     |> Enum.reduce(0, fn [number], sum -> sum + number end)
      ...>   end)
      iex> sum
      6
  """
  @spec stream(DBConnection.t(), iodata | Query.t(), params, keyword) :: DBConnection.Stream.t()
  def stream(conn, statement, params \\ [], options \\ [])

  def stream(%DBConnection{} = conn, %Query{} = query, params, options) do
    CallOptions.check!(options)
    DBConnection.stream(conn, query, params, options)
  end

  def stream(%DBConnection{} = conn, statement, params, options) do
    CallOptions.check!(options)
    DBConnection.stream(conn, Query.new(statement, nil, options), params, options)
  end

  def stream(pool, _statement, _params, _options) do
    raise ArgumentError,
          "a stream needs a transaction: call EctoLibSql.transaction(#{inspect(pool)}, fn conn -> … end) and stream from conn"
  end

  # --- transactions ---------------------------------------------------------------------------------------------

  @doc """
  Runs a function in a transaction, with the connection as its argument. Returns `{:ok, result}`, or `{:error, reason}`
  after `rollback/2`; an exception rolls back and is raised again. A transaction in a transaction is part of it.

  The option `:mode` is `:immediate` (default), `:deferred`, `:exclusive` or `:read_only`. The `:timeout` is that of the
  whole transaction.

      iex> {:ok, db} = EctoLibSql.start_link(database: ":memory:")
      iex> EctoLibSql.query!(db, "CREATE TABLE t (x)")
      iex> EctoLibSql.transaction(db, fn conn -> EctoLibSql.query!(conn, "INSERT INTO t VALUES (1)").num_rows end)
      {:ok, 1}
      iex> EctoLibSql.transaction(db, fn conn -> EctoLibSql.rollback(conn, :no) end)
      {:error, :no}
  """
  @spec transaction(conn, (DBConnection.t() -> result), keyword) :: {:ok, result} | {:error, term}
        when result: var
  def transaction(conn, fun, options \\ []) when is_function(fun, 1) do
    options = transaction_options(conn, options)
    within(conn, options, fn -> DBConnection.transaction(conn, fun, options) end)
  end

  # A part of a checkout or a transaction has a connection to mark; the outermost one begins with its options.
  defp within(%DBConnection{} = conn, options, fun),
    do: Privileges.around(options, &mark(conn, &1, options), fun)

  defp within(_pool, _options, fun), do: fun.()

  # What is no list is told by the check.
  defp completed(conn, options),
    do: if(Keyword.keyword?(options), do: PoolDefaults.added(conn, options), else: options)

  @doc false
  # The options of a transaction. What cannot be is raised before a connection is taken.
  @spec transaction_options(conn, keyword) :: keyword
  def transaction_options(conn, options) do
    no_repo!(conn)
    options = completed(conn, options)
    CallOptions.check!(:transaction, options)
    mode = options[:mode]

    if mode in [nil, :savepoint, :transaction] or mode in Options.transaction_modes(),
      do: Deadline.entering(conn, options),
      else: raise(ArgumentError, Options.wrong_mode(mode))
  end

  @doc """
  Runs a transaction, and runs it again if it took no effect: a server that gave its lock to another writer or was restarted
  (`:transaction_lost`), cannot be reached (`:remote_unavailable`), a database that is `:busy`, a sidecar that has ended. The
  function is then run again from its beginning, so what it does beside the database is done again as well.

  Takes a Repo, whose `c:Ecto.Repo.transaction/2` it calls, or a pool. Inside of a transaction nothing can be repeated, and inside of a
  checkout, whose connection may be lost, nothing is. A commit whose outcome is unknown is never repeated.

  ## Options

  Those of `transaction/3`, whose `:timeout` bounds all attempts together, and

    * `:retry` – as in `EctoLibSql.Options`: `false` for a single attempt, or a keyword list of `:attempts`, `:base` and `:max`.
      Default: as the Repo has it

  ## Examples

      iex> {:ok, db} = EctoLibSql.start_link(database: ":memory:")
      iex> EctoLibSql.query!(db, "CREATE TABLE t (x)")
      iex> EctoLibSql.transaction_with_retry(db, fn conn -> EctoLibSql.query!(conn, "INSERT INTO t VALUES (1)").num_rows end)
      {:ok, 1}
  """
  @spec transaction_with_retry(module | conn, (() -> result) | (DBConnection.t() -> result), keyword) ::
          {:ok, result} | {:error, term}
        when result: var
  def transaction_with_retry(repo_or_pool, fun, options \\ []) do
    {given, options} = Keyword.pop(options, :retry)

    if repo?(repo_or_pool) do
      %{opts: defaults} = Ecto.Adapter.lookup_meta(repo_or_pool.get_dynamic_repo())
      retry = Retry.of_transaction!(given, defaults[:retries])
      again = not repo_or_pool.in_transaction?() and not repo_or_pool.checked_out?()
      retry = if again, do: retry
      options = Deadline.overall(options, defaults)
      Retry.transaction(retry, options, fn -> repo_or_pool.transaction(fun, options) end)
    else
      again = not is_struct(repo_or_pool, DBConnection)
      defaults = if again, do: PoolDefaults.complete(repo_or_pool), else: []
      retry = Retry.of_transaction!(given, defaults[:retries])
      retry = if again, do: retry
      options = if again, do: Deadline.overall(options, defaults), else: options
      Retry.transaction(retry, options, fn -> transaction(repo_or_pool, fun, options) end)
    end
  end

  @doc "Rolls back the transaction around it, which returns `{:error, reason}`."
  @spec rollback(DBConnection.t(), term) :: no_return
  def rollback(conn, reason), do: DBConnection.rollback(conn, reason)

  @doc """
  Runs a function with one connection for all its calls. What belongs to a connection, such as a temporary table, an
  attached database or a pragma, stays on it afterwards; a transaction that the function began by hand and did not end is
  rolled back, and a `DBConnection.ConnectionError` raised.

      iex> {:ok, db} = EctoLibSql.start_link(database: ":memory:")
      iex> EctoLibSql.checkout(db, fn conn ->
      ...>   EctoLibSql.query!(conn, "CREATE TEMP TABLE t (x)")
      ...>   EctoLibSql.query!(conn, "INSERT INTO t VALUES (1)").num_rows
      ...> end)
      1
  """
  @spec checkout(conn, (DBConnection.t() -> result), keyword) :: result when result: var
  def checkout(conn, fun, options \\ [])

  def checkout(%DBConnection{} = conn, fun, options) do
    CallOptions.check!(:checkout, options)
    within(conn, options, fn -> DBConnection.run(conn, fun, options) end)
  end

  def checkout(pool, fun, options) do
    no_repo!(pool)
    options = completed(pool, options)
    CallOptions.check!(:checkout, options)
    options = Deadline.enter(options)
    run = &DBConnection.run(pool, &1, options)
    checked_out(run, &mark(&1, &2, options), fun)
  end

  @doc false
  # A checkout between its two marks. `run` takes a connection and calls a function with it, `mark` sends a mark to it. As
  # long as nothing has run, a connection of no use is passed over: its sidecar has
  # ended, or another checkout has left a transaction open on it.
  @spec checked_out(
          ((conn -> term) -> term),
          (conn, :checkout | :checkin | :abandon -> :ok | {:error, Exception.t()}),
          (conn -> result)
        ) ::
          result
        when result: var, conn: var
  def checked_out(run, mark, fun), do: checked_out(run, mark, fun, Deadline.retries())

  defp checked_out(run, mark, fun, retries) do
    attempt = fn conn ->
      case mark.(conn, :checkout) do
        {:error, %DBConnection.ConnectionError{}} when retries > 0 -> :lost
        _marked -> {:ran, marked(&mark.(conn, &1), fn -> fun.(conn) end)}
      end
    end

    case run.(attempt) do
      :lost -> checked_out(run, mark, fun, retries - 1)
      {:ran, result} -> result
    end
  end

  defp marked(mark, fun) do
    fun.()
  catch
    kind, reason ->
      _ = mark.(:abandon)
      :erlang.raise(kind, reason, __STACKTRACE__)
  else
    result ->
      _ = mark.(:checkin)
      result
  end

  @doc false
  @spec mark(DBConnection.t(), atom | Query.t(), keyword) ::
          :ok | {:error, Exception.t()}
  # After a part of a transaction has been rolled back, DBConnection takes any query for a failure of the connection and drops it, until
  # the whole has ended. It lets through what cleans up.
  def mark(conn, %Query{operation: operation} = query, options)
      when operation in [:privileges, :no_privileges] do
    with {:ok, _result} <- DBConnection.close(conn, query, Keyword.delete(options, :log)), do: :ok
  end

  def mark(conn, %Query{} = query, options) do
    with {:ok, _query, _result} <- DBConnection.execute(conn, query, [], Keyword.delete(options, :log)),
         do: :ok
  end

  def mark(conn, operation, options), do: mark(conn, %Query{operation: operation}, options)

  defp repo?(name), do: is_atom(name) and function_exported?(name, :get_dynamic_repo, 0)

  # A Repo's own process is a supervisor, which never answers what a pool is asked.
  defp no_repo!(name) when is_atom(name) do
    if repo?(name) do
      raise ArgumentError,
            "#{inspect(name)} is a Repo, and the functions of EctoLibSql take a pool of EctoLibSql.start_link/1 or a " <>
              "connection of it: call #{inspect(name)}.query/3, #{inspect(name)}.transaction/2 or #{inspect(name)}.checkout/2"
    end
  end

  defp no_repo!(_pool_or_connection), do: :ok

  defp ok!({:ok, result}), do: result
  defp ok!({:error, error}), do: raise(error)

  # --- callbacks ------------------------------------------------------------------------------------------------

  @doc "Opens a connection, which belongs to the calling process."
  @impl true
  @spec connect(keyword) :: {:ok, State.t()} | {:error, Exception.t()}
  defdelegate connect(options), to: ByHand

  @doc "Closes a connection."
  @impl true
  defdelegate disconnect(reason, state), to: ByHand

  @doc false
  @impl true
  defdelegate checkout(state), to: Protocol

  @doc false
  @impl true
  defdelegate ping(state), to: Protocol

  @doc "Begins a transaction."
  @impl true
  defdelegate handle_begin(options, state), to: Protocol

  @doc "Commits the transaction."
  @impl true
  defdelegate handle_commit(options, state), to: Protocol

  @doc "Rolls the transaction back."
  @impl true
  defdelegate handle_rollback(options, state), to: Protocol

  @doc "Tells whether a transaction is open."
  @impl true
  defdelegate handle_status(options, state), to: Protocol

  @doc false
  @impl true
  defdelegate handle_prepare(query, options, state), to: Protocol

  @doc "Runs a statement: a query, or its text."
  @impl true
  defdelegate handle_execute(query, params, options, state), to: ByHand, as: :execute

  @doc false
  @impl true
  defdelegate handle_close(query, options, state), to: Protocol

  @doc "Opens a cursor."
  @impl true
  defdelegate handle_declare(query, params, options, state), to: Protocol

  @doc "Reads the next rows of a cursor."
  @impl true
  defdelegate handle_fetch(query, cursor, options, state), to: Protocol

  @doc "Closes a cursor."
  @impl true
  defdelegate handle_deallocate(query, cursor, options, state), to: Protocol
end
