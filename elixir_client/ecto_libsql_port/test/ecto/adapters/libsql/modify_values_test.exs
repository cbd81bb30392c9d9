defmodule Ecto.Adapters.LibSql.ModifyValuesTest do
  # What becomes of values when the type of their column changes: each means afterwards what it meant before, to the last
  # digit, or the command is refused and nothing has changed.
  use EctoLibSql.RepoCase

  alias Ecto.Migration.Table
  alias EctoLibSql.MigrationError

  @types [:integer, :float, :decimal, :string, :binary, :DATETIME]
  @declared ["INTEGER", "REAL", "DECIMAL", "TEXT", "BLOB", "", "DATETIME"]

  @values [
    0,
    1,
    -9_223_372_036_854_775_808,
    9_223_372_036_854_775_807,
    9_007_199_254_740_993,
    0.1,
    0.1 + 0.2,
    1.0,
    1.5,
    -2.5e-7,
    9_007_199_254_740_992.0,
    9.3e18,
    1.0e300,
    5.0e-324,
    "",
    "007",
    " 12 ",
    "abc",
    "1.50",
    "5.",
    "+3",
    "1e3",
    "1e400",
    "1e-400",
    "0x10",
    "0.30000000000000004",
    "0.1000000000000000055511",
    "0.12345678901234567890",
    "12345678901234567890",
    "9007199254740993.0",
    "2026-01-02",
    "20260102",
    {:blob, ""},
    {:blob, <<0, 255>>},
    {:blob, "12345678901234567890.5"}
  ]

  setup do
    {:ok, meta: Ecto.Adapter.lookup_meta(TestRepo)}
  end

  @strict ~w(INTEGER REAL TEXT BLOB)
  @tables Enum.map(@declared, &{&1, ""}) ++ Enum.map(@strict, &{&1, "STRICT"})

  for {declared, options} <- @tables do
    test "values of a column that is #{inspect(declared)} #{options} keep their meaning", %{meta: meta} do
      for type <- @types do
        created(unquote(declared), unquote(options), nil)

        for {value, id} <- Enum.with_index(@values, 2),
            do: TestRepo.query("INSERT INTO v VALUES (?, ?)", [id, value])

        modified!(meta, type, contents())
      end
    end
  end

  defp created(declared, options, value) do
    TestRepo.query!("DROP TABLE IF EXISTS v")
    TestRepo.query!("CREATE TABLE v (id INTEGER PRIMARY KEY, x #{declared}) #{options}")
    TestRepo.query!("INSERT INTO v VALUES (1, ?)", [value])
  end

  # Rows that are refused are deleted until the rest is taken.
  defp modified!(meta, type, before) do
    modify(meta, type)

    for {id, now} <- contents() do
      assert Enum.any?(meanings(now), &(&1 in meanings(before[id]))), inspect({type, before[id], now})
    end
  rescue
    error in MigrationError ->
      assert error.code == :rows
      assert contents() == before
      refused = if error.sample == [], do: no_digits(before), else: for([{"id", id}] <- error.sample, do: id)
      assert refused != []
      for id <- refused, do: TestRepo.query!("DELETE FROM v WHERE id = ?", [id])
      modified!(meta, type, contents())

    # A type that a STRICT table does not have.
    error in ArgumentError ->
      assert error.message =~ "STRICT"
  end

  # The engine names no row when it writes the digits of what is no number.
  defp no_digits(contents) do
    for {id, [type, value]} <- contents,
        value == :infinity or (type == "blob" and match?([{"blob", _}], meanings([type, value]))),
        do: id
  end

  defp modify(meta, type, options \\ []) do
    command = {:alter, %Table{name: :v}, [{:modify, :x, type, options}]}
    assert Ecto.Adapters.LibSql.execute_ddl(meta, command, []) == {:ok, []}
  end

  defp contents do
    for [id, type, value] <- rows("SELECT id, typeof(x), x FROM v"), into: %{}, do: {id, [type, value]}
  end

  # A number, however it is stored, is its digits. Those of a float are all of the number, or the fewest that give it.
  defp meanings(["null", nil]), do: [nil]
  defp meanings(["integer", value]), do: [number(Decimal.new(value))]
  defp meanings(["real", :infinity]), do: [{"text", "Inf"}]

  defp meanings(["real", value]) do
    exact =
      if trunc(value) == value and abs(value) < 1.0e19, do: [number(Decimal.new(trunc(value)))], else: []

    [number(Decimal.from_float(value)) | exact]
  end

  defp meanings([type, value]) do
    digits = if String.valid?(value), do: value |> String.trim() |> String.trim_trailing("."), else: ""

    case parsed(digits) do
      {%Decimal{coef: coef} = number, ""} when is_integer(coef) -> [number(number)]
      _ -> [{type, value}]
    end
  end

  # Decimal 3 reads 34 digits unless it is told otherwise.
  defp parsed(digits) do
    if function_exported?(Decimal, :parse, 2),
      do: apply(Decimal, :parse, [digits, [max_digits: :infinity, max_exponent: :infinity]]),
      else: Decimal.parse(digits)
  end

  defp number(%Decimal{coef: coef} = number) when rem(coef, 10) == 0 and coef != 0,
    do: number(%{number | coef: div(coef, 10), exp: number.exp + 1})

  defp number(%Decimal{coef: 0}), do: 0
  defp number(number), do: number

  test "digits beyond a float are kept in decimals and texts", %{meta: meta} do
    for {declared, type, value, expected} <- [
          {"TEXT", :decimal, "0.12345678901234567890", ["blob", "0.1234567890123456789"]},
          {"TEXT", :decimal, "0.10", ["real", 0.1]},
          {"DECIMAL", :string, {:blob, "12345678901234567890.5"}, ["text", "12345678901234567890.5"]},
          {"DECIMAL", :string, 1.0e-7, ["text", "0.0000001"]},
          {"REAL", :string, 0.1 + 0.2, ["text", "0.30000000000000004"]},
          {"TEXT", :float, "0.30000000000000004", ["real", 0.1 + 0.2]}
        ] do
      created(declared, "", value)
      modify(meta, type)
      assert rows("SELECT typeof(x), x FROM v") == [expected]
    end
  end

  test "rows that would be rounded are counted and named", %{meta: meta} do
    created("INTEGER", "", 9_007_199_254_740_993)
    error = assert_raise MigrationError, fn -> modify(meta, :float) end
    assert %{code: :rows, count: 1, sample: [[{"id", 1}]]} = error
    assert rows("SELECT x FROM v") == [[9_007_199_254_740_993]]
  end

  test "a row without a key is given none", %{meta: meta} do
    for {declared, options} <- [{"INT PRIMARY KEY", []}, {"INTEGER", [primary_key: true]}] do
      TestRepo.query!("DROP TABLE IF EXISTS v")
      TestRepo.query!("CREATE TABLE v (x #{declared}, a)")
      TestRepo.query!("INSERT INTO v VALUES (NULL, 'a'), (5, 'b')")

      error = assert_raise MigrationError, fn -> modify(meta, :integer, options) end
      assert error.code == :rows and error.message =~ "has no x, which is to be the primary key"
      assert rows("SELECT x, a FROM v") == [[nil, "a"], [5, "b"]]
    end
  end

  defp rows(sql), do: TestRepo.query!(sql).rows
end
