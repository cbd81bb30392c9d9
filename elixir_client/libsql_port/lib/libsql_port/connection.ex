defmodule LibsqlPort.Connection do
  @moduledoc """
  A connection to a database, and one function for each request that it knows.

  The struct holds all that a call needs, so any process may use it, and no process stands between the caller and the
  port. Applications use `LibsqlPort`, which documents what is here; this module adds the single steps that
  `LibsqlPort.stream/4` and `LibsqlPort.transaction/3` are made of.

  Fields for readers: `id`, `path` (absolute, or `memory:` and the name, or the URL of a database on a server, without its token),
  `mode` (`:local`, `:remote` or `:replica`: where the database is), `info` (what the sidecar said when it opened the database),
  `timeout` (the default), `depth` (of `LibsqlPort.transaction/3`, 0 outside).

  Options of all requests: `timeout:` in ms or `:infinity`, `lock_timeout:` in ms (see `LibsqlPort.query/4`), and
  `in_transaction: true` for a caller who began a
  transaction himself: if the sidecar is lost, a write in it is known to be rolled back (`:sidecar_down`), while an
  autocommit write is not (`:outcome_unknown`). Inside `LibsqlPort.transaction/3` it is known.
  """

  alias LibsqlPort.{
    Description,
    Error,
    Exchange,
    Handle,
    Options,
    Outcome,
    Policy,
    Remote,
    Reply,
    Request,
    Result,
    Statement,
    Telemetry,
    Wire
  }

  @enforce_keys [:id, :address, :handle, :path, :info, :timeout, :telemetry]
  @derive {Inspect, only: [:id, :path, :depth]}
  defstruct [
    :id,
    :address,
    :handle,
    :path,
    :info,
    :timeout,
    :telemetry,
    :transaction,
    mode: :local,
    depth: 0,
    show_statement: true
  ]

  @type t :: %__MODULE__{
          id: integer | nil,
          address: binary,
          handle: Handle.t(),
          path: String.t() | nil,
          info: map,
          timeout: Request.timeout_ms(),
          telemetry: Telemetry.mode(),
          transaction: reference | nil,
          mode: :local | :remote | :replica,
          depth: non_neg_integer,
          show_statement: boolean
        }

  @type params :: [term] | keyword | %{optional(atom | String.t()) => term}
  @type options :: keyword
  @type answer(type) :: {:ok, type} | {:error, Error.t()}
  @type mode :: :deferred | :immediate | :exclusive | :read_only

  @doc false
  @spec new(Handle.t(), integer, map, Options.connection()) :: t
  def new(handle, id, info, options) do
    %__MODULE__{
      id: id,
      address: Wire.encode(id),
      handle: handle,
      path: info["path"],
      mode: place(info["mode"]),
      info: info,
      timeout: options.timeout,
      show_statement: options.show_statement,
      telemetry: Telemetry.mode(options.telemetry)
    }
  end

  defp place("remote"), do: :remote
  defp place("replica"), do: :replica
  defp place(_local), do: :local

  # --- statements -----------------------------------------------------------------------------------------------

  @doc "Runs a statement: `LibsqlPort.query/4`."
  @spec execute(t, String.t(), params, options) :: answer(Result.t())
  def execute(conn, sql, params, options) when is_binary(sql),
    do: run_statement(conn, :execute, sql, params, options)

  @doc "Runs a statement that must yield one row: `LibsqlPort.query_one/4`."
  @spec query_one(t, String.t(), params, options) :: answer(Result.t())
  def query_one(conn, sql, params, options) when is_binary(sql),
    do: run_statement(conn, :query_one, sql, params, options)

  @doc "Runs a prepared statement: `LibsqlPort.execute/4`."
  @spec execute_prepared(t, Statement.t(), params, options) :: answer(Result.t())
  def execute_prepared(conn, %Statement{} = statement, params, options),
    do: run_statement(conn, :execute_prepared, statement, params, options)

  defp run_statement(conn, name, statement, params, options) do
    with {:ok, request} <- statement(conn, name, statement, params, options), do: run(conn, request)
  end

  @doc false
  # Opens a cursor: `LibsqlPort.Cursor.declare/4`.
  @spec declare(t, String.t() | Statement.t(), params, options) :: answer({integer, [String.t()]})
  def declare(conn, statement, params, options) do
    with {:ok, request} <- statement(conn, :declare, statement, params, options) do
      run(conn, Request.opens(request, :cursor, options))
    end
  end

  defp statement(conn, name, statement, params, options) do
    with {:ok, source} <- source(conn, statement), {:ok, params} <- Wire.params(params) do
      {:ok, Request.statement(conn, name, {source, statement}, params, options)}
    end
  end

  @doc "Prepares a statement: `LibsqlPort.prepare/3`."
  @spec prepare(t, String.t(), options) :: answer(Statement.t())
  def prepare(conn, sql, options) when is_binary(sql) do
    request = Request.text(conn, :prepare, {Wire.binary(sql), sql}, options)

    with {:ok, {id, description}} <- run(conn, Request.opens(request, :statement, options)) do
      {:ok, %Statement{id: id, connection: conn.id, sql: sql, description: description}}
    end
  end

  @doc "Tells what a statement is: `LibsqlPort.describe/3`."
  @spec describe(t, String.t() | Statement.t(), options) :: answer(Description.t())
  def describe(conn, statement, options) do
    with {:ok, source} <- source(conn, statement),
         do: run(conn, Request.text(conn, :describe, {source, statement}, options))
  end

  @doc "Closes a prepared statement: `LibsqlPort.close_statement/3`."
  @spec close_statement(t, Statement.t(), options) :: :ok | {:error, Error.t()}
  def close_statement(conn, %Statement{} = statement, options) do
    with {:ok, source} <- source(conn, statement) do
      request = Request.new(conn, :close_statement, source, options)
      done(run(conn, %{request | claim: {:release, {:statement, statement.id}}}))
    end
  end

  @doc "Runs many statements in one round trip: `LibsqlPort.batch/3`."
  @spec batch(t, [{String.t(), params} | String.t()], options) :: answer([Result.t() | {:error, Error.t()}])
  def batch(conn, statements, options) do
    with {:ok, encoded} <- encode_batch(statements, [], 0) do
      run(conn, Request.batch(conn, encoded, options))
    end
  end

  defp encode_batch([], encoded, _count), do: {:ok, Enum.reverse(encoded)}

  defp encode_batch([sql | rest], encoded, count) when is_binary(sql),
    do: encode_batch([{sql, []} | rest], encoded, count)

  defp encode_batch([{sql, params} | rest], encoded, count) when is_binary(sql) do
    case Wire.params(params) do
      {:ok, params} ->
        encode_batch(rest, [[<<104, 2>>, Wire.binary(sql), params] | encoded], count + 1)

      {:error, error} ->
        {:error, in_batch(error, count)}
    end
  end

  defp encode_batch([_other | _], _encoded, count) do
    error = Error.new(:invalid_request, "a statement of a batch is a text, or a pair of text and parameters")
    {:error, in_batch(error, count)}
  end

  defp encode_batch(_no_list, _encoded, _count) do
    message = "a batch takes a list of statements; LibsqlPort.script/3 runs all statements of one text"
    {:error, Error.new(:invalid_request, message)}
  end

  defp in_batch(error, index) do
    %{error | index: index, message: "statement #{index} of the batch: #{error.message}"}
  end

  @doc "Runs a text of statements: `LibsqlPort.script/3`."
  @spec script(t, String.t(), options) ::
          answer(%{
            statements: non_neg_integer,
            changes: non_neg_integer,
            tx_status: Result.tx_status()
          })
  def script(conn, sql, options) when is_binary(sql) do
    run(conn, %{Request.text(conn, :script, {Wire.binary(sql), sql}, options) | effect: {:script, sql}})
  end

  # --- transactions ---------------------------------------------------------------------------------------------

  @doc """
  Begins a transaction, of mode `:deferred`, `:immediate`, `:exclusive` or `:read_only`.

  It is rolled back when the calling process ends, or the one that the option `:owner` names; with `owner: nil` it stays
  until it is ended. Whoever else uses the connection meanwhile is inside of it as well: `LibsqlPort.transaction/3` keeps
  others waiting instead.
  """
  @spec begin(t, mode, options) :: answer(Result.tx_status())
  def begin(conn, mode \\ :immediate, options \\ [])

  def begin(conn, mode, options) do
    with {:ok, _conn, status} <- begin(conn, &Wire.shared/1, mode, options), do: {:ok, status}
  end

  @doc false
  # Begins a transaction that is held for the returned connection: until it ends, the requests of others wait, and what
  # the returned connection is asked runs inside of this very transaction or not at all.
  @spec begin_held(t, mode, options) :: {:ok, t} | {:error, Error.t()}
  def begin_held(conn, mode, options) do
    with {:ok, conn, _status} <- begin(conn, & &1, mode, options), do: {:ok, conn}
  end

  defp begin(conn, number, mode, options) do
    with :ok <- mode(mode), :ok <- outside(conn) do
      number = number.(Remote.next_id(conn.handle))
      conn = %{conn | address: Wire.address(conn.address, number), transaction: make_ref()}
      request = Request.new(conn, :begin, Wire.encode(mode), options)
      request = Request.opens(%{request | in_transaction?: false}, {:transaction, number}, options)
      with {:ok, status} <- run(conn, request), do: {:ok, conn, status}
    end
  end

  defp mode(mode) when mode in [:deferred, :immediate, :exclusive, :read_only], do: :ok

  defp mode(mode) do
    {:error,
     Error.new(
       :invalid_option,
       "the option :mode takes :deferred, :immediate, :exclusive or :read_only, not #{inspect(mode)}"
     )}
  end

  # Waiting for the end of the transaction that the process itself is in would be waiting for ever.
  defp outside(conn) do
    if conn.transaction == nil and Request.current(conn) == nil do
      :ok
    else
      {:error,
       Error.new(
         :transaction_open,
         "a transaction is open already; LibsqlPort.transaction/3 nests with the connection that it gives to its function"
       )}
    end
  end

  @doc "Commits the transaction."
  @spec commit(t, options) :: answer(Result.tx_status())
  def commit(conn, options \\ []) do
    run(conn, %{Request.ends_transaction(conn, :commit, options) | effect: :write})
  end

  @doc "Rolls the transaction back."
  @spec rollback(t, options) :: answer(Result.tx_status())
  def rollback(conn, options \\ []) do
    run(conn, Request.ends_transaction(conn, :rollback, options))
  end

  @doc "Sets a savepoint."
  @spec savepoint(t, String.t(), options) :: answer(Result.tx_status())
  def savepoint(conn, name, options \\ []) when is_binary(name) do
    run(conn, Request.new(conn, :savepoint, Wire.binary(name), options))
  end

  @doc "Releases a savepoint; the outermost one commits if no transaction is around it."
  @spec release(t, String.t(), options) :: answer(Result.tx_status())
  def release(conn, name, options \\ []) when is_binary(name) do
    request = Request.new(conn, :release, Wire.binary(name), options)
    effect = if request.in_transaction?, do: :none, else: :write
    run(conn, %{request | effect: effect})
  end

  @doc "Undoes what came after a savepoint, which stays."
  @spec rollback_to(t, String.t(), options) :: answer(Result.tx_status())
  def rollback_to(conn, name, options \\ []) when is_binary(name) do
    run(conn, Request.new(conn, :rollback_to, Wire.binary(name), options))
  end

  # --- the connection itself ------------------------------------------------------------------------------------

  @doc "Closes the connection: `LibsqlPort.close/2`."
  @spec close(t, options) :: :ok | {:error, Error.t()}
  def close(conn, options) do
    done(run(conn, %{Request.new(conn, :close, options) | claim: {:release, :connection}}))
  end

  @doc "Brings the connection back to the state in which it was opened: `LibsqlPort.reset/2`."
  @spec reset(t, options) :: :ok | {:error, Error.t()}
  def reset(conn, options),
    do: done(run(conn, %{Request.new(conn, :reset, options) | claim: {:release, :all}}))

  @doc "Changes its policy: `LibsqlPort.set_policy/3`."
  @spec set_policy(t, Policy.t(), options) :: :ok | {:error, Error.t()}
  def set_policy(conn, policy, options) do
    case Policy.dump(policy) do
      {:ok, dumped} -> done(run(conn, Request.new(conn, :set_policy, Wire.encode(dumped), options)))
      {:error, message} -> {:error, Error.new(:invalid_option, message)}
    end
  end

  @doc "Its counters: `LibsqlPort.status/2`."
  @spec connection_status(t, options) :: answer(map)
  def connection_status(conn, options), do: run(conn, Request.new(conn, :connection_status, options))

  @doc "Syncs a replica: `LibsqlPort.Replica.sync/2`."
  @spec sync(t, options) :: answer(map)
  def sync(conn, options) do
    {until, options} = Keyword.pop(options, :until)
    wanted = if until == nil, do: %{}, else: %{"until" => until}
    run(conn, Request.new(conn, :sync, Wire.encode(wanted), options))
  end

  @doc "Where a replica is: `LibsqlPort.Replica.status/2`."
  @spec replication_status(t, options) :: answer(map)
  def replication_status(conn, options), do: run(conn, Request.new(conn, :replication_status, options))

  @doc "Copies a replica: `LibsqlPort.Replica.freeze/3`."
  @spec freeze(t, Path.t(), options) :: answer(non_neg_integer)
  def freeze(conn, path, options),
    do: run(conn, Request.new(conn, :freeze, Wire.encode(Path.expand(path)), options))

  @doc "What a replica has been flushed to: `LibsqlPort.Replica.flush/2`."
  @spec flush(t, options) :: answer(non_neg_integer | nil)
  def flush(conn, options), do: run(conn, Request.new(conn, :flush, options))

  @doc "Makes a checkpoint: `LibsqlPort.checkpoint/2`."
  @spec checkpoint(t, atom, options) :: answer({boolean | integer, integer, integer})
  def checkpoint(conn, mode, options),
    do: run(conn, Request.new(conn, :checkpoint, Wire.encode(mode), options))

  @doc """
  Whether the sidecar of the connection runs, as far as this VM knows. Asks neither the sidecar nor the connection, so it
  is cheap; for a connection of another node, one call to that node. `false` if the node cannot be reached.
  """
  @spec sidecar_running?(t) :: boolean
  def sidecar_running?(conn), do: Remote.open?(conn.handle)

  @doc """
  Monitors the run of the sidecar that the connection belongs to, also from another node. When it ends, the calling process
  receives `{:DOWN, monitor, type, object, reason}` once, at once if it has ended already. Returns the monitor, which
  `Process.demonitor/2` takes.

      monitor = LibsqlPort.Connection.monitor_sidecar(conn)
  """
  @spec monitor_sidecar(t) :: reference
  def monitor_sidecar(conn), do: Remote.monitor(conn.handle)

  @doc """
  The size of the largest request that the connection's sidecar accepts, in bytes: its `:frame_bytes_max`. A longer one
  returns `:frame_too_large`, and is not sent.

      LibsqlPort.Connection.frame_bytes_max(conn)
      #=> 16777216
  """
  @spec frame_bytes_max(t) :: pos_integer
  def frame_bytes_max(conn), do: conn.handle.frame_bytes_max

  @doc "The requests under way on this connection, with the processes that wait for them."
  @spec requests(t) :: [{pos_integer, pid}]
  def requests(conn), do: Remote.requests(conn.handle, conn.id)

  @doc "Stops one request: `LibsqlPort.cancel/3`."
  @spec cancel(t, pos_integer, options) :: answer(boolean)
  def cancel(conn, request, options), do: run(conn, Request.cancel(conn, request, options))

  @compile {:inline, statement: 5, exchange: 2, answer: 2, value: 1, source: 2}

  # --- what the requests have in common -------------------------------------------------------------------------

  @doc false
  # One request and the value of its reply.
  @spec run(t, Request.t()) :: answer(term)
  def run(conn, request) do
    if Telemetry.listened?(conn.telemetry),
      do: value(told(conn, request, fn -> exchange(conn, request) end)),
      else: value(exchange(conn, request))
  end

  @doc false
  # The same for a request that was sent ahead.
  @spec claim(t, Request.t(), Exchange.ahead()) :: answer(term)
  def claim(conn, request, ahead) do
    claim = fn -> read(Exchange.claim(conn.handle, ahead), request) end
    value(if Telemetry.listened?(conn.telemetry), do: told(conn, request, claim), else: claim.())
  end

  defp told(conn, request, exchange) do
    metadata = %{request: request.name, connection: request.connection, database: conn.path, sql: request.sql}
    Telemetry.span(metadata, exchange, &times/1)
  end

  defp exchange(conn, request), do: read(Exchange.call(conn.handle, request), request)

  defp read({:ok, frame, chunks}, request), do: answer(Reply.read(request.name, frame, chunks), request)
  defp read({:lost, lost}, request), do: {:error, Outcome.error(lost, request)}

  defp answer(:unreadable, request), do: {:error, Outcome.error(:unreadable, request)}
  defp answer(answer, _request), do: answer

  defp times({:ok, _value, times}), do: times
  defp times({:error, _}), do: nil

  defp value({:ok, value, _times}), do: {:ok, value}
  defp value({:error, _} = error), do: error

  defp done({:ok, _}), do: :ok
  defp done(error), do: error

  # A statement's text or number, encoded. A number means something only on its own connection.
  defp source(_conn, sql) when is_binary(sql), do: {:ok, Wire.binary(sql)}

  defp source(%{id: id}, %Statement{connection: id} = statement), do: {:ok, Wire.encode(statement.id)}

  defp source(_conn, %Statement{}) do
    {:error, Error.new(:unknown_statement, "the statement was prepared on another connection")}
  end
end
