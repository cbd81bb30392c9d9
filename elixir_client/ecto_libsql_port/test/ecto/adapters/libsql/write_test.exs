defmodule Ecto.Adapters.LibSql.WriteTest do
  use EctoLibSql.RepoCase

  defmodule Item do
    use Ecto.Schema

    schema "items" do
      field(:name, :string)
      field(:count, :integer)
      field(:price, :decimal)
      field(:token, :binary)
      field(:info, :map)
      field(:at, :utc_datetime_usec)
      field(:tags, {:array, :string})
      field(:flags, {:array, :boolean})
      field(:parts, {:array, :map})
      field(:lists, {:array, {:array, :integer}})
    end
  end

  setup do
    script("""
    CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT DEFAULT 'none', count INTEGER DEFAULT 7, price DECIMAL,
      token BLOB, info TEXT, at TEXT, tags TEXT,
      flags TEXT, parts TEXT, lists TEXT);
    CREATE UNIQUE INDEX items_name_index ON items (name) WHERE name <> 'none';
    """)

    :ok
  end

  test "insert_all: each row gets the defaults of what it leaves out, in order" do
    rows = [[name: "a"], [name: "b", count: 1], [count: 2], [name: "c"]]
    assert {4, returned} = TestRepo.insert_all(Item, rows, returning: [:name, :count])
    assert Enum.map(returned, &{&1.name, &1.count}) == [{"a", 7}, {"b", 1}, {"none", 2}, {"c", 7}]
  end

  test "push: an element of an array is of the kind that the others are" do
    TestRepo.insert!(%Item{tags: ["[1]"], flags: [false], parts: [%{"a" => 1}], lists: [[1]]})

    pushed = [tags: "[2]", flags: true, parts: %{"b" => [true]}, lists: [2, 3]]
    assert {1, _} = TestRepo.update_all(Item, push: pushed)

    assert %{
             tags: ["[1]", "[2]"],
             flags: [false, true],
             parts: [%{"a" => 1}, %{"b" => [true]}],
             lists: [[1], [2, 3]]
           } = TestRepo.one!(Item)
  end

  test "insert_all: all or nothing" do
    assert_raise EctoLibSql.Error, fn ->
      TestRepo.insert_all(Item, [[name: "a"], [name: "b", count: 1], [name: "a"]])
    end

    assert TestRepo.aggregate(Item, :count) == 0
  end

  test "insert_all: more values than SQLite takes in a statement, with placeholders and a conflict" do
    rows = for i <- 1..20_000, do: %{id: i, name: "n#{i}", count: {:placeholder, :c}, price: Decimal.new(i)}
    conflict = from(i in Item, where: i.count < ^100, update: [set: [count: ^5]])
    options = [placeholders: %{c: 3}, on_conflict: conflict, conflict_target: :id]
    assert {20_000, nil} = TestRepo.insert_all(Item, rows, options)
    assert {20_000, nil} = TestRepo.insert_all(Item, rows, options)
    assert TestRepo.all(from(i in Item, group_by: i.count, select: {i.count, count()})) == [{5, 20_000}]
  end

  test "insert_all: queries as values, in rows that need several statements" do
    TestRepo.insert!(%Item{name: "x", count: 41})
    query = from(i in Item, where: i.name == ^"x", select: i.count)

    assert {3, _} =
             TestRepo.insert_all(Item, [[name: "a", count: query], [name: "b"], [name: "c", count: query]])

    assert TestRepo.all(from(i in Item, where: i.name != "x", order_by: i.name, select: {i.name, i.count})) ==
             [{"a", 41}, {"b", 7}, {"c", 41}]
  end

  test "a long list behind in, bytes and numbers in it" do
    for i <- 1..3, do: TestRepo.insert!(%Item{name: "n#{i}", token: <<i, 255>>, count: i})
    ids = Enum.to_list(1..100_000)
    assert TestRepo.aggregate(from(i in Item, where: i.id in ^ids), :count) == 3
    assert TestRepo.all(from(i in Item, where: i.token in ^[<<2, 255>>, <<9>>], select: i.count)) == [2]
    # Evaluated, because Elixir 1.14 warns of a check that Ecto makes of the literal where it is compiled.
    literal = quote do: from(i in Item, where: i.token in [<<3, 255>>], select: i.count)
    assert literal |> Code.eval_quoted([], __ENV__) |> elem(0) |> TestRepo.all() == [3]
    assert TestRepo.all(from(i in Item, where: i.name in ^["n1", "\0", "é"], select: i.count)) == [1]
    assert TestRepo.all(from(i in Item, where: i.count in ^[], select: i.count)) == []
  end

  test "values come back as they went" do
    item = %Item{
      price: Decimal.new("12345678901234567890.123456789"),
      token: <<0, 255, 1>>,
      info: %{"a" => [1, nil, true, %{"b" => "ü"}]},
      at: ~U[2024-02-29 23:59:59.123456Z],
      tags: ["x", "y"]
    }

    %{id: id} = TestRepo.insert!(item)
    read = TestRepo.get!(Item, id)
    for field <- [:price, :token, :info, :at, :tags], do: assert(Map.get(read, field) == Map.get(item, field))
    assert TestRepo.exists?(from(i in Item, where: i.price == ^item.price and i.at == ^item.at))
  end

  test "JSON keeps its types when selected" do
    TestRepo.insert!(%Item{info: %{"a" => true, "n" => nil, "l" => [1, "x"], "s" => "t"}})

    assert TestRepo.one(
             from(i in Item, select: {i.info["a"], i.info["n"], i.info["l"], i.info["s"], i.info["none"]})
           ) ==
             {true, nil, [1, "x"], "t", nil}

    assert TestRepo.transaction(fn ->
             TestRepo.stream(from(i in Item, select: i.info["l"])) |> Enum.to_list()
           end) ==
             {:ok, [[1, "x"]]}
  end

  since_ecto "3.13.0" do
    test "the steps of a JSON path may be columns, of any characters, and indices" do
      info = %{"a" => 1, "q\"k" => 2, "b\\s" => 3, "it's" => 4, "" => 5}
      for key <- Map.keys(info), do: TestRepo.insert!(%Item{name: key, info: info})

      for {key, value} <- TestRepo.all(from(i in Item, select: {i.name, i.info[i.name]})),
          do: assert(info[key] == value)

      assert TestRepo.aggregate(from(i in Item, where: i.info[i.name] == ^info[""]), :count) == 1

      TestRepo.delete_all(Item)
      for index <- [0, 1, -1, 9], do: TestRepo.insert!(%Item{count: index, info: %{"l" => ["x", "y", "z"]}})
      found = from(i in Item, order_by: i.id, select: i.info["l"][i.count])
      assert TestRepo.all(found) == ["x", "y", "z", nil]
    end
  end

  test "times are added to the microsecond, and keep their form" do
    TestRepo.insert!(%Item{at: ~U[2024-01-31 23:59:59.999999Z]})
    one = fn query -> TestRepo.one(query) end

    assert one.(from(i in Item, select: datetime_add(i.at, 1, "microsecond"))) ==
             ~U[2024-02-01 00:00:00.000000Z]

    assert one.(from(i in Item, select: datetime_add(i.at, -1_000_000, "microsecond"))) ==
             ~U[2024-01-31 23:59:58.999999Z]

    assert one.(from(i in Item, select: datetime_add(i.at, 1, "month"))) == ~U[2024-02-29 23:59:59.999999Z]
    assert one.(from(i in Item, select: datetime_add(i.at, -1, "day"))) == ~U[2024-01-30 23:59:59.999999Z]
    assert TestRepo.exists?(from(i in Item, where: datetime_add(i.at, 0, "second") == i.at))
    assert TestRepo.exists?(from(i in Item, where: i.at < ago(1, "day")))
    refute TestRepo.exists?(from(i in Item, where: i.at > ago(1, "day")))
  end

  test "update and delete with joins" do
    [a, b] = for name <- ["a", "b"], do: TestRepo.insert!(%Item{name: name})
    same = from(i in Item, join: j in Item, on: j.id == i.id)

    assert {2, nil} =
             TestRepo.update_all(
               from([i, j] in same, update: [set: [name: fragment("? || '!'", j.name)]]),
               []
             )

    assert {1, [id]} = TestRepo.delete_all(from([i, j] in same, where: j.name == "a!", select: i.id))
    assert id == a.id
    assert TestRepo.all(from(i in Item, select: {i.id, i.name})) == [{b.id, "b!"}]
  end

  test "like: a backslash is a character, as for ecto_sqlite3" do
    for name <- ["100%", "1000", ~S(10\0)], do: TestRepo.insert!(%Item{name: name})
    names = fn query -> TestRepo.all(from(i in query, order_by: i.id, select: i.name)) end
    assert names.(from(i in Item, where: like(i.name, ^~S(10\%)))) == [~S(10\0)]
    assert names.(from(i in Item, where: like(i.name, ~S(10\%)))) == [~S(10\0)]
    assert names.(from(i in Item, where: fragment("? LIKE ? ESCAPE '!'", i.name, ^"100!%"))) == ["100%"]
  end

  test "the first of each group" do
    for {name, count} <- [{"a", 1}, {"b", 2}],
        do: TestRepo.insert_all(Item, [[name: name <> "1", count: count], [name: name <> "2", count: count]])

    query = from(i in Item, distinct: i.count, order_by: [desc: i.name], select: i.name)
    assert TestRepo.all(query) == ["a2", "b2"]
    assert TestRepo.all(from(s in subquery(query), select: count())) == [2]
  end

  test "query_many gives the result of each" do
    assert [%{rows: [[1]]}, %{num_rows: 1, rows: nil}, %{rows: [[1]]}] =
             TestRepo.query_many!(
               "SELECT 1; INSERT INTO items (name) VALUES (';'); SELECT count(*) FROM items"
             )

    assert {:error, %EctoLibSql.Error{code: :sql_error}} = TestRepo.query_many("SELECT 1; SELEC 2")
  end

  test "explain" do
    assert TestRepo.explain(:all, Item) =~ "SCAN"
    assert [%{"detail" => "SCAN" <> _}] = TestRepo.explain(:all, Item, format: :map)
  end

  test "what stands behind many rows of values is numbered behind them" do
    rows = for i <- 1..3, do: %{id: i, title: "t#{i}"}
    conflict = from(k in "kept", update: [set: [title: ^"again"]], where: k.id > ^1)
    script("CREATE TABLE kept (id INTEGER PRIMARY KEY, title TEXT)")
    for _ <- 1..2, do: TestRepo.insert_all("kept", rows, on_conflict: conflict, conflict_target: [:id])
    assert TestRepo.all(from(k in "kept", select: k.title, order_by: k.id)) == ["t1", "again", "again"]
  end
end
