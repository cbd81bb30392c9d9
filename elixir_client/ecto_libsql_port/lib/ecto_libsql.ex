defmodule EctoLibSql do
  @moduledoc """
  libSQL behind `DBConnection`: what `Ecto.Adapters.LibSql` runs on, of use without Ecto's queries as well.

  Its callbacks run in the process of the caller and speak to the sidecar from there; no process stands between. A
  connection of the pool is a connection of the sidecar. For the options see `EctoLibSql.Options`.

  ## What is certain

  A request that overruns its timeout has been stopped when its error arrives (`:timeout`), and the connection is usable.
  If the sidecar is lost the error is a `DBConnection.ConnectionError`: with the reason `:sidecar_down` nothing of the
  request took effect, with `:outcome_unknown` a write may have been committed or not. Nothing is written twice.

  A transaction that the engine had to roll back by itself (a full disk, a timeout in the middle of a write) stays rolled
  back: statements in it are refused until it ends, so that none is committed by itself.
  """

  use DBConnection

  alias EctoLibSql.{
    ByHand,
    Diagnosis,
    Error,
    Handles,
    Options,
    Parameter,
    Query,
    Result,
    Sandbox,
    SharedSidecar,
    State,
    Statements
  }

  alias LibsqlPort.{Connection, Cursor}

  @lost [:sidecar_down, :outcome_unknown, :connection_closed, :unknown_connection, :not_sent]
  @modes Options.transaction_modes()

  # --- life -----------------------------------------------------------------------------------------------------

  @impl true
  @spec connect(keyword) :: {:ok, State.t()} | {:error, Exception.t()}
  def connect(options) do
    with {:ok, driver_options, mode} <- Options.check(options),
         {:ok, sidecar} <- sidecar(options),
         {:ok, conn} <- open(sidecar, driver_options),
         state = state(conn, sidecar, mode, options),
         :ok <- attach(conn, options[:attach] || []) do
      {:ok, Handles.register(state)}
    else
      {:error, %Error{}} = error -> error
      {:error, %LibsqlPort.Error{} = error} -> {:error, connect_error(error)}
      {:error, error} -> {:error, DBConnection.ConnectionError.exception(inspect(error))}
    end
  end

  defp open(sidecar, options) do
    case Sandbox.source(sidecar) do
      nil -> LibsqlPort.connect(sidecar, options)
      source -> Sandbox.connect(sidecar, source, options)
    end
  end

  defp sidecar(options) do
    case options[:sidecar] do
      nil -> SharedSidecar.get()
      sidecar -> {:ok, sidecar}
    end
  end

  defp state(conn, sidecar, mode, options) do
    %State{
      conn: conn,
      conn_id: Handles.connection_id(conn),
      sidecar: sidecar,
      transaction_mode: mode,
      show_statement: Keyword.get(options, :show_statement, true),
      disconnect_on: Keyword.get(options, :disconnect_on_error_codes, [])
    }
  end

  defp attach(conn, databases) do
    Enum.find_value(databases, :ok, fn {name, path} ->
      quoted = name |> to_string() |> String.replace("\"", "\"\"")

      case LibsqlPort.query(conn, "ATTACH ?1 AS \"#{quoted}\"", [to_string(path)]) do
        {:ok, _} ->
          nil

        {:error, _} = error ->
          LibsqlPort.close(conn)
          error
      end
    end)
  end

  defp connect_error(%LibsqlPort.Error{code: code} = error) when code in @lost, do: lost(error)
  defp connect_error(error), do: Error.new(error, nil)

  @impl true
  def disconnect(_reason, %State{conn: nil} = state), do: ByHand.disconnect(state)

  def disconnect(_reason, %State{conn: conn, conn_id: conn_id}) do
    Handles.forget(conn_id)
    # Stops what still runs for a caller that is gone, and rolls back.
    _ = LibsqlPort.close(conn)
    :ok
  end

  @impl true
  def checkout(state), do: {:ok, state}

  # Called once a second for each idle connection, so it asks only this VM: whether the sidecar's port is still open. That
  # the sidecar answers is watched by the driver's heartbeat, once for all connections.
  @impl true
  def ping(%State{conn: conn} = state) do
    if :erlang.port_info(conn.handle.port, :id) == :undefined,
      do: {:disconnect, lost(LibsqlPort.Error.new(:not_sent, "the connection's sidecar has ended")), state},
      else: {:ok, state}
  end

  # --- transactions ---------------------------------------------------------------------------------------------

  @impl true
  def handle_begin(options, %State{} = state) do
    case {Keyword.get(options, :mode), status(state)} do
      {:savepoint, :transaction} ->
        # Postgrex has one name for all; a number lets them nest.
        control(Connection.savepoint(state.conn, savepoint(state, 1), within(options, state)), :begin, %{
          state
          | savepoints: state.savepoints + 1
        })

      {:savepoint, status} ->
        {status, state}

      {mode, :idle} ->
        begin(mode, options, state)

      {_mode, status} ->
        {status, state}
    end
  end

  # An error of a begin drops the connection: the contract of `DBConnection` knows no other.
  defp begin(mode, options, state) do
    case begin_mode(mode, options, state) do
      mode when mode in @modes ->
        state.conn
        |> Connection.begin(mode, timeout(options))
        |> control(:begin, %{state | begun: true, trx_id: state.conn_id, savepoints: 0})

      other ->
        {:disconnect, wrong_mode(other), state}
    end
  end

  # Ecto's name for reading a state of the database that does not change is what SQLite calls deferred.
  defp begin_mode(mode, options, state) when mode in [nil, :transaction] do
    if options[:isolation_level] == :snapshot, do: :deferred, else: state.transaction_mode
  end

  defp begin_mode(mode, _options, _state), do: mode

  defp wrong_mode(mode) do
    message = "a transaction's mode is :deferred, :immediate, :exclusive or :read_only, not #{inspect(mode)}"
    ArgumentError.exception(message)
  end

  @impl true
  def handle_commit(options, %State{} = state) do
    case {Keyword.get(options, :mode), status(state)} do
      {:savepoint, :transaction} ->
        name = savepoint(state, 0)

        control(Connection.release(state.conn, name, within(options, state)), :commit, %{
          state
          | savepoints: state.savepoints - 1
        })

      {_mode, :transaction} ->
        commit(options, state)

      {_mode, status} ->
        {status, state}
    end
  end

  # A commit that fails for a deferred foreign key leaves the transaction open; closing the connection rolls it back.
  defp commit(options, state) do
    case Connection.commit(state.conn, timeout(options)) do
      {:ok, _} = ok ->
        control(ok, :commit, over(state))

      {:error, error} ->
        error = Diagnosis.complete(error, state.conn)
        _ = Connection.rollback(state.conn)
        {:disconnect, failure(error, nil, state), state}
    end
  end

  @impl true
  def handle_rollback(options, %State{} = state) do
    case {Keyword.get(options, :mode), status(state)} do
      {:savepoint, :transaction} ->
        rollback_savepoint(options, state)

      {:savepoint, status} ->
        {status, state}

      {_mode, :idle} ->
        {:idle, state}

      # The engine has done it already.
      {_mode, :error} ->
        {:ok, %Result{command: :rollback}, over(state)}

      {_mode, :transaction} ->
        control(Connection.rollback(state.conn, timeout(options)), :rollback, over(state))
    end
  end

  defp rollback_savepoint(options, state) do
    name = savepoint(state, 0)
    after_release = %{state | savepoints: state.savepoints - 1}

    with {:ok, _} <- Connection.rollback_to(state.conn, name, within(options, state)) do
      Connection.release(state.conn, name, within(options, state))
    end
    |> control(:rollback, after_release)
  end

  defp savepoint(state, more), do: "ecto_#{state.savepoints + more}"

  defp over(state), do: %{state | begun: false, trx_id: nil, savepoints: 0}

  # The bare word is what ecto_libsql's users match on when they begin by hand; `DBConnection` passes it over.
  defp control({:ok, status}, :begin, state), do: {:ok, :begin, engine_status(state, status)}

  defp control({:ok, status}, command, state) do
    {:ok, %Result{command: command}, engine_status(state, status)}
  end

  defp control({:error, %{code: :not_sent} = error}, :begin, state) do
    {:disconnect_and_retry, lost(error), state}
  end

  defp control({:error, error}, _command, state), do: {:disconnect, failure(error, nil, state), state}

  @impl true
  def handle_status(_options, %State{} = state), do: {status(state), state}

  defp status(%State{begun: true, status: :idle}), do: :error
  defp status(%State{status: status}), do: status

  defp engine_status(state, nil), do: state
  defp engine_status(state, :none), do: %{state | status: :idle}
  defp engine_status(state, _open), do: %{state | status: :transaction}

  # --- statements -----------------------------------------------------------------------------------------------

  @impl true
  def handle_prepare(%Query{statement: statement} = query, _options, state) when is_binary(statement) do
    {:ok, %{query | command: Result.command(statement)}, state}
  end

  def handle_prepare(query, _options, state), do: {:ok, query, state}

  @impl true
  def handle_execute(%Query{} = query, params, options, %State{conn: nil} = state) do
    ByHand.execute(query, params, options, state)
  end

  def handle_execute(sql, params, options, state) when is_binary(sql),
    do: ByHand.execute(sql, params, options, state)

  def handle_execute(%Query{} = query, params, options, %State{} = state) do
    unless_rolled_back(query, state, fn -> execute(query, params, options, state) end)
  end

  # The one door to the driver for whatever runs SQL. After the engine's own rollback a statement would be committed by
  # itself, so all are refused until the transaction is ended.
  defp unless_rolled_back(query, state, run) do
    if status(state) == :error, do: refused(query, state), else: run.()
  end

  defp execute(%Query{operation: :execute, statement: sql} = query, params, options, state) do
    case Connection.execute(state.conn, sql, params, within(options, state)) do
      {:ok, result} ->
        command = query.command || Result.command(sql)
        {:ok, query, Result.new(result, command), engine_status(state, result.tx_status)}

      {:error, %{code: :invalid_parameter} = error} ->
        case Parameter.untyped_as_blobs(params) do
          {:ok, params} -> execute(query, params, options, state)
          :error -> failed(error, sql, state)
        end

      # After a sidecar has ended, the pool's connections learn of it when they are used. What was never sent may be tried
      # on a new connection. What was sent never is: a statement that has ended one sidecar may end the next.
      {:error, %{code: :not_sent} = error} ->
        {:disconnect_and_retry, lost(error), state}

      {:error, error} ->
        error
        |> Diagnosis.complete(state.conn)
        |> failed(sql, state)
    end
  end

  # Several statements in one text, with the result of each.
  defp execute(%Query{operation: :script, statement: sql} = query, [], options, state) do
    sql
    |> Statements.split()
    |> Enum.reduce_while({:ok, [], state}, fn statement, {:ok, results, state} ->
      case handle_execute(Query.new(statement), [], options, state) do
        {:ok, _query, result, state} -> {:cont, {:ok, [result | results], state}}
        error -> {:halt, error}
      end
    end)
    |> case do
      {:ok, results, state} -> {:ok, query, Enum.reverse(results), state}
      error -> error
    end
  end

  defp execute(%Query{operation: :script, statement: sql}, _params, _options, state) do
    message = "a text of several statements takes no parameters"
    {:error, Error.new(LibsqlPort.Error.new(:parameter_count, message), shown(sql, state)), state}
  end

  # For those who need the driver itself; see `EctoLibSql.Direct`.
  defp execute(%Query{operation: :connection} = query, _params, _options, state) do
    {:ok, query, {state.sidecar, state.conn}, state}
  end

  defp refused(query, state) do
    error =
      LibsqlPort.Error.new(
        :no_transaction,
        "the database has rolled back this transaction; it must be ended before anything else runs"
      )

    {:error, Error.new(error, shown(query.statement, state)), state}
  end

  @impl true
  def handle_close(_query, _options, state), do: {:ok, %Result{}, state}

  # --- cursors --------------------------------------------------------------------------------------------------

  @impl true
  def handle_declare(%Query{} = query, params, options, %State{} = state) do
    unless_rolled_back(query, state, fn -> declare(query, params, options, state) end)
  end

  defp declare(%Query{statement: sql} = query, params, options, state) do
    case Cursor.declare(state.conn, sql, params, within(options, state)) do
      {:ok, cursor} ->
        {:ok, query, cursor, state}

      {:error, %{code: :invalid_parameter} = error} ->
        case Parameter.untyped_as_blobs(params) do
          {:ok, params} -> handle_declare(query, params, options, state)
          :error -> failed(error, sql, state)
        end

      {:error, error} ->
        failed(error, sql, state)
    end
  end

  @impl true
  def handle_fetch(%Query{} = query, cursor, options, %State{} = state) do
    unless_rolled_back(query, state, fn -> fetch(query, cursor, options, state) end)
  end

  defp fetch(%Query{statement: sql}, cursor, options, state) do
    chunk = Keyword.take(options, [:chunk_bytes]) ++ [chunk_rows: Keyword.get(options, :max_rows, 500)]

    case Cursor.fetch(state.conn, cursor, chunk ++ within(options, state)) do
      {:more, rows} -> {:cont, chunk_result(cursor, rows), state}
      {:done, rows} -> {:halt, chunk_result(cursor, rows), state}
      {:error, error} -> failed(error, sql, state)
    end
  end

  defp chunk_result(cursor, rows) do
    %Result{command: :select, columns: cursor.columns, rows: rows, num_rows: length(rows)}
  end

  @impl true
  def handle_deallocate(%Query{statement: sql}, cursor, options, %State{} = state) do
    case Cursor.close(state.conn, cursor, within(options, state)) do
      :ok -> {:ok, %Result{}, state}
      {:error, error} -> failed(error, sql, state)
    end
  end

  # --- failures -------------------------------------------------------------------------------------------------

  defp failed(%LibsqlPort.Error{code: code} = error, sql, state) do
    state = engine_status(state, error.tx_status)
    exception = failure(error, sql, state)

    cond do
      code in @lost or code in state.disconnect_on -> {:disconnect, exception, state}
      true -> {:error, exception, state}
    end
  end

  defp failure(%LibsqlPort.Error{code: code} = error, _sql, _state) when code in @lost, do: lost(error)
  defp failure(%LibsqlPort.Error{} = error, sql, state), do: Error.new(error, shown(sql, state))

  defp lost(%LibsqlPort.Error{code: code} = error) do
    reason = if code == :outcome_unknown, do: :outcome_unknown, else: :sidecar_down
    %DBConnection.ConnectionError{message: Exception.message(error), reason: reason}
  end

  defp shown(sql, %State{show_statement: true}), do: sql
  defp shown(_sql, _state), do: nil

  # --- options of requests --------------------------------------------------------------------------------------

  defp within(options, %State{begun: begun}) do
    if begun, do: [{:in_transaction, true} | timeout(options)], else: timeout(options)
  end

  # DBConnection takes a connection away from whoever holds it longer than the timeout. The sidecar's own deadline ends
  # a little earlier: the statement is stopped, its caller told, and the connection kept.
  defp timeout(options) do
    case Keyword.get(options, :timeout) do
      timeout when is_integer(timeout) -> [timeout: max(timeout - min(div(timeout, 10) + 1, 100), 1)]
      :infinity -> [timeout: :infinity]
      _ -> []
    end
  end
end
