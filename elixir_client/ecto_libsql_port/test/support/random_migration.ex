defmodule EctoLibSql.RandomMigration do
  @moduledoc false
  # Random migration commands for the database of a snapshot, as data, and what each may change. `run/1` is called inside
  # of a migration; `judge!/3` compares the snapshots before and after.

  import Ecto.Migration
  import ExUnit.Assertions

  @types [:integer, :string, :text, :binary, :float, :decimal, :boolean, :utc_datetime, :map, :bigint]

  @doc "A command, the same for the same seed."
  def generate(seed, snapshot) do
    :rand.seed(:exsss, {seed, 17, seed})

    {{schema, name} = id, table} =
      snapshot.tables |> Enum.reject(&match?({{_, "audit"}, _}, &1)) |> Enum.sort() |> pick()

    columns = for [column, _, _, _, _, hidden] <- table.columns, hidden == 0, do: column
    any = for [column | _] <- table.columns, do: column

    pick([
      fn -> {:add, id, new(any), pick(@types), add_options()} end,
      fn -> {:add, id, new(any), pick(@types), add_options()} end,
      fn -> {:add_reference, id, new(any), parent(snapshot, schema), reference()} end,
      fn -> {:remove, id, pick(any)} end,
      fn -> {:remove, id, pick(any)} end,
      fn -> {:remove, id, pick(any), pick(@types), []} end,
      fn -> {:modify, id, pick(any), pick(@types), modify_options()} end,
      fn -> {:modify, id, pick(columns), pick(@types), modify_options()} end,
      fn -> {:modify_reference, id, pick(columns), parent(snapshot, schema), reference()} end,
      fn -> {:rename_column, id, pick(any), new(any)} end,
      fn -> {:rename_table, id, new(for {{_, n}, _} <- snapshot.tables, do: n)} end,
      fn ->
        {:create_index, id, Enum.take(shuffled(columns), between(1, 2)), "made #{seed}",
         pick([[], [unique: true], [where: "1 = 1"]])}
      end,
      fn -> of_index(snapshot, id, seed) end,
      fn ->
        {:create_check, id, "checked \"#{seed}",
         pick(["1 = 1", "#{EctoLibSql.Snapshot.quoted(pick(columns))} IS NOT 'a, (b'", "2 > 3"])}
      end,
      fn -> of_constraint(id, table) end,
      fn -> {:add_key, id, new(any)} end,
      fn -> {:drop_table, id, pick([:restrict, :restrict, :cascade])} end,
      fn -> {:add_if_not_exists, id, pick([pick(any), new(any)]), pick(@types)} end,
      fn -> {:remove_if_exists, id, pick([pick(any), new(any)])} end,
      fn -> {:drop_if_exists, schema, pick([name, "nowhere"])} end
    ]).()
  end

  defp of_index(snapshot, {schema, name} = id, seed) do
    case for({{^schema, "index", index}, {^name, _}} <- snapshot.objects, do: index) do
      [] ->
        {:drop_index, id, "no such index"}

      indexes ->
        pick([{:drop_index, id, pick(indexes)}, {:rename_index, id, pick(indexes), "renamed #{seed}"}])
    end
  end

  defp of_constraint(id, table) do
    {:ok, sql} = EctoLibSql.TableSql.parse(table.sql)

    named =
      for clause <- Enum.flat_map(sql.columns, & &1.clauses) ++ sql.constraints,
          clause.name != nil and clause.kind in [:check, :unique, :references, :primary_key, :not_null],
          do: {clause.kind, clause.name}

    case named do
      [] -> {:drop_constraint, id, {nil, "no such constraint"}}
      _ -> {:drop_constraint, id, pick(named)}
    end
  end

  defp parent(snapshot, schema) do
    pick(for {{^schema, name}, _} <- snapshot.tables, do: name)
  end

  defp reference do
    [
      type: pick([:integer, :text]),
      on_delete: pick([:nothing, :delete_all, :nilify_all, :restrict]),
      on_update: pick([:nothing, :update_all])
    ]
  end

  defp add_options do
    pick([
      [],
      [],
      [null: true],
      [default: 7],
      [default: "it's (a), -- b"],
      [null: false, default: 0],
      [null: false],
      [default: {:fragment, "CURRENT_TIMESTAMP"}],
      [collate: :nocase],
      [check: "1 <> 2"],
      [generated: "1 + 1"],
      [generated: "'x' || 'y'", stored: true]
    ])
  end

  defp modify_options do
    [from: pick([:text, :integer, {:text, null: true}])] ++
      pick([
        [],
        [null: false],
        [null: true],
        [default: "x, 'y' (z)"],
        [default: nil],
        [check: "1 <> 2"],
        [collate: :nocase],
        [null: false, default: 1]
      ])
  end

  defp new(taken) do
    name = pick(["new", "New Column", "select", "a\"b", "日本語", "x.y", "it's", "end", "z"])
    if String.downcase(name) in Enum.map(taken, &String.downcase/1), do: "n#{:rand.uniform(9999)}", else: name
  end

  defp shuffled(list), do: Enum.sort_by(list, fn _ -> :rand.uniform() end)
  defp between(low, high), do: low + :rand.uniform(high - low + 1) - 1
  defp pick(list), do: Enum.at(list, :rand.uniform(length(list)) - 1)

  # --- running ----------------------------------------------------------------------------------------------------

  @doc "Runs a command, in the direction of the migration."
  def run({:add, id, column, type, options}), do: alter(table!(id), do: add(atom(column), type, options))

  def run({:add_reference, id, column, parent, options}),
    do: alter(table!(id), do: add(atom(column), references(atom(parent), options)))

  def run({:remove, id, column}), do: alter(table!(id), do: remove(atom(column)))

  def run({:remove, id, column, type, options}),
    do: alter(table!(id), do: remove(atom(column), type, options))

  def run({:modify, id, column, type, options}),
    do: alter(table!(id), do: modify(atom(column), type, options))

  def run({:modify_reference, id, column, parent, options}),
    do: alter(table!(id), do: modify(atom(column), references(atom(parent), options)))

  def run({:rename_column, id, column, new}), do: rename(table!(id), atom(column), to: atom(new))
  def run({:rename_table, {schema, _} = id, new}), do: rename(table!(id), to: table!({schema, new}))

  def run({:create_index, {schema, name}, columns, index, options}),
    do:
      create(index(atom(name), Enum.map(columns, &atom/1), [name: index, prefix: prefix(schema)] ++ options))

  def run({:drop_index, {schema, name}, index}),
    do: drop(index(atom(name), [:unknown], name: index, prefix: prefix(schema)))

  def run({:rename_index, {schema, name}, index, new}),
    do: rename(index(atom(name), [:unknown], name: index, prefix: prefix(schema)), to: new)

  def run({:create_check, {schema, name}, constraint, check}),
    do: create(constraint(atom(name), atom(constraint), check: check, prefix: prefix(schema)))

  def run({:drop_constraint, {schema, name}, {_kind, constraint}}),
    do: drop(constraint(atom(name), atom(constraint), prefix: prefix(schema)))

  def run({:add_key, id, column}), do: alter(table!(id), do: add(atom(column), :id, primary_key: true))
  def run({:drop_table, id, mode}), do: drop(table!(id), mode: mode)

  def run({:add_if_not_exists, id, column, type}),
    do: alter(table!(id), do: add_if_not_exists(atom(column), type))

  def run({:remove_if_exists, id, column}), do: alter(table!(id), do: remove_if_exists(atom(column), :text))
  def run({:drop_if_exists, schema, name}), do: drop_if_exists(table!({schema, name}))

  defp table!({schema, name}), do: table(atom(name), prefix: prefix(schema))
  defp prefix("main"), do: nil
  defp prefix(schema), do: schema
  defp atom(name), do: String.to_atom(name)

  @doc "Whether Ecto reverses it."
  def reversible?(command) do
    elem(command, 0) in [
      :add,
      :add_reference,
      :modify,
      :rename_column,
      :rename_table,
      :create_index,
      :create_check,
      :add_key,
      :rename_index
    ] or
      match?({:remove, _, _, _, _}, command)
  end

  # --- judging ----------------------------------------------------------------------------------------------------

  @doc "Raises if a command has changed anything but what it says."
  def judge!(command, before, now) do
    assert now.foreign_keys == before.foreign_keys
    assert now.integrity == before.integrity
    table = touched(command)
    rename? = elem(command, 0) in [:rename_column, :rename_table]
    moved = fn id -> if rename? and id == table, do: renamed(command), else: id end
    gone = gone(command, before, now)

    # Rows, and what there is of tables.
    for {id, was} <- before.tables, id not in gone do
      is = now.tables[moved.(id)] || flunk("the table #{inspect(id)} is gone")
      same_rows!(command, id == table, was, is)
      if id != table and not rename?, do: same_table!(command, elem(id, 0), was, is)
    end

    assert map_size(now.tables) == map_size(before.tables) - length(gone)

    # Texts of everything else.
    unless rename? do
      for {{schema, type, name} = key, {of, _} = was} <- before.objects,
          not (type == "table" and {schema, name} == table),
          not expected_change?(command, key, of, before) do
        assert {key, now.objects[key]} == {key, was}
      end
    end

    # Whoever could write or read before still can.
    for {{schema, name, event}, message} <- now.uncompiled,
        not (elem(command, 0) in [:drop_table, :drop_if_exists] and refers?(now.tables[{schema, name}], table)) do
      was = for {{s, n, ^event}, _} <- before.uncompiled, moved.({s, n}) == {schema, name}, do: event
      assert was != [], "#{event} of #{schema}.#{name} no longer compiles: #{message}"
    end

    sequences =
      for {id, seq} <- before.sequences,
          id not in gone and not uncounted?(command, id, now),
          into: %{},
          do: {moved.(id), seq}

    assert Map.take(now.sequences, Map.keys(sequences)) == sequences

    # A new reference to a table without such a key is an error of all who write to that table; the engine takes it.
    references? = elem(command, 0) in [:add_reference, :modify_reference]

    unless rename? do
      for {what, count} <- now.violations, not (references? and elem(what, 2) == :mismatch) do
        assert {what, count} == {what, min(count, before.violations[what] || 0)}
      end
    end

    if rename?, do: assert(Enum.sum(Map.values(now.violations)) <= Enum.sum(Map.values(before.violations)))
    :ok
  end

  # The counter goes with the column that has AUTOINCREMENT.
  defp uncounted?(command, id, now) do
    elem(command, 0) in [:remove, :remove_if_exists] and id == touched(command) and
      not (now.tables[id].sql =~ ~r/autoincrement/i)
  end

  # SQLite refuses writes to a table whose parent is not there.
  defp refers?(nil, _parent), do: false

  defp refers?(table, {_schema, parent}) do
    Enum.any?(table.keys, fn [[_, of | _] | _] ->
      String.downcase(of, :ascii) == String.downcase(parent, :ascii)
    end)
  end

  # Tables of its schema that referred to one that was dropped with :cascade do so no longer.
  defp same_table!({:drop_table, {schema, name}, :cascade}, schema, was, is) do
    keys =
      for [[_, parent | _] | _] = key <- was.keys,
          String.downcase(parent, :ascii) != String.downcase(name, :ascii),
          do: key

    assert is.keys == keys
    assert Map.drop(is, [:rows, :sql, :keys]) == Map.drop(was, [:rows, :sql, :keys])
    if keys == was.keys, do: assert(is.sql == was.sql)
  end

  defp same_table!(_command, _schema, was, is), do: assert(Map.drop(is, [:rows]) == Map.drop(was, [:rows]))

  defp touched(command),
    do: if(is_tuple(elem(command, 1)), do: elem(command, 1), else: {elem(command, 1), elem(command, 2)})

  defp renamed({:rename_table, {schema, _}, new}), do: {schema, new}
  defp renamed({:rename_column, id, _, _}), do: id

  defp gone({:drop_table, id, _}, _before, _now), do: [id]

  defp gone({:drop_if_exists, schema, name}, before, _now),
    do: if(before.tables[{schema, name}], do: [{schema, name}], else: [])

  defp gone(_command, _before, _now), do: []

  # Indexes of a removed column, the index itself; what belongs to a dropped table, and with :cascade the texts of tables
  # that referred to it.
  defp expected_change?({drop, _, _} = command, {schema, type, _}, of, _before)
       when drop in [:drop_table, :drop_if_exists],
       do:
         {schema, of} == touched(command) or
           (command == {:drop_table, {schema, elem(touched(command), 1)}, :cascade} and
              type in ["table", "view", "trigger"])

  defp expected_change?({:drop_index, {schema, _}, index}, {schema, "index", index}, _, _), do: true
  defp expected_change?({:rename_index, {schema, _}, index, _}, {schema, "index", index}, _, _), do: true

  defp expected_change?(command, {schema, "index", index}, of, before)
       when elem(command, 0) in [:remove, :remove_if_exists] do
    {schema, of} == elem(command, 1) and
      Enum.any?(before.tables[{schema, of}].indexes, fn {name, _, _, _, columns} ->
        name == index and
          (Enum.any?(columns, &(Enum.at(&1, 1) == elem(command, 2))) or
             elem(before.objects[{schema, "index", index}], 1) =~ elem(command, 2))
      end)
  end

  defp expected_change?(_command, _key, _of, _before), do: false

  defp same_rows!(command, touched?, was, is) do
    assert length(is.rows) == length(was.rows)
    ignored = if touched?, do: changed_columns(command) ++ computed_columns(command, was), else: []
    rename = if touched? and elem(command, 0) == :rename_column, do: elem(command, 2)
    names = for [name | _] <- was.columns, name not in ignored, do: name

    # A row may be sorted elsewhere by a column that has gone.
    expected =
      for row <- was.rows,
          do:
            Map.new(Map.take(row, names), fn {name, value} ->
              {if(name == rename, do: elem(command, 3), else: name), value}
            end)

    kept = Enum.map(names, &if(&1 == rename, do: elem(command, 3), else: &1))
    assert Enum.sort(Enum.map(is.rows, &Map.take(&1, kept))) == Enum.sort(expected)
    if touched?, do: kept_columns!(command, names, rename, was, is)
  end

  defp kept_columns!(command, names, rename, was, is) do
    columns = fn table -> for [name | rest] <- table.columns, into: %{}, do: {name, rest} end
    {then, now} = {columns.(was), columns.(is)}

    for name <- names,
        name != rename,
        do: assert({name, kept(command, now[name])} == {name, kept(command, then[name])})
  end

  # What a command may change of the columns that it does not name: whether they are part of the key, or NOT NULL.
  defp kept(_command, nil), do: nil
  defp kept({:add_key, _, _}, [type, not_null, default, _key, hidden]), do: [type, not_null, default, hidden]

  defp kept({:drop_constraint, _, {:primary_key, _}}, [type, _, default, _, hidden]),
    do: [type, default, hidden]

  defp kept({:drop_constraint, _, {:not_null, _}}, [type, _, default, key, hidden]),
    do: [type, default, key, hidden]

  defp kept(_command, column), do: column

  # A generated column may be computed from the one that has another type now.
  defp computed_columns(command, table) when elem(command, 0) in [:modify, :modify_reference],
    do: for([name, _, _, _, _, hidden] <- table.columns, hidden in [2, 3], do: name)

  defp computed_columns(_command, _table), do: []

  defp changed_columns({kind, _, column}) when kind in [:remove, :remove_if_exists], do: [column]
  defp changed_columns({:remove, _, column, _, _}), do: [column]
  defp changed_columns({kind, _, column, _, _}) when kind in [:modify, :modify_reference], do: [column]
  defp changed_columns(_command), do: []

  @doc "Raises if up and down have not led back."
  def judge_reversed!(command, before, now) do
    assert now.foreign_keys == before.foreign_keys
    assert now.integrity == before.integrity
    assert Map.keys(now.tables) == Map.keys(before.tables)
    id = touched(command)
    # The indexes of a removed column are not what Ecto brings back.
    index_of? =
      &(match?({:remove, _, _, _, _}, command) and
          expected_change?(command, &1, elem(before.objects[&1], 0), before))

    back = Enum.reject(Map.keys(before.objects), index_of?)
    assert back -- Map.keys(now.objects) == []
    assert Map.keys(now.objects) -- Map.keys(before.objects) == []

    for {other, was} <- before.tables, other != id, elem(command, 0) not in [:rename_table, :rename_column] do
      assert now.tables[other] == was
    end

    for {other, was} <- before.tables, other != id, do: assert(now.tables[other].rows == was.rows)
    sequences = for {id, seq} <- before.sequences, not uncounted?(command, id, now), into: %{}, do: {id, seq}
    assert Map.take(now.sequences, Map.keys(sequences)) == sequences

    case command do
      {:remove, _, column, _, _} ->
        {was, is} = {before.tables[id], now.tables[id]}
        assert Enum.sort(Enum.map(is.columns, &hd/1)) == Enum.sort(Enum.map(was.columns, &hd/1))
        others = for row <- was.rows, do: Map.delete(row, column)
        assert Enum.sort(for row <- is.rows, do: Map.delete(row, column)) == Enum.sort(others)

      # What it was before is what the migration says in `from`.
      {:modify, _, column, _, _} ->
        {was, is} = {before.tables[id], now.tables[id]}
        ignored = [column | computed_columns(command, was)]
        others = for row <- was.rows, do: Map.drop(row, ignored)
        assert Enum.sort(for row <- is.rows, do: Map.drop(row, ignored)) == Enum.sort(others)

      {kind, _, _, _} when kind in [:rename_column, :rename_index] ->
        assert Map.drop(now.tables[id], [:sql]) == Map.drop(before.tables[id], [:sql])

      {:rename_table, _, _} ->
        assert Map.drop(now.tables[id], [:sql]) == Map.drop(before.tables[id], [:sql])

      _ ->
        assert now.tables[id] == before.tables[id]
        assert now.objects == before.objects
    end

    :ok
  end
end
