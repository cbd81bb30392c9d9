defmodule EctoLibSql.TypesPropertyTest do
  use EctoLibSql.RepoCase

  import EctoLibSql.Properties

  @moduletag :proper
  @moduletag timeout: 180_000

  defmodule Part do
    use Ecto.Schema

    @primary_key false
    embedded_schema do
      field(:name, :string)
      field(:cost, :decimal)
      field(:at, :utc_datetime_usec)
    end
  end

  defmodule Everything do
    use Ecto.Schema

    schema "everything" do
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
      field(:enum, Ecto.Enum, values: [:red, :green])
      field(:map, :map)
      field(:map_of_integers, {:map, :integer})
      field(:strings, {:array, :string})
      field(:decimals, {:array, :decimal})
      field(:dates, {:array, :date})
      field(:maps, {:array, :map})
      field(:lists, {:array, {:array, :integer}})
      embeds_one(:part, Part)
      embeds_many(:parts, Part)
    end
  end

  defmodule CreateEverything do
    use Ecto.Migration

    def change do
      create table(:everything) do
        for name <- Everything.__schema__(:fields) -- [:id] do
          add(name, declared(Everything.__schema__(:type, name)))
        end
      end
    end

    defp declared({:parameterized, _}), do: :map
    defp declared({:parameterized, _, _}), do: :map
    defp declared(Ecto.UUID), do: :uuid
    defp declared(type), do: type
  end

  setup do
    migrate(CreateEverything)
    :ok
  end

  # The types with an order in SQL: they are looked for as well as read.
  for {name, generator} <- [
        integer: :int64,
        float: {:type, [:float]},
        boolean: {:type, [:boolean]},
        string: :text,
        binary: {:type, [:binary]},
        decimal: :decimal,
        date: :date,
        time: :time,
        time_usec: :time_usec,
        naive_datetime: :naive,
        naive_datetime_usec: :naive_usec,
        utc_datetime: :utc,
        utc_datetime_usec: :utc_usec,
        binary_id: :uuid,
        uuid: :uuid,
        enum: {:one_of, [[:red, :green]]}
      ] do
    @name name
    @generator generator

    test "#{name}: every value is read as it was written, and found by ==, in and ^" do
      check!(column(generator(@generator)), fn values ->
        ids = write(@name, values)
        read(@name, ids) |> same!(values)
        for {id, value} <- Enum.zip(ids, values), value != nil, do: found!(@name, id, value)
        true
      end)
    end
  end

  for {name, generator} <- [
        map: :json_object,
        map_of_integers: {:object, [:int64]},
        strings: {:list, [:text]},
        decimals: {:list, [:decimal]},
        dates: {:list, [:date]},
        maps: {:list, [{:object, [:scalar]}]},
        lists: {:list, [{:list, [:int64]}]}
      ] do
    @name name
    @generator generator

    test "#{name}: every value is read as it was written" do
      check!(column(generator(@generator)), fn values ->
        read(@name, write(@name, values)) |> same!(values)
      end)
    end
  end

  test "embeds are read as they were written" do
    part =
      map({text(), json_decimal(), utc_usec()}, fn {name, cost, at} ->
        %Part{name: name, cost: cost, at: at}
      end)

    check!({one_of([part, nil]), list(part)}, fn {part, parts} ->
      %{id: id} = TestRepo.insert!(%Everything{part: part, parts: parts})
      row = TestRepo.get!(Everything, id)
      same!([row.part | row.parts], [part | parts])
    end)
  end

  test "all fields of a row at once, through insert, update and get" do
    row = %{
      integer: int64(),
      string: text(),
      decimal: decimal(),
      map: json_object(),
      utc_datetime_usec: utc_usec()
    }

    fields = Map.keys(row)
    values = row |> Map.values() |> List.to_tuple()

    check!({values, values}, fn {first, second} ->
      [first, second] = for values <- [first, second], do: Enum.zip(fields, Tuple.to_list(values))
      inserted = TestRepo.insert!(struct!(Everything, first))
      same!(taken(TestRepo.get!(Everything, inserted.id), fields), Keyword.values(first))
      inserted |> Ecto.Changeset.change(second) |> TestRepo.update!()
      same!(taken(TestRepo.get!(Everything, inserted.id), fields), Keyword.values(second))
    end)
  end

  # A test's name and body are made before the functions of PropEr can be called.
  defp generator({name, arguments}), do: apply(EctoLibSql.Properties, name, Enum.map(arguments, &argument/1))
  defp generator(name), do: apply(EctoLibSql.Properties, name, [])

  defp argument(name) when name in [:float, :boolean, :binary], do: name
  defp argument(values) when is_list(values), do: values
  defp argument(generator), do: generator(generator)

  defp write(name, values) do
    for value <- values, do: TestRepo.insert!(struct!(Everything, [{name, value}])).id
  end

  defp read(name, ids) do
    rows =
      TestRepo.all(from(e in Everything, where: e.id in ^ids, select: {e.id, field(e, ^name)})) |> Map.new()

    Enum.map(ids, &Map.fetch!(rows, &1))
  end

  defp found!(name, id, value) do
    mine = from(e in Everything, where: e.id == ^id)
    found = select(mine, [e], e.id)
    assert TestRepo.all(where(found, [e], field(e, ^name) == ^value)) == [id]
    assert TestRepo.all(where(found, [e], field(e, ^name) in ^[value])) == [id]
    mine |> select([e], type(^value, field(e, ^name))) |> TestRepo.all() |> same!([value])
  end

  defp taken(row, fields), do: Enum.map(fields, &Map.fetch!(row, &1))

  defp same!(read, written) do
    assert comparable(read) == comparable(written)
    true
  end

  # Equal decimals may have different digits: 1.0 and 1.
  defp comparable(%Decimal{coef: 0}), do: {:decimal, 0}

  defp comparable(%Decimal{coef: coef} = decimal) when rem(coef, 10) == 0,
    do: comparable(%{decimal | coef: div(coef, 10), exp: decimal.exp + 1})

  defp comparable(%Decimal{sign: sign, coef: coef, exp: exp}), do: {:decimal, sign * coef, exp}
  defp comparable(%Part{} = part), do: part |> Map.take([:name, :cost, :at]) |> comparable()
  defp comparable(%_{} = struct), do: struct
  defp comparable(%{} = map), do: Map.new(map, fn {key, value} -> {key, comparable(value)} end)
  defp comparable(list) when is_list(list), do: Enum.map(list, &comparable/1)
  defp comparable(value), do: value
end
