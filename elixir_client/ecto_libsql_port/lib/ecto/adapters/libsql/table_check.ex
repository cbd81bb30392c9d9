defmodule Ecto.Adapters.LibSql.TableCheck do
  @moduledoc false
  # Compares a table and what is around it before and after a change: the schema, integrity_check, foreign keys, views and
  # triggers. What was wrong before is no reason to refuse, what is wrong only afterwards is. Called by `Alter` and
  # `TableCopy`; changes nothing.

  alias Ecto.Adapters.LibSql.{Quoting, StoredTable}

  @type state :: %{objects: [tuple], integrity: [String.t()], broken: [tuple], views: views}
  @typedoc "The engine's complaint, and one for each view and trigger that does not compile."
  @type views :: :ok | {String.t(), [String.t()]}

  @doc "What is to be compared. `referring` are the tables that refer to this one."
  @spec state(StoredTable.t(), [String.t()]) :: state
  def state(table, referring) do
    %{
      objects: objects(table),
      integrity: StoredTable.integrity(table),
      broken: StoredTable.broken_references(table, Enum.uniq([table.name | referring])),
      views: views(table)
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
    refuse_broken!(table, before.views, now.views)
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
      "#{count} rows of #{name} refer to rows of #{parent} that are not there: #{rows}",
      count: count
    )
  end

  @doc "Raises with what the engine says of a view or trigger that does not compile; it names it."
  @spec in_use!(StoredTable.t(), String.t()) :: no_return
  def in_use!(table, message) do
    StoredTable.error!(
      :in_use,
      table.name,
      "#{message}. Drop it before #{table.name} is changed, and create it again afterwards"
    )
  end

  @doc """
  Whether all views and triggers compile, by the engine's own test, which it makes whenever a table is renamed. The engine
  names the first that does not; if there is one, all of them are looked for, so that another one is noticed later.
  """
  @spec views(StoredTable.t()) :: views
  def views(table) do
    case complaint(table) do
      nil -> :ok
      complaint -> {complaint, complaints(table)}
    end
  end

  @doc "Raises if a view or a trigger does not compile that did before."
  @spec refuse_broken!(StoredTable.t(), views, views) :: :ok
  def refuse_broken!(_table, _before, :ok), do: :ok
  def refuse_broken!(table, :ok, {complaint, _all}), do: in_use!(table, complaint)

  def refuse_broken!(table, {_, before}, {_, now}) do
    with [complaint | _] <- now -- before, do: in_use!(table, complaint)
    :ok
  end

  # What the engine complains of.
  defp complaint(table) do
    probe = StoredTable.free_name(table, "ecto_probe")
    renamed = StoredTable.free_name(table, "ecto_probe_renamed")
    table.query.(["CREATE TABLE ", StoredTable.quoted(table, probe), " (a)"], [])

    with_legacy_alter_table(table, 0, fn ->
      try do
        table.query.(
          ["ALTER TABLE ", StoredTable.quoted(table, probe), " RENAME TO ", Quoting.name(renamed)],
          []
        )

        table.query.(["DROP TABLE ", StoredTable.quoted(table, renamed)], [])
        nil
      rescue
        error in EctoLibSql.Error ->
          table.query.(["DROP TABLE ", StoredTable.quoted(table, probe)], [])
          error.message
      end
    end)
  end

  # Views that do not compile are dropped to see what is left, then triggers in the order in which the engine looks at
  # them, until it complains of another one. All of it is undone.
  defp complaints(table) do
    table.query.("SAVEPOINT ecto_complaints", [])
    views = broken_views(table)
    for {schema, name, _} <- views, do: table.query.(["DROP VIEW ", Quoting.table(schema, name)], [])

    triggers =
      for schema <- schemas(table),
          {"trigger", name, _, _} <- StoredTable.objects(schema, table.query),
          do: ["DROP TRIGGER ", Quoting.table(schema, name)]

    complaints = broken_triggers(table, triggers, complaint(table))
    table.query.("ROLLBACK TO ecto_complaints", [])
    table.query.("RELEASE ecto_complaints", [])
    for({_, name, message} <- views, do: "error in view #{name}: #{message}") ++ complaints
  end

  defp broken_views(table) do
    for schema <- schemas(table),
        {"view", name, _, _} <- StoredTable.objects(schema, table.query),
        message = view_error(table, schema, name),
        do: {schema, name, message}
  end

  @doc "What keeps a view from compiling; `nil` if it compiles."
  @spec view_error(StoredTable.t(), String.t(), String.t()) :: String.t() | nil
  def view_error(table, schema, name) do
    table.query.(["SELECT 1 FROM ", Quoting.table(schema, name), " LIMIT 0"], [])
    nil
  rescue
    error in EctoLibSql.Error ->
      if error.code == :sql_error, do: error.message, else: reraise(error, __STACKTRACE__)
  end

  defp broken_triggers(_table, _triggers, nil), do: []
  defp broken_triggers(_table, [], complaint), do: [complaint]

  defp broken_triggers(table, [drop | triggers], complaint) do
    table.query.(drop, [])

    case complaint(table) do
      ^complaint -> broken_triggers(table, triggers, complaint)
      other -> [complaint | broken_triggers(table, triggers, other)]
    end
  end

  defp schemas(%{schema: schema}), do: Enum.uniq([schema, "temp"])

  @doc "Runs a function with the pragma `legacy_alter_table` set, and puts its former value back."
  @spec with_legacy_alter_table(StoredTable.t(), 0 | 1, (() -> result)) :: result when result: var
  def with_legacy_alter_table(table, value, fun) do
    %{rows: [[former]]} = table.query.("PRAGMA legacy_alter_table", [])
    table.query.("PRAGMA legacy_alter_table = #{value}", [])

    StoredTable.restoring(table.query, "PRAGMA legacy_alter_table = #{former}", fun)
  end
end
