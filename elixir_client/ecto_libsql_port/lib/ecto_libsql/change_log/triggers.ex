defmodule EctoLibSql.ChangeLog.Triggers do
  @moduledoc false
  # The triggers that write changes of a table into a change log, as SQL. Called by `EctoLibSql.ChangeLog.Schema`, which says
  # what the table looks like. Only SQLite's own functions are used, so that other programs can write to the table.
  #
  # INSERT OR REPLACE deletes the rows in its way without firing a trigger, unless recursive triggers are on. So a BEFORE
  # trigger sets the rows that might be deleted aside (`<log>_pending`), and the AFTER trigger logs those that are gone. A row
  # whose deletion has fired a trigger, or that an upsert has updated instead, is taken from there before.
  #
  # Of several AFTER triggers SQLite fires the one first that was created last. Ours have to be first, because a trigger that
  # changes the row again would otherwise be logged before what it changes: `stale?` compares their age.

  @max "1.7976931348623157e308"

  @type table :: %{
          name: String.t(),
          log: String.t(),
          # What the triggers were asked to do, in a line.
          comment: String.t(),
          columns: [String.t()],
          key: [String.t()],
          # The expression that tells rows apart while a statement runs.
          row: :key | String.t(),
          # Columns of each unique index, with their collations.
          unique: [[{String.t(), String.t()}]],
          operations: [:insert | :update | :delete],
          values: :none | :new | :old_and_new,
          replace: boolean
        }

  @doc "The triggers, as `{name, sql}`, in the order in which to create them."
  @spec sql(table) :: [{String.t(), String.t()}]
  def sql(table) do
    for {suffix, event, body} <- triggers(table) do
      name = "#{table.log}_#{suffix}_#{table.name}"

      text = [
        "CREATE TRIGGER ",
        quoted(name),
        " ",
        event,
        " ON ",
        quoted(table.name),
        " BEGIN\n  ",
        table.comment,
        ?\n,
        body,
        "END"
      ]

      {name, IO.iodata_to_binary(text)}
    end
  end

  defp triggers(table) do
    pending = if table.replace, do: [before_insert(table) | before_update(table)], else: []
    pending ++ [after_delete(table), after_update(table), after_insert(table)]
  end

  # --- rows that REPLACE may delete -----------------------------------------------------------------------------------

  defp before_insert(table), do: {"before_insert", "BEFORE INSERT", set_aside(table, [])}

  defp before_update(table) do
    case table.unique |> Enum.concat() |> Enum.map(&elem(&1, 0)) |> Enum.uniq() do
      [] ->
        []

      columns ->
        event = ["BEFORE UPDATE OF ", Enum.map_intersperse(columns, ", ", &quoted/1)]
        other = [" AND ", row(table, "t"), " IS NOT ", row(table, "OLD")]
        [{"before_update", event, set_aside(table, other)}]
    end
  end

  defp set_aside(table, other) do
    in_the_way =
      Enum.map_intersperse(conflicts(table), " OR ", fn columns ->
        same =
          Enum.map_intersperse(columns, " AND ", fn {column, collation} ->
            ["t.", quoted(column), " COLLATE ", quoted(collation), " = NEW.", quoted(column)]
          end)

        [?(, same, ?)]
      end)

    [
      forget(table),
      ["  INSERT INTO ", pending(table), ~s| ("table", "row", "key", "old")\n    SELECT |],
      [text(table.name), ", ", row(table, "t"), ", ", key(table, "t"), ", ", old(table, "t")],
      ["\n    FROM ", quoted(table.name), " AS t WHERE (", in_the_way, ?), other, ";\n"]
    ]
  end

  defp conflicts(%{row: :key, unique: unique}), do: unique
  defp conflicts(%{row: row, unique: unique}), do: Enum.uniq([[{row, "BINARY"}] | unique])

  defp forget(table), do: ["  DELETE FROM ", pending(table), ~s| WHERE "table" = |, text(table.name), ";\n"]

  defp forget(table, row),
    do: [
      ["  DELETE FROM ", pending(table), ~s| WHERE "table" = |, text(table.name)],
      [~s| AND "row" = |, row, ";\n"]
    ]

  # Those that are gone, or whose place the new row has taken.
  defp replaced(%{replace: false}), do: []

  defp replaced(table) do
    gone = [
      ["p.\"row\" = ", row(table, "NEW"), " OR NOT EXISTS (SELECT 1 FROM ", quoted(table.name)],
      [" AS t WHERE ", row(table, "t"), " = p.\"row\")"]
    ]

    log = [
      ["  INSERT INTO ", quoted(table.log), ~s| ("at", "table", "operation", "key", "old")\n    SELECT |],
      [now(), ", ", text(table.name), ", 'delete', p.\"key\", p.\"old\" FROM ", pending(table), " AS p"],
      ["\n    WHERE p.\"table\" = ", text(table.name), " AND (", gone, ");\n"]
    ]

    [if(:delete in table.operations, do: log, else: []), forget(table)]
  end

  # --- what is logged -------------------------------------------------------------------------------------------------

  defp after_insert(table) do
    log =
      if :insert in table.operations, do: log(table, "insert", "NEW", "NULL", new(table), "NULL"), else: []

    {"insert", "AFTER INSERT", [replaced(table), log, nothing(table, log)]}
  end

  defp after_update(table) do
    old_row = if table.replace, do: forget(table, row(table, "OLD")), else: []
    changed = ["substr(", joined(Enum.map(table.columns, &changed/1)), ", 2)"]

    log =
      if :update in table.operations and table.columns != [] do
        values = [
          [now(), ", ", text(table.name), ", 'update', ", key(table, "OLD"), ", ", old(table, "OLD")],
          [", ", new(table), ", '[' || ", changed, " || ']'"]
        ]

        [
          ["  INSERT INTO ", quoted(table.log)],
          [~s| ("at", "table", "operation", "key", "old", "new", "changed")\n    SELECT |, values],
          ["\n    WHERE ", any(Enum.map(table.columns, &differs/1)), ";\n"]
        ]
      else
        []
      end

    {"update", "AFTER UPDATE", [old_row, replaced(table), log, nothing(table, log)]}
  end

  defp after_delete(table) do
    old_row = if table.replace, do: forget(table, row(table, "OLD")), else: []

    log =
      if :delete in table.operations,
        do: log(table, "delete", "OLD", old(table, "OLD"), "NULL", "NULL"),
        else: []

    {"delete", "AFTER DELETE", [old_row, log, nothing(table, log)]}
  end

  # A trigger has at least one statement.
  defp nothing(%{replace: false}, []), do: "  SELECT 1;\n"
  defp nothing(_table, _log), do: []

  defp log(table, operation, row, old, new, changed) do
    [
      ["  INSERT INTO ", quoted(table.log)],
      ~s| ("at", "table", "operation", "key", "old", "new", "changed")\n    VALUES (|,
      [now(), ", ", text(table.name), ", ", text(operation), ", ", key(table, row), ", "],
      [old, ", ", new, ", ", changed, ");\n"]
    ]
  end

  defp now, do: "strftime('%Y-%m-%dT%H:%M:%f', 'now')"
  defp key(table, row), do: object(table.key, row)
  defp old(%{values: :old_and_new} = table, row), do: object(table.columns, row)
  defp old(_table, _row), do: "NULL"
  defp new(%{values: :none}), do: "NULL"
  defp new(table), do: object(table.columns, "NEW")

  # A table without a rowid is told apart by its key.
  defp row(%{row: :key} = table, row), do: key(table, row)
  defp row(%{row: column}, row), do: [row, ?., quoted(column)]

  defp differs(column) do
    [old, new] = for row <- ["OLD", "NEW"], do: [row, ?., quoted(column)]
    [old, " IS NOT ", new, " COLLATE BINARY OR typeof(", old, ") <> typeof(", new, ?)]
  end

  defp changed(column),
    do: ["CASE WHEN ", differs(column), " THEN ", text("," <> json(column)), " ELSE '' END"]

  # --- values as JSON -------------------------------------------------------------------------------------------------

  # Text that is put together: the functions of JSON take 127 arguments, refuse blobs, and write reals inexactly.
  defp object([], _row), do: "'{}'"

  defp object(columns, row) do
    members =
      for {column, index} <- Enum.with_index(columns) do
        comma = if index == 0, do: "", else: ","
        [text(comma <> json(column) <> ":"), " || ", value([row, ?., quoted(column)])]
      end

    [?(, "'{' || ", joined(members), " || '}'", ?)]
  end

  # What a function of JSON returns is text with a subtype, which goes with it into NEW, and which json_quote() takes for JSON that need not
  # be quoted. Concatenation leaves the subtype behind, a cast does not.
  #
  # quote() writes as many digits of a real as it takes to read it back, as far as the engine's own conversions are exact.
  defp value(x) do
    [
      ["CASE typeof(", x, ") WHEN 'text' THEN json_quote(", x, " || '') WHEN 'integer' THEN ", x],
      " WHEN 'null' THEN 'null' WHEN 'blob' THEN '{\"blob\":\"' || hex(",
      [x, ") || '\"}' WHEN 'real' THEN CASE WHEN ", x, " > ", @max, " THEN '{\"real\":\"Infinity\"}' WHEN "],
      [x, " < -", @max, " THEN '{\"real\":\"-Infinity\"}' ELSE quote(", x, ") END END"]
    ]
  end

  # As trees, because the engine limits the depth of an expression (1000) below the number of columns (2000).
  defp joined(parts), do: tree(parts, " || ")
  defp any(conditions), do: tree(conditions, " OR ")

  defp tree([one], _operator), do: [?(, one, ?)]

  defp tree(parts, operator) do
    {left, right} = Enum.split(parts, div(length(parts), 2))
    [?(, tree(left, operator), operator, tree(right, operator), ?)]
  end

  defp pending(table), do: quoted(table.log <> "_pending")

  @doc false
  def quoted(name), do: [?", String.replace(name, "\"", "\"\""), ?"]

  @doc false
  def text(value), do: [?', String.replace(value, "'", "''"), ?']

  defp json(text), do: Jason.encode!(text)
end
