defmodule EctoLibSql.ChangeLogValuesPropertyTest do
  # Whatever has made a value – a literal, a parameter, a function of JSON, whose texts have a subtype –, the log has it as the table has: keys, and
  # what was there before and is there after.
  use EctoLibSql.RepoCase

  alias EctoLibSql.{Cases, ChangeLog, Migration}

  @moduletag timeout: 120_000

  @cases 40
  @rows 12
  @columns ~w(t n r i b v)

  setup do
    script("""
    CREATE TABLE plain (id INTEGER PRIMARY KEY, t TEXT, n NUMERIC, r REAL, i INTEGER, b BLOB, v);
    CREATE TABLE keyed (k, t TEXT, n NUMERIC, r REAL, i INTEGER, b BLOB, v, PRIMARY KEY (k)) WITHOUT ROWID;
    """)

    for table <- [:plain, :keyed], do: Migration.create_change_log(table, repo: TestRepo)
    :ok
  end

  defp one(list), do: Enum.random(list)

  # An expression and its parameters.
  defp value do
    case :rand.uniform(6) do
      1 ->
        {one(
           ~w(NULL 0 -1 9223372036854775807 -9223372036854775808 0.1 -1.5e99 3e-99 'a' '' x'' x'00ff' '{"blob":"00"}' '1e999')
         ), []}

      2 ->
        {"?", [one([nil, 7, 0.1 + 0.2, number(), "ä\"\\\n", "null", {:blob, bytes()}, {:blob, "{}"}])]}

      3 ->
        {"CAST(? AS TEXT)", [{:blob, bytes()}]}

      4 ->
        {one(["json(?)", "json_quote(json(?))", "json_extract(json_array(json(?)), '$[0]')"]), [json()]}

      5 ->
        {one([
           "json_object('blob', ?)",
           "json_object('real', ?)",
           "json_array(?)",
           "json_quote(?)",
           "json_set('{}', '$.a', ?)"
         ]), [text()]}

      6 ->
        {"jsonb(?)", [json()]}
    end
  end

  # Beyond these the engine's own texts of floats differ in the last digit.
  defp number, do: (:rand.uniform() - 0.5) * :math.pow(10, one(-20..20))
  defp bytes, do: :crypto.strong_rand_bytes(one(0..6))
  defp text, do: one(["zz", "00", "", "Infinity", "\u{F0080}", "a\0b"])

  defp json do
    one([
      "null",
      "true",
      "5",
      "1e999",
      "-0.0",
      "123456789012345678901234567890",
      ~s("text"),
      ~s([1,"\\ud800"]),
      ~s({"blob":"zz"}),
      ~s({"blob":5,"a":{"a":1,"a":2}}),
      ~s({"real":"Infinity"})
    ])
  end

  defp program(seed) do
    :rand.seed(:exsss, seed)
    for _ <- 1..@rows, do: {one(["plain", "keyed"]), for(_ <- 0..length(@columns), do: value())}
  end

  defp smaller(rows), do: Stream.map(0..(length(rows) - 1)//1, &List.delete_at(rows, &1))

  defp write({"plain", [_key | values]}) do
    {expressions, params} = Enum.unzip(values)
    sql = "(#{Enum.join(@columns, ", ")}) VALUES (#{Enum.join(expressions, ", ")})"
    TestRepo.query!("INSERT INTO plain " <> sql, Enum.concat(params))

    set =
      Enum.map_join(Enum.zip(@columns, expressions), ", ", fn {column, value} -> "#{column} = #{value}" end)

    TestRepo.query!("UPDATE plain SET v = 'other'")
    TestRepo.query!("UPDATE plain SET " <> set, Enum.concat(params))
  end

  defp write({"keyed", values}) do
    {expressions, params} = Enum.unzip(values)
    # A key may be there already, or be NULL.
    TestRepo.query(
      "INSERT OR REPLACE INTO keyed VALUES (#{Enum.join(expressions, ", ")})",
      Enum.concat(params)
    )
  end

  defp stored(table) do
    [key | _] = columns = [if(table == "plain", do: "id", else: "k") | @columns]
    types = Enum.map_join(columns, ", ", &"typeof(#{&1})")
    %{rows: rows} = TestRepo.query!("SELECT #{Enum.join(columns, ", ")}, #{types} FROM #{table}")

    for row <- rows, into: %{} do
      {values, types} = Enum.split(row, length(columns))

      values =
        Enum.zip_with([columns, values, types], fn
          [column, bytes, "blob"] -> {column, {:blob, bytes}}
          [column, value, _type] -> {column, value}
        end)

      {elem(hd(values), 1), {key, Map.new(values)}}
    end
  end

  test "the log's values are the table's" do
    :ok = ChangeLog.create_consumer(TestRepo, "reader")

    Cases.check!(@cases, &program/1, &smaller/1, fn rows ->
      for table <- ["plain", "keyed"], do: TestRepo.query!("DELETE FROM #{table}")
      Enum.each(rows, &write/1)
      {:ok, changes} = ChangeLog.read(TestRepo, "reader", limit: 1_000_000)
      if changes != [], do: :ok = ChangeLog.ack(TestRepo, "reader", List.last(changes).sequence)
      assert Enum.reject(changes, &(&1.undecoded == %{})) == []

      for table <- ["plain", "keyed"], {id, {key, values}} <- stored(table) do
        last = changes |> Enum.filter(&(&1.table == table and &1.new[key] == id)) |> List.last()
        assert last.new == values
        assert last.key == %{key => id}
      end

      # What was there before is what was there after.
      for {table, key} <- [{"plain", "id"}, {"keyed", "k"}] do
        changes
        |> Enum.filter(&(&1.table == table))
        |> Enum.reduce(%{}, fn change, rows ->
          if change.old && is_map_key(rows, change.old[key]), do: assert(rows[change.old[key]] == change.old)
          if change.new, do: Map.put(rows, change.new[key], change.new), else: rows
        end)
      end
    end)
  end
end
