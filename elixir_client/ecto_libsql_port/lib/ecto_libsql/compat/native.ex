defmodule EctoLibSql.Native do
  @moduledoc """
  The functions that ecto_libsql offers beside Ecto, for a connection that was opened by hand with
  `EctoLibSql.connect/1`. There is no native code behind them: each is a request to the sidecar.

      {:ok, state} = EctoLibSql.connect(database: "app.db")
      {:ok, statement} = EctoLibSql.Native.prepare(state, "SELECT name FROM users WHERE id = ?")
      {:ok, %EctoLibSql.Result{rows: [["Ada"]]}} = EctoLibSql.Native.query_stmt(state, statement, [1])

  New code has more of all this in `LibsqlPort`, typed: here errors are `{:error, text}`, as ecto_libsql had them.
  What is not built yet answers `{:error, :unsupported}`: extensions.

  ## What differs from ecto_libsql

    * Connections, transactions, statements and cursors are named by binaries here too; a name ends with the connection,
      and a transaction's with its commit or rollback.
    * Nothing has to be reset between two runs of a statement, and `reset/1` of a connection closes none.
    * A prepared statement that lacks a named parameter is refused; it was NULL.
    * A savepoint on another connection's transaction is refused, whatever the state says.
  """

  # Long because every name that ecto_libsql has in this module must be found in it. Names and forms are all that it knows:
  # what they do stands in the modules below `EctoLibSql.Native`.

  alias EctoLibSql.Native.{Answer, Batches, Connections, Cursors, Hooks, Statements, Transactions}
  alias EctoLibSql.{ByHand, Query, Result, State}

  @type id :: String.t()
  @type answer(type) :: {:ok, type} | {:error, String.t()}
  @type executed :: {:ok, Query.t(), Result.t(), State.t()} | {:error, Exception.t(), State.t()}

  # --- statements -----------------------------------------------------------------------------------------------

  @doc """
  Runs a query, outside of a transaction or in that of the state.

      {:ok, _query, result, state} =
        EctoLibSql.Native.query(state, %EctoLibSql.Query{statement: "SELECT 1"}, [])
  """
  @spec query(State.t(), Query.t(), list | map) :: executed
  def query(%State{} = state, %Query{} = query, params), do: ByHand.execute(query, params, [], state)

  @doc false
  def execute_non_trx(query, state, params), do: query(state, query, params)

  @doc "Runs a query in the transaction of the state, which `begin/2` or `EctoLibSql.handle_begin/2` gave."
  @spec execute_with_trx(State.t(), Query.t(), list | map) :: executed
  def execute_with_trx(%State{} = state, %Query{} = query, params),
    do: Transactions.execute(state, query, params)

  @doc """
  Prepares a statement and names it. The name is of use on this connection, until `close_stmt/1`.

      {:ok, statement} = EctoLibSql.Native.prepare(state, "INSERT INTO users (name) VALUES (:name)")
      {:ok, 1} = EctoLibSql.Native.execute_stmt(state, statement, "INSERT …", %{name: "Ada"})
  """
  @spec prepare(State.t(), String.t()) :: answer(id)
  def prepare(%State{} = state, sql), do: Statements.prepare(state, sql)

  @doc "Runs a prepared statement: its rows as `EctoLibSql.Result`, or how many it wrote. The text is not needed."
  @spec execute_stmt(State.t(), id, String.t(), list | map) :: answer(Result.t() | non_neg_integer)
  def execute_stmt(%State{} = state, stmt_id, _sql, params), do: Statements.execute(state, stmt_id, params)

  @doc "Runs a prepared statement that yields rows."
  @spec query_stmt(State.t(), id, list | map) :: answer(Result.t())
  def query_stmt(%State{} = state, stmt_id, params), do: Statements.query(state, stmt_id, params)

  @doc "Forgets a prepared statement."
  @spec close_stmt(id) :: :ok | {:error, String.t()}
  def close_stmt(stmt_id), do: Connections.close(stmt_id, :stmt_id)

  @doc "Nothing is to be reset before a statement runs again; tells whether there is such a statement."
  @spec reset_stmt(State.t(), id) :: :ok | {:error, String.t()}
  def reset_stmt(%State{} = state, stmt_id), do: Statements.reset(state, stmt_id)

  @doc "How many columns a statement yields."
  @spec stmt_column_count(State.t(), id) :: answer(non_neg_integer)
  def stmt_column_count(%State{} = state, stmt_id), do: Statements.column_count(state, stmt_id)

  @doc "The name of a column, counted from 0."
  @spec stmt_column_name(State.t(), id, non_neg_integer) :: answer(String.t())
  def stmt_column_name(%State{} = state, stmt_id, index) when is_integer(index) and index >= 0 do
    Statements.column_name(state, stmt_id, index)
  end

  @doc "All columns: name, name in the table, declared type."
  @spec get_stmt_columns(State.t(), id) :: answer([{String.t(), String.t(), String.t() | nil}])
  def get_stmt_columns(%State{} = state, stmt_id), do: Statements.columns(state, stmt_id)

  @doc "How many parameters a statement has."
  @spec stmt_parameter_count(State.t(), id) :: answer(non_neg_integer)
  def stmt_parameter_count(%State{} = state, stmt_id), do: Statements.parameter_count(state, stmt_id)

  @doc "The name of a parameter with its prefix, counted from 1; `nil` for one that has none."
  @spec stmt_parameter_name(State.t(), id, pos_integer) :: answer(String.t() | nil)
  def stmt_parameter_name(%State{} = state, stmt_id, index) when is_integer(index) and index >= 1 do
    Statements.parameter_name(state, stmt_id, index)
  end

  @doc """
  Named parameters as the list that a statement takes. Raises if one is missing; those too many are left out.

      [1, "Ada"] = EctoLibSql.Native.normalise_arguments(state.conn_id, "SELECT :id, :name", %{name: "Ada", id: 1})
  """
  @spec normalise_arguments(id, String.t(), list | map) :: list | {:error, String.t()}
  defdelegate normalise_arguments(conn_id, sql, params), to: Statements, as: :normalise

  @doc false
  defdelegate normalise_arguments_for_stmt(conn_id, stmt_id, params), to: Statements, as: :normalise_prepared

  @doc "There is no cache of parameter names to clear."
  @spec clear_param_cache() :: :ok
  def clear_param_cache, do: :ok

  @doc "There is no cache of parameter names."
  @spec param_cache_size() :: 0
  def param_cache_size, do: 0

  # --- batches --------------------------------------------------------------------------------------------------

  @doc """
  Runs statements one by one, each in a transaction of its own unless one is open. Ends at the first error; what ran
  before stays.

      {:ok, [_, %EctoLibSql.Result{rows: [[1]]}]} =
        EctoLibSql.Native.batch(state, [
          {"INSERT INTO users (name) VALUES (?)", ["Ada"]},
          {"SELECT count(*) FROM users", []}
        ])
  """
  @spec batch(State.t(), [{String.t(), list}]) :: answer([Result.t()])
  def batch(%State{} = state, statements), do: state |> Batches.each(statements) |> Batches.results()

  @doc "Runs statements all or nothing, in one round trip."
  @spec batch_transactional(State.t(), [{String.t(), list}]) :: answer([Result.t()])
  def batch_transactional(%State{} = state, statements) do
    state |> Batches.atomic(statements) |> Batches.results()
  end

  @doc "Runs the statements of a text as `batch/2` does. A map of the rows for each, or `nil` if it yields none."
  @spec execute_batch_sql(State.t(), String.t()) :: answer([map | nil])
  def execute_batch_sql(%State{} = state, sql), do: Batches.text(state, sql, &Batches.each/2)

  @doc "Runs the statements of a text as `batch_transactional/2` does."
  @spec execute_transactional_batch_sql(State.t(), String.t()) :: answer([map | nil])
  def execute_transactional_batch_sql(%State{} = state, sql), do: Batches.text(state, sql, &Batches.atomic/2)

  # --- transactions ---------------------------------------------------------------------------------------------

  @doc """
  Begins a transaction; `:behavior` is `:deferred` (default), `:immediate`, `:exclusive` or `:read_only`.

      {:ok, inside} = EctoLibSql.Native.begin(state, behavior: :immediate)
      :ok = EctoLibSql.Native.create_savepoint(inside, "before_import")
      {:ok, _} = EctoLibSql.Native.commit(inside)
  """
  @spec begin(State.t(), keyword) :: answer(State.t())
  def begin(%State{} = state, options \\ []), do: Transactions.begin(state, options)

  @doc "Commits the transaction of a state."
  @spec commit(State.t()) :: answer(String.t())
  defdelegate commit(state), to: Transactions

  @doc "Rolls back the transaction of a state."
  @spec rollback(State.t()) :: answer(String.t())
  defdelegate rollback(state), to: Transactions

  @doc "Sets a savepoint, whose name is an identifier."
  @spec create_savepoint(State.t(), String.t()) :: :ok | {:error, String.t()}
  def create_savepoint(%State{} = state, name), do: Transactions.savepoint(state, name)

  @doc "Keeps what came after a savepoint, and forgets the savepoint."
  @spec release_savepoint_by_name(State.t(), String.t()) :: :ok | {:error, String.t()}
  def release_savepoint_by_name(%State{} = state, name), do: Transactions.release(state, name)

  @doc "Undoes what came after a savepoint, which stays."
  @spec rollback_to_savepoint_by_name(State.t(), String.t()) :: :ok | {:error, String.t()}
  def rollback_to_savepoint_by_name(%State{} = state, name), do: Transactions.rollback_to(state, name)

  # --- the connection -------------------------------------------------------------------------------------------

  @doc "The rowid of the last row that was inserted."
  @spec get_last_insert_rowid(State.t()) :: integer | {:error, String.t()}
  def get_last_insert_rowid(%State{} = state), do: Connections.last_insert_rowid(state)

  @doc "How many rows the last INSERT, UPDATE or DELETE wrote."
  @spec get_changes(State.t()) :: non_neg_integer | {:error, String.t()}
  def get_changes(%State{} = state), do: Connections.changes(state)

  @doc "How many rows were written since the connection was opened."
  @spec get_total_changes(State.t()) :: non_neg_integer | {:error, String.t()}
  def get_total_changes(%State{} = state), do: Connections.total_changes(state)

  @doc "Whether no transaction is open."
  @spec get_is_autocommit(State.t()) :: boolean | {:error, String.t()}
  def get_is_autocommit(%State{} = state), do: Connections.autocommit?(state)

  @doc "Sets how long to wait for the locks of foreign programs. Connections of this sidecar need none, they take turns."
  @spec busy_timeout(State.t(), non_neg_integer) :: :ok | {:error, String.t()}
  def busy_timeout(%State{} = state, timeout_ms \\ 5_000), do: Connections.busy_timeout(state, timeout_ms)

  @doc "Brings the connection back to the state in which it was opened: see `LibsqlPort.reset/2`."
  @spec reset(State.t()) :: :ok | {:error, String.t()}
  def reset(%State{} = state), do: Connections.reset(state)

  @doc "Stops what runs on the connection, for all processes that use it. The statement after is never hit."
  @spec interrupt(State.t()) :: :ok | {:error, String.t()}
  def interrupt(%State{} = state), do: Connections.interrupt(state)

  # --- vectors --------------------------------------------------------------------------------------------------

  @doc """
  Numbers as the text of a vector.

      iex> EctoLibSql.Native.vector([1, 2.5])
      "[1,2.5]"
  """
  @spec vector([number]) :: String.t()
  def vector(numbers) when is_list(numbers), do: "[" <> Enum.join(numbers, ",") <> "]"

  @doc """
  The type of a column for vectors.

      iex> EctoLibSql.Native.vector_type(384)
      "F32_BLOB(384)"
  """
  @spec vector_type(pos_integer, :f32 | :f64) :: String.t()
  def vector_type(dimensions, type \\ :f32)

  def vector_type(dimensions, type) when is_integer(dimensions) and dimensions > 0 and type in [:f32, :f64] do
    "#{type |> Atom.to_string() |> String.upcase()}_BLOB(#{dimensions})"
  end

  def vector_type(dimensions, type) do
    raise ArgumentError,
          "a vector has a positive number of dimensions and the type :f32 or :f64, " <>
            "not #{inspect(dimensions)} and #{inspect(type)}"
  end

  @doc """
  SQL for the cosine distance of a column from a vector, a list of numbers or its text. The column is put in as it is.

      iex> EctoLibSql.Native.vector_distance_cos("embedding", [1, 2])
      "vector_distance_cos(embedding, '[1,2]')"
  """
  @spec vector_distance_cos(String.t(), [number] | String.t()) :: String.t()
  def vector_distance_cos(column, numbers) when is_list(numbers),
    do: vector_distance_cos(column, vector(numbers))

  def vector_distance_cos(column, text) when is_binary(column) and is_binary(text) do
    "vector_distance_cos(#{column}, '#{String.replace(text, "'", "''")}')"
  end

  # --- text -----------------------------------------------------------------------------------------------------

  @commands %{
    "select" => :select,
    "with" => :select,
    "insert" => :insert,
    "update" => :update,
    "delete" => :delete,
    "begin" => :begin,
    "commit" => :commit,
    "rollback" => :rollback,
    "create" => :create,
    "drop" => :create,
    "alter" => :create,
    "pragma" => :pragma
  }

  @doc """
  The kind of a statement by its first word, comments aside; all that change the schema are `:create`, and what begins
  with a WITH is taken for a `:select`.

      iex> EctoLibSql.Native.detect_command("-- all of them\\nSELECT * FROM users")
      :select
  """
  @spec detect_command(term) :: atom
  def detect_command(sql) when is_binary(sql) do
    case Regex.run(~r/\A(?:\s+|--[^\n]*(?:\n|\z)|\/\*.*?\*\/)*([a-zA-Z]+)(?![^\s(])/s, sql) do
      [_, word] -> Map.get(@commands, String.downcase(word), :unknown)
      nil -> :unknown
    end
  end

  def detect_command(_other), do: :unknown

  @doc false
  def should_use_query_path(sql) do
    Regex.match?(~r/\A\s*(select|with|values|explain|pragma)\b/i, sql) or
      Regex.match?(~r/\breturning\b/i, sql)
  end

  # --- not built yet --------------------------------------------------------------------------------------------

  @doc "Brings a replica up to its server. Nothing is to be synchronised for a local database."
  @spec sync(State.t()) :: {:ok, String.t()} | {:error, String.t() | :unsupported}
  def sync(%State{mode: mode}) when mode in [:local, nil], do: {:ok, "nothing to synchronise"}
  def sync(%State{} = state), do: with(:ok <- Connections.sync(state, []), do: {:ok, "success sync"})

  @doc """
  Has a process told which rows the connection changes: a message `{action, database, table, rowid}` for each, with an action of
  `:insert`, `:update` or `:delete`, such as `{:insert, "main", "users", 1}`. `rowid` is `nil` in a table WITHOUT ROWID. In place of a
  process a function of one argument may be given, which gets these tuples.

  Unlike SQLite's hook it tells after the commit, nothing of what is rolled back, and all deletions. A connection has one hook:
  another one takes its place. It ends with `remove_update_hook/1`, with the connection and with the process. A function runs in a process of
  its own, and ends with the one that has added it; if it raises, the hook is gone, and that process gets `%LibsqlPort.Changes.Ended{}`.
  `LibsqlPort.Changes` tells of all connections, with keys and values.

  Returns `:ok` or `{:error, reason}`.

  ## Examples

      iex> {:ok, state} = EctoLibSql.connect(database: ":memory:")
      iex> {:ok, _, _, state} = EctoLibSql.handle_execute("CREATE TABLE t (a)", [], [], state)
      iex> :ok = EctoLibSql.Native.add_update_hook(state)
      iex> {:ok, _, _, state} = EctoLibSql.handle_execute("INSERT INTO t VALUES ('x')", [], [], state)
      iex> receive do: (message -> message)
      {:insert, "main", "t", 1}
      iex> EctoLibSql.Native.remove_update_hook(state)
      :ok
  """
  @spec add_update_hook(State.t(), pid | ({atom, String.t(), String.t(), integer | nil} -> any)) ::
          :ok | {:error, String.t()}
  def add_update_hook(%State{conn_id: conn_id}, pid_or_fun \\ self())
      when is_pid(pid_or_fun) or is_function(pid_or_fun, 1),
      do: set_update_hook(conn_id, pid_or_fun)

  @doc "Takes the connection's update hook away. No message of it comes after this has returned."
  @spec remove_update_hook(State.t()) :: :ok
  def remove_update_hook(%State{conn_id: conn_id}), do: clear_update_hook(conn_id)

  @doc false
  def set_update_hook(conn_id, pid_or_fun), do: conn_id |> Hooks.set(pid_or_fun) |> Answer.text()
  @doc false
  defdelegate clear_update_hook(conn_id), to: Hooks, as: :clear

  @doc """
  Sets what SQL may do on the connection:

    * a function of one argument, which is asked as `LibsqlPort.set_authorizer/3` says
    * a process, which is asked by messages `{:authorize, from, authorization}` with a `LibsqlPort.Authorization`, and answers by
      `authorize/2`. It has 5 seconds for each. Whatever it does not answer is denied, also after its end
    * a policy as `LibsqlPort.Policy` has it, or `nil` for everything

  A statement of that process on the connection would wait for its own answer: give it to another process.

  Returns `:ok` or `{:error, reason}`. `remove_authorizer/1` takes a function or a process away.

  ## Examples

      iex> {:ok, state} = EctoLibSql.connect(database: ":memory:")
      iex> {:ok, _, _, state} = EctoLibSql.handle_execute("CREATE TABLE t (a)", [], [], state)
      iex> decide = fn authorization -> if authorization.action == :delete, do: :deny, else: :ok end
      iex> :ok = EctoLibSql.Native.add_authorizer(state, decide)
      iex> {:error, error, _state} = EctoLibSql.handle_execute("DELETE FROM t", [], [], state)
      iex> error.code
      :not_authorized
      iex> EctoLibSql.Native.remove_authorizer(state)
      :ok
  """
  @spec add_authorizer(
          State.t(),
          pid | (LibsqlPort.Authorization.t() -> :ok | :deny | :ignore) | LibsqlPort.Policy.t()
        ) ::
          :ok | {:error, String.t()}
  def add_authorizer(state, pid_fun_or_policy \\ self())

  def add_authorizer(%State{} = state, pid) when is_pid(pid),
    do: Connections.set_authorizer(state, &Hooks.ask(pid, &1))

  def add_authorizer(%State{} = state, fun) when is_function(fun, 1),
    do: Connections.set_authorizer(state, fun)

  def add_authorizer(%State{} = state, policy), do: Connections.set_policy(state, policy)

  @doc "Answers a message `{:authorize, from, authorization}` with `:ok`, `:deny` or `:ignore`."
  @spec authorize({pid, reference}, :ok | :deny | :ignore) :: :ok
  def authorize({asking, reference}, decision) when decision in [:ok, :deny, :ignore] do
    send(asking, {reference, decision})
    :ok
  end

  @doc "Takes the connection's authorizer away, if it is a function or a process."
  @spec remove_authorizer(State.t()) :: :ok | {:error, String.t()}
  def remove_authorizer(%State{} = state), do: Connections.remove_authorizer(state)

  @doc "Not built yet."
  @spec enable_extensions(State.t(), boolean) :: {:error, :unsupported}
  def enable_extensions(%State{}, enabled) when is_boolean(enabled), do: {:error, :unsupported}

  @doc "Not built yet."
  @spec load_ext(State.t(), String.t(), String.t() | nil) :: {:error, :unsupported}
  def load_ext(%State{}, path, _entry_point \\ nil) when is_binary(path), do: {:error, :unsupported}

  @doc "Not built yet."
  @spec freeze_replica(term) :: {:error, :unsupported}
  def freeze_replica(_state), do: {:error, :unsupported}

  @doc "The replication frame of a connection: the last one that the file of a replica has, 0 for other databases."
  @spec get_frame_number_for_replica(State.t() | id) :: answer(non_neg_integer)
  def get_frame_number_for_replica(state_or_id), do: frame(Connections.frame_number(state_or_id))

  @doc "A frame up to which a replica has what was written through it: 0 for other databases, or if nothing was."
  @spec get_max_write_frame(State.t() | id) :: answer(non_neg_integer)
  def get_max_write_frame(state_or_id), do: frame(Connections.max_write_frame(state_or_id))

  @doc "The replication frame after all writes were sent, which they are at once: as `get_frame_number_for_replica/1`."
  @spec flush_and_get_frame(State.t() | id) :: answer(non_neg_integer)
  def flush_and_get_frame(state_or_id), do: frame(Connections.frame_number(state_or_id))

  @doc "Brings a replica up to a frame of the log that it follows."
  @spec sync_until_frame(State.t() | id, non_neg_integer) :: :ok | {:error, String.t() | :unsupported}
  def sync_until_frame(state_or_id, frame) when is_integer(frame),
    do: Connections.sync(state_or_id, until: frame)

  defp frame(number) when is_integer(number), do: {:ok, number}
  defp frame(error), do: error

  # --- by ids ---------------------------------------------------------------------------------------------------
  # The names of ecto_libsql's native functions. Mode and synchronisation say nothing: all databases are local.

  @doc false
  defdelegate connect(options, mode), to: Connections
  @doc false
  defdelegate ping(conn_id), to: Connections
  @doc false
  defdelegate close(id, kind), to: Connections
  @doc false
  defdelegate close_conn(id, kind, state), to: Connections
  @doc false
  defdelegate last_insert_rowid(conn_id), to: Connections
  @doc false
  defdelegate changes(conn_id), to: Connections
  @doc false
  defdelegate total_changes(conn_id), to: Connections
  @doc false
  defdelegate is_autocommit(conn_id), to: Connections, as: :autocommit?
  @doc false
  defdelegate set_busy_timeout(conn_id, timeout_ms), to: Connections, as: :busy_timeout
  @doc false
  defdelegate reset_connection(conn_id), to: Connections, as: :reset
  @doc false
  defdelegate interrupt_connection(conn_id), to: Connections, as: :interrupt

  @doc false
  def query_args(conn_id, _mode, _sync, sql, params), do: Connections.query(conn_id, sql, params)
  @doc false
  def pragma_query(conn_id, sql), do: Connections.query(conn_id, sql, [])

  @doc false
  def execute_batch(conn_id, _mode, _sync, statements),
    do: conn_id |> Batches.each(statements) |> Batches.maps()

  @doc false
  def execute_transactional_batch(conn_id, _mode, _sync, statements) do
    conn_id |> Batches.atomic(statements) |> Batches.maps()
  end

  @doc false
  def execute_batch_native(conn_id, sql), do: conn_id |> Batches.text(sql, &Batches.each/2) |> Answer.bare()

  @doc false
  def execute_transactional_batch_native(conn_id, sql) do
    conn_id |> Batches.text(sql, &Batches.atomic/2) |> Answer.bare()
  end

  @doc false
  def prepare_statement(conn_id, sql), do: conn_id |> Statements.prepare(sql) |> Answer.bare()

  @doc false
  def query_prepared(conn_id, stmt_id, _mode, _sync, params) do
    with {:ok, result} <- Statements.run(conn_id, stmt_id, params) do
      Answer.map(result)
    end
    |> Answer.text()
  end

  @doc false
  def execute_prepared(conn_id, stmt_id, _mode, _sync, _sql, params) do
    with {:ok, result} <- Statements.run(conn_id, stmt_id, params) do
      result.changes
    end
    |> Answer.text()
  end

  @doc false
  def statement_column_count(conn_id, stmt_id),
    do: conn_id |> Statements.column_count(stmt_id) |> Answer.bare()

  @doc false
  def statement_parameter_count(conn_id, stmt_id),
    do: conn_id |> Statements.parameter_count(stmt_id) |> Answer.bare()

  @doc false
  def get_statement_columns(conn_id, stmt_id), do: conn_id |> Statements.columns(stmt_id) |> Answer.bare()
  @doc false
  defdelegate reset_statement(conn_id, stmt_id), to: Statements, as: :reset

  @doc false
  def statement_column_name(conn_id, stmt_id, index) do
    conn_id |> Statements.column_name(stmt_id, index) |> Answer.bare()
  end

  @doc false
  def statement_parameter_name(conn_id, stmt_id, index) do
    conn_id |> Statements.parameter_name(stmt_id, index) |> Answer.bare()
  end

  @doc false
  def begin_transaction(conn_id), do: Transactions.begin_id(conn_id, :deferred)
  @doc false
  defdelegate begin_transaction_with_behavior(conn_id, behavior), to: Transactions, as: :begin_id

  @doc false
  def commit_or_rollback_transaction(trx_id, conn_id, _mode, _sync, verb) do
    trx_id |> Transactions.finish(conn_id, verb) |> Answer.text()
  end

  @doc false
  defdelegate handle_status_transaction(trx_id), to: Transactions, as: :status

  @doc false
  def execute_with_transaction(trx_id, conn_id, sql, params) do
    with {:ok, result} <- Transactions.run(trx_id, conn_id, sql, params) do
      result.changes
    end
    |> Answer.text()
  end

  @doc false
  def query_with_trx_args(trx_id, conn_id, sql, params) do
    with {:ok, result} <- Transactions.run(trx_id, conn_id, sql, params) do
      Answer.map(result)
    end
    |> Answer.text()
  end

  @doc false
  def savepoint(conn_id, trx_id, name), do: create_savepoint(%State{conn_id: conn_id, trx_id: trx_id}, name)

  @doc false
  def release_savepoint(conn_id, trx_id, name) do
    release_savepoint_by_name(%State{conn_id: conn_id, trx_id: trx_id}, name)
  end

  @doc false
  def rollback_to_savepoint(conn_id, trx_id, name) do
    rollback_to_savepoint_by_name(%State{conn_id: conn_id, trx_id: trx_id}, name)
  end

  @doc false
  def declare_cursor(conn_id, sql, params), do: Cursors.declare(conn_id, conn_id, :connection, sql, params)
  @doc false
  defdelegate declare_cursor_with_context(conn_id, id, kind, sql, params), to: Cursors, as: :declare
  @doc false
  defdelegate fetch_cursor(conn_id, cursor_id, rows_max), to: Cursors, as: :fetch

  @doc false
  def do_sync(conn_id, mode), do: sync(%State{conn_id: conn_id, mode: mode})
  @doc false
  defdelegate get_frame_number(conn_id), to: Connections, as: :frame_number
  @doc false
  defdelegate max_write_replication_index(conn_id), to: Connections, as: :max_write_frame
  @doc false
  defdelegate flush_replicator(conn_id), to: Connections, as: :frame_number

  @doc false
  def sync_until(conn_id, frame), do: Connections.sync(conn_id, until: frame)

  @unsupported [
    set_authorizer: 2,
    enable_load_extension: 2,
    load_extension: 3,
    freeze_database: 1
  ]

  for {name, arity} <- @unsupported do
    arguments =
      Macro.generate_arguments(arity, __MODULE__)
      |> Enum.map(fn {name, meta, context} -> {:"_#{name}", meta, context} end)

    @doc false
    def unquote(name)(unquote_splicing(arguments)), do: {:error, :unsupported}
  end
end
