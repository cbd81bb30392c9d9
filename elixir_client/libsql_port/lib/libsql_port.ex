# Rust    stdin → frame → request (decode) → router → connection/thread → statement|cursor|… → row_encoder → frame → stdout
# Elixir  Repo → Ecto.Adapters.LibSql → …LibSql.Connection (SQL) → EctoLibSql (DBConnection) → LibsqlPort → Port
defmodule LibsqlPort do
  @moduledoc """
  libSQL in a program of its own, driven over an Erlang port.

      children = [{LibsqlPort, name: MyApp.Sidecar}]
      {:ok, _} = Supervisor.start_link(children, strategy: :one_for_one)

      {:ok, conn} = LibsqlPort.connect(MyApp.Sidecar, database: "app.db")
      {:ok, %LibsqlPort.Result{rows: [[1]]}} = LibsqlPort.query(conn, "SELECT ?1", [1])

  The program, the *sidecar*, is started and supervised; several of them may run in one VM. A connection may be used by
  any number of processes at once: its statements run one after another, those of different connections at the same
  time. It belongs to the process that opened it and is closed when that one ends (option `:owner`).

  ## Parameters and values

  Parameters are a list (`[1, "a"]`, by position), or a keyword list or map (`[id: 1]`, `%{"id" => 1}`, by name; a name
  without prefix means `:name`, `@name` or `$name`). `nil`, integers of 64 bits, floats, strings, `{:blob, binary}`,
  booleans (as 1 and 0), `:infinity` and `:neg_infinity` are values; whatever else is an error. `LibsqlPort.Result` tells
  what comes back.

  ## Errors, timeouts, and what is certain

  Functions answer `{:error, %LibsqlPort.Error{}}`, or raise it if their name ends with `!`. `timeout:` (milliseconds, or
  `:infinity`) covers queue, locks, run and encoding; a request that overruns is stopped, answers `:timeout`, and the
  connection is usable again. If the sidecar ends, every waiting caller has an error at once: `:sidecar_down` if nothing
  of the request can have been made durable, `:outcome_unknown` if a commit may or may not have happened. Nothing is
  repeated behind your back. A connection does not outlive its sidecar: what is asked of it later is `:not_sent`; open a new
  one.
  """

  alias LibsqlPort.{
    Connection,
    Cursor,
    Description,
    Error,
    Exchange,
    Handle,
    Options,
    Outcome,
    Reply,
    Request,
    Result,
    Sidecar,
    Statement,
    Status,
    Transaction
  }

  @type sidecar :: Supervisor.supervisor()
  @type sql :: String.t()
  @type params :: Connection.params()
  @type answer(type) :: {:ok, type} | {:error, Error.t()}

  @pause_ms 10

  # --- the sidecar ----------------------------------------------------------------------------------------------

  @doc """
  A child specification: `{LibsqlPort, name: MyApp.Sidecar}` among the children of a supervisor.

      iex> LibsqlPort.child_spec(name: MyApp.Sidecar).id
      MyApp.Sidecar
  """
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    %{
      id: Keyword.get(options, :name) || __MODULE__,
      start: {__MODULE__, :start_link, [options]},
      type: :supervisor
    }
  end

  @doc """
  Starts a sidecar under a supervisor of its own, and waits until it has said hello. For the options see
  `LibsqlPort.Options`.

      {:ok, sidecar} = LibsqlPort.start_link(name: MyApp.Sidecar, log_level: :warn)
  """
  @spec start_link(keyword) :: {:ok, pid} | {:error, Error.t() | term}
  def start_link(options \\ []) do
    with {:ok, options} <- Options.sidecar(options), do: LibsqlPort.Supervisor.start_link(options)
  end

  @doc """
  Opens a connection. For the options see `LibsqlPort.Options`; `:database` is the one that is needed. While the sidecar
  is being restarted this waits, up to `:connect_timeout`.

      {:ok, conn} = LibsqlPort.connect(MyApp.Sidecar, database: "app.db", synchronous: :full)
  """
  @spec connect(sidecar, keyword) :: answer(Connection.t())
  def connect(sidecar, options) do
    with {:ok, options} <- Options.connection(options) do
      open(sidecar, options, Options.encoded(options), {now() + options.connect_timeout, 1})
    end
  end

  # A sidecar that died after the request was sent is asked once more: opening changes nothing, and a dead pipe takes what
  # is sent for as long as nobody has noticed. Not again: a file that kills each sidecar must not use up the restarts.
  defp open(sidecar, options, payload, {deadline, chances}) do
    with {:ok, pid} <- LibsqlPort.Supervisor.sidecar(sidecar, deadline) do
      case open_at(pid, options, payload, deadline) do
        {:ok, handle, id, info} ->
          {:ok, Connection.new(handle, id, info, options)}

        {:error, _} = error ->
          error

        :ended when chances > 0 ->
          open(sidecar, options, payload, {deadline, chances - 1})

        :ended ->
          {:error, Error.new(:sidecar_down, "the sidecar ended while it opened the database")}

        # Nothing was sent, so nothing can have gone wrong: the sidecar is being replaced, or its pipe is full.
        :not_sent ->
          if now() < deadline do
            Process.sleep(@pause_ms)
            open(sidecar, options, payload, {deadline, chances})
          else
            {:error,
             Error.new(:sidecar_down, "the sidecar was not there within #{options.connect_timeout} ms")}
          end
      end
    end
  end

  defp open_at(pid, options, payload, deadline) do
    key = make_ref()
    # The sidecar keeps the deadline; the grace is for its answer to arrive.
    wait = max(deadline - now(), 1) + 1_000

    try do
      Sidecar.open(pid, payload, options.owner, key, wait)
    catch
      :exit, {:timeout, _} ->
        Sidecar.abandon(pid, key)
        {:error, Error.new(:timeout, "the sidecar did not open the database in time")}

      :exit, {reason, _} when reason in [:noproc, :normal, :shutdown] ->
        :not_sent

      :exit, _ ->
        :ended
    else
      {:ok, _, _, _} = opened ->
        Sidecar.confirm(pid, key)
        opened

      other ->
        other
    end
  end

  @doc """
  Closes a connection: what runs is stopped, an open transaction rolled back.

      :ok = LibsqlPort.close(conn)
  """
  @spec close(Connection.t(), keyword) :: :ok | {:error, Error.t()}
  def close(%Connection{} = conn, options \\ []), do: Connection.close(conn, options)

  # --- statements -----------------------------------------------------------------------------------------------

  @doc """
  Runs a statement. One round trip: preparing (cached by its text), binding, running and reading together.

  Options: `:timeout`; `:rows_max` and `:bytes_max`, ceilings of the result, above which it is an error of code
  `:result_too_large`; `:in_transaction` (see `LibsqlPort.Connection`).

      {:ok, %LibsqlPort.Result{rows: [["Ada"]]}} =
        LibsqlPort.query(conn, "SELECT name FROM users WHERE id = :id", [id: 1], timeout: 5_000)
  """
  @spec query(Connection.t(), sql, params, keyword) :: answer(Result.t())
  def query(%Connection{} = conn, sql, params \\ [], options \\ []) do
    Connection.execute(conn, sql, params, options)
  end

  @doc """
  The same, raising the error.

      %LibsqlPort.Result{num_rows: 1} = LibsqlPort.query!(conn, "SELECT 1")
  """
  @spec query!(Connection.t(), sql, params, keyword) :: Result.t()
  def query!(%Connection{} = conn, sql, params \\ [], options \\ []) do
    bang(Connection.execute(conn, sql, params, options))
  end

  @doc """
  Runs a statement that yields exactly one row, and answers that row. None is `:no_rows`, a second `:too_many_rows`,
  and the statement is stopped there.

      {:ok, [3]} = LibsqlPort.query_one(conn, "SELECT count(*) FROM users")
  """
  @spec query_one(Connection.t(), sql, params, keyword) :: answer([Result.value()])
  def query_one(%Connection{} = conn, sql, params \\ [], options \\ []) do
    with {:ok, %Result{rows: [row]}} <- Connection.query_one(conn, sql, params, options), do: {:ok, row}
  end

  @doc """
  Same as `query_one/4`, but returns the row and raises a `LibsqlPort.Error` otherwise.

      [3] = LibsqlPort.query_one!(conn, "SELECT count(*) FROM users")
  """
  @spec query_one!(Connection.t(), sql, params, keyword) :: [Result.value()]
  def query_one!(%Connection{} = conn, sql, params \\ [], options \\ []),
    do: bang(query_one(conn, sql, params, options))

  @doc """
  Prepares a statement. `query/4` keeps what it prepared by itself; this is for those who want to know the columns and
  parameters, or to send no text.

      {:ok, statement} = LibsqlPort.prepare(conn, "INSERT INTO users (name) VALUES (?1)")
  """
  @spec prepare(Connection.t(), sql, keyword) :: answer(Statement.t())
  def prepare(%Connection{} = conn, sql, options \\ []), do: Connection.prepare(conn, sql, options)

  @doc """
  Same as `prepare/3`, but returns the statement and raises a `LibsqlPort.Error` otherwise.

      statement = LibsqlPort.prepare!(conn, "INSERT INTO users (name) VALUES (?1)")
  """
  @spec prepare!(Connection.t(), sql, keyword) :: Statement.t()
  def prepare!(%Connection{} = conn, sql, options \\ []), do: bang(Connection.prepare(conn, sql, options))

  @doc """
  Runs a prepared statement; options as of `query/4`.

      {:ok, %LibsqlPort.Result{changes: 1}} = LibsqlPort.execute(conn, statement, ["Ada"])
  """
  @spec execute(Connection.t(), Statement.t(), params, keyword) :: answer(Result.t())
  def execute(%Connection{} = conn, %Statement{} = statement, params \\ [], options \\ []) do
    Connection.execute_prepared(conn, statement, params, options)
  end

  @doc """
  Same as `execute/4`, but returns the result and raises a `LibsqlPort.Error` otherwise.

      %LibsqlPort.Result{changes: 1} = LibsqlPort.execute!(conn, statement, ["Ada"])
  """
  @spec execute!(Connection.t(), Statement.t(), params, keyword) :: Result.t()
  def execute!(%Connection{} = conn, %Statement{} = statement, params \\ [], options \\ []),
    do: bang(Connection.execute_prepared(conn, statement, params, options))

  @doc """
  Closes a prepared statement.

      :ok = LibsqlPort.close_statement(conn, statement)
  """
  @spec close_statement(Connection.t(), Statement.t(), keyword) :: :ok | {:error, Error.t()}
  def close_statement(%Connection{} = conn, %Statement{} = statement, options \\ []) do
    Connection.close_statement(conn, statement, options)
  end

  @doc """
  The columns and parameters of a statement, which is not run.

      {:ok, %LibsqlPort.Description{parameters: [":id"]}} =
        LibsqlPort.describe(conn, "SELECT name FROM users WHERE id = :id")
  """
  @spec describe(Connection.t(), sql | Statement.t(), keyword) :: answer(Description.t())
  def describe(%Connection{} = conn, statement, options \\ []),
    do: Connection.describe(conn, statement, options)

  @doc """
  Same as `describe/3`, but returns the description and raises a `LibsqlPort.Error` otherwise.

      %LibsqlPort.Description{columns: [_]} = LibsqlPort.describe!(conn, "SELECT 1")
  """
  @spec describe!(Connection.t(), sql | Statement.t(), keyword) :: Description.t()
  def describe!(%Connection{} = conn, statement, options \\ []),
    do: bang(Connection.describe(conn, statement, options))

  @doc """
  A lazy stream of rows, or with `chunks: true` of lists of rows. The sidecar reads on while a chunk is worked on, and
  no further than two chunks: memory stays flat however long the result is. `chunk_bytes:` and `chunk_rows:` set the size
  of a chunk, by default some 64 KiB; `timeout:` is for each chunk.

  It must be consumed in one process. Other requests may run on the connection meanwhile. Errors are raised.

      conn |> LibsqlPort.stream("SELECT id, name FROM users") |> Enum.each(&IO.inspect/1)
  """
  @spec stream(Connection.t(), sql | Statement.t(), params, keyword) :: Enumerable.t()
  def stream(%Connection{} = conn, statement, params \\ [], options \\ []) do
    {chunks?, options} = Keyword.pop(options, :chunks, false)
    chunks = Cursor.chunks(conn, statement, params, options)
    if chunks?, do: chunks, else: Stream.flat_map(chunks, & &1)
  end

  @doc """
  Runs a list of statements, each a text or `{text, params}`, in one round trip.

  With `atomic: true`, the default, all or nothing: the first error undoes everything and is the answer, its `index` the
  place in the list. With `atomic: false` each runs by itself, and the answer has an error in the place of its result.

      {:ok, [_, _]} =
        LibsqlPort.batch(conn, [{"INSERT INTO users (name) VALUES (?1)", ["Ada"]}, "DELETE FROM guests"])
  """
  @spec batch(Connection.t(), [sql | {sql, params}], keyword) :: answer([Result.t() | {:error, Error.t()}])
  def batch(%Connection{} = conn, statements, options \\ []),
    do: Connection.batch(conn, statements, options)

  @doc """
  Same as `batch/3`, but returns the results and raises a `LibsqlPort.Error` otherwise. With `atomic: false` the errors of
  single statements are still in the list.

      [_, _] = LibsqlPort.batch!(conn, ["DELETE FROM guests", {"INSERT INTO users (name) VALUES (?1)", ["Ada"]}])
  """
  @spec batch!(Connection.t(), [sql | {sql, params}], keyword) :: [Result.t() | {:error, Error.t()}]
  def batch!(%Connection{} = conn, statements, options \\ []),
    do: bang(Connection.batch(conn, statements, options))

  @doc """
  Runs all statements of a text, such as a schema. No parameters, and rows are dropped. It stops at the first error; what
  ran before stays, unless the text itself has a transaction.

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
  Runs a function inside a transaction and commits it: `{:ok, what it returned}`. An exception rolls back and goes on;
  `rollback/2` rolls back and makes `{:error, value}` of it; a commit that fails is its error.

  The function is given a connection to be used inside. A transaction on that one is a savepoint of this.

  Options: `:mode` – `:immediate` (default: waits for the writer turn at once and never fails in the middle),
  `:deferred`, `:exclusive`, `:read_only`; `:timeout` – of begin and commit each.

  A transaction belongs to the connection, not to the process: other processes should not use it meanwhile.

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
  Ends the innermost transaction around it by rolling back; `transaction/3` answers `{:error, value}`.

      {:error, :changed_my_mind} =
        LibsqlPort.transaction(conn, fn conn -> LibsqlPort.rollback(conn, :changed_my_mind) end)
  """
  @spec rollback(Connection.t(), term) :: no_return
  def rollback(%Connection{} = conn, value), do: Transaction.rollback(conn, value)

  # --- care -----------------------------------------------------------------------------------------------------

  @doc """
  Stops what is under way on a connection, for all processes that use it: their requests answer `:cancelled`. Answers how
  many were told to stop. The statement after them is never hit.

      {:ok, 1} = LibsqlPort.cancel(conn)
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
  Stops one request, by its id from `requests/1`. `{:ok, false}` if it had ended already.

      [{request, _caller}] = LibsqlPort.requests(conn)
      {:ok, true} = LibsqlPort.cancel(conn, request)
  """
  @spec cancel(Connection.t(), pos_integer, keyword) :: answer(boolean)
  def cancel(%Connection{} = conn, request, options \\ []), do: Connection.cancel(conn, request, options)

  @doc """
  The requests under way on a connection: their ids, and the processes that wait for them.

      [] = LibsqlPort.requests(conn)
  """
  @spec requests(Connection.t()) :: [{pos_integer, pid}]
  def requests(%Connection{} = conn), do: Connection.requests(conn)

  @doc """
  Brings a connection back to the state in which it was opened: rolls back, closes cursors and prepared statements, drops
  temporary tables, detaches databases, sets the pragmas back. The statement cache stays.

      :ok = LibsqlPort.reset(conn)
  """
  @spec reset(Connection.t(), keyword) :: :ok | {:error, Error.t()}
  def reset(%Connection{} = conn, options \\ []), do: Connection.reset(conn, options)

  @doc """
  Writes what is in the WAL into the database file. `mode:` `:passive` (default), `:full`, `:restart`, `:truncate`.
  The numbers are SQLite's: frames in the WAL, and how many of them are in the file now; -1 if there is no WAL.

      {:ok, %{busy: false}} = LibsqlPort.checkpoint(conn, mode: :truncate)
  """
  @spec checkpoint(Connection.t(), keyword) ::
          answer(%{busy: boolean, log_frames: integer, checkpointed_frames: integer})
  def checkpoint(%Connection{} = conn, options \\ []) do
    case Keyword.pop(options, :mode, :passive) do
      {mode, options} when mode in [:passive, :full, :restart, :truncate] ->
        with {:ok, {busy, log, checkpointed}} <- Connection.checkpoint(conn, mode, options) do
          {:ok, %{busy: busy not in [false, 0], log_frames: log, checkpointed_frames: checkpointed}}
        end

      {mode, _} ->
        message = "the option :mode takes :passive, :full, :restart or :truncate, not #{inspect(mode)}"
        {:error, Error.new(:invalid_option, message)}
    end
  end

  @doc """
  Of a connection: its counters (`requests`, `rows`, `changes`, `errors`, `timeouts`, `cancelled`, `cache_hits`,
  `cache_misses`, `cache_used`, `cache_size`, `statements`, `cursors`), `autocommit`, `tx_status`, and `memory` by kind in
  bytes.

  Of a sidecar: `os_pid`, `uptime` (ms), `connections`, `statements`, `cursors`, `threads`, `requests`, `queued_requests`,
  `memory` (bytes, of the engine), `rss` (bytes, or `nil`), `bytes_in`, `bytes_out`, and `files`.

      {:ok, %{os_pid: _, connections: 1}} = LibsqlPort.status(MyApp.Sidecar)
  """
  @spec status(Connection.t() | sidecar, keyword) :: answer(map)
  def status(conn_or_sidecar, options \\ [])

  def status(%Connection{} = conn, options) do
    with {:ok, map} <- Connection.connection_status(conn, options), do: {:ok, Status.connection(map)}
  end

  def status(sidecar, options) do
    with {:ok, map} <- ask(sidecar, :status, options), do: {:ok, Status.sidecar(map)}
  end

  @doc """
  Whether the sidecar answers.

      :ok = LibsqlPort.ping(MyApp.Sidecar)
  """
  @spec ping(Connection.t() | sidecar, keyword) :: :ok | {:error, Error.t()}
  def ping(conn_or_sidecar, options \\ []) do
    with {:ok, _} <- ask(conn_or_sidecar, :ping, options), do: :ok
  end

  # A request that is addressed to no connection.
  defp ask(target, name, options) do
    request = Request.to_sidecar(name, nil, 5_000, options)

    with {:ok, handle} <- handle(target, request.timeout) do
      case Exchange.call(handle, request) do
        {:ok, frame, chunks} -> with {:ok, value, _times} <- Reply.read(frame, chunks), do: {:ok, value}
        {:lost, lost} -> {:error, Outcome.error(lost, request)}
      end
    end
  end

  defp handle(%Connection{handle: %Handle{} = handle}, _timeout), do: {:ok, handle}
  defp handle(sidecar, :infinity), do: LibsqlPort.Supervisor.handle(sidecar, now() + 86_400_000)
  defp handle(sidecar, timeout), do: LibsqlPort.Supervisor.handle(sidecar, now() + timeout)

  defp now, do: System.monotonic_time(:millisecond)

  defp bang({:ok, result}), do: result
  defp bang({:error, error}), do: raise(error)
end
