defmodule Ecto.Adapters.LibSql.Connection do
  @moduledoc false
  # Ecto's callbacks for SQL: statements go to `DBConnection`, text comes from `QuerySql`, `WriteSql` and `Ddl`. Holds
  # nothing else.

  @behaviour Ecto.Adapters.SQL.Connection

  alias Ecto.Adapters.LibSql.{Constraints, Ddl, EndedPool, MigrationPragmas, QuerySql, ServerSql, WriteSql}
  alias EctoLibSql.{Pool, Query}

  # --- statements -----------------------------------------------------------------------------------------------

  @impl true
  def child_spec(options), do: Pool.child_spec(options)

  @impl true
  def prepare_execute(conn, name, sql, params, options) do
    with :ok <- reachable(conn, options),
         do: EctoLibSql.prepare_execute(conn, name, ServerSql.of(sql, options), params, options)
  end

  @impl true
  def execute(conn, %Query{} = query, params, options) do
    with :ok <- reachable(conn, options) do
      case EctoLibSql.execute(conn, query, params, options) do
        {:ok, ^query, result} -> {:ok, result}
        # More is known of it: Ecto keeps this one.
        ran_or_error -> ran_or_error
      end
    end
  end

  def execute(conn, sql, params, options), do: query(conn, sql, params, options)

  # Answers for each statement whether it compiles, and gives the state of the connection that a statement would run on.
  @impl true
  def query(conn, %Query{operation: operation} = query, statements, options)
      when operation in [:compile, :state],
      do: execute(conn, query, statements, Keyword.delete(options, :log))

  # The adapter marks the begin and the end of a checkout, and puts pragmas back.
  def query(conn, %Query{} = query, [], options), do: EctoLibSql.mark(conn, query, options)

  def query(conn, sql, params, options) do
    with :ok <- reachable(conn, options) do
      MigrationPragmas.guard(conn, sql, options, fn conn, options ->
        with {:ok, result} <- EctoLibSql.query(conn, ServerSql.of(sql, options), params, options),
             do: {:ok, numbered(result, options[:returned_rowid])}
      end)
    end
  end

  # What Ecto sends to the pool is sent outside of any transaction.
  defp reachable(%DBConnection{}, _options), do: :ok
  defp reachable(_pool, options), do: EndedPool.check(options)

  # An inserted row of a virtual table, see `Ecto.Adapters.LibSql.insert/6`. Tables that have their number in RETURNING say
  # -1 only if that is the number.
  defp numbered(%{rows: [row], last_insert_rowid: rowid} = result, place) when is_integer(place) do
    if Enum.at(row, place) in [-1, nil],
      do: %{result | rows: [List.replace_at(row, place, rowid)]},
      else: result
  end

  defp numbered(result, _place), do: result

  @impl true
  def query_many(conn, sql, params, options) do
    with :ok <- reachable(conn, options),
         do: MigrationPragmas.guard(conn, sql, options, &EctoLibSql.query_many(&1, sql, params, &2))
  end

  @impl true
  def stream(conn, %Query{} = query, params, options), do: EctoLibSql.stream(conn, query, params, options)

  def stream(conn, sql, params, options),
    do: EctoLibSql.stream(conn, ServerSql.of(sql, options), params, options)

  @impl true
  def explain_query(conn, sql, params, options) do
    {type, options} = Keyword.pop(options, :type, :query_plan)
    {format, options} = Keyword.pop(options, :format, :text)
    options = Keyword.drop(options, [:analyze, :verbose, :wrap_in_transaction])

    with {:ok, result} <- query(conn, [explain(type), sql], params, options) do
      {:ok, explained(format, result)}
    end
  end

  defp explain(:query_plan), do: "EXPLAIN QUERY PLAN "
  defp explain(:instructions), do: "EXPLAIN "

  defp explain(other) do
    raise ArgumentError, "explain takes type: :query_plan or :instructions, not #{inspect(other)}"
  end

  defp explained(:map, result), do: Enum.map(result.rows, &Map.new(Enum.zip(result.columns, &1)))
  defp explained(:text, result), do: Ecto.Adapters.SQL.format_table(result)

  @impl true
  def to_constraints(error, options), do: Constraints.of(error, options)

  # --- queries --------------------------------------------------------------------------------------------------

  @impl true
  def all(query), do: QuerySql.all(query)

  @impl true
  def update_all(query), do: WriteSql.update_all(query)

  @impl true
  def delete_all(query), do: WriteSql.delete_all(query)

  # Ecto 3.14 adds options, of which SQLite needs none; which of the two is the callback depends on its version.
  @callbacks Ecto.Adapters.SQL.Connection.behaviour_info(:callbacks)

  if {:insert, 7} in @callbacks, do: @impl(true)

  def insert(prefix, table, header, rows, on_conflict, returning, placeholders) do
    WriteSql.insert(prefix, table, header, rows, on_conflict, returning, placeholders)
  end

  if {:insert, 8} in @callbacks, do: @impl(true)

  def insert(prefix, table, header, rows, on_conflict, returning, placeholders, _options) do
    WriteSql.insert(prefix, table, header, rows, on_conflict, returning, placeholders)
  end

  @impl true
  def update(prefix, table, fields, filters, returning) do
    WriteSql.update(prefix, table, fields, filters, returning)
  end

  @impl true
  def delete(prefix, table, filters, returning), do: WriteSql.delete(prefix, table, filters, returning)

  # --- migrations -----------------------------------------------------------------------------------------------

  @impl true
  def execute_ddl(command), do: command |> Ddl.statements() |> Enum.map(&IO.iodata_to_binary/1)

  @impl true
  def ddl_logs(_result), do: []

  @impl true
  def table_exists_query(table) do
    {"SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1 LIMIT 1", [table]}
  end
end
