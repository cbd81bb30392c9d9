defmodule Ecto.Adapters.LibSql.CastSql do
  @moduledoc false
  # `type/2` of an expression, in SQL: its value in the form in which the type is stored. Called by `ExpressionSql` with
  # operands that are SQL already. Parameters and literals do not come here: Ecto has cast those.

  alias Ecto.Adapters.LibSql.{ArraySql, DataType}
  alias EctoLibSql.TimeSql

  import TimeSql, only: [is_time: 1]

  @doc """
  `sql`, of the type `from` (`:any` if unknown), as the type `to`. A `simple?` operand (a column) may be repeated.
  """
  @spec cast(iodata, term, term, boolean) :: iodata
  def cast(sql, same, same, _simple?) when same not in [:any, :integer, :id, :boolean, :float, :string],
    do: sql

  def cast(sql, _from, time, simple?) when is_time(time), do: TimeSql.cast(sql, time, simple?)
  def cast(sql, _from, :decimal, _simple?), do: ["decimal(", sql, ?)]
  def cast(sql, :decimal, :string, _simple?), do: ["decimal_text(", sql, ?)]
  def cast(sql, :decimal, :float, _simple?), do: ["float_of_text(decimal_text(", sql, "))"]
  def cast(sql, _from, :binary, _simple?), do: ["CAST(", sql, " AS BLOB)"]

  def cast(sql, _from, :boolean, simple?) do
    once(sql, simple?, fn x ->
      [
        ["CASE lower(", x, ") WHEN 'true' THEN 1 WHEN 't' THEN 1 WHEN 'false' THEN 0 WHEN 'f' THEN 0"],
        [" ELSE CAST(", x, " AS NUMERIC) <> 0 END"]
      ]
    end)
  end

  def cast(sql, _from, id, simple?) when id in [:binary_id, :uuid] do
    option = if id == :uuid, do: :uuid_type, else: :binary_id_type

    once(sql, simple?, fn x ->
      case DataType.storage(option) do
        :string ->
          ["CASE typeof(", x, ") WHEN 'blob' THEN ", ArraySql.written_out(x), " ELSE lower(", x, ") END"]

        :binary ->
          ["CASE typeof(", x, ") WHEN 'text' THEN unhex(", x, ", '-') ELSE ", x, " END"]
      end
    end)
  end

  def cast(sql, _from, type, _simple?) do
    case DataType.cast(type) do
      nil -> sql
      sql_type -> ["CAST(", sql, " AS ", sql_type, ?)]
    end
  end

  defp once(sql, true, form), do: form.(sql)
  defp once(sql, false, form), do: ["(SELECT ", form.("x"), " FROM (SELECT ", sql, " AS x))"]
end
