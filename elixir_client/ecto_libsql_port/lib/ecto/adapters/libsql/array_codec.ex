defmodule Ecto.Adapters.LibSql.ArrayCodec do
  @moduledoc false
  # Arrays as JSON. Called by `TypeCodec`. An element is stored in its type's dumped form, as in databases that have
  # arrays, but as JSON can say it: objects and lists stay such and are not encoded a second time, booleans are JSON's,
  # decimals are text, so that no digit is lost, identifiers are written out.
  #
  # Reading is left to the loaders of the element's type, which take text for objects and lists, too, and numbers for
  # booleans. ecto_sqlite3 and ecto_libsql have written such, and so does `json_insert(array, '$[#]', ?)` with a JSON text,
  # which is how Oban appends a job's errors.

  alias EctoLibSql.Parameter

  @calendar [
    :date,
    :time,
    :time_usec,
    :naive_datetime,
    :naive_datetime_usec,
    :utc_datetime,
    :utc_datetime_usec,
    :duration
  ]

  @doc "The list that is to be encoded as JSON."
  @spec dump(term, Ecto.Type.t()) :: {:ok, [term] | nil} | :error
  def dump(list, type), do: Ecto.Type.dump(type, list, &element/2)

  defp element(type, value) do
    case Ecto.Type.type(type) do
      {:map, _} ->
        Ecto.Type.embedded_dump(type, value, :json)

      primitive ->
        with {:ok, dumped} <- Ecto.Type.dump(type, value, &element/2), do: in_json(primitive, dumped)
    end
  end

  defp in_json(_primitive, nil), do: {:ok, nil}
  defp in_json(primitive, value) when primitive in @calendar, do: {:ok, Parameter.encode(value)}
  defp in_json(:decimal, %Decimal{} = value), do: {:ok, Decimal.to_string(value)}
  defp in_json(id, <<_::128>> = raw) when id in [:uuid, :binary_id], do: Ecto.UUID.load(raw)

  # JSON has no bytes.
  defp in_json(:binary, bytes) when is_binary(bytes) do
    if String.valid?(bytes) do
      {:ok, bytes}
    else
      raise ArgumentError,
            "an array is stored as JSON, which has no bytes, and #{inspect(bytes)} is not valid UTF-8: use {:array, :string} " <>
              "and encode the bytes (Base.encode64/1), or keep them in a table of their own"
    end
  end

  defp in_json(_primitive, value), do: {:ok, value}
end
