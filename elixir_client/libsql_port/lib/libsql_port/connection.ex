defmodule LibsqlPort.Connection do
  @moduledoc """
  A connection to a database, and one function for each request that it knows.

  The struct holds all that a call needs, so any process may use it, and no process stands between the caller and the
  port. Applications use `LibsqlPort`, which documents what is here; this module adds the single steps that
  `LibsqlPort.stream/4` and `LibsqlPort.transaction/3` are made of.

  Fields for readers: `id`, `path` (absolute, or `memory:` and the name), `info` (what the sidecar said when it opened the database),
  `timeout` (the default), `depth` (of `LibsqlPort.transaction/3`, 0 outside).

  Options of all requests: `timeout:` in ms or `:infinity`, and `in_transaction: true` for a caller who began a
  transaction himself: if the sidecar is lost, a write in it is known to be rolled back (`:sidecar_down`), while an
  autocommit write is not (`:outcome_unknown`). Inside `LibsqlPort.transaction/3` it is known.
  """

  alias LibsqlPort.{
    Description,
    Error,
    Exchange,
    Handle,
    InFlight,
    Options,
    Outcome,
    Result,
    Statement,
    Telemetry,
    Wire
  }

  @enforce_keys [:id, :encoded_id, :handle, :path, :info, :timeout, :telemetry]
  @derive {Inspect, only: [:id, :path, :depth]}
  defstruct [:id, :encoded_id, :handle, :path, :info, :timeout, :telemetry, :transaction, depth: 0]

  @type t :: %__MODULE__{
          id: integer | nil,
          encoded_id: binary,
          handle: Handle.t(),
          path: String.t() | nil,
          info: map,
          timeout: Exchange.timeout_ms(),
          telemetry: boolean,
          transaction: reference | nil,
          depth: non_neg_integer
        }

  @type params :: [term] | keyword | %{optional(atom | String.t()) => term}
  @type options :: keyword
  @type answer(type) :: {:ok, type} | {:error, Error.t()}
  @type mode :: :deferred | :immediate | :exclusive | :read_only

  @ok Wire.tag(:ok)
  @error Wire.tag(:error)
  @result Wire.tag(:result)
  @batch Wire.tag(:batch_reply)

  @doc false
  @spec new(Handle.t(), integer, map, Options.connection()) :: t
  def new(handle, id, info, options) do
    %__MODULE__{
      id: id,
      encoded_id: Wire.encode(id),
      handle: handle,
      path: info["path"],
      info: info,
      timeout: options.timeout,
      telemetry: Telemetry.started?()
    }
  end

  # --- statements -----------------------------------------------------------------------------------------------

  @doc "Runs a statement: `LibsqlPort.query/4`."
  @spec execute(t, String.t(), params, options) :: answer(Result.t())
  def execute(conn, sql, params, options) when is_binary(sql) do
    run_statement(conn, :execute, Wire.binary(sql), {:sql, sql}, {sql, params, options})
  end

  @doc "Runs a statement that must yield one row: `LibsqlPort.query_one/4`."
  @spec query_one(t, String.t(), params, options) :: answer(Result.t())
  def query_one(conn, sql, params, options) when is_binary(sql) do
    run_statement(conn, :query_one, Wire.binary(sql), {:sql, sql}, {sql, params, options})
  end

  @doc "Runs a prepared statement: `LibsqlPort.execute/4`."
  @spec execute_prepared(t, Statement.t(), params, options) :: answer(Result.t())
  def execute_prepared(conn, %Statement{} = statement, params, options) do
    with {:ok, source} <- source(conn, statement) do
      run_statement(conn, :execute_prepared, source, effect(statement), {statement.sql, params, options})
    end
  end

  defp run_statement(conn, request, source, effect, {sql, params, options}) do
    with {:ok, params} <- Wire.params(params) do
      timeout = timeout(conn, options)
      limits = limits(options)
      payload = Wire.statement(conn.encoded_id, Options.timeout_ms(timeout), source, params, limits)

      case run(conn, request, payload, {timeout, effect, sql, options}) do
        {:ok, @result, payload, []} -> {:ok, Result.from_wire(payload)}
        {:ok, @result, payload, chunks} -> {:ok, joined(Result.from_wire(payload), chunks)}
        {:error, _} = error -> error
      end
    end
  end

  defp joined(result, chunks), do: %{result | rows: Wire.join_rows(chunks)}

  # A ceiling of the result travels as options; without one there are none, which is the common and the cheap case.
  defp limits([]), do: nil

  defp limits(options) do
    limits = for name <- [:rows_max, :bytes_max], value = options[name], do: {name, value}
    if limits == [], do: nil, else: Map.new(limits)
  end

  @doc "Prepares a statement: `LibsqlPort.prepare/3`."
  @spec prepare(t, String.t(), options) :: answer(Statement.t())
  def prepare(conn, sql, options) when is_binary(sql) do
    with {:ok, {id, description}} <- ask(conn, :prepare, Wire.binary(sql), {:none, sql, options}) do
      {:ok,
       %Statement{id: id, connection: conn.id, sql: sql, description: Description.from_wire(description)}}
    end
  end

  @doc "Tells what a statement is: `LibsqlPort.describe/3`."
  @spec describe(t, String.t() | Statement.t(), options) :: answer(Description.t())
  def describe(conn, statement, options) do
    with {:ok, source} <- source(conn, statement),
         {:ok, description} <- ask(conn, :describe, source, {:none, sql(statement), options}) do
      {:ok, Description.from_wire(description)}
    end
  end

  @doc "Closes a prepared statement: `LibsqlPort.close_statement/3`."
  @spec close_statement(t, Statement.t(), options) :: :ok | {:error, Error.t()}
  def close_statement(conn, %Statement{} = statement, options) do
    with {:ok, source} <- source(conn, statement) do
      done(ask(conn, :close_statement, source, {:none, nil, options}))
    end
  end

  @doc "Runs many statements in one round trip: `LibsqlPort.batch/3`."
  @spec batch(t, [{String.t(), params} | String.t()], options) :: answer([Result.t() | {:error, Error.t()}])
  def batch(conn, statements, options) do
    with {:ok, encoded, count} <- encode_batch(statements, [], 0) do
      timeout = timeout(conn, options)
      atomic? = Keyword.get(options, :atomic, true) == true
      head = <<104, 4, conn.encoded_id::binary, 98, Options.timeout_ms(timeout)::32>>
      payload = [head, Wire.encode(atomic?), list(encoded, count)]

      effect = if atomic? and transaction?(conn, options), do: :none, else: :write

      case run(conn, :batch, payload, {timeout, effect, nil, options}) do
        {:ok, @batch, {items, status, _queue, _lock, _run}, []} ->
          {:ok, Enum.map(items, &item(&1, Result.tx_status(status)))}

        {:error, _} = error ->
          error
      end
    end
  end

  defp encode_batch([], encoded, count), do: {:ok, Enum.reverse(encoded), count}

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

  defp in_batch(error, index) do
    %{error | index: index, message: "statement #{index} of the batch: #{error.message}"}
  end

  defp list(_encoded, 0), do: <<106>>
  defp list(encoded, count), do: [<<108, count::32>>, encoded, 106]

  defp item({:error, error}, _status), do: {:error, Error.from_wire(error)}
  defp item(item, status), do: Result.from_item(item, status)

  @doc "Runs a text of statements: `LibsqlPort.script/3`."
  @spec script(t, String.t(), options) ::
          answer(%{
            statements: non_neg_integer,
            changes: non_neg_integer,
            tx_status: Result.tx_status()
          })
  def script(conn, sql, options) when is_binary(sql) do
    with {:ok, {statements, changes, status}} <-
           ask(conn, :script, Wire.binary(sql), {{:script, sql}, sql, options}) do
      {:ok, %{statements: statements, changes: changes, tx_status: Result.tx_status(status)}}
    end
  end

  # --- transactions ---------------------------------------------------------------------------------------------

  @doc "Begins a transaction, of mode `:deferred`, `:immediate`, `:exclusive` or `:read_only`."
  @spec begin(t, mode, options) :: answer(Result.tx_status())
  def begin(conn, mode \\ :immediate, options \\ [])

  def begin(conn, mode, options) when mode in [:deferred, :immediate, :exclusive, :read_only] do
    status(ask(conn, :begin, Wire.encode(mode), {:none, nil, options}))
  end

  def begin(_conn, mode, _options) do
    {:error,
     Error.new(
       :invalid_option,
       "the option :mode takes :deferred, :immediate, :exclusive or :read_only, not #{inspect(mode)}"
     )}
  end

  @doc "Commits the transaction."
  @spec commit(t, options) :: answer(Result.tx_status())
  def commit(conn, options \\ []), do: status(ask(conn, :commit, {:write, nil, options}))

  @doc "Rolls the transaction back."
  @spec rollback(t, options) :: answer(Result.tx_status())
  def rollback(conn, options \\ []), do: status(ask(conn, :rollback, {:none, nil, options}))

  @doc "Sets a savepoint."
  @spec savepoint(t, String.t(), options) :: answer(Result.tx_status())
  def savepoint(conn, name, options \\ []) when is_binary(name) do
    status(ask(conn, :savepoint, Wire.binary(name), {:none, nil, options}))
  end

  @doc "Releases a savepoint; the outermost one commits if no transaction is around it."
  @spec release(t, String.t(), options) :: answer(Result.tx_status())
  def release(conn, name, options \\ []) when is_binary(name) do
    effect = if transaction?(conn, options), do: :none, else: :write
    status(ask(conn, :release, Wire.binary(name), {effect, nil, options}))
  end

  @doc "Undoes what came after a savepoint, which stays."
  @spec rollback_to(t, String.t(), options) :: answer(Result.tx_status())
  def rollback_to(conn, name, options \\ []) when is_binary(name) do
    status(ask(conn, :rollback_to, Wire.binary(name), {:none, nil, options}))
  end

  # --- the connection itself ------------------------------------------------------------------------------------

  @doc "Closes the connection: `LibsqlPort.close/2`."
  @spec close(t, options) :: :ok | {:error, Error.t()}
  def close(conn, options) do
    with {:ok, _} <- ask(conn, :close, {:none, nil, options}) do
      LibsqlPort.Sidecar.disown(conn.handle.sidecar, conn.id)
    end
  end

  @doc "Brings the connection back to the state in which it was opened: `LibsqlPort.reset/2`."
  @spec reset(t, options) :: :ok | {:error, Error.t()}
  def reset(conn, options), do: done(ask(conn, :reset, {:none, nil, options}))

  @doc "Its counters: `LibsqlPort.status/2`."
  @spec connection_status(t, options) :: answer(map)
  def connection_status(conn, options), do: ask(conn, :connection_status, {:none, nil, options})

  @doc "Makes a checkpoint: `LibsqlPort.checkpoint/2`."
  @spec checkpoint(t, atom, options) :: answer({boolean | integer, integer, integer})
  def checkpoint(conn, mode, options), do: ask(conn, :checkpoint, Wire.encode(mode), {:none, nil, options})

  @doc "The requests under way on this connection, with the processes that wait for them."
  @spec requests(t) :: [{pos_integer, pid}]
  def requests(conn), do: InFlight.of_connection(conn.handle.table, conn.id)

  @doc "Stops one request: `LibsqlPort.cancel/3`."
  @spec cancel(t, pos_integer, options) :: answer(boolean)
  def cancel(conn, request, options) do
    payload = [<<104, 2>>, conn.encoded_id, Wire.encode(request)]
    # Entered under no connection: `cancel/1` must not find itself.
    run(%{conn | id: nil}, :cancel, payload, {timeout(conn, options), :none, nil, options}) |> value()
  end

  # --- what the requests have in common -------------------------------------------------------------------------

  @doc false
  # `{Connection, TimeoutMs}` and an `ok` with the answer.
  def ask(conn, request, {effect, sql, options}) do
    timeout = timeout(conn, options)
    payload = Wire.addressed(conn.encoded_id, Options.timeout_ms(timeout))
    run(conn, request, payload, {timeout, effect, sql, options}) |> value()
  end

  @doc false
  # The same with a third element, encoded.
  def ask(conn, request, encoded, {effect, sql, options}) do
    timeout = timeout(conn, options)
    payload = Wire.addressed(conn.encoded_id, Options.timeout_ms(timeout), encoded)
    run(conn, request, payload, {timeout, effect, sql, options}) |> value()
  end

  @doc false
  # One request and its decoded reply.
  @spec run(t, atom, iodata, {Exchange.timeout_ms(), Outcome.effect(), String.t() | nil, options}) ::
          {:ok, 0..255, term, [{non_neg_integer, binary}]} | {:error, Error.t()}
  def run(%__MODULE__{telemetry: false} = conn, request, payload, about) do
    exchange(conn, request, payload, about)
  end

  def run(conn, request, payload, {_timeout, _effect, sql, _options} = about) do
    metadata = %{request: request, connection: conn.id, database: conn.path, sql: sql}
    Telemetry.span(metadata, fn -> exchange(conn, request, payload, about) end, &times/1)
  end

  defp times({:ok, @result, {_, _, _, _, _, _, queue, lock, run}, _}), do: {queue, lock, run}
  defp times({:ok, @batch, {_, _, queue, lock, run}, _}), do: {queue, lock, run}
  defp times(_other), do: nil

  defp exchange(conn, request, payload, {timeout, effect, _sql, options}) do
    case Exchange.call(conn.handle, conn.id, conn.encoded_id, Wire.tag(request), payload, timeout) do
      {:ok, frame, chunks} -> decode(frame, chunks)
      {:lost, lost} -> lost(conn, lost, {timeout, effect, options})
    end
  end

  @doc false
  # A reply as `run/4` gives it.
  def decode(frame, chunks) do
    case :erlang.binary_to_term(frame, [:safe]) do
      {_id, @error, error} -> {:error, Error.from_wire(error)}
      {_id, tag, payload} -> {:ok, tag, payload, chunks}
    end
  end

  @doc false
  # The error for a reply that does not come.
  def lost(conn, lost, {timeout, effect, options}) do
    {:error, Outcome.error(lost, effect, transaction?(conn, options), timeout)}
  end

  defp value({:ok, @ok, value, _chunks}), do: {:ok, value}
  defp value({:error, _} = error), do: error

  defp status({:ok, status}), do: {:ok, Result.tx_status(status)}
  defp status(error), do: error

  defp done({:ok, _}), do: :ok
  defp done(error), do: error

  @doc false
  # The timeout of a request: the option, or the connection's own.
  def timeout(conn, []), do: conn.timeout
  def timeout(conn, options), do: Keyword.get(options, :timeout, conn.timeout)

  defp transaction?(%{transaction: nil}, options), do: Keyword.get(options, :in_transaction, false) == true
  defp transaction?(_conn, _options), do: true

  @doc false
  # A statement's text or number, encoded. A number means something only on its own connection.
  def source(_conn, sql) when is_binary(sql), do: {:ok, Wire.binary(sql)}

  def source(%{id: id}, %Statement{connection: id} = statement), do: {:ok, Wire.encode(statement.id)}

  def source(_conn, %Statement{}) do
    {:error, Error.new(:unknown_statement, "the statement was prepared on another connection")}
  end

  defp sql(%Statement{sql: sql}), do: sql
  defp sql(sql), do: sql

  defp effect(%Statement{description: %{read_only: true}} = statement) do
    # COMMIT counts as read-only for SQLite.
    if Outcome.keyword(statement.sql) in ["commit", "end", "release"], do: :write, else: :none
  end

  defp effect(%Statement{sql: sql}), do: {:sql, sql}
end
