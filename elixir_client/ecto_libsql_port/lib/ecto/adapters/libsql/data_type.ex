defmodule Ecto.Adapters.LibSql.DataType do
  @moduledoc false
  # Ecto's types as SQLite's: what a column is declared as, and what a `type/2` casts to. Called by `Ddl` and
  # `ExpressionSql`. Sizes are not declared, for SQLite heeds none; a decimal's precision is, for those who read schemas.

  @app :ecto_libsql_port

  @doc "The declared type of a column. A type that is not Ecto's is passed on in capitals, a text as it is."
  @spec column(term, keyword) :: String.t()
  def column(type, options \\ [])
  def column(type, _) when type in [:id, :integer, :bigint, :serial, :bigserial, :identity], do: "INTEGER"
  def column(:boolean, _), do: "INTEGER"
  def column(:float, _), do: "REAL"
  def column(:decimal, options), do: decimal(options[:precision], options[:scale])
  def column(:numeric, options), do: decimal(options[:precision], options[:scale])
  def column(type, _) when type in [:string, :text, :citext, :date, :time, :time_usec, :duration], do: "TEXT"

  def column(type, _)
      when type in [:utc_datetime, :utc_datetime_usec, :naive_datetime, :naive_datetime_usec, :timestamp],
      do: "TEXT"

  def column(:binary, _), do: "BLOB"
  def column(:binary_id, _), do: text_or_blob(:binary_id_type)
  def column(:uuid, _), do: text_or_blob(:uuid_type)
  def column(type, _) when type in [:map, :json, :jsonb], do: text_or_blob(:map_type)
  def column({:map, _}, _), do: text_or_blob(:map_type)
  def column(:array, _), do: text_or_blob(:array_type)
  def column({:array, _}, _), do: text_or_blob(:array_type)

  def column(:bitstring, _) do
    raise ArgumentError, "SQLite has no bit strings: use :binary, or :integer for up to 63 bits"
  end

  # Also libSQL's vectors, :"F32_BLOB(384)".
  def column(type, _) when is_atom(type), do: type |> Atom.to_string() |> String.upcase()
  def column(type, _) when is_binary(type), do: type

  def column(type, _) do
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
  def storage(option) do
    case Application.get_env(@app, option, :string) do
      value when value in [:string, :binary] ->
        value

      other ->
        raise ArgumentError, "the option #{inspect(option)} takes :string or :binary, not #{inspect(other)}"
    end
  end

  @doc "The type of a `CAST`, `nil` where a value has its form already."
  @spec cast(term) :: String.t() | nil
  def cast(type) when type in [:id, :integer, :boolean], do: "INTEGER"
  def cast(:float), do: "REAL"
  def cast(:string), do: "TEXT"
  def cast(_type), do: nil
end
