defmodule Ecto.Adapters.LibSql.JsonSelectTest do
  # A value out of JSON is in Elixir what it is in JSON, whatever the query around it is made of.
  use EctoLibSql.RepoCase

  defmodule Doc do
    use Ecto.Schema

    schema "docs" do
      field :name, :string
      field :active, :boolean
      field :price, :decimal
      field :tags, {:array, :string}
      field :meta, :map
      belongs_to :parent, __MODULE__
      has_many :children, __MODULE__, foreign_key: :parent_id
    end
  end

  @values [
    true,
    false,
    nil,
    0,
    1,
    -7,
    9_223_372_036_854_775_807,
    123_456_789_012_345_678_901_234_567_890,
    1.0,
    0.1,
    1.0e300,
    5.0e-324,
    "",
    "text",
    "true",
    "null",
    "[1]",
    "1",
    "é \"quoted\" \\ \n",
    [],
    ["a", 1, nil, true, %{"b" => [false]}],
    %{},
    %{"nested" => %{"flag" => true, "none" => nil}}
  ]

  setup do
    script("""
    CREATE TABLE docs (id INTEGER PRIMARY KEY, name TEXT, active INTEGER, price DECIMAL, tags TEXT, meta TEXT, parent_id INTEGER);
    """)

    :ok
  end

  defp put(value),
    do: TestRepo.insert!(%Doc{name: "n", active: true, tags: ["x"], meta: %{"v" => value, "w" => [value]}})

  defp inner, do: from(d in Doc, select: %{v: d.meta["v"], id: d.id})

  # Each query selects the value once in each of its rows.
  defp ways do
    inner = inner()
    pairs = from(s in subquery(inner), select: %{v: s.v, again: s.v})

    [
      plain: from(d in Doc, select: d.meta["v"]),
      path: from(d in Doc, select: d.meta["w"][0]),
      extract: from(d in Doc, select: json_extract_path(d.meta, ["w", 0])),
      selected_as: from(d in Doc, select: selected_as(d.meta["v"], :x), order_by: selected_as(:x)),
      subquery: from(s in subquery(inner), select: s.v),
      subqueries: from(s in subquery(pairs), select: s.again),
      joined: from(d in Doc, join: s in subquery(inner), on: s.id == d.id, select: s.v),
      cte: from(c in "c", select: c.v) |> with_cte("c", as: ^inner),
      cte_of_cte:
        from(c in "b", select: c.w)
        |> with_cte("a", as: ^inner)
        |> with_cte("b", as: ^from(a in "a", select: %{w: a.v})),
      recursive:
        from(c in "c", select: c.v)
        |> recursive_ctes(true)
        |> with_cte("c",
          as:
            ^union_all(
              from(d in Doc, select: %{v: d.meta["v"], n: 1}),
              ^from(c in "c", where: c.n < 2, select: %{v: c.v, n: c.n + 1})
            )
        ),
      union: union(from(d in Doc, select: d.meta["v"]), ^from(d in Doc, select: d.meta["w"][0])),
      union_all: union_all(from(d in Doc, select: d.meta["v"]), ^from(d in Doc, select: d.meta["v"])),
      union_with_subquery:
        union(from(s in subquery(inner), select: s.v), ^from(d in Doc, select: d.meta["v"])),
      intersect: intersect(from(d in Doc, select: d.meta["v"]), ^from(d in Doc, select: d.meta["w"][0])),
      in_union: from(s in subquery(union_all(inner, ^inner)), select: s.v),
      union_ordered:
        union_all(from(d in Doc, select: %{v: d.meta["v"]}), ^from(d in Doc, select: %{v: d.meta["v"]}))
        |> order_by([d], d.meta["v"])
        |> limit(5),
      distinct: from(d in Doc, distinct: true, select: d.meta["v"]),
      distinct_on: from(d in Doc, distinct: d.id, order_by: d.name, select: d.meta["v"]),
      coalesce: from(d in Doc, select: coalesce(d.meta["none"], d.meta["v"])),
      coalesce_first: from(d in Doc, select: coalesce(d.meta["v"], nil)),
      coalesce_inner: from(s in subquery(inner), select: coalesce(s.v, nil)),
      window: from(d in Doc, select: over(first_value(d.meta["v"]), partition_by: d.id)),
      lag: from(d in Doc, select: over(lag(d.meta["none"], 1, d.meta["v"]), order_by: d.id)),
      scalar:
        from(d in Doc,
          as: :d,
          select: subquery(from(e in Doc, where: parent_as(:d).id == e.id, select: e.meta["v"]))
        ),
      parent:
        from(s in subquery(inner),
          as: :s,
          select: subquery(from(d in Doc, where: parent_as(:s).id == d.id, select: parent_as(:s).v))
        ),
      grouped: from(d in Doc, group_by: d.meta["v"], select: d.meta["v"])
    ]
  end

  defp value(%{v: value}), do: value
  defp value(value), do: value

  for value <- @values do
    test "#{inspect(value)}" do
      value = unquote(Macro.escape(value))
      put(value)

      for {way, query} <- ways() do
        assert [_ | _] = found = TestRepo.all(query)
        assert Enum.uniq(Enum.map(found, &value/1)) === [value], "#{way}: #{inspect(found)}"
        {:ok, streamed} = TestRepo.transaction(fn -> query |> TestRepo.stream() |> Enum.map(&value/1) end)
        assert Enum.uniq(streamed) === [value], "#{way}, streamed"
        # Once more, as it is cached then.
        assert TestRepo.all(query) === found
      end
    end
  end

  test "written rows" do
    for value <- @values do
      TestRepo.delete_all(Doc)
      put(value)
      assert {1, [^value]} = TestRepo.update_all(from(d in Doc, select: d.meta["v"]), set: [name: "new"])
      assert {1, [%{v: ^value}]} = TestRepo.delete_all(from(d in Doc, select: %{v: d.meta["v"]}))
    end
  end

  test "inside, a column of JSON is compared, ordered, grouped and joined by its value" do
    for value <- [true, 10, 9, "a", "b"], do: put(value)
    all = fn query -> TestRepo.all(from s in query, select: s.v) end

    assert all.(from(s in subquery(inner()), where: s.v == true)) == [true]
    assert all.(from(s in subquery(inner()), where: s.v == ^"a")) == ["a"]
    assert all.(from(s in subquery(inner()), where: s.v in ["a", "b"], order_by: [desc: s.v])) == ["b", "a"]
    assert all.(from(s in subquery(inner()), where: s.v > 1 and s.v < 11, order_by: s.v)) == [9, 10]

    assert TestRepo.all(from s in subquery(inner()), group_by: s.v, select: {s.v, count()}) |> Enum.sort() ==
             [{9, 1}, {10, 1}, {true, 1}, {"a", 1}, {"b", 1}]

    assert TestRepo.one(from s in subquery(inner()), where: s.v in [9, 10], select: sum(s.v)) == 19
    assert TestRepo.aggregate(from(s in subquery(inner()), where: s.v in [9, 10]), :max, :v) == 10

    assert TestRepo.all(
             from d in Doc,
               where: d.meta["v"] in subquery(from s in subquery(inner()), where: s.v == 9, select: s.v),
               select: d.meta["v"]
           ) == [9]

    numbers = from(d in Doc, where: d.meta["v"] in [9, 10], select: %{v: d.meta["v"]})

    assert TestRepo.all(union_all(numbers, ^numbers) |> order_by([d], desc: d.meta["v"])) |> Enum.map(& &1.v) ==
             [10, 10, 9, 9]

    named =
      from(d in Doc, where: d.meta["v"] in [9, 10], select: %{v: selected_as(d.meta["v"], :v), id: d.id})

    assert TestRepo.all(union_all(named, ^named) |> order_by([d], [selected_as(:v), d.id]))
           |> Enum.map(& &1.v) == [9, 9, 10, 10]

    assert TestRepo.all(
             from d in Doc,
               where: d.meta["v"] in [9, 10],
               select: selected_as(d.meta["v"], :x),
               order_by: selected_as(:x)
           ) == [9, 10]
  end

  test "a path goes on in a column of a subquery" do
    put([%{"a" => true}])
    assert TestRepo.all(from s in subquery(inner()), select: s.v[0]["a"]) == [true]

    assert TestRepo.all(from s in subquery(inner()), where: s.v[0]["a"] == true, select: s.v) == [
             [%{"a" => true}]
           ]
  end

  test "beside values that are no JSON" do
    put(true)
    one = from(d in Doc, select: d.meta["v"])

    for {other, found} <- [
          {from(d in Doc, select: d.id), 1},
          {from(d in Doc, select: d.name), "n"},
          {from(d in Doc, select: d.active), true},
          {from(d in Doc, select: d.tags), ["x"]},
          {from(d in Doc, select: d.meta), %{"v" => true, "w" => [true]}},
          {from(d in Doc, select: type(^false, :boolean)), false},
          {from(d in Doc, select: d.parent_id), nil},
          {from(d in Doc, select: "literal"), "literal"}
        ] do
      [%{id: id}] = TestRepo.all(Doc)
      found = if found == 1, do: id, else: found
      assert TestRepo.all(union_all(one, ^other)) == [true, found]
    end

    assert TestRepo.all(from d in Doc, select: coalesce(d.meta["none"], false)) == [false]
    assert TestRepo.all(from d in Doc, select: coalesce(d.meta["none"], d.name)) == ["n"]
    assert TestRepo.all(from d in Doc, select: coalesce(d.meta["none"], ^5)) == [5]
    assert TestRepo.all(from d in Doc, select: coalesce(d.meta["none"], type(^false, :boolean))) == [false]
  end

  test "a null of JSON is nil, and nothing to coalesce, is_nil and DISTINCT" do
    put(nil)
    TestRepo.insert!(%Doc{meta: %{}})
    assert TestRepo.all(from d in Doc, select: coalesce(d.meta["v"], "else")) == ["else", "else"]
    assert TestRepo.all(from d in Doc, distinct: true, select: d.meta["v"]) == [nil]
    assert TestRepo.aggregate(from(s in subquery(inner()), where: is_nil(s.v)), :count) == 2
    assert TestRepo.all(from d in Doc, select: coalesce(d.meta["v"], d.meta["v"])) == [nil, nil]
  end

  test "preloads and schemas" do
    parent = put(true)
    TestRepo.insert!(%Doc{parent_id: parent.id, active: false, meta: %{"v" => true}})
    children = from(d in Doc, select: %{id: d.id, parent_id: d.parent_id, v: d.meta["v"]})

    assert [%{children: [%{v: true}]}] =
             TestRepo.all(from d in Doc, where: is_nil(d.parent_id), preload: [children: ^children])

    # A CTE that is read as a schema: the fields are loaded from what JSON says.
    read =
      from(d in Doc, select: %{id: d.id, active: d.meta["v"], tags: d.meta["w"]}, where: d.id == ^parent.id)

    assert [%Doc{active: true}] =
             TestRepo.all(
               from(d in {"c", Doc}, select: struct(d, [:id, :active]))
               |> with_cte("c", as: ^read)
             )

    assert [%{active: true}] =
             TestRepo.all(from d in subquery(from d in Doc, select: %{active: d.meta["v"]}), limit: 1)
  end

  test "what is stored by a query is a value, not its JSON" do
    put("text")
    TestRepo.insert_all(Doc, from(d in Doc, select: %{name: d.meta["v"]}))
    TestRepo.insert_all(Doc, from(s in subquery(inner()), where: not is_nil(s.v), select: %{name: s.v}))
    assert TestRepo.query!("SELECT name FROM docs ORDER BY id").rows == [["n"], ["text"], ["text"]]

    TestRepo.update_all(
      from(d in Doc, join: s in subquery(inner()), on: s.id == d.id, update: [set: [name: s.v]]),
      []
    )

    assert TestRepo.query!("SELECT name FROM docs ORDER BY id").rows == [["text"], [nil], [nil]]
  end

  test "columns may have any name" do
    script("CREATE TABLE odd (ecto_json TEXT, ecto_c0 TEXT); INSERT INTO odd VALUES ('no json', '{')")
    assert TestRepo.query!("SELECT ecto_json, ecto_c0 FROM odd").rows == [["no json", "{"]]
    assert TestRepo.all(from o in "odd", select: {o.ecto_json, o.ecto_c0}) == [{"no json", "{"}]
  end

  test "a number of JSON that no float holds is its text" do
    TestRepo.query!(~S|INSERT INTO docs (meta) VALUES ('{"v": 9e999}')|)
    assert [text] = TestRepo.all(from d in Doc, select: d.meta["v"])
    assert is_binary(text)
  end
end
