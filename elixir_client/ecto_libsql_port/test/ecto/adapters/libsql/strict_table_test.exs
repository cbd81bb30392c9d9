defmodule Ecto.Adapters.LibSql.StrictTableTest do
  use EctoLibSql.RepoCase

  # A value of each of Ecto's types, in a STRICT table beside an ordinary one.
  defmodule Everything do
    use Ecto.Schema

    schema "strict" do
      field(:integer, :integer)
      field(:float, :float)
      field(:boolean, :boolean)
      field(:string, :string)
      field(:binary, :binary)
      field(:decimal, :decimal)
      field(:date, :date)
      field(:time, :time)
      field(:time_usec, :time_usec)
      field(:naive_datetime, :naive_datetime)
      field(:naive_datetime_usec, :naive_datetime_usec)
      field(:utc_datetime, :utc_datetime)
      field(:utc_datetime_usec, :utc_datetime_usec)
      field(:binary_id, :binary_id)
      field(:uuid, Ecto.UUID)
      field(:map, :map)
      field(:numbers, {:map, :integer})
      field(:list, {:array, :string})
    end
  end

  @types %{uuid: :uuid, numbers: {:map, :integer}, list: {:array, :string}}

  defmodule Create do
    use Ecto.Migration

    def change do
      for {name, options} <- [
            {:strict, [strict: true]},
            {:strict_by_text, "WITHOUT ROWID, strict"},
            {:ordinary, nil}
          ] do
        create table(name, options: options) do
          :persistent_term.get(__MODULE__).()
        end
      end
    end
  end

  setup do
    import Ecto.Migration

    :persistent_term.put(Create, fn ->
      for name <- Everything.__schema__(:fields) -- [:id], do: add(name, Map.get(@types, name, name))
      add(:price, :decimal, precision: 10, scale: 2, default: Decimal.new("1.50"), null: false)
      add(:twice, :decimal, generated: "price * 2")
      add(:size, :integer, generated: "length(string)", stored: true)
      add(:noted, :integer, generated: "length(string) -- how long")
      add(:other_id, references(:strict, on_delete: :nilify_all))
    end)

    migrate(Create)
    :ok
  end

  defp row do
    now = ~U[2026-01-02 03:04:05.678901Z]

    %{
      integer: 9_007_199_254_740_993,
      float: 0.1,
      boolean: true,
      string: "12",
      binary: <<0, 255>>,
      date: ~D[2026-01-02],
      time: ~T[03:04:05],
      time_usec: ~T[03:04:05.678901],
      naive_datetime: ~N[2026-01-02 03:04:05],
      naive_datetime_usec: DateTime.to_naive(now),
      utc_datetime: DateTime.truncate(now, :second),
      utc_datetime_usec: now,
      binary_id: Ecto.UUID.generate(),
      uuid: Ecto.UUID.generate(),
      map: %{"a" => 1.5},
      numbers: %{"one" => 1},
      list: ["a", "b"]
    }
  end

  test "every type of Ecto has a column in a STRICT table, and is read as it was written" do
    inserted = TestRepo.insert!(struct!(Everything, row()))
    read = TestRepo.get!(Everything, inserted.id)
    assert Map.take(read, Map.keys(row())) == Map.take(inserted, Map.keys(row()))

    assert %{rows: [[1.5, 3.0, 2]]} = TestRepo.query!("SELECT price, twice, size FROM strict")
  end

  test "a decimal is stored and compared as in an ordinary table, and never rounded" do
    decimals =
      for text <- ~w(0 1 1.0 1.50 -0.1 0.1 100 9007199254740993 9223372036854775807 9223372036854775808
               123456789012345678901234567890.123456789 1e-30 -1e30 3.14159265358979),
          do: EctoLibSql.Properties.decimal!(text)

    for decimal <- decimals, source <- ["strict", "ordinary"] do
      %{id: id} = TestRepo.insert!(Ecto.put_meta(%Everything{decimal: decimal}, source: source))
      assert Decimal.equal?(TestRepo.get!({source, Everything}, id).decimal, decimal)
      query = from(e in {source, Everything}, where: e.id == ^id and e.decimal == ^decimal, select: count())
      assert TestRepo.one(query) == 1
    end

    [strict, ordinary] =
      for source <- ["strict", "ordinary"] do
        TestRepo.query!("SELECT typeof(decimal), quote(decimal) FROM #{source} ORDER BY decimal, id").rows
      end

    assert strict == ordinary
  end

  test "declared types" do
    types = fn table ->
      for [name, type] <- TestRepo.query!("SELECT name, type FROM pragma_table_xinfo(?)", [table]).rows,
          into: %{},
          do: {name, type}
    end

    assert types.("strict") |> Map.values() |> Enum.uniq() |> Enum.sort() == ~w(ANY BLOB INTEGER REAL TEXT)
    assert types.("strict") == types.("strict_by_text")
    assert %{"decimal" => "ANY", "price" => "ANY", "twice" => "ANY", "size" => "INTEGER"} = types.("strict")

    assert %{"decimal" => "DECIMAL", "price" => "DECIMAL(10,2)", "twice" => "DECIMAL", "size" => "INTEGER"} =
             types.("ordinary")
  end

  test "a type that STRICT does not have is refused with those that it has" do
    for type <- [:"F32_BLOB(3)", :varchar, "DATETIME"] do
      assert_raise ArgumentError,
                   ~r/STRICT table has no columns of the type .*INT, INTEGER, REAL, TEXT, BLOB, ANY/,
                   fn ->
                     Ecto.Adapters.LibSql.Connection.execute_ddl(
                       {:create, %Ecto.Migration.Table{name: :t, options: [strict: true]},
                        [{:add, :a, type, []}]}
                     )
                   end
    end
  end
end
