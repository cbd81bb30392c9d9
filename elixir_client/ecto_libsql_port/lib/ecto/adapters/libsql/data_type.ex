defmodule Ecto.Adapters.LibSql.DataType do
  @moduledoc false
  # Ecto's types as SQLite's: what a column is declared as, and what a `type/2` casts to. Called by `Ddl` and
  # `ExpressionSql`. Sizes are not declared, for SQLite heeds none; a decimal's precision is, for those who read schemas.

  alias EctoLibSql.Settings

  # https://www.sqlite.org/stricttables.html
  @strict ~w(INT INTEGER REAL TEXT BLOB ANY)

  @doc """
  Returns the declared type of a column. A type that is not Ecto's is passed on in capitals, a text as it is.

  With `strict: true`, the type that a STRICT table takes. A decimal is ANY there: numbers and digits are stored as they
  come, as in a DECIMAL column of another table. Raises `ArgumentError` for types that such a table does not have.
  """
  @spec column(term, keyword) :: String.t()
  def column(type, options \\ []) do
    declared = declared(type, options)
    if options[:strict] == true, do: strict(type, declared), else: declared
  end

  defp strict(type, _declared) when type in [:decimal, :numeric], do: "ANY"

  defp strict(type, declared) do
    if String.upcase(declared, :ascii) in @strict do
      declared
    else
      raise ArgumentError,
            "a STRICT table has no columns of the type #{declared} (#{inspect(type)}), only of #{Enum.join(@strict, ", ")}: " <>
              "use one of these or one of Ecto's types, or create the table without :strict"
    end
  end

  defp declared(type, _) when type in [:id, :integer, :bigint, :serial, :bigserial, :identity], do: "INTEGER"
  defp declared(:boolean, _), do: "INTEGER"
  defp declared(:float, _), do: "REAL"
  defp declared(:decimal, options), do: decimal(options[:precision], options[:scale])
  defp declared(:numeric, options), do: decimal(options[:precision], options[:scale])

  defp declared(type, _) when type in [:string, :text, :citext, :date, :time, :time_usec, :duration],
    do: "TEXT"

  defp declared(type, _)
       when type in [:utc_datetime, :utc_datetime_usec, :naive_datetime, :naive_datetime_usec, :timestamp],
       do: "TEXT"

  defp declared(:binary, _), do: "BLOB"
  defp declared(:binary_id, _), do: text_or_blob(:binary_id_type)
  defp declared(:uuid, _), do: text_or_blob(:uuid_type)
  defp declared(type, _) when type in [:map, :json, :jsonb], do: text_or_blob(:map_type)
  defp declared({:map, _}, _), do: text_or_blob(:map_type)
  defp declared(:array, _), do: text_or_blob(:array_type)
  defp declared({:array, _}, _), do: text_or_blob(:array_type)

  defp declared(:bitstring, _) do
    raise ArgumentError, "SQLite has no bit strings: use :binary, or :integer for up to 63 bits"
  end

  # Also libSQL's vectors, :"F32_BLOB(384)".
  defp declared(type, _) when is_atom(type), do: type |> Atom.to_string() |> String.upcase()
  defp declared(type, _) when is_binary(type), do: type

  defp declared(type, _) do
    raise ArgumentError,
          "#{inspect(type)} is no type of a column: it takes an atom, a text, {:map, type} or {:array, type}"
  end

  defp decimal(nil, _scale), do: "DECIMAL"
  defp decimal(precision, scale), do: "DECIMAL(#{precision},#{scale || 0})"

  defp text_or_blob(option) do
    case storage(option) do
      :string -> "TEXT"
      :binary -> "BLOB"
    end
  end

  @doc "How a type is stored, `:string` or `:binary`, by the option of that name."
  @spec storage(:binary_id_type | :uuid_type | :map_type | :array_type) :: :string | :binary
  def storage(option), do: Settings.get(option)

  @doc "The type of a `CAST`, `nil` where a value has its form already."
  @spec cast(term) :: String.t() | nil
  def cast(type) when type in [:id, :integer, :boolean], do: "INTEGER"
  def cast(:float), do: "REAL"
  def cast(:string), do: "TEXT"
  def cast(_type), do: nil
end
