defmodule Ecto.Adapters.LibSql.SelectedTypesTest do
  # Expressions that Ecto knows no type for come back as what they are, not as what SQLite stores for it.
  use EctoLibSql.RepoCase

  defmodule Event do
    use Ecto.Schema

    schema "events" do
      field(:name, :string)
      field(:open, :boolean)
      field(:day, :date)
      field(:starts, :time)
      field(:at, :utc_datetime)
      field(:exact, :utc_datetime_usec)
      field(:local, :naive_datetime)
      field(:price, :decimal)
      field(:weight, :float)
      field(:meta, :map)
      field(:tags, {:array, :string})
      field(:dates, {:array, :date})
    end
  end

  @values [
    name: "e",
    open: true,
    day: ~D[2024-02-29],
    starts: ~T[10:00:00],
    at: ~U[2024-02-29 10:00:00Z],
    exact: ~U[2024-02-29 10:00:00.000001Z],
    local: ~N[1969-12-31 23:59:59],
    price: Decimal.new("12345678901234567890.25"),
    weight: 2.0,
    meta: %{"a" => [1, true]},
    tags: ["a", "[b"],
    dates: [~D[2024-02-29]]
  ]

  @fields Keyword.keys(@values)

  defmodule Events do
    use Ecto.Migration

    def change do
      create table(:events) do
        for name <- [:name], do: add(name, :string)
        add(:open, :boolean)
        add(:day, :date)
        add(:starts, :time)
        add(:at, :utc_datetime)
        add(:exact, :utc_datetime_usec)
        add(:local, :naive_datetime)
        add(:price, :decimal)
        add(:weight, :float)
        add(:meta, :map)
        add(:tags, {:array, :string})
        add(:dates, {:array, :date})
      end
    end
  end

  setup do
    migrate(Events)
    TestRepo.insert!(struct!(Event, @values))
    :ok
  end

  defp one(query), do: TestRepo.one!(query)

  # `build` is given a field's name and makes a query that selects its value.
  defp each_field(build) do
    for name <- @fields do
      expected = @values[name]
      assert {name, expected} == {name, one(build.(name))}

      assert {name, [expected]} ==
               {name, TestRepo.transaction(fn -> Enum.to_list(TestRepo.stream(build.(name))) end) |> elem(1)}
    end
  end

  test "out of a subquery that is a value" do
    each_field(fn name ->
      value = from(e in Event, select: field(e, ^name))
      from(e in Event, select: subquery(value))
    end)
  end

  test "out of coalesce" do
    each_field(fn name ->
      from(e in Event, select: coalesce(field(e, ^name), fragment("NULL")))
    end)
  end

  test "out of window functions" do
    each_field(fn name ->
      from(e in Event, select: over(first_value(field(e, ^name)), order_by: e.id))
    end)
  end

  test "out of common tables, one in another" do
    each_field(fn name ->
      inner = from(e in Event, select: %{value: field(e, ^name)})
      outer = from(i in "inner", select: %{value: i.value})

      from(o in "outer", select: o.value)
      |> with_cte("inner", as: ^inner)
      |> with_cte("outer", as: ^outer)
    end)
  end

  test "out of a union, if its parts agree" do
    each_field(fn name ->
      part = from(e in Event, select: coalesce(field(e, ^name), fragment("NULL")))
      union(part, ^part)
    end)

    dates = from(e in Event, select: coalesce(e.day, fragment("NULL")))
    assert TestRepo.all(union_all(dates, ^from(e in Event, select: fragment("5")))) == ["2024-02-29", 5]
  end

  test "under another name, distinct and returned" do
    query = from(e in Event, select: %{x: selected_as(e.price * 2, :x)}, order_by: selected_as(:x))
    assert one(query) == %{x: Decimal.new("24691357802469135780.5")}

    query = from(e in Event, distinct: e.id, select: %{p: e.price + 1, b: e.id in [1, 2]})
    assert one(query) == %{p: Decimal.new("12345678901234567891.25"), b: true}

    query = from(e in Event, select: {e.price + 1, coalesce(e.day, fragment("NULL")), e.name in ["e"]})

    assert {1, [{Decimal.new("12345678901234567891.25"), ~D[2024-02-29], true}]} ==
             TestRepo.update_all(query, set: [name: "e"])
  end

  test "conditions are booleans" do
    query =
      from(e in Event,
        select: %{
          in_list: e.name in ["e", "f"],
          in_parameter: e.name in ^["f"],
          in_array: "a" in e.tags,
          exists: exists(from(o in Event, where: o.name == "nobody", select: 1)),
          over: over(first_value(e.open), order_by: e.id),
          coalesced: coalesce(e.open, false),
          nothing: coalesce(fragment("NULL"), is_nil(e.name) and fragment("NULL"))
        }
      )

    assert one(query) == %{
             in_list: true,
             in_parameter: false,
             in_array: true,
             exists: false,
             over: true,
             coalesced: true,
             nothing: false
           }
  end

  test "the finer of two precisions, and numbers stay numbers" do
    TestRepo.update_all(Event, set: [at: nil])
    assert one(from(e in Event, select: coalesce(e.at, e.exact))) == @values[:exact]
    assert one(from(e in Event, select: {e.id + 0, coalesce(e.id, 0), fragment("1")})) == {1, 1, 1}
    assert one(from(e in Event, select: coalesce(e.weight, 0))) === 2.0
    TestRepo.update_all(Event, set: [weight: nil])
    assert one(from(e in Event, select: coalesce(e.weight, 0))) === 0.0
  end

  test "a value that is none of its type stays" do
    script("UPDATE events SET day = 'some day', tags = 'x', meta = '[', price = 'much', open = 2")

    query =
      from(e in Event,
        select:
          {coalesce(e.day, fragment("NULL")), coalesce(e.tags, fragment("NULL")),
           coalesce(e.meta, fragment("NULL")), coalesce(e.price, fragment("NULL")),
           coalesce(e.open, fragment("NULL"))}
      )

    assert one(query) == {"some day", "x", "[", "much", 2}
  end
end
