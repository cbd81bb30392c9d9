defmodule Ecto.Adapters.LibSql.CompileCheck do
  @moduledoc false
  # Refuses a command after which a view or a trigger no longer compiles that compiled before. SQLite resolves their names
  # when they are used, so without this check it is the application that meets the error, at its next write. Called by the
  # adapter around each migration command that is no SQL text; changes nothing.
  #
  # The engine is asked by compiling: a SELECT of each view, and for each trigger the statement that fires it. What did not
  # compile before the command is no reason to refuse it.

  alias Ecto.Adapters.LibSql.{Quoting, StoredTable}
  alias Ecto.Adapters.SQL
  alias EctoLibSql.{SqlLexer, TableSql}

  # How many statements or tables go into one request.
  @at_once 500

  @typedoc "A view or a trigger, and why it does not compile."
  @type broken :: %{{schema :: String.t(), type :: String.t(), name :: String.t()} => String.t()}

  @doc "Runs a command in a transaction, which is rolled back if the command breaks a view or a trigger."
  @spec run(map, tuple, keyword, (() -> result)) :: result when result: var
  def run(meta, command, options, fun) do
    %{prefix: prefix} = named = elem(command, 1)
    schema = StoredTable.schema(prefix)
    query = StoredTable.query(meta, Keyword.put(options, :log, false))

    {:ok, result} =
      SQL.transaction(meta, options, fn ->
        before = state(query, schema, command)
        result = fun.()
        compare!(before, state(query, schema, command), to_string(table_name(named)))
        result
      end)

    result
  end

  defp table_name(%Ecto.Migration.Table{name: name}), do: name
  defp table_name(%{table: table}), do: table

  defp state(query, schema, command) do
    objects = objects(query, schema)

    %{
      ids: Enum.map(objects, & &1.id),
      broken: broken(query, objects),
      texts: if(elem(command, 0) == :alter, do: texts(query, schema, objects), else: %{})
    }
  end

  @other_meaning "a name in double quotes would be read as a string, or a string as a name"

  defp compare!(before, now, table) do
    broken = for id <- now.ids, is_map_key(now.broken, id), not is_map_key(before.broken, id), do: id
    changed = for id <- now.ids, before.texts[id] != now.texts[id], do: id

    case {broken, changed} do
      {[], []} -> :ok
      {[], ids} -> refuse!(table, ids, @other_meaning)
      {[first | _] = ids, _} -> refuse!(table, ids, now.broken[first])
    end
  end

  defp refuse!(table, ids, why) do
    names = Enum.map_join(ids, ", ", fn {_schema, type, name} -> "the #{type} #{name}" end)
    it = if match?([_], ids), do: "it", else: "them"

    StoredTable.error!(
      :in_use,
      table,
      "#{names} would no longer work: #{why}. Drop #{it} before #{table} is changed, and create #{it} again afterwards"
    )
  end

  # --- what compiles ------------------------------------------------------------------------------------------------

  # Views and triggers use the tables of their own schema; temporary ones those of all.
  defp objects(query, schema) do
    for schema <- Enum.uniq([schema, "temp"]),
        {type, name, of, sql} <- StoredTable.objects(schema, query),
        type in ["view", "trigger"],
        do: %{id: {schema, type, name}, of: of, sql: sql}
  end

  @doc "The views and triggers of a schema, and the temporary ones, that do not compile."
  @spec broken(StoredTable.query(), String.t()) :: broken
  def broken(query, schema) when is_binary(schema), do: broken(query, objects(query, schema))

  def broken(query, objects) do
    triggers = for %{id: {_, "trigger", _}} = trigger <- objects, do: trigger
    views = for %{id: {schema, "view", name}} <- objects, do: {schema, name}

    messages = errors(query, for({schema, name} <- views, do: select(schema, name)))

    broken =
      for {{schema, name}, message} <- Enum.zip(views, messages), message != nil, into: %{} do
        {{schema, "view", name}, message}
      end

    if query |> errors(Enum.uniq(fired(query, triggers))) |> Enum.all?(&is_nil/1),
      do: broken,
      else: Map.merge(broken, broken_triggers(query, triggers))
  end

  # A trigger may fail because of another one, which it fires. So each is compiled alone, and what the statement says
  # without any trigger is not its fault.
  defp broken_triggers(query, triggers) do
    undone(query, fn ->
      for trigger <- triggers, do: query.(drop(trigger), [])

      for trigger <- triggers, message = error_alone(query, trigger), into: %{} do
        {trigger.id, message}
      end
    end)
  end

  defp error_alone(query, %{id: {schema, _, _}} = trigger) do
    statements = fired(query, [trigger])
    without = Enum.map(statements, &error(query, &1))

    case error(query, StoredTable.qualified(trigger.sql, schema), []) do
      nil ->
        with_it = Enum.map(statements, &error(query, &1))
        query.(drop(trigger), [])

        Enum.find_value(Enum.zip(without, with_it), fn {without, with_it} ->
          if with_it != without, do: with_it
        end)

      message ->
        message
    end
  end

  defp drop(%{id: {schema, _, name}}), do: ["DROP TRIGGER ", Quoting.table(schema, name)]

  # --- statements ---------------------------------------------------------------------------------------------------

  defp select(schema, view), do: ["SELECT * FROM ", Quoting.table(schema, view)]

  # The statements that fire triggers. Which schema a temporary trigger's table is in only the engine knows.
  defp fired(query, triggers) do
    every = if Enum.any?(triggers, &temporary?/1), do: schemas(query), else: []
    places = for trigger <- triggers, place <- places(trigger, every), do: {place, trigger}
    columns = columns(query, for({place, _trigger} <- places, uniq: true, do: place))

    for {{schema, table} = place, trigger} <- places, names = columns[place] do
      IO.iodata_to_binary(firing(event(trigger.sql), Quoting.table(schema, table), names))
    end
  end

  defp temporary?(%{id: {schema, _, _}}), do: schema == "temp"

  defp places(%{id: {schema, _, _}, of: table} = trigger, every),
    do: for(schema <- if(temporary?(trigger), do: every, else: [schema]), do: {schema, table})

  defp schemas(query), do: for([name] <- query.("SELECT name FROM pragma_database_list", []).rows, do: name)

  # The columns of tables that are there, by one question for each schema.
  defp columns(query, places) do
    for {schema, tables} <- Enum.group_by(places, &elem(&1, 0), &elem(&1, 1)),
        tables <- Enum.chunk_every(tables, @at_once),
        {table, names} <- columns(query, schema, tables),
        into: %{},
        do: {{schema, table}, names}
  end

  defp columns(query, schema, tables) do
    sql = [
      ["WITH t(name) AS (VALUES ", Enum.map_intersperse(tables, ", ", fn _ -> "(?)" end), ")"],
      " SELECT t.name, x.name FROM t, pragma_table_xinfo(t.name, ?) AS x WHERE x.hidden = 0"
    ]

    Enum.group_by(query.(sql, tables ++ [schema]).rows, &hd/1, fn [_table, name] -> Quoting.name(name) end)
  end

  # BEFORE, AFTER or INSTEAD OF stand before it; a name that is one of these words stands in quotes.
  defp event(sql) do
    Enum.find_value(SqlLexer.tokens(sql), fn token ->
      word = TableSql.lower(SqlLexer.text(sql, token))
      if word in ["insert", "update", "delete"], do: word
    end)
  end

  defp firing("insert", table, _columns), do: ["INSERT INTO ", table, " DEFAULT VALUES"]
  defp firing("delete", table, _columns), do: ["DELETE FROM ", table]

  defp firing("update", table, columns),
    do: ["UPDATE ", table, " SET ", Enum.map_intersperse(columns, ", ", &[&1, " = ", &1])]

  # What each statement does not compile for; many in one request.
  defp errors(query, statements) do
    statements
    |> Enum.map(&IO.iodata_to_binary/1)
    |> Enum.chunk_every(@at_once)
    |> Enum.flat_map(&query.(:compile, &1))
  end

  defp error(query, sql, explain \\ "EXPLAIN QUERY PLAN ") do
    query.([explain, sql], [])
    nil
  rescue
    error in EctoLibSql.Error ->
      if EctoLibSql.Error.uncompilable?(error), do: error.message, else: reraise(error, __STACKTRACE__)
  end

  # --- double quotes ------------------------------------------------------------------------------------------------

  # SQLite reads "a" as a string where there is no such column, so a column that comes or goes can change what a view
  # means, which still compiles. Before DROP COLUMN the engine puts strings into single quotes, by which both are told
  # apart: so texts are compared as they are after that.
  defp texts(query, schema, objects) do
    if Enum.any?(objects, &(&1.sql =~ ~s("))) do
      undone(query, fn ->
        for schema <- Enum.uniq([schema, "temp"]), do: with_strings_marked(query, schema)
        for %{id: id, sql: sql} <- objects(query, schema), into: %{}, do: {id, sql}
      end)
    else
      %{}
    end
  end

  defp with_strings_marked(query, schema) do
    probe = Quoting.table(schema, StoredTable.free_name("ecto_probe", schema, query))
    query.(["CREATE TABLE ", probe, " (a, b)"], [])
    StoredTable.tolerating_broken(query, fn -> query.(["ALTER TABLE ", probe, " DROP COLUMN b"], []) end)
  end

  defp undone(query, fun) do
    query.("SAVEPOINT ecto_compile_check", [])
    result = fun.()
    query.("ROLLBACK TO ecto_compile_check", [])
    query.("RELEASE ecto_compile_check", [])
    result
  end
end
