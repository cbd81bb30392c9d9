defmodule Ecto.Adapters.LibSql.TableCheck do
  @moduledoc false
  # Compares a table and what is around it before and after a change: the schema, integrity_check, foreign keys. What was
  # wrong before is no reason to refuse, what is wrong only afterwards is. Views and triggers are `CompileCheck`'s. Called by
  # `ModifyColumn` and `TableCopy`; changes nothing.

  alias Ecto.Adapters.LibSql.StoredTable

  @type state :: %{objects: [tuple], integrity: [String.t()], broken: [tuple]}

  @doc "What is to be compared. `referring` are the tables that refer to this one."
  @spec state(StoredTable.t(), [String.t()]) :: state
  def state(table, referring) do
    %{
      objects: objects(table),
      integrity: StoredTable.integrity(table),
      broken: StoredTable.broken_references(table, Enum.uniq([table.name | referring]))
    }
  end

  # All but the table itself and the indexes that belong to its text.
  defp objects(table) do
    for {type, name, of, sql} <- StoredTable.objects(table.schema, table.query),
        {type, name} != {"table", table.name} and not (of == table.name and sql == nil),
        not String.starts_with?(name, "sqlite_"),
        do: {type, name, sql}
  end

  @doc "Raises `EctoLibSql.MigrationError` if something has become wrong."
  @spec compare!(StoredTable.t(), state, state) :: :ok
  def compare!(table, before, now) do
    schema!(table, before.objects, now.objects)
    integrity!(table, now.integrity -- before.integrity)
    references!(table, now.broken -- before.broken)
  end

  defp schema!(table, before, now) do
    if Enum.sort(before) != Enum.sort(now) do
      differences =
        Enum.map((before -- now) ++ (now -- before), fn {type, name, _sql} -> "#{type} #{name}" end)

      StoredTable.error!(
        :verification,
        table.name,
        "the change of #{table.name} would change something else in the schema: #{Enum.join(Enum.uniq(differences), ", ")}"
      )
    end
  end

  defp integrity!(_table, []), do: :ok

  defp integrity!(table, lines) do
    StoredTable.error!(
      :rows,
      table.name,
      "rows of #{table.name} do not fit its new form: #{Enum.join(lines, "; ")}"
    )
  end

  defp references!(_table, []), do: :ok

  defp references!(table, [{name, :mismatch, message} | _]) do
    StoredTable.error!(
      :unsupported,
      table.name,
      "a foreign key of #{name} needs a primary key or a UNIQUE of just the columns that it refers to: #{message}"
    )
  end

  defp references!(table, [{name, _, parent} | _] = broken) do
    rowids = for {^name, rowid, ^parent} <- broken, do: rowid
    count = length(rowids)
    rows = rowids |> Enum.take(5) |> Enum.map_join("; ", &"rowid = #{&1}")

    StoredTable.error!(
      :rows,
      table.name,
      StoredTable.rows(count, name, "refer to rows of #{parent} that are not there: #{rows}"),
      count: count
    )
  end

  @doc "Runs a function with the pragma `legacy_alter_table` set, and puts its former value back."
  @spec with_legacy_alter_table(StoredTable.t(), 0 | 1, (() -> result)) :: result when result: var
  def with_legacy_alter_table(table, value, fun) do
    StoredTable.no_server!(table)
    %{rows: [[former]]} = table.query.("PRAGMA legacy_alter_table", [])
    table.query.("PRAGMA legacy_alter_table = #{value}", [])

    StoredTable.restoring(table.query, "PRAGMA legacy_alter_table = #{former}", fun)
  end
end
