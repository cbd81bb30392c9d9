defmodule Ecto.Adapters.LibSql.IntervalSql do
  @moduledoc false
  # `datetime_add/3`, `date_add/3` and what Ecto makes of them (`ago/2`, `from_now/2`) in SQLite's date functions. Called
  # by `ExpressionSql` with operands that are SQL already.
  #
  # SQLite computes in milliseconds and rounds the rest. So the whole seconds go through `strftime`, the fraction beside it
  # as an integer of microseconds, and both are joined as text, in the form that is stored (see `TimeSql`). `floor` makes
  # a month after 31 January the last of February, as other databases have it.

  alias EctoLibSql.TimeSql

  @seconds %{"week" => 604_800, "day" => 86_400, "hour" => 3_600, "minute" => 60, "second" => 1}
  @microseconds %{"millisecond" => 1_000, "microsecond" => 1}

  @doc "A date and `count` units, as a date."
  @spec date(iodata, iodata, String.t()) :: iodata
  def date(date, count, unit) when unit in ["year", "month"] do
    ["strftime('%Y-%m-%d', ", date, ", ", modifier(count, unit), ", 'floor')"]
  end

  def date(date, count, "week"), do: date(date, [?(, count, ") * 7"], "day")
  def date(date, count, unit), do: ["strftime('%Y-%m-%d', ", date, ", ", modifier(count, unit), ?)]

  @doc "A date with time and `count` units, as a value of the type."
  @spec datetime(iodata, iodata, String.t(), term) :: iodata
  def datetime(datetime, count, unit, type) when unit in ["year", "month"] do
    shifted(datetime, [modifier("n", unit), ", 'floor'"], "0", count, type)
  end

  def datetime(datetime, count, unit, type) when is_map_key(@seconds, unit) do
    shifted(datetime, nil, ["round((n) * ", Integer.to_string(@seconds[unit] * 1_000_000), ?)], count, type)
  end

  def datetime(datetime, count, unit, type) when is_map_key(@microseconds, unit) do
    shifted(datetime, nil, ["round((n) * ", Integer.to_string(@microseconds[unit]), ?)], count, type)
  end

  def datetime(_datetime, _count, unit, _type) do
    raise ArgumentError, "the interval #{inspect(unit)} is unknown to the libSQL adapter"
  end

  defp modifier(count, unit), do: [?(, count, ") || ' #{unit}s'"]

  # Three layers, so that each operand is written, and by the engine computed, once: d and n are the operands, u is the
  # sum of the stored fraction and the microseconds to add.
  defp shifted(datetime, modifier, micros, count, type) do
    [
      [
        "(SELECT strftime(",
        TimeSql.format(),
        ", ",
        TimeSql.instant("d"),
        ", floor(u / 1000000.0) || ' seconds'"
      ],
      if(modifier, do: [", ", modifier], else: []),
      # The remainder of a negative number is negative in SQL.
      [") || ", TimeSql.rest("(((u % 1000000) + 1000000) % 1000000)", type)],
      [" FROM (SELECT d, n, CAST(", micros, " AS INTEGER) + CAST(", TimeSql.micros("d"), " AS INTEGER) AS u"],
      [" FROM (SELECT ", datetime, " AS d, ", count, " AS n)))"]
    ]
  end
end
