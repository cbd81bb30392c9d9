defmodule EctoLibSql.SchemaChanges do
  @moduledoc false
  # What the statements of a Repo have changed of its schema: how many did, so that what was looked up before is looked up again, and which
  # views and virtual tables single connections have besides the database: temporary ones, and those of what ATTACH has added. Noted by
  # `Protocol`, the one door of all statements, those of `:after_connect` included; read by `Ecto.Adapters.LibSql.TableKind`.
  #
  # What a connection has is in its state. All see only the names that some connection has, by which a write asks its own: the same name may be
  # a table elsewhere, which is written in another way. The names of a connection go with what it drops, detaches and rolls back, and with it.

  alias EctoLibSql.{SqlLexer, State}
  alias LibsqlPort.Connection

  @enforce_keys [:count, :table, :schemas]
  defstruct @enforce_keys

  @typedoc "`schemas` are the databases that every connection has: `main`, and those of the option `:attach`."
  @type t :: %__MODULE__{count: :atomics.atomics_ref(), table: :ets.table(), schemas: [String.t()]}
  @type kind :: :table | :view | :virtual
  @typedoc "Database and name of a table or a view, both as SQLite compares names."
  @type name :: {String.t(), String.t()}

  @changing [:create, :drop, :alter, :attach, :detach]
  @words Map.new([:rollback | @changing], &{Atom.to_string(&1), &1})

  # Tables that are none of a database's pages: views and virtual tables.
  @temporary "SELECT 'temp', name, iif(type = 'view', type, 'virtual') FROM temp.sqlite_schema " <>
               "WHERE type IN ('view', 'table') AND rootpage = 0"
  @private "SELECT schema, name, type FROM pragma_table_list WHERE schema <> 'main' AND type IN ('view', 'virtual')"
  @timeout_ms 5_000

  # Positions of `count`: the changes, and whether there was ever a name in the table.
  @changes 1
  @any 2

  @doc "Nothing yet, of a Repo with these databases attached. The table belongs to the calling process."
  @spec new([atom | String.t()]) :: t
  def new(attached) do
    %__MODULE__{
      count: :atomics.new(2, signed: false),
      table: :ets.new(__MODULE__, [:ordered_set, :public, read_concurrency: true]),
      schemas: ["main" | Enum.map(attached, &SqlLexer.lower(to_string(&1)))]
    }
  end

  @doc "How many statements have changed the schema so far."
  @spec count(t) :: non_neg_integer
  def count(%__MODULE__{count: count}), do: :atomics.get(count, @changes)

  @doc "What was looked up so far is out of date."
  @spec changed(t) :: :ok
  def changed(%__MODULE__{count: count}), do: :atomics.add(count, @changes, 1)

  @doc "Whether some connection has a view or a virtual table of this name of its own."
  @spec private?(t, String.t()) :: boolean
  # Asked for each write, and hardly any Repo has ever had one.
  def private?(%__MODULE__{count: count, table: table}, name),
    do: :atomics.get(count, @any) != 0 and :ets.member(table, {:any, SqlLexer.lower(name)})

  @doc "The names of those in databases that single connections have attached."
  @spec attached(t) :: [String.t()]
  def attached(%__MODULE__{table: table}), do: :ets.select(table, [{{{:attached, :"$1"}, :_}, [], [:"$1"]}])

  @doc "Whether the calling process has changed the schema since it was last `settled/1`."
  @spec pending?(t) :: boolean
  def pending?(changes), do: Process.get(key(changes)) != nil

  @doc "What the calling process keeps with its own changes; `nil` if nothing."
  @spec kept(t) :: term
  def kept(changes) do
    case Process.get(key(changes)) do
      {:kept, kept} -> kept
      _nothing -> nil
    end
  end

  @doc "Keeps something with the calling process' changes, until it makes another one."
  @spec keep(t, term) :: :ok
  def keep(changes, kept) do
    Process.put(key(changes), {:kept, kept})
    :ok
  end

  @doc "The calling process is in a transaction in which it has changed the schema."
  @spec pend(t) :: :ok
  def pend(changes) do
    Process.put(key(changes), :changed)
    :ok
  end

  @doc "The changes of the calling process are everybody's, or nobody's. Returns whether there were any."
  @spec settled(t) :: boolean
  def settled(changes), do: Process.delete(key(changes)) != nil

  defp key(%__MODULE__{count: count}), do: {__MODULE__, count}

  @doc "A statement has ended well on a connection. Returns the connection's state."
  @spec ran(State.t(), String.t(), atom) :: State.t()
  def ran(%State{schema_changes: nil} = state, _sql, _command), do: state

  # A word that stands behind a comment, or has letters of both cases.
  def ran(%State{} = state, sql, :other) do
    case @words[SqlLexer.first_word(sql)] do
      nil -> state
      command -> ran(state, sql, command)
    end
  end

  def ran(state, _sql, :rollback), do: rolled_back(state)

  def ran(%State{schema_changes: changes} = state, sql, command) when command in @changing do
    state = note(if command == :attach, do: %{state | attached: true}, else: state)

    # What is temporary is not among what all look up.
    unless command == :create and temporary?(sql) do
      pend(changes)
      changed(changes)
    end

    state
  rescue
    # The Repo has been stopped, and its table with it.
    ArgumentError -> state
  end

  def ran(state, _sql, _command), do: state

  defp temporary?(sql) do
    case SqlLexer.tokens(sql) do
      [_create, second | _] -> SqlLexer.lower(SqlLexer.text(sql, second)) in ["temp", "temporary"]
      _ -> false
    end
  end

  @doc "A transaction, or a part of one, has been rolled back on a connection. Returns the connection's state."
  @spec rolled_back(State.t()) :: State.t()
  def rolled_back(%State{noted: false} = state), do: state

  def rolled_back(state) do
    note(state)
  rescue
    ArgumentError -> state
  end

  @doc "A connection is closed."
  @spec closed(State.t()) :: :ok
  def closed(%State{schema_changes: nil}), do: :ok

  def closed(%State{schema_changes: changes, private: private}) do
    count(changes, keys(private), -1)
  rescue
    ArgumentError -> :ok
  end

  # What cannot be asked now, as after the engine's own rollback, is asked when that has ended.
  defp note(%{schema_changes: changes, conn: conn, attached: attached} = state) do
    sql = if attached, do: @private, else: @temporary

    with {:ok, %{rows: rows}} <- Connection.execute(conn, sql, [], timeout: @timeout_ms, policy: false) do
      private =
        for row <- rows, {{schema, _}, _} = own = kind(row), schema not in changes.schemas, into: %{}, do: own

      {before, now} = {keys(state.private), keys(private)}
      # The new ones first: what is in both is never missing.
      count(changes, now -- before, 1)
      count(changes, before -- now, -1)
      %{state | private: private, noted: true}
    else
      _ -> %{state | noted: true}
    end
  end

  # In how many connections.
  defp count(%{count: any, table: table}, keys, by) do
    if keys != [], do: :atomics.put(any, @any, 1)

    for key <- keys do
      :ets.update_counter(table, key, by, {key, 0})
      :ets.delete_object(table, {key, 0})
    end

    :ok
  end

  defp keys(private) do
    private
    |> Map.keys()
    |> Enum.flat_map(fn
      {"temp", name} -> [{:any, name}]
      {_attached, name} -> [{:any, name}, {:attached, name}]
    end)
    |> Enum.uniq()
  end

  @doc "A row of database, name and type, as `pragma_table_list` or the schema has it."
  @spec kind([String.t()]) :: {name, kind}
  def kind([schema, name, type]), do: {name(schema, name), of_type(type)}

  @doc "A database and a name as SQLite compares them."
  @spec name(String.t(), String.t()) :: name
  def name(schema, name), do: {SqlLexer.lower(schema), SqlLexer.lower(name)}

  defp of_type("view"), do: :view
  defp of_type("virtual"), do: :virtual
  defp of_type(_stored), do: :table
end
