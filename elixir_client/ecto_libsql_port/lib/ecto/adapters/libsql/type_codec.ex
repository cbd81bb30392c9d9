defmodule Ecto.Adapters.LibSql.TypeCodec do
  @moduledoc false
  # Loaders and dumpers: how a value of each of Ecto's types is stored. Called by the adapter. Reading takes whatever
  # ecto_sqlite3 and ecto_libsql have written: dates with and without Z, T or a space; booleans as numbers or words.

  alias Ecto.Adapters.LibSql.{ArrayCodec, DataType}
  alias EctoLibSql.{Parameter, TimeText}

  # What SQLite takes for a time beyond ISO 8601: no seconds, small letters, a space before the zone.
  @loose ~r/\A(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(|:\d\d(?:\.\d+)?) ?([Zz]?|[+-]\d\d(?::?\d\d)?)\z/

  @doc "What makes an Ecto value of a stored one."
  def loaders(:boolean, type), do: [&load_boolean/1, type]
  def loaders(:float, type), do: [&load_float/1, type]
  def loaders(:decimal, type), do: [&load_decimal/1, type]
  def loaders(:date, type), do: [&load_date/1, type]
  def loaders(time, type) when time in [:time, :time_usec], do: [&load_time/1, type]
  def loaders(naive, type) when naive in [:naive_datetime, :naive_datetime_usec], do: [&load_naive/1, type]
  def loaders(utc, type) when utc in [:utc_datetime, :utc_datetime_usec], do: [&load_utc/1, type]
  def loaders({:map, _}, type), do: [&load_json/1, &Ecto.Type.embedded_load(type, &1, :json)]
  def loaders(:map, type), do: [&load_json/1, type]

  def loaders({:array, _}, type), do: [&load_array/1, type]
  def loaders(:duration, type), do: [&load_duration/1, type]

  def loaders(:binary_id, type) do
    case DataType.storage(:binary_id_type) do
      :string -> [type]
      :binary -> [&load_binary_id/1, type]
    end
  end

  def loaders(:uuid, type), do: [&load_uuid/1, type]

  def loaders(_primitive, type), do: [type]

  @doc "What makes a stored value of an Ecto one."
  def dumpers({:in, element}, {:in, element}), do: [&dump_in(&1, element)]
  def dumpers(:boolean, type), do: [type, &dump_boolean/1]
  def dumpers(:decimal, type), do: [type, &dump_decimal/1]
  def dumpers(:binary, type), do: [type, &dump_blob/1]

  def dumpers(naive, type) when naive in [:naive_datetime, :naive_datetime_usec], do: [type, &dump_naive/1]

  def dumpers(calendar, type)
      when calendar in [:date, :time, :time_usec, :utc_datetime, :utc_datetime_usec, :duration],
      do: [type, &dump/1]

  def dumpers({:map, _}, type), do: [&Ecto.Type.embedded_dump(type, &1, :json), &dump_json/1]
  def dumpers(:map, type), do: [type, &dump_json/1]

  def dumpers({:array, _}, {:array, _} = type), do: [&ArrayCodec.dump(&1, type), &dump_json/1]
  def dumpers({:array, _}, type), do: [type, &dump_json/1]

  def dumpers(:binary_id, type) do
    case DataType.storage(:binary_id_type) do
      :string -> [type, &dump_uuid_text/1]
      :binary -> [type, Ecto.UUID, &dump_blob/1]
    end
  end

  def dumpers(:uuid, type) do
    case DataType.storage(:uuid_type) do
      :string -> [type, &dump_uuid_text/1]
      :binary -> [type, &dump_blob/1]
    end
  end

  def dumpers(:bitstring, _type) do
    raise ArgumentError, "SQLite has no bit strings: use :binary, or :integer for up to 63 bits"
  end

  def dumpers(_primitive, type), do: [type]

  @doc "The identifier of a new row, where Elixir makes it."
  def autogenerate(:id), do: nil
  def autogenerate(:embed_id), do: Ecto.UUID.generate()

  def autogenerate(:binary_id) do
    case DataType.storage(:binary_id_type) do
      :string -> Ecto.UUID.generate()
      :binary -> Ecto.UUID.bingenerate()
    end
  end

  @doc """
  A row with the identifier that `autogenerate/1` made as a blob. Ecto puts it in as it is, past the dumpers; 16 bytes may
  be text by chance.
  """
  @spec generated_id(keyword, {atom, atom, term} | nil) :: keyword
  def generated_id(row, {_field, source, type}) do
    with {_, <<_::128>> = raw} <- List.keyfind(row, source, 0),
         :binary_id <- Ecto.Type.type(type),
         :binary <- DataType.storage(:binary_id_type) do
      List.keyreplace(row, source, 0, {source, {:blob, raw}})
    else
      _ -> row
    end
  end

  def generated_id(row, _autogenerate_id), do: row

  # --- loading --------------------------------------------------------------------------------------------------

  defp load_boolean(value) when value in [1, 1.0, "1"], do: {:ok, true}
  defp load_boolean(value) when value in [0, 0.0, "0"], do: {:ok, false}

  # The words that `type/2` reads in SQL.
  defp load_boolean(value) when is_binary(value) and byte_size(value) <= 5 do
    case String.downcase(value, :ascii) do
      word when word in ["true", "t"] -> {:ok, true}
      word when word in ["false", "f"] -> {:ok, false}
      _ -> {:ok, value}
    end
  end

  defp load_boolean(value), do: {:ok, value}

  defp load_float(value) when is_integer(value), do: {:ok, value / 1}
  # What a query computed of decimals, for a field of another type.
  defp load_float(%Decimal{coef: coef} = value) when is_integer(coef), do: {:ok, Decimal.to_float(value)}
  defp load_float(value), do: {:ok, value}

  defp load_decimal(nil), do: {:ok, nil}
  defp load_decimal(value), do: Parameter.to_decimal(value)

  # Times in every form that SQLite and other adapters write: T or a space, any precision, a zone or none, a date alone. Those
  # that are stored here are read by `TimeText`.
  defp load_date(value), do: with(:other <- TimeText.date(value), do: odd_date(value))
  defp load_time(value), do: with(:other <- TimeText.time(value), do: odd_time(value))
  defp load_naive(value), do: with(:other <- TimeText.naive(value), do: odd_naive(value))
  defp load_utc(value), do: with(:other <- TimeText.utc(value), do: odd_utc(value))

  defp odd_date(<<_::binary-size(10), separator, _::binary>> = value) when separator in [?T, ?t, ?\s] do
    with {:ok, naive} <- load_naive(value), do: {:ok, NaiveDateTime.to_date(naive)}
  end

  defp odd_date(value), do: parsed(value, &Date.from_iso8601/1)

  defp odd_time(<<_::binary-size(10), separator, _::binary>> = value) when separator in [?T, ?t, ?\s] do
    with {:ok, naive} <- load_naive(value), do: {:ok, NaiveDateTime.to_time(naive)}
  end

  defp odd_time(<<hours_and_minutes::binary-size(5)>>),
    do: parsed(hours_and_minutes <> ":00", &Time.from_iso8601/1)

  defp odd_time(value), do: parsed(value, &Time.from_iso8601/1)

  defp odd_naive(value) do
    with {:ok, %DateTime{} = datetime} <- odd_utc(value), do: {:ok, DateTime.to_naive(datetime)}
  end

  defp odd_utc(<<_::binary-size(10)>> = value), do: parsed(value <> "T00:00:00", &naive_utc/1)
  defp odd_utc(value), do: parsed(value, &any_utc/1)

  defp any_utc(text) do
    with {:error, _} = error <- iso_utc(text) do
      case Regex.run(@loose, text, capture: :all_but_first) do
        [date, minutes, seconds, zone] ->
          iso_utc("#{date}T#{minutes}#{if(seconds == "", do: ":00", else: seconds)}#{String.upcase(zone)}")

        nil ->
          error
      end
    end
  end

  defp iso_utc(text) do
    case DateTime.from_iso8601(text) do
      {:ok, datetime, _offset} -> {:ok, datetime}
      {:error, :missing_offset} -> naive_utc(text)
      error -> error
    end
  end

  defp naive_utc(text) do
    with {:ok, naive} <- NaiveDateTime.from_iso8601(text), do: DateTime.from_naive(naive, "Etc/UTC")
  end

  defp load_duration(value), do: parsed(value, &apply(Duration, :from_iso8601, [&1]))

  defp parsed(value, parse) when is_binary(value) do
    case parse.(value) do
      {:ok, _} = ok -> ok
      {:error, _} -> :error
    end
  end

  defp parsed(value, _parse), do: {:ok, value}

  defp load_json(value) when is_binary(value) do
    case Parameter.json_library().decode(value) do
      {:ok, _} = ok -> ok
      {:error, _} -> :error
    end
  end

  defp load_json(value), do: {:ok, value}

  # Applications on ecto_libsql have these.
  defp load_array(""), do: {:ok, []}
  defp load_array(value), do: load_json(value)

  # In arrays identifiers are text, whatever a column of their own holds.
  defp load_binary_id(<<_::128>> = raw), do: Ecto.UUID.load(raw)
  defp load_binary_id(value), do: {:ok, value}

  defp load_uuid(<<_::binary-size(36)>> = text), do: Ecto.UUID.dump(text)
  defp load_uuid(value), do: {:ok, value}

  # --- dumping --------------------------------------------------------------------------------------------------

  defp dump(value), do: {:ok, Parameter.encode(value)}

  # A type of the application's may dump an instant.
  defp dump_naive(%DateTime{} = value),
    do: value |> DateTime.shift_zone!("Etc/UTC") |> DateTime.to_naive() |> dump()

  defp dump_naive(value), do: dump(value)

  defp dump_boolean(true), do: {:ok, 1}
  defp dump_boolean(false), do: {:ok, 0}
  defp dump_boolean(value), do: {:ok, value}

  # NaN and the infinities are decimals that SQLite has no number for.
  defp dump_decimal(nil), do: {:ok, nil}
  defp dump_decimal(%Decimal{coef: coef}) when not is_integer(coef), do: :error
  defp dump_decimal(%Decimal{} = value), do: {:ok, Parameter.decimal(value)}

  defp dump_blob(nil), do: {:ok, nil}
  defp dump_blob({:blob, _} = blob), do: {:ok, blob}
  defp dump_blob(bytes) when is_binary(bytes), do: {:ok, {:blob, bytes}}
  defp dump_blob(_value), do: :error

  defp dump_json(nil), do: {:ok, nil}
  # Text is JSON that someone has encoded already.
  defp dump_json(value) when is_binary(value), do: {:ok, value}
  defp dump_json(value), do: {:ok, Parameter.json(value)}

  defp dump_uuid_text(<<_::128>> = raw), do: Ecto.UUID.load(raw)
  defp dump_uuid_text(value), do: {:ok, value}

  defp dump_in(values, element) do
    values
    |> Enum.reduce_while({:ok, []}, fn value, {:ok, dumped} ->
      case Ecto.Type.adapter_dump(Ecto.Adapters.LibSql, element, value) do
        {:ok, value} -> {:cont, {:ok, [Parameter.encode(value) | dumped]}}
        :error -> {:halt, :error}
      end
    end)
    |> case do
      {:ok, dumped} -> {:ok, Parameter.in_list(Enum.reverse(dumped))}
      :error -> :error
    end
  end
end
