defmodule EctoLibSql.ParameterTest do
  use ExUnit.Case

  alias Ecto.Adapters.LibSql.TypeCodec
  alias EctoLibSql.{Parameter, TestSettings}

  test "a decimal is a number where that is exact, else its digits" do
    for {text, stored} <- [
          {"1", 1},
          {"1.0", 1},
          {"0.1", 0.1},
          {"-12.50", -12.5},
          {"9223372036854775807", 9_223_372_036_854_775_807},
          {"9223372036854775808", {:blob, "9223372036854775808"}},
          {"12345678901234567890.123", {:blob, "12345678901234567890.123"}},
          {"1E+400", {:blob, "1E+400"}}
        ] do
      assert Parameter.decimal(Decimal.new(text)) == stored
      assert {:ok, loaded} = load(:decimal, plain(stored))
      assert Decimal.equal?(loaded, Decimal.new(text))
    end
  end

  test "atoms: switches, nothing, the two infinities, and names" do
    for {atom, stored} <- [
          {true, 1},
          {false, 0},
          {nil, nil},
          {:null, nil},
          {:infinity, :infinity},
          {:draft, "draft"}
        ] do
      assert Parameter.encode(atom) == stored
    end
  end

  test "a decimal of more digits than Decimal 3 reads by itself" do
    digits = String.duplicate("123456789", 5)
    assert {:blob, ^digits} = Parameter.decimal(%Decimal{coef: String.to_integer(digits)})
    assert {:ok, %Decimal{coef: coef, exp: 0}} = load(:decimal, digits)
    assert Integer.to_string(coef) == digits
  end

  test "lists for IN keep bytes apart from text" do
    assert Parameter.in_list([1, "a", nil, {:blob, <<0, 255>>}]) == ~s([1,"a",null,{"blob":"00FF"}])
  end

  test "what other adapters have written is read" do
    assert load(:boolean, "TRUE") == {:ok, true}
    assert load(:boolean, 0) == {:ok, false}
    assert load(:utc_datetime, "2024-01-02T03:04:05Z") == {:ok, ~U[2024-01-02 03:04:05Z]}
    assert load(:utc_datetime, "2024-01-02 03:04:05") == {:ok, ~U[2024-01-02 03:04:05Z]}
    assert load(:naive_datetime, "2024-01-02T03:04:05Z") == {:ok, ~N[2024-01-02 03:04:05]}
    assert load(:date, "2024-01-02T00:00:00") == {:ok, ~D[2024-01-02]}
    assert load(:float, 1) == {:ok, 1.0}
    assert load(:utc_datetime, "nonsense") == :error
  end

  test "maps inside arrays are encoded once" do
    assert dump({:array, :map}, [%{a: 1}]) == {:ok, ~s([{"a":1}])}
    assert load({:array, :map}, ~s([{"a":1}])) == {:ok, [%{"a" => 1}]}
  end

  test "a binary that is no text is a blob by its content only where that is asked for" do
    assert Parameter.untyped_as_blobs(["a", <<255>>]) == :error
    TestSettings.put(untyped_binaries: :text_or_blob)

    assert {:ok, ["a", {:blob, <<255>>}, 1, {:blob, "x"}]} =
             Parameter.untyped_as_blobs(["a", <<255>>, 1, {:blob, "x"}])

    assert {:ok, %{b: {:blob, <<255>>}}} = Parameter.untyped_as_blobs(%{b: <<255>>})
    assert Parameter.untyped_as_blobs(["a"]) == :error
  end

  test "bit strings are refused" do
    assert_raise ArgumentError, ~r/no bit strings/, fn -> TypeCodec.dumpers(:bitstring, :bitstring) end
  end

  defp plain({:blob, bytes}), do: bytes
  defp plain(value), do: value
  defp load(type, value), do: Ecto.Type.adapter_load(Ecto.Adapters.LibSql, type, value)
  defp dump(type, value), do: Ecto.Type.adapter_dump(Ecto.Adapters.LibSql, type, value)
end
