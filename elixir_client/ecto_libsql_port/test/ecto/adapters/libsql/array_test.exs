defmodule Ecto.Adapters.LibSql.ArrayTest do
  use EctoLibSql.RepoCase

  defmodule Money do
    # Stored as a number of cents.
    use Ecto.Type
    defstruct [:cents]
    def type, do: :integer
    def cast(%__MODULE__{} = money), do: {:ok, money}
    def cast(_other), do: :error
    def dump(%__MODULE__{cents: cents}), do: {:ok, cents}
    def load(cents), do: {:ok, %__MODULE__{cents: cents}}
  end

  defmodule Part do
    use Ecto.Schema

    @primary_key false
    embedded_schema do
      field(:name, :string)
    end
  end

  defmodule Box do
    use Ecto.Schema

    schema "boxes" do
      field(:name, :string, source: :label)
      field(:count, :integer, source: :amount)
      field(:tags, {:array, :string}, source: :words)
      field(:flags, {:array, :boolean}, source: :switches)
      field(:objects, {:array, :map}, source: :things)
      field(:counts, {:array, {:map, :integer}})
      field(:lists, {:array, {:array, :integer}})
      field(:prices, {:array, :decimal})
      field(:times, {:array, :utc_datetime_usec})
      field(:uuids, {:array, Ecto.UUID})
      field(:ids, {:array, :binary_id})
      field(:floats, {:array, :float})
      field(:bytes, {:array, :binary})
      field(:moneys, {:array, Money})
      field(:levels, {:array, Ecto.Enum}, values: [low: 1, high: 2])
      field(:colours, {:array, Ecto.Enum}, values: [:red, :green])
      embeds_many(:parts, Part)
    end
  end

  @uuid "a3ce3f1c-9b1f-4f39-8f2c-0d4f6f0a9c11"

  setup do
    columns = for name <- Box.__schema__(:fields), name != :id, do: Box.__schema__(:field_source, name)
    script("CREATE TABLE boxes (id INTEGER PRIMARY KEY, #{Enum.join(columns, ", ")})")
    :ok
  end

  defp stored(column), do: TestRepo.query!("SELECT #{column} FROM boxes").rows |> hd() |> hd()

  defp values do
    [
      tags: ["[1]", "", "ü\""],
      flags: [true, false, nil],
      objects: [%{"a" => %{"b" => [1, nil]}}, %{}],
      counts: [%{"a" => 1}],
      lists: [[1, 2], []],
      prices: [Decimal.new("1.50"), Decimal.new("12345678901234567890.123456789"), nil],
      times: [~U[2024-02-29 23:59:59.123456Z]],
      uuids: [@uuid],
      ids: [@uuid],
      floats: [1.0, 2.5],
      bytes: ["text"],
      moneys: [%Money{cents: 5}],
      levels: [:high, :low],
      colours: [:green],
      parts: [%Part{name: "x"}]
    ]
  end

  test "each kind of element comes back as it went, through rows and queries" do
    %{id: id} = TestRepo.insert!(struct!(Box, values()))
    read = TestRepo.get!(Box, id)
    for {name, value} <- values(), do: assert(Map.fetch!(read, name) == value)

    TestRepo.update_all(Box, set: Keyword.delete(values(), :parts))
    for {name, value} <- values(), do: assert(TestRepo.one(from(b in Box, select: field(b, ^name))) == value)
  end

  test "elements are stored in the form that their type is dumped to" do
    TestRepo.insert!(struct!(Box, values()))
    assert stored("moneys") == "[5]"
    assert stored("levels") == "[2,1]"
    assert stored("colours") == ~s(["green"])
    assert stored("switches") == "[true,false,null]"
    assert stored("prices") == ~s(["1.50","12345678901234567890.123456789",null])
    assert stored("uuids") == ~s(["#{@uuid}"])
    assert stored("times") == ~s(["2024-02-29T23:59:59.123456"])
    assert stored("things") == ~s([{"a":{"b":[1,null]}},{}])
  end

  test "what ecto_sqlite3 has written is read: elements that were encoded before the array" do
    script("""
    INSERT INTO boxes (things, counts, lists, switches, prices, levels) VALUES
      ('["{\\"a\\":1}",{"b":2}]', '["{\\"a\\":1}"]', '["[1,2]",[3]]', '[1,0,true]', '["1.5",2,0.25]', '[1,2]')
    """)

    assert %Box{
             objects: [%{"a" => 1}, %{"b" => 2}],
             counts: [%{"a" => 1}],
             lists: [[1, 2], [3]],
             flags: [true, false, true],
             prices: [%Decimal{coef: 15, exp: -1}, %Decimal{coef: 2}, %Decimal{coef: 25}],
             levels: [:low, :high]
           } = TestRepo.one!(Box)
  end

  test "what is no such array is an error that names the field" do
    for {column, json} <- [
          {"things", ~s(["x"])},
          {"words", "[1]"},
          {"words", ~s({"a":1})},
          {"prices", ~s(["x"])}
        ] do
      script("DELETE FROM boxes; INSERT INTO boxes (#{column}) VALUES ('#{json}')")
      assert_raise ArgumentError, ~r/cannot load/, fn -> TestRepo.all(Box) end
    end

    assert_raise ArgumentError, ~r/not valid UTF-8/, fn -> TestRepo.insert!(%Box{bytes: [<<255>>]}) end
  end

  test "in finds an element of each kind" do
    TestRepo.insert!(struct!(Box, values()))

    for query <- [
          from(b in Box, where: ^"ü\"" in b.tags),
          from(b in Box, where: ^true in b.flags),
          from(b in Box, where: ^Decimal.new("1.5") in b.prices),
          from(b in Box, where: ^~U[2024-02-29 23:59:59.123456Z] in b.times),
          from(b in Box, where: ^@uuid in b.uuids),
          from(b in Box, where: ^%Money{cents: 5} in b.moneys),
          from(b in Box, where: ^:high in b.levels),
          from(b in Box, where: ^2.5 in b.floats)
        ] do
      assert TestRepo.aggregate(query, :count) == 1, inspect(query)
    end

    for query <- [
          from(b in Box, where: ^"x" in b.tags),
          from(b in Box, where: ^Decimal.new("1.6") in b.prices),
          from(b in Box, where: ^%Money{cents: 6} in b.moneys)
        ] do
      assert TestRepo.aggregate(query, :count) == 0, inspect(query)
    end
  end

  defp elements do
    [
      tags: "new",
      flags: true,
      objects: %{"n" => [true]},
      counts: %{"n" => 2},
      lists: [7],
      prices: Decimal.new("0.75"),
      times: ~U[2025-01-01 00:00:00.000001Z],
      uuids: "b3ce3f1c-9b1f-4f39-8f2c-0d4f6f0a9c11",
      floats: 0.5,
      moneys: %Money{cents: 9},
      levels: :low,
      colours: :red
    ]
  end

  test "push adds an element of each kind, also to no array; pull takes it away" do
    before =
      for {name, _element} <- elements(), do: {name, Enum.take(values()[name], 1) -- [elements()[name]]}

    full = TestRepo.insert!(struct!(Box, before))
    empty = TestRepo.insert!(%Box{})

    assert {2, nil} = TestRepo.update_all(Box, push: elements())

    for {name, element} <- elements() do
      assert Map.fetch!(TestRepo.get!(Box, full.id), name) == before[name] ++ [element]
      assert Map.fetch!(TestRepo.get!(Box, empty.id), name) == [element]
    end

    assert {2, nil} = TestRepo.update_all(Box, pull: elements())

    for {name, _element} <- elements() do
      assert Map.fetch!(TestRepo.get!(Box, full.id), name) == before[name]
      assert Map.fetch!(TestRepo.get!(Box, empty.id), name) == []
    end
  end

  test "pull leaves no array as it is" do
    TestRepo.insert!(%Box{})
    assert {1, nil} = TestRepo.update_all(Box, pull: [tags: "x"])
    assert %Box{tags: nil} = TestRepo.one!(Box)
  end

  test "fields whose column has another name: set, inc, push, pull, also by an upsert" do
    %{id: id} = TestRepo.insert!(%Box{name: "a", count: 1, flags: [false], objects: [], tags: ["x"]})

    pushed =
      from(b in Box, update: [set: [name: ^"b"], inc: [count: 2], push: [flags: ^true, objects: ^%{"a" => 1}]])

    TestRepo.update_all(from(b in pushed, update: [pull: [tags: ^"x"]]), [])
    row = %Box{name: "b", count: 3, flags: [false, true], objects: [%{"a" => 1}], tags: []}

    assert Map.take(TestRepo.one!(Box), ~w(name count flags objects tags)a) ==
             Map.take(row, ~w(name count flags objects tags)a)

    assert {stored("switches"), stored("things")} == {"[false,true]", ~s([{"a":1}])}

    upsert = from(b in Box, update: [inc: [count: 1], push: [flags: true]])
    TestRepo.insert!(%Box{id: id, name: "c"}, on_conflict: upsert, conflict_target: :id)
    assert %Box{name: "b", count: 4, flags: [false, true, true]} = TestRepo.one!(Box)

    TestRepo.insert!(%Box{id: id, name: "d", tags: ["y"]},
      on_conflict: {:replace, [:name, :tags]},
      conflict_target: :id
    )

    assert %Box{name: "d", count: 4, tags: ["y"]} = TestRepo.one!(Box)
  end

  test "times have the form that columns have" do
    TestSettings.put(datetime_type: :text_datetime)
    TestRepo.insert!(%Box{times: [~U[2024-02-29 23:59:59.000000Z]]})
    assert stored("times") == ~s(["2024-02-29 23:59:59"])
    assert TestRepo.exists?(from(b in Box, where: ^~U[2024-02-29 23:59:59.000000Z] in b.times))
    assert %Box{times: [~U[2024-02-29 23:59:59.000000Z]]} = TestRepo.one!(Box)
  end

  test "identifiers are text in arrays, also where columns have them as bytes" do
    TestSettings.put(uuid_type: :binary, binary_id_type: :binary)

    other = "b3ce3f1c-9b1f-4f39-8f2c-0d4f6f0a9c11"
    TestRepo.insert!(%Box{uuids: [@uuid], ids: [@uuid]})
    assert stored("uuids") == ~s(["#{@uuid}"])
    assert {1, nil} = TestRepo.update_all(Box, push: [uuids: other, ids: other])
    assert {stored("uuids"), stored("ids")} == {~s(["#{@uuid}","#{other}"]), ~s(["#{@uuid}","#{other}"])}
    assert TestRepo.exists?(from(b in Box, where: ^other in b.uuids and ^@uuid in b.ids))
    refute TestRepo.exists?(from(b in Box, where: ^Ecto.UUID.generate() in b.uuids))
    assert {1, nil} = TestRepo.update_all(Box, pull: [uuids: @uuid, ids: @uuid])
    assert %Box{uuids: [^other], ids: [^other]} = TestRepo.one!(Box)
  end

  test "bytes: text is found as such, and what JSON cannot hold is refused in words" do
    TestRepo.insert!(%Box{bytes: ["a", "ü", nil]})
    assert TestRepo.exists?(from b in Box, where: ^"ü" in b.bytes)
    refute TestRepo.exists?(from b in Box, where: ^<<255>> in b.bytes)

    assert TestRepo.exists?(
             from b in subquery(from b in Box, select: %{bytes: b.bytes}), where: ^"a" in b.bytes
           )

    TestRepo.update_all(Box, pull: [bytes: "a"])
    assert TestRepo.one(from b in Box, select: b.bytes) == ["ü", nil]

    assert_raise ArgumentError, ~r/not valid UTF-8.*encode64/, fn ->
      TestRepo.insert(%Box{bytes: [<<255>>]})
    end

    assert_raise ArgumentError, ~r/not valid UTF-8/, fn ->
      TestRepo.update_all(Box, set: [bytes: [<<255>>]])
    end

    assert_raise Ecto.QueryError, ~r/push takes no {:array, :binary}/, fn ->
      TestRepo.update_all(Box, push: [bytes: "x"])
    end

    assert_raise ArgumentError, ~r/JSON, which cannot hold it.*encode64/, fn ->
      TestRepo.insert(%Box{objects: [%{a: <<255>>}]})
    end

    assert_raise Protocol.UndefinedError, fn -> TestRepo.query("SELECT ?", [%{a: self()}]) end
  end

  test "elements of a subquery's and of a common table's array are what they are in the schema's" do
    TestRepo.insert!(%Box{bytes: ["a"], prices: [Decimal.new("1.50")], uuids: [@uuid]})
    inner = from b in Box, select: %{bytes: b.bytes, prices: b.prices, uuids: b.uuids}
    price = Decimal.new("1.5")

    for source <- [from(b in subquery(inner)), "inner" |> with_cte("inner", as: ^inner) |> from()] do
      assert TestRepo.one(from b in source, where: type(^"a", :binary) in b.bytes, select: count()) == 1
      assert TestRepo.one(from b in source, where: type(^price, :decimal) in b.prices, select: count()) == 1
      assert TestRepo.one(from b in source, where: type(^@uuid, Ecto.UUID) in b.uuids, select: count()) == 1
    end
  end

  test "an integer beyond 64 bits in a list" do
    for big <- [9_223_372_036_854_775_808, -9_223_372_036_854_775_809] do
      query = from b in Box, where: b.count in ^[1, big]
      assert %{code: :integer_out_of_range} = assert_raise(EctoLibSql.Error, fn -> TestRepo.all(query) end)
    end

    assert [] =
             TestRepo.all(
               from b in Box, where: b.count in ^[9_223_372_036_854_775_807, -9_223_372_036_854_775_808]
             )
  end
end
