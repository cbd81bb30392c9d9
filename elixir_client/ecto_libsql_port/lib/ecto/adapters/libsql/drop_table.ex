defmodule Ecto.Adapters.LibSql.DropTable do
  @moduledoc """
  `drop table(…)` and `drop_if_exists table(…)`. They run in the migration's transaction, or in one of their own. A command
  that is refused raises `EctoLibSql.MigrationError` and changes nothing.

  SQLite deletes the rows of a table before it drops it, with all that the foreign keys of other tables say:
  `ON DELETE CASCADE` deletes their rows, `SET NULL` overwrites them. A migration never does that here.

    * By default the command is refused with the code `:referenced` while rows of other tables refer to the table. The
      error has their number, and the message names the tables. Without such rows the table is dropped; foreign keys of
      empty tables, and those whose columns are all NULL, stay as they are written.
    * With `mode: :cascade` the foreign keys that refer to the table are dropped, as PostgreSQL does it, and the views that
      select from it. **Rows of other tables stay, with the values they have.** To delete or to clear them is for the
      migration to say, with `execute/1` or a query before.
    * In both modes the command is refused with `:in_use` if a trigger of another table would no longer compile, and by
      default if a view would not. What did not compile before is no reason.

  Rows of the table that refer to rows of the same table never prevent it. `drop` raises with the code
  `:no_such_table` if there is no such table; `drop_if_exists` does nothing then.
  """

  alias Ecto.Adapters.LibSql.{CompileCheck, Ddl, Quoting, SchemaText, StoredTable, TableEdit}
  alias Ecto.Adapters.SQL
  alias Ecto.Migration.Table
  alias EctoLibSql.TableSql

  @doc false
  @spec needed?(Ecto.Adapter.Migration.command()) :: boolean
  def needed?({drop, %Table{}, _mode}) when drop in [:drop, :drop_if_exists], do: true
  def needed?(_command), do: false

  @doc false
  @spec run(map, Ecto.Adapter.Migration.command(), keyword) :: {:ok, []}
  def run(meta, {drop, %Table{} = table, mode} = command, options) do
    query = StoredTable.query(meta, options)

    {:ok, _} =
      SQL.transaction(meta, options, fn ->
        case stored(table, query) do
          {:ok, stored} -> drop!(stored, drop, mode == :cascade)
          :none when drop == :drop -> StoredTable.read!(table, query)
          # A virtual table has no rows that foreign keys could refer to.
          _none_or_virtual -> for statement <- Ddl.statements(command), do: query.(statement, [])
        end
      end)

    {:ok, []}
  end

  defp stored(table, query) do
    schema = StoredTable.schema(table.prefix)

    sql = [
      "SELECT name, sql FROM ",
      StoredTable.schema_table(schema),
      " WHERE type = 'table' AND name = ?1 COLLATE NOCASE"
    ]

    with [[name, text]] <- query.(sql, [to_string(table.name)]).rows,
         {:ok, _sql} <- TableSql.parse(text || "") do
      {:ok, StoredTable.read!(name, schema, query)}
    else
      [] -> :none
      {:error, _} -> :virtual
    end
  end

  defp drop!(table, drop, cascade?) do
    children =
      for name <- StoredTable.children(table),
          name != table.name,
          do: StoredTable.read!(name, table.schema, table.query)

    unless cascade?, do: refuse_rows!(table, children)
    if cascade? and children != [], do: StoredTable.no_server!(table)

    before = if cascade?, do: CompileCheck.broken(table.query, table.schema)
    if cascade?, do: for(child <- children, do: SchemaText.replace!(child, without_references(child, table)))

    # With no foreign keys of its own either, nothing is left for SQLite to do to the rows it deletes: a key of the table to
    # itself may be RESTRICT.
    table = if StoredTable.server?(table), do: table, else: without_keys(table)

    if_exists = if drop == :drop_if_exists, do: "IF EXISTS ", else: []
    table.query.(["DROP TABLE ", if_exists, StoredTable.quoted(table)], [])
    if cascade?, do: drop_views(table, before)
  end

  defp without_keys(table) do
    SchemaText.replace!(
      table,
      TableEdit.reject(table.sql, fn clause, _columns -> clause.kind == :references end)
    )
  end

  defp without_references(child, table), do: TableEdit.without_references_to(child.sql, table.name)

  # --- rows of other tables ---------------------------------------------------------------------------------------

  defp refuse_rows!(table, children) do
    counts = for child <- children, count = referring(child, table), count > 0, do: {child.name, count}

    if counts != [] do
      rows = Enum.map_join(counts, ", ", fn {name, count} -> StoredTable.rows(count, name) end)

      StoredTable.error!(
        :referenced,
        table.name,
        "the table #{table.name} is not dropped, because rows refer to it: #{rows}. Delete them or their references " <>
          "first, drop these tables first, or drop the foreign keys as well with mode: :cascade, which keeps the rows",
        count: counts |> Enum.map(&elem(&1, 1)) |> Enum.sum()
      )
    end
  end

  # A key one of whose columns is NULL refers to nothing.
  defp referring(child, table) do
    conditions =
      for {columns, clause} <- TableSql.foreign_keys(child.sql),
          TableSql.lower(clause.table) == TableSql.lower(table.name) do
        [?(, Enum.map_intersperse(columns, " AND ", &[Quoting.name(&1), " IS NOT NULL"]), ?)]
      end

    sql = [
      "SELECT count(*) FROM ",
      StoredTable.quoted(child),
      " WHERE ",
      Enum.intersperse(conditions, " OR ")
    ]

    child.query.(sql, []).rows |> hd() |> hd()
  end

  # --- views ------------------------------------------------------------------------------------------------------

  # Those that compiled before.
  defp drop_views(table, before) do
    for {{schema, "view", view} = id, _} <- CompileCheck.broken(table.query, table.schema),
        schema == table.schema and not is_map_key(before, id),
        do: table.query.(["DROP VIEW ", StoredTable.quoted(table, view)], [])
  end
end
