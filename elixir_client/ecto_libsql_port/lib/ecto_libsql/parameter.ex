defmodule EctoLibSql.Parameter do
  @moduledoc false
  # Elixir's values as the driver takes them, and lists as JSON. Called by the adapter for typed values and by
  # `EctoLibSql.Query` for those that come without a type. What it makes, the adapter's loaders read back.

  @app :ecto_libsql_port

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
  def encode(%Date{} = value), do: Date.to_iso8601(value)
  def encode(%Time{} = value), do: Time.to_iso8601(value)
  def encode(%Decimal{} = value), do: decimal(value)
  def encode(%module{} = value) when module == Duration, do: to_string_of(module, value)
  def encode(value) when is_map(value) and not is_struct(value), do: json(value)
  def encode(value), do: value

  # Duration came with Elixir 1.17.
  defp to_string_of(module, value), do: module.to_iso8601(value)

  @doc "A date with time, by the option `:datetime_type`."
  @spec datetime(DateTime.t() | NaiveDateTime.t()) :: String.t()
  def datetime(%module{} = value) do
    case Application.get_env(@app, :datetime_type, :iso8601) do
      :iso8601 ->
        module.to_iso8601(value)

      :text_datetime ->
        value |> NaiveDateTime.truncate(:second) |> NaiveDateTime.to_string()

      other ->
        raise ArgumentError,
              "the option :datetime_type takes :iso8601 or :text_datetime, not #{inspect(other)}"
    end
  end

  @doc "What stands between date and time."
  @spec separator() :: String.t()
  def separator do
    if Application.get_env(@app, :datetime_type, :iso8601) == :text_datetime, do: " ", else: "T"
  end

  @doc """
  A decimal: an integer or a float where that is exact, so that SQLite compares and sums it. A number of more digits than
  a float holds goes as a blob of its digits, because a NUMERIC column would round text.
  """
  @spec decimal(Decimal.t()) :: integer | float | {:blob, binary}
  def decimal(%Decimal{coef: coef} = value) when is_integer(coef) do
    with :error <- as_integer(value), :error <- as_float(value) do
      {:blob, value |> stripped() |> Decimal.to_string(:scientific)}
    end
  end

  def decimal(%Decimal{} = value) do
    raise ArgumentError, "#{Decimal.to_string(value)} cannot be stored: SQLite has no such number"
  end

  # Equal numbers must have equal digits. `Decimal.normalize/1` would round them to the precision of its context.
  defp stripped(%Decimal{coef: coef} = value) when coef != 0 and rem(coef, 10) == 0,
    do: stripped(%{value | coef: div(coef, 10), exp: value.exp + 1})

  defp stripped(value), do: value

  # Larger exponents would make an integer of as many digits before it is found too large.
  defp as_integer(value) do
    case stripped(value) do
      %Decimal{coef: 0} ->
        0

      %Decimal{sign: sign, coef: coef, exp: exp} when exp in 0..18 ->
        in_64_bits(sign * coef * Integer.pow(10, exp))

      _ ->
        :error
    end
  end

  defp in_64_bits(integer) when integer in -0x8000000000000000..0x7FFFFFFFFFFFFFFF, do: integer
  defp in_64_bits(_integer), do: :error

  defp as_float(value) do
    float = Decimal.to_float(value)
    if Decimal.equal?(Decimal.from_float(float), value), do: float, else: :error
  rescue
    # Beyond the range of floats.
    _ in [ArgumentError, Decimal.Error] -> :error
  end

  @doc "JSON text."
  @spec json(term) :: String.t()
  def json(value), do: json_library().encode!(value)

  @doc "The option `:json_library`."
  @spec json_library() :: module
  def json_library, do: Application.get_env(@app, :json_library, Jason)

  @doc """
  The values of an `in` as one JSON array. JSON has no bytes: a blob is an object with its hexadecimal digits. Raises
  `EctoLibSql.Error` for a binary that is neither a blob nor UTF-8.
  """
  @spec in_list([term]) :: String.t()
  def in_list(values), do: values |> Enum.map(&in_json/1) |> json()

  defp in_json({:blob, bytes}), do: %{blob: Base.encode16(bytes)}

  defp in_json(value) when is_binary(value) do
    cond do
      String.valid?(value) -> value
      by_content?() -> in_json({:blob, value})
      true -> raise EctoLibSql.Error, code: :invalid_parameter, message: @not_utf8
    end
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

  defp by_content? do
    case Application.get_env(@app, :untyped_binaries, :text) do
      :text ->
        false

      :text_or_blob ->
        true

      other ->
        raise ArgumentError,
              "the option :untyped_binaries takes :text or :text_or_blob, not #{inspect(other)}"
    end
  end

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
