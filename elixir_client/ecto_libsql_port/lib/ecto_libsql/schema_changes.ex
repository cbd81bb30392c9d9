defmodule EctoLibSql.SchemaChanges do
  @moduledoc false
  # What the statements of a Repo have changed of its schema: how many did, so that what was looked up before is looked up again, and which
  # views and virtual tables single connections have besides the database: temporary ones, and those of what ATTACH has added. Noted by
  # `Protocol`, the one door of all statements, those of `:after_connect` included; read by `Ecto.Adapters.LibSql.TableKind`.
  #
  # What one connection has counts for all. A table that is written as a view is, with RETURNING in place of a count, is written correctly;
  # a view that is written as a table is, is not.

  alias EctoLibSql.{SqlLexer, State}
  alias LibsqlPort.Connection

  @enforce_keys [:count, :table]
  defstruct @enforce_keys

  @type t :: %__MODULE__{count: :atomics.atomics_ref(), table: :ets.table()}
  @type kind :: :table | :view | :virtual
  @typedoc "Database and name of a table or a view, both as SQLite compares names."
  @type name :: {String.t(), String.t()}

  @changing [:create, :drop, :alter, :attach, :detach]
  @words Map.new(@changing, &{Atom.to_string(&1), &1})

  # Tables that are none of a database's pages: views and virtual tables.
  @temporary "SELECT 'temp', name, iif(type = 'view', type, 'virtual') FROM temp.sqlite_schema " <>
               "WHERE type IN ('view', 'table') AND rootpage = 0"
  @private "SELECT schema, name, type FROM pragma_table_list WHERE schema <> 'main' AND type IN ('view', 'virtual')"
  @timeout_ms 5_000

  @doc "Nothing yet. The table belongs to the calling process."
  @spec new() :: t
  def new do
    %__MODULE__{
      count: :atomics.new(1, signed: false),
      table: :ets.new(__MODULE__, [:public, read_concurrency: true])
    }
  end

  @doc "How many statements have changed the schema so far."
  @spec count(t) :: non_neg_integer
  def count(%__MODULE__{count: count}), do: :atomics.get(count, 1)

  @doc "What was looked up so far is out of date."
  @spec changed(t) :: :ok
  def changed(%__MODULE__{count: count}), do: :atomics.add(count, 1, 1)

  @doc "The views and virtual tables that single connections have."
  @spec private(t) :: %{optional(name) => kind}
  def private(%__MODULE__{table: table}), do: Map.new(:ets.tab2list(table))

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

  def ran(%State{schema_changes: changes} = state, _sql, command) when command in @changing do
    state = if command == :attach, do: %{state | attached: true}, else: state
    note(changes, state)
    pend(changes)
    changed(changes)
    state
  rescue
    # The Repo has been stopped, and its table with it.
    ArgumentError -> state
  end

  def ran(state, _sql, _command), do: state

  # What cannot be asked now, as after the engine's own rollback, is not there either.
  defp note(%{table: table}, %State{conn: conn, attached: attached}) do
    sql = if attached, do: @private, else: @temporary

    with {:ok, %{rows: rows}} <- Connection.execute(conn, sql, [], timeout: @timeout_ms, policy: false),
         do: :ets.insert(table, Enum.map(rows, &kind/1))
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
