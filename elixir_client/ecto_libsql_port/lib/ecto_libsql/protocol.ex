defmodule EctoLibSql.Protocol do
  @moduledoc false
  # The callbacks of `DBConnection`. They run in the process of the caller and speak to the sidecar from there; no process
  # stands between. A connection of the pool is a connection of the sidecar. Called by `DBConnection` and, for the names
  # of ecto_libsql, by `EctoLibSql`.
  #
  # Two things are kept true here. A request that is sent is never sent again. And after the engine's own rollback (a full
  # disk, a timeout in the middle of a write) nothing runs until the transaction has ended, so that no statement is
  # committed by itself.

  use DBConnection

  alias EctoLibSql.{
    Deadline,
    Diagnosis,
    Error,
    Failure,
    Location,
    Options,
    Parameter,
    PoolGauges,
    PrivateCopy,
    Privileges,
    Query,
    ReadAhead,
    Result,
    SchemaChanges,
    SharedSidecar,
    State,
    Statements
  }

  alias LibsqlPort.{Connection, Cursor}

  # What a commit hook has refused is rolled back, and over.
  @refused [:commit_vetoed, :commit_hook_failed]
  @modes Options.transaction_modes()
  @restore_ms 5_000

  # A statement takes all of these steps.
  @compile {:inline, status: 1, open_by_hand?: 2, rolled_back: 2, locks: 2}

  # --- life -----------------------------------------------------------------------------------------------------

  @impl true
  @spec connect(keyword) :: {:ok, State.t()} | {:error, Exception.t()}
  def connect(options) do
    opened = opened(options)

    PoolGauges.opening(
      options[:gauges],
      with({:ok, _state} <- opened, do: nil, else: ({:error, error} -> error))
    )

    opened
  end

  defp opened(options) do
    with {:ok, driver_options, mode} <- Options.check(options),
         {:ok, sidecar} <- sidecar(options),
         {:ok, conn} <- open(sidecar, driver_options, options[:private_copy]),
         {:ok, attached} <- Options.attached(options),
         :ok <- attach(conn, attached) do
      {:ok, state(conn, sidecar, mode, options)}
    else
      {:error, %Error{}} = error -> error
      {:error, %LibsqlPort.Error{} = error} -> {:error, connect_error(error)}
      {:error, error} -> {:error, DBConnection.ConnectionError.exception(inspect(error))}
    end
  end

  defp open(sidecar, options, private_copy) do
    case PrivateCopy.source(private_copy) do
      nil ->
        with({:error, error} <- LibsqlPort.connect(sidecar, options), do: {:error, explained(error, options)})

      source ->
        PrivateCopy.connect(sidecar, source, options)
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
      # Copied with each call, and nobody here reads what the sidecar said when it opened the database.
      conn: %{conn | info: %{}},
      conn_id: State.connection_id(conn),
      sidecar: sidecar,
      private_copy: options[:private_copy],
      gauges: options[:gauges],
      schema_changes: options[:schema_changes],
      mode: mode(conn),
      sync: conn.mode == :replica and options[:sync] == true,
      transaction_mode: mode,
      show_statement: Keyword.get(options, :show_statement, true),
      disconnect_on: Keyword.get(options, :disconnect_on_error_codes, [])
    }
  end

  # By the names of ecto_libsql.
  defp mode(%{mode: :replica}), do: :remote_replica
  defp mode(%{mode: mode}), do: mode

  defp attach(conn, databases) do
    Enum.find_value(databases, :ok, fn {name, path} ->
      quoted = name |> to_string() |> String.replace("\"", "\"\"")

      # The Repo's own statement: its policy is for the SQL of its callers.
      case LibsqlPort.query(conn, "ATTACH ?1 AS \"#{quoted}\"", [path], policy: false) do
        {:ok, _} ->
          nil

        {:error, error} ->
          LibsqlPort.close(conn)
          {:error, explained(error, database: path)}
      end
    end)
  end

  # What Ecto's tasks can do about a file that cannot be opened. The engine does not name an attached file that is no database.
  defp explained(%LibsqlPort.Error{code: :cannot_open} = error, options) do
    case Location.trouble(options[:database], options[:mode]) do
      nil -> error
      trouble -> %{error | message: "cannot open the database #{options[:database]}: #{trouble}"}
    end
  end

  defp explained(%LibsqlPort.Error{code: :not_a_database} = error, options) do
    if is_nil(options[:database]) or String.contains?(error.message, options[:database]),
      do: error,
      else: %{error | message: "#{options[:database]}: #{error.message}"}
  end

  defp explained(error, _options), do: error

  defp connect_error(error),
    do: if(Failure.lost?(error), do: Failure.lost(error), else: Error.new(error, nil))

  @impl true
  def disconnect(_reason, %State{conn: conn} = state) do
    SchemaChanges.closed(state)

    # Stops what still runs for a caller that is gone, and rolls back. Also ends what is read ahead: a caller that waits for it
    # is told by the answer to its own request.
    _ = LibsqlPort.close(conn)
    :ok
  end

  @impl true
  def checkout(state), do: {:ok, state}

  # Called once a second for each idle connection, so it asks only this VM: whether the sidecar's port is still open. That
  # the sidecar answers is watched by the driver's heartbeat, once for all connections.
  @impl true
  def ping(%State{conn: conn} = state) do
    if Connection.sidecar_running?(conn) do
      {:ok, state}
    else
      error = LibsqlPort.Error.new(:not_sent, "the connection's sidecar has ended")
      {:disconnect, Failure.lost(error), state}
    end
  end

  # --- transactions ---------------------------------------------------------------------------------------------

  @impl true
  def handle_begin(options, %State{} = state) do
    case {Keyword.get(options, :mode), status(state)} do
      {:savepoint, :transaction} ->
        # Postgrex has one name for all; a number lets them nest.
        savepoint = &Connection.savepoint(state.conn, savepoint(state, 1), &1)

        options
        |> request(state, savepoint)
        |> control(:begin, options, Privileges.push(%{state | savepoints: state.savepoints + 1}, options))

      {:savepoint, status} ->
        {status, state}

      {mode, :idle} ->
        begin(begin_mode(mode, options, state), options, state)

      # Somebody has begun by hand in an earlier checkout.
      {_mode, :transaction} when state.begun == false ->
        if options[:single], do: handle_begin(options, roll_back(state)), else: {:transaction, state}

      {_mode, status} ->
        {status, state}
    end
  end

  # What a checkout leaves open is undone by the pool, which closes the connection if the process dies: nothing of it is
  # anybody's for the driver.
  #
  # An error of a begin drops the connection: the contract of `DBConnection` knows no other.
  defp begin(mode, options, state) when mode in @modes do
    begun = %{
      state
      | begun: true,
        trx_id: state.conn_id,
        savepoints: 0,
        deadline: options[:deadline],
        ended_by: nil
    }

    begin = &Connection.begin(state.conn, mode, [{:owner, nil} | &1])
    options |> request(state, begin) |> control(:begin, options, Privileges.push(begun, options))
  end

  defp begin(mode, _options, state),
    do: {:disconnect, ArgumentError.exception(Options.wrong_mode(mode)), state}

  # Ecto's name for reading a state of the database that does not change is what SQLite calls deferred.
  defp begin_mode(mode, options, state) when mode in [nil, :transaction] do
    if options[:isolation_level] == :snapshot, do: :deferred, else: state.transaction_mode
  end

  defp begin_mode(mode, _options, _state), do: mode

  @impl true
  def handle_commit(options, %State{} = state) do
    case {Keyword.get(options, :mode), status(state)} do
      {:savepoint, :transaction} ->
        released = Privileges.pop(%{state | savepoints: state.savepoints - 1})
        release = &Connection.release(state.conn, savepoint(state, 0), &1)
        options |> request(state, release) |> control(:commit, options, released)

      {_mode, :transaction} ->
        commit(options, without_cursors(options, state))

      {_mode, status} ->
        {status, state}
    end
  end

  # A commit that fails for a deferred foreign key leaves the transaction open; closing the connection rolls it back.
  defp commit(options, state) do
    # Not told to be in a transaction: if its answer is lost, the outcome is unknown.
    case request(options, %{state | begun: false}, &Connection.commit(state.conn, &1)) do
      {:ok, _} = ok ->
        control(ok, :commit, options, over(state))

      # The connection goes on: DBConnection takes such an answer from every callback. A database in memory would be gone with it.
      {:error, %{code: code, tx_status: :none} = error} when code in @refused ->
        state = state |> over() |> State.engine_status(:none) |> SchemaChanges.rolled_back()
        {:error, Failure.exception(error, nil, options, state), state}

      {:error, error} ->
        error = Diagnosis.complete(error, state.conn)
        _ = Connection.rollback(state.conn)
        {:disconnect, Failure.exception(error, nil, options, state), state}
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
        state = options |> without_cursors(state) |> over()
        {:ok, %Result{command: :rollback}, SchemaChanges.rolled_back(state)}

      {_mode, :transaction} ->
        state = without_cursors(options, state)

        options
        |> request(%{state | begun: false}, &Connection.rollback(state.conn, &1))
        |> control(:rollback, options, over(state))
        |> rolled_back()
    end
  end

  defp rolled_back({:ok, result, state}), do: {:ok, result, SchemaChanges.rolled_back(state)}
  defp rolled_back(failed), do: failed

  defp without_cursors(options, state), do: ReadAhead.transaction_ends(state, &request(options, state, &1))

  defp rollback_savepoint(options, state) do
    name = savepoint(state, 0)

    with {:ok, _} <- request(options, state, &Connection.rollback_to(state.conn, name, &1)) do
      request(options, state, &Connection.release(state.conn, name, &1))
    end
    |> control(:rollback, options, Privileges.pop(%{state | savepoints: state.savepoints - 1}))
    |> rolled_back()
  end

  defp savepoint(state, more), do: "ecto_#{state.savepoints + more}"

  defp over(state),
    do: Privileges.none(%{state | begun: false, trx_id: nil, savepoints: 0, deadline: nil})

  # The bare word is what ecto_libsql's users match on when they begin by hand; `DBConnection` passes it over.
  defp control({:ok, status}, :begin, _options, state), do: {:ok, :begin, State.engine_status(state, status)}

  defp control({:ok, status}, command, _options, state) do
    {:ok, %Result{command: command}, State.engine_status(state, status)}
  end

  defp control({:error, %{code: :not_sent} = error}, :begin, _options, state) do
    {:disconnect_and_retry, Failure.lost(error), state}
  end

  defp control({:error, error}, _command, options, state) do
    {:disconnect, Failure.exception(error, nil, options, state), state}
  end

  @impl true
  def handle_status(_options, %State{} = state), do: {status(state), state}

  defp status(%State{begun: true, status: :idle}), do: :error
  defp status(%State{status: status}), do: status

  # --- statements -----------------------------------------------------------------------------------------------

  @impl true
  def handle_prepare(%Query{statement: statement} = query, _options, state) when is_binary(statement) do
    {:ok, %{query | command: Result.command(statement)}, state}
  end

  def handle_prepare(query, _options, state), do: {:ok, query, state}

  @impl true
  def handle_execute(%Query{operation: operation} = query, params, options, %State{} = state)
      when operation in [:execute, :script] do
    state = closed_before(options, state)
    query |> run(params, options, state) |> closed_after(query, options)
  end

  # A pragma is put back whatever has become of the transaction and of the caller's time. A connection on which that
  # fails goes to nobody else.
  def handle_execute(%Query{operation: :restore, statement: sql} = query, _params, options, state) do
    case Connection.execute(state.conn, sql, [], timeout: @restore_ms) do
      {:ok, result} -> {:ok, query, %Result{}, State.engine_status(state, result.tx_status)}
      {:error, error} -> {:disconnect, Failure.exception(error, sql, options, state), state}
    end
  end

  # Statements that are compiled and not run, in one request. Returns for each `nil` or why it does not compile.
  def handle_execute(%Query{operation: :compile} = query, statements, options, state),
    do: with(nil <- rolled_back(query, state), do: compile(query, statements, options, state))

  # What a connection is asked beside statements: see `EctoLibSql.Direct` and `EctoLibSql.checkout/3`.
  def handle_execute(%Query{operation: :state} = query, _params, _options, state),
    do: {:ok, query, state, state}

  # What `EctoLibSql.Lane` has met on the connection.
  def handle_execute(%Query{operation: :lost}, _params, options, state),
    do: {:disconnect, options[:error], state}

  def handle_execute(%Query{operation: :checkout} = query, _params, options, state) do
    if open_by_hand?(state, single: true) do
      error = DBConnection.ConnectionError.exception("an earlier checkout left a transaction open")
      {:disconnect, error, state}
    else
      with {:ok, state} <- ping(state),
           do: {:ok, query, %Result{}, checked_out(state, options[:deadline], options)}
    end
  end

  # A transaction that is left open now makes `DBConnection.run/3` raise and drop the connection.
  def handle_execute(%Query{operation: :checkin} = query, _params, _options, state) do
    {:ok, query, %Result{}, checked_out(state, nil, [])}
  end

  # The checkout ends with an exception, after which `DBConnection.run/3` does not look.
  def handle_execute(%Query{operation: :abandon} = query, _params, _options, state) do
    {:ok, query, %Result{}, [single: true] |> closed_before(state) |> checked_out(nil, [])}
  end

  defp checked_out(state, deadline, options),
    do: Privileges.checkout(%{state | checkout_deadline: deadline}, options)

  # Whatever runs SQL asks first. After the engine's own rollback a statement would be committed by itself, so all are
  # refused until the transaction is ended.
  defp rolled_back(query, state) do
    if status(state) == :error, do: {:error, Failure.rolled_back(query.statement, state), state}
  end

  defp run(query, params, options, state),
    do: with(nil <- rolled_back(query, state), do: execute(query, params, options, state))

  defp execute(%Query{operation: :execute, statement: sql} = query, params, options, state) do
    execute = fn params ->
      with {:ok, given} <- given(options, state) do
        options = Privileges.of(options, state) ++ fresh(options, state) ++ given
        Connection.execute(state.conn, sql, params, options)
      end
    end

    case with_params(params, execute) do
      {:ok, result} ->
        command = query.command || Result.command(sql)
        state = state |> State.engine_status(result.tx_status) |> SchemaChanges.ran(sql, command)
        {:ok, query, Result.new(result, command), state}

      # After a sidecar has ended, the pool's connections learn of it when they are used. What was never sent may be tried
      # on a new connection. What was sent never is: a statement that has ended one sidecar may end the next.
      {:error, %{code: :not_sent} = error} ->
        {:disconnect_and_retry, Failure.lost(error), state}

      {:error, error} ->
        error |> Diagnosis.complete(state.conn, {sql, params}) |> Failure.answer(sql, options, state)
    end
  end

  # Several statements in one text, with the result of each.
  defp execute(%Query{operation: :script, statement: sql} = query, [], options, state) do
    sql
    |> Statements.split()
    |> Enum.reduce_while({:ok, [], state}, fn statement, {:ok, results, state} ->
      case run(Query.new(statement), [], options, state) do
        {:ok, _query, result, state} -> {:cont, {:ok, [result | results], state}}
        # DBConnection would run the whole text again, and what has run with it.
        {:disconnect_and_retry, error, state} when results != [] -> {:halt, {:disconnect, error, state}}
        error -> {:halt, error}
      end
    end)
    |> case do
      {:ok, results, state} -> {:ok, query, Enum.reverse(results), state}
      error -> error
    end
  end

  defp execute(%Query{operation: :script, statement: sql}, _params, options, state) do
    error = LibsqlPort.Error.new(:parameter_count, "a text of several statements takes no parameters")
    Failure.answer(error, sql, options, state)
  end

  defp compile(query, statements, options, state) do
    explained = Enum.map(statements, &("EXPLAIN QUERY PLAN " <> &1))
    batch = &Connection.batch(state.conn, explained, [{:atomic, false} | &1])

    with {:ok, items} <- request(options, state, batch),
         errors = for({:error, error} <- items, not Error.uncompilable?(error), do: error),
         :ok <- if(errors == [], do: :ok, else: {:error, hd(errors)}) do
      {:ok, query, Enum.map(items, &complaint/1), state}
    else
      {:error, error} -> Failure.answer(error, nil, options, state)
    end
  end

  defp complaint({:error, error}), do: error.message
  defp complaint(_compiles), do: nil

  # A connection goes back to the pool without a transaction: one that was begun by hand would be the next caller's, and
  # keep all others from writing. What the engine says counts, not the statement's text.
  defp closed_after({tag, query, result, state}, asked, options) when tag == :ok do
    if open_by_hand?(state, options),
      do: {:error, Failure.left_open(asked.statement, state), roll_back(state)},
      else: {:ok, query, result, state}
  end

  defp closed_after({tag, error, state}, _asked, options) do
    if tag == :error and open_by_hand?(state, options),
      do: {:error, error, roll_back(state)},
      else: {tag, error, state}
  end

  # Left open by a checkout that `EctoLibSql.checkout/3` knows nothing of.
  defp closed_before(options, state) do
    if open_by_hand?(state, options), do: roll_back(state), else: state
  end

  defp open_by_hand?(%State{begun: false, status: :transaction}, options), do: options[:single] == true
  defp open_by_hand?(_state, _options), do: false

  # If it cannot be rolled back, the next request finds that out by itself.
  defp roll_back(state) do
    _ = Connection.rollback(state.conn)
    SchemaChanges.rolled_back(%{state | status: :idle})
  end

  # A part of a checkout or a transaction that has privileges of its own: see `EctoLibSql.mark/3`.
  @impl true
  def handle_close(%Query{operation: :privileges}, options, state),
    do: {:ok, %Result{}, Privileges.push(state, options)}

  def handle_close(%Query{operation: :no_privileges}, _options, state),
    do: {:ok, %Result{}, Privileges.pop(state)}

  def handle_close(_query, _options, state), do: {:ok, %Result{}, state}

  # --- cursors --------------------------------------------------------------------------------------------------

  @impl true
  def handle_declare(%Query{} = query, params, options, %State{} = state) do
    case Privileges.of_stream(options, state) do
      nil -> with(nil <- rolled_back(query, state), do: declare(query, params, options, state))
      error -> {:error, error, state}
    end
  end

  defp declare(%Query{statement: sql} = query, params, options, state) do
    live = live(options[:stream])
    declare = fn params, left -> Cursor.declare(state.conn, sql, params, [{:owner, nil} | live ++ left]) end

    case with_params(params, fn params -> request(options, state, &declare.(params, &1)) end) do
      {:ok, cursor} -> {:ok, query, cursor, ReadAhead.declared(state, cursor)}
      {:error, error} -> Failure.answer(error, sql, options, state)
    end
  end

  # What is no such option is said by the driver, as an error.
  defp live(nil), do: []
  defp live(:live), do: [live: true]
  defp live(other), do: [live: other]

  @impl true
  def handle_fetch(%Query{} = query, cursor, options, %State{} = state) do
    with nil <- rolled_back(query, state), do: fetch(query, cursor, options, state)
  end

  defp fetch(%Query{statement: sql}, cursor, options, state) do
    chunk = Keyword.take(options, [:chunk_bytes]) ++ [chunk_rows: Keyword.get(options, :max_rows, 500)]
    request = fn fetch -> request(options, state, &fetch.(chunk ++ &1)) end

    case ReadAhead.next(state, cursor, options[:read_ahead] == true, request) do
      {{:more, rows}, state} -> {:cont, chunk_result(cursor, rows), state}
      {{:done, rows}, state} -> {:halt, chunk_result(cursor, rows), state}
      {{:error, error}, state} -> Failure.answer(error, sql, options, state)
    end
  end

  defp chunk_result(cursor, rows) do
    %Result{command: :select, columns: cursor.columns, rows: rows, num_rows: length(rows)}
  end

  @impl true
  def handle_deallocate(%Query{statement: sql}, cursor, options, %State{} = state) do
    state = ReadAhead.closed(state, cursor)

    case request(options, state, &Cursor.close(state.conn, cursor, &1)) do
      :ok -> {:ok, %Result{}, state}
      {:error, error} -> Failure.answer(error, sql, options, state)
    end
  end

  # The sidecar has refused a binary that is no UTF-8; nothing has run. The option `:untyped_binaries` may make it a blob.
  defp with_params(params, send) do
    with {:error, %{code: :invalid_parameter}} = error <- send.(params) do
      case Parameter.untyped_as_blobs(params) do
        {:ok, blobs} -> send.(blobs)
        :error -> error
      end
    end
  end

  # --- requests -------------------------------------------------------------------------------------------------

  # The one way to the driver.
  defp request(options, state, send), do: with({:ok, given} <- given(options, state), do: send.(given))

  # What every request is given: what is left of the caller's time, and the word that a transaction is open, which decides what
  # the loss of the sidecar means.
  defp given(options, state) do
    case Deadline.left(options, state) do
      {:ok, left} when state.begun -> {:ok, [{:in_transaction, true} | locks(options, left)]}
      {:ok, left} -> {:ok, locks(options, left)}
      :overdue -> {:error, LibsqlPort.Error.new(:timeout, "the time was up before the request was sent")}
    end
  end

  # How new what is read has to be, which only a replica may not be.
  defp fresh(options, %State{mode: :remote_replica}), do: Keyword.take(options, [:consistency, :max_lag])
  defp fresh(_options, _state), do: []

  defp locks(options, left) do
    case :lists.keyfind(:lock_timeout, 1, options) do
      {_name, lock_timeout} when lock_timeout != nil -> [{:lock_timeout, lock_timeout} | left]
      _none -> left
    end
  end
end
