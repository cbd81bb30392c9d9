defmodule Ecto.Adapters.LibSql.FloatSql do
  @moduledoc false
  # Floats as SQL text that gives the same 64 bits back. Called by `ExpressionSql` and `ColumnSql`.
  #
  # SQLite reads a decimal text inexactly: it multiplies by powers of ten in extended precision. Where the text is so
  # near to its float that this cannot matter it is written; else the float is its mantissa times powers of two, each
  # step of which is exact.

  import Bitwise

  @step 62

  @doc "A literal, or an expression in parentheses."
  @spec literal(float) :: iodata
  def literal(float) when is_float(float) do
    text = Float.to_string(float)
    if safe?(float, text), do: text, else: scaled(float)
  end

  # The engine's error is less than 2⁻⁶³ of the value for each of at most 26 steps, a fiftieth of the distance between two
  # floats: the nearest one is found if the text is not within that of the middle between two.
  defp safe?(float, text) do
    {coefficient, exponent} = decimal(text)

    cond do
      float == 0.0 ->
        true

      abs(exponent) > 100 ->
        false

      true ->
        {mantissa, power} = parts(abs(float))
        # |c·10ᵉ − m·2ᵖ| < 0.47·2ᵖ in integers
        {left, unit} =
          if exponent >= 0, do: {coefficient * 10 ** exponent, 1}, else: {coefficient, 10 ** -exponent}

        {left, unit} = if power >= 0, do: {left, unit <<< power}, else: {left <<< -power, unit}
        power > -1074 and abs(left - mantissa * unit) * 100 < 47 * unit
    end
  end

  # `1.5e-7` as {15, -8}.
  defp decimal(text) do
    [number | exponent] = text |> String.trim_leading("-") |> String.split("e")
    [whole, fraction] = String.split(number, ".")
    fraction = String.trim_trailing(fraction, "0")
    exponent = exponent |> Enum.map(&String.to_integer/1) |> Enum.sum()
    {String.to_integer(whole <> fraction), exponent - byte_size(fraction)}
  end

  # A positive float is mantissa · 2^power.
  defp parts(float) do
    <<0::1, exponent::11, fraction::52>> = <<float::float>>
    if exponent == 0, do: {fraction, -1074}, else: {fraction ||| 1 <<< 52, exponent - 1075}
  end

  defp scaled(float) do
    {mantissa, power} = parts(abs(float))
    sign = if float < 0, do: "-", else: ""
    operator = if power < 0, do: " / ", else: " * "
    ["(CAST(", sign, Integer.to_string(mantissa), " AS REAL)", steps(abs(power), operator), ?)]
  end

  defp steps(0, _operator), do: []

  defp steps(power, operator) do
    step = min(power, @step)
    [operator, Integer.to_string(1 <<< step) | steps(power - step, operator)]
  end
end
