defmodule Ecto.Adapters.LibSql.FloatTest do
  use EctoLibSql.RepoCase

  import EctoLibSql.Properties, only: [check!: 2, list: 1, map: 2, range: 1, one_of: 1]

  alias Ecto.Adapters.LibSql.FloatSql

  defmodule Point do
    use Ecto.Schema

    schema "points" do
      field(:x, :float)
      field(:xs, {:array, :float})
      field(:meta, :map)

      embeds_one :part, Part, primary_key: false do
        field(:y, :float)
      end
    end
  end

  defmodule CreatePoints do
    use Ecto.Migration

    def change do
      create table(:points) do
        add(:x, :float)
        add(:xs, {:array, :float})
        add(:meta, :map)
        add(:part, :map)
      end
    end
  end

  @edges [0.0, 1.0, 2.0, -2.0, 0.1, 5.0e-324, 2.2250738585072014e-308, 2.225073858507201e-308] ++
           [1.7976931348623157e308, 1.0e308, 1.0e22, 1.0e23, 9_007_199_254_740_993.0, 4.35, 2.8e-287, 1.0e-7]

  setup do
    migrate(CreatePoints)
    :ok
  end

  defp bits(nil), do: nil
  defp bits(float) when is_float(float), do: <<float::float>>

  # Every pattern of 64 bits that is a number.
  defp float do
    map(one_of([range({-0x8000000000000000, 0x7FFFFFFFFFFFFFFF}), one_of(@edges)]), fn
      float when is_float(float) ->
        float

      bits ->
        case <<bits::64>> do
          <<float::float>> -> float
          # An infinity or NaN.
          _ -> 0.0
        end
    end)
  end

  defp survives!(floats) do
    literals = Enum.map_intersperse(floats, ", ", &FloatSql.literal/1)
    %{rows: [row]} = TestRepo.query!(["SELECT ", literals])
    assert Enum.map(row, &bits/1) == Enum.map(floats, &bits/1)

    TestRepo.query!("DROP TABLE IF EXISTS defaults")
    columns = for {x, i} <- Enum.with_index(floats), do: ["c#{i} REAL DEFAULT ", FloatSql.literal(x)]
    TestRepo.query!(["CREATE TABLE defaults (", Enum.intersperse(columns, ", "), ?)])
    TestRepo.query!("INSERT INTO defaults DEFAULT VALUES")
    %{rows: [row]} = TestRepo.query!("SELECT * FROM defaults")
    assert Enum.map(row, &bits/1) == Enum.map(floats, &stored_bits/1)

    TestRepo.delete_all(Point)
    for x <- floats, do: TestRepo.insert!(%Point{x: x, xs: [x], meta: %{"x" => x}, part: %Point.Part{y: x}})
    points = TestRepo.all(from(p in Point, order_by: p.id))
    assert Enum.map(points, &bits(&1.x)) == Enum.map(floats, &stored_bits/1)

    for path <- [& &1.xs, &[&1.meta["x"]], &[&1.part.y]],
        do: assert(Enum.map(points, &bits(hd(path.(&1)))) == Enum.map(floats, &bits/1))

    for x <- floats do
      assert TestRepo.exists?(from(p in Point, where: p.x == ^x))
      assert TestRepo.exists?(from(p in Point, where: p.x in ^[x]))
      assert TestRepo.exists?(from(p in Point, where: ^x in p.xs))
      assert [y] = TestRepo.all(from(p in Point, limit: 1, select: type(^x, :float)))
      assert bits(y) == bits(x)
    end

    assert TestRepo.aggregate(from(p in Point, where: p.x in ^floats), :count) == length(floats)

    # What is pushed and pulled leaves the others as they are.
    TestRepo.delete_all(Point)
    TestRepo.insert!(%Point{xs: []})
    for x <- floats, do: TestRepo.update_all(Point, push: [xs: x])
    assert Enum.map(TestRepo.one!(Point).xs, &bits/1) == Enum.map(floats, &bits/1)
    TestRepo.update_all(Point, pull: [xs: hd(floats)])
    assert Enum.map(TestRepo.one!(Point).xs, &bits/1) == for(x <- floats, x != hd(floats), do: bits(x))
  end

  # SQLite stores a REAL of an integer as an integer: a column holds no negative zero.
  defp stored_bits(x) when x == 0.0, do: bits(0.0)
  defp stored_bits(x), do: bits(x)

  test "edges" do
    survives!(@edges)
    %{rows: [[zero]]} = TestRepo.query!(["SELECT ", FloatSql.literal(-0.0)])
    assert zero == 0.0
  end

  test "an integral float stays a float" do
    TestRepo.insert!(%Point{x: 2.0, xs: [2.0], meta: %{"x" => 2.0}})
    assert %Point{x: 2.0, xs: [2.0], meta: %{"x" => 2.0}} = TestRepo.one!(Point)
    assert [[2.0, 2.0]] = TestRepo.all(from(p in Point, select: [type(^2.0, :float), type(^2, :float)]))
    assert TestRepo.query!("SELECT typeof(?)", [2.0]).rows == [["real"]]
  end

  test "the infinities are no floats of Ecto's" do
    for x <- [:infinity, :nan], do: assert_raise(Ecto.ChangeError, fn -> TestRepo.insert!(%Point{x: x}) end)
    assert_raise Ecto.Query.CastError, fn -> TestRepo.all(from(p in Point, where: p.x == ^:infinity)) end
  end

  @tag :proper
  @tag timeout: 180_000
  test "any 64 bits come back, from literals, defaults, columns, lists, arrays, maps and embeds" do
    check!(list(float()), fn floats ->
      if floats != [], do: survives!(Enum.take(floats, 20))
      true
    end)
  end
end
