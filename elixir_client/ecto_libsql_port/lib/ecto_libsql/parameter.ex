defmodule EctoLibSql.Parameter do
  @moduledoc false
  # Elixir's values as the driver takes them, and lists as JSON. Called by the adapter for typed values and by
  # `EctoLibSql.Query` for those that come without a type. What it makes, the adapter's loaders read back.

  alias EctoLibSql.{Settings, TimeText}

  # Ecto takes a list of pairs for a keyword list, so a blob stands there by itself.
  @not_utf8 "a binary in the list behind `in` is not valid UTF-8; compare with a field of a schema that is of type " <>
              ":binary, or write `in [^{:blob, binary}]`"

  @doc """
  One value. Atoms become their name, calendar types text that sorts like the time it means, decimals numbers where a
  number holds them exactly, lists and maps JSON. What needs no change is passed on, the driver refuses what is no value.
  """
  @spec encode(term) :: term
  def encode(value) when is_binary(value) or is_integer(value) or is_nil(value) or is_float(value), do: value
  def encode(value) when is_list(value), do: json(value)
  def encode(:null), do: nil
  def encode(true), do: 1
  def encode(false), do: 0
  # The driver's own words for the two floats that Elixir cannot write.
  def encode(value) when value in [:infinity, :neg_infinity], do: value
  def encode(value) when is_atom(value), do: Atom.to_string(value)
  def encode(%DateTime{} = value), do: datetime(value)
  def encode(%NaiveDateTime{} = value), do: datetime(value)
  def encode(%Date{} = value), do: date(value)
  def encode(%Time{} = value), do: time(value)
  def encode(%Decimal{} = value), do: decimal(value)
  def encode(%module{} = value) when module == Duration, do: to_string_of(module, value)
  def encode(value) when is_map(value) and not is_struct(value), do: json(value)
  def encode(value), do: value

  # Duration came with Elixir 1.17.
  defp to_string_of(module, value), do: module.to_iso8601(value)

  @doc """
  A date with time as text that sorts as the instants do: UTC without a zone, `T` or a space by the option `:datetime_type`,
  microseconds only where there are some. Years of other than four digits would not sort and are refused.

  With the option `:utc_designator` a `DateTime` ends with a `Z`. Before one, a fraction sorts only beside others: all values
  of a precision other than seconds have six digits.
  """
  @spec datetime(DateTime.t() | NaiveDateTime.t()) :: String.t()
  def datetime(%DateTime{utc_offset: 0, std_offset: 0} = value) do
    if designator?(), do: value |> DateTime.to_naive() |> designated(), else: in_fields(value)
  end

  def datetime(%DateTime{} = value), do: value |> DateTime.shift_zone!("Etc/UTC") |> datetime()
  def datetime(%NaiveDateTime{} = value), do: in_fields(value)

  defp in_fields(%{microsecond: {micros, _}} = value) do
    <<separator>> = separator()

    case TimeText.from_datetime(value, separator, if(micros == 0, do: 0, else: 6)) do
      :other -> in_parts(value)
      text -> text
    end
  end

  # Of another calendar, or of a year that has no form.
  defp in_parts(%DateTime{} = value), do: value |> DateTime.to_naive() |> in_parts()

  defp in_parts(value) do
    value = NaiveDateTime.convert!(value, Calendar.ISO)
    date(NaiveDateTime.to_date(value)) <> separator() <> time(NaiveDateTime.to_time(value))
  end

  defp designated(naive) do
    %{microsecond: {micros, precision}} = naive = NaiveDateTime.convert!(naive, Calendar.ISO)
    time = %{NaiveDateTime.to_time(naive) | microsecond: {micros, if(precision == 0, do: 0, else: 6)}}
    date(NaiveDateTime.to_date(naive)) <> separator() <> Time.to_iso8601(time) <> "Z"
  end

  @doc """
  Whether a `DateTime` is stored with the `Z` of ISO 8601: the option `:utc_designator`. The other form of `:datetime_type`,
  with a space, never has one.
  """
  @spec designator?() :: boolean
  def designator?, do: Settings.get(:utc_designator) and separator() == "T"

  @doc "A date, `2026-01-02`."
  @spec date(Date.t()) :: String.t()
  def date(%Date{calendar: Calendar.ISO, year: year} = value) when year in 0..9999,
    do: with(:other <- TimeText.from_date(value), do: Date.to_iso8601(value))

  def date(%Date{calendar: Calendar.ISO} = value) do
    raise ArgumentError,
          "#{inspect(value)} cannot be stored: text of years before 0000 and after 9999 does not sort"
  end

  def date(%Date{} = value), do: value |> Date.convert!(Calendar.ISO) |> date()

  @doc "A time of day, with microseconds only where there are some."
  @spec time(Time.t()) :: String.t()
  def time(%Time{calendar: Calendar.ISO, microsecond: {micros, _}} = value) do
    digits = if micros == 0, do: 0, else: 6

    with :other <- TimeText.from_time(value, digits),
         do: Time.to_iso8601(%{value | microsecond: {micros, digits}})
  end

  def time(%Time{} = value), do: value |> Time.convert!(Calendar.ISO) |> time()

  @doc "What stands between date and time."
  @spec separator() :: String.t()
  def separator do
    case Settings.get(:datetime_type) do
      :iso8601 -> "T"
      :text_datetime -> " "
    end
  end

  # The sidecar's limits on decimals, which hold for what is stored as well.
  @digits_max 1_000
  @exponent_max 9_999

  @doc """
  A decimal in the one form in which it is stored: an integer where it is one of 64 bits, a float where it is the shortest
  decimal that gives this float, else a blob of its digits, because a NUMERIC column would round text. Equal decimals have
  equal forms. `decimal(x)` of the sidecar computes the same.
  """
  @spec decimal(Decimal.t()) :: integer | float | {:blob, binary}
  def decimal(%Decimal{coef: coef} = value) when is_integer(coef) do
    value = value |> stripped() |> within_limits()

    with :error <- as_integer(value),
         :error <- as_float(value),
         do: {:blob, Decimal.to_string(value, :scientific)}
  end

  def decimal(%Decimal{} = value) do
    raise ArgumentError, "#{Decimal.to_string(value)} cannot be stored: SQLite has no such number"
  end

  # Equal numbers must have equal digits. `Decimal.normalize/1` would round them to the precision of its context.
  defp stripped(%Decimal{coef: 0}), do: %Decimal{sign: 1, coef: 0, exp: 0}

  defp stripped(%Decimal{coef: coef} = value) when rem(coef, 10) == 0,
    do: stripped(%{value | coef: div(coef, 10), exp: value.exp + 1})

  defp stripped(value), do: value

  # Before anything writes out as many zeros as an exponent says.
  defp within_limits(%Decimal{exp: exp, coef: coef} = value) do
    digits = digits(coef)
    adjusted = exp + digits - 1

    if digits <= @digits_max and adjusted in -@exponent_max..@exponent_max do
      value
    else
      raise ArgumentError,
            "a decimal of #{digits} digits and the exponent #{adjusted} cannot be stored: it takes at most " <>
              "#{@digits_max} significant digits and an exponent between -#{@exponent_max} and #{@exponent_max}"
    end
  end

  defp digits(coef), do: coef |> Integer.to_string() |> byte_size()

  defp as_integer(%Decimal{sign: sign, coef: coef, exp: exp}) when exp in 0..18,
    do: in_64_bits(sign * coef * Integer.pow(10, exp))

  defp as_integer(_value), do: :error

  defp in_64_bits(integer) when integer in -0x8000000000000000..0x7FFFFFFFFFFFFFFF, do: integer
  defp in_64_bits(_integer), do: :error

  # The shortest text of a float has no more than 17 digits, and its exponent no more than three.
  defp as_float(%Decimal{coef: coef, exp: exp} = value)
       when exp in -400..400 and coef < 100_000_000_000_000_000 do
    float = String.to_float("#{value.sign * coef}.0e#{exp}")
    if Decimal.equal?(Decimal.from_float(float), value), do: float, else: :error
  rescue
    # Beyond the range of floats.
    ArgumentError -> :error
  end

  defp as_float(_value), do: :error

  @doc "The decimal that a stored value is."
  @spec to_decimal(term) :: {:ok, Decimal.t()} | :error
  def to_decimal(%Decimal{} = value), do: {:ok, value}
  def to_decimal(value) when is_integer(value), do: {:ok, Decimal.new(value)}
  def to_decimal(value) when is_float(value), do: {:ok, Decimal.from_float(value)}

  def to_decimal(value) when is_binary(value) do
    case parse_decimal(value) do
      {decimal, ""} -> {:ok, decimal}
      _ -> :error
    end
  end

  def to_decimal(_value), do: :error

  # Decimal 3 reads no more than 34 digits unless told to; what was stored is read whole.
  if Code.ensure_loaded?(Decimal) and function_exported?(Decimal, :parse, 2) do
    defp parse_decimal(text), do: Decimal.parse(text, max_digits: :infinity, max_exponent: :infinity)
  else
    defp parse_decimal(text), do: Decimal.parse(text)
  end

  @doc "JSON text. Raises `ArgumentError` for what JSON cannot say, such as a binary that is not valid UTF-8."
  @spec json(term) :: String.t()
  def json(value) do
    json_library().encode!(value)
  rescue
    # Says itself what to implement.
    error in Protocol.UndefinedError ->
      reraise error, __STACKTRACE__

    error ->
      reraise ArgumentError,
              [
                message:
                  "a map, embed or list is stored as JSON, which cannot hold it: #{Exception.message(error)}. Bytes are encoded " <>
                    "before (Base.encode64/1), or kept in a :binary column"
              ],
              __STACKTRACE__
  end

  @doc "The option `:json_library`."
  @spec json_library() :: module
  def json_library, do: Settings.get(:json_library)

  @doc """
  The values of an `in` as one JSON array. JSON has no bytes: a blob is an object with its hexadecimal digits. SQLite
  reads the text of a float inexactly: a float is an object with its 64 bits as an integer, and its text for an engine that cannot
  read these. Raises `EctoLibSql.Error` for
  a binary that is neither a blob nor UTF-8, and for an integer of more than 64 bits.
  """
  @spec in_list([term]) :: String.t()
  def in_list(values), do: values |> Enum.map(&in_json/1) |> json_library().encode!()

  defp in_json({:blob, bytes}), do: %{blob: Base.encode16(bytes)}

  defp in_json(value) when is_binary(value) do
    cond do
      String.valid?(value) -> value
      by_content?() -> in_json({:blob, value})
      true -> raise EctoLibSql.Error, code: :invalid_parameter, message: @not_utf8
    end
  end

  defp in_json(float) when is_float(float) do
    <<bits::signed-64>> = <<float::float>>
    %{float: bits, text: Float.to_string(float)}
  end

  # SQLite would make a float of it, which equals nothing.
  defp in_json(integer) when is_integer(integer) and integer not in -0x8000000000000000..0x7FFFFFFFFFFFFFFF do
    raise EctoLibSql.Error,
      code: :integer_out_of_range,
      message:
        "the integer #{integer} in the list behind `in` is out of range; integers go from -2^63 to 2^63-1"
  end

  defp in_json(value), do: value

  # --- binaries without a type ----------------------------------------------------------------------------------

  @doc """
  The parameters with each binary that is no UTF-8 as a blob, after the sidecar has refused them. `:error` if there is
  none, or if the option `:untyped_binaries` leaves them refused: then what is stored never depends on the bytes.
  """
  @spec untyped_as_blobs([term] | map) :: {:ok, [term] | map} | :error
  def untyped_as_blobs(params) do
    with true <- by_content?(), blobs when blobs != params <- blobs(params) do
      {:ok, blobs}
    else
      _ -> :error
    end
  end

  @doc "The parameters as `untyped_as_blobs/1` gives them, or as they are."
  @spec by_content([term]) :: [term]
  def by_content(params), do: if(by_content?(), do: blobs(params), else: params)

  defp by_content?, do: Settings.get(:untyped_binaries) == :text_or_blob

  defp blobs(params) when is_map(params), do: Map.new(params, fn {name, value} -> {name, blob(value)} end)

  defp blobs(params) do
    Enum.map(params, fn
      {name, value} when name != :blob -> {name, blob(value)}
      value -> blob(value)
    end)
  end

  defp blob(value) when is_binary(value), do: if(String.valid?(value), do: value, else: {:blob, value})
  defp blob(value), do: value
end
