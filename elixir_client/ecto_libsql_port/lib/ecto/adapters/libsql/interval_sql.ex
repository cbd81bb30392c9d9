defmodule Ecto.Adapters.LibSql.IntervalSql do
  @moduledoc false
  # `datetime_add/3`, `date_add/3` and what Ecto makes of them (`ago/2`, `from_now/2`) in SQLite's date functions. Called
  # by `ExpressionSql` with operands that are SQL already.
  #
  # SQLite computes in milliseconds and rounds the rest. So the whole seconds go through `strftime`, the fraction beside it
  # as an integer of microseconds, and both are joined as text, in the form that is stored (see `TimeSql`).
  #
  # A month after 31 January is the last of February, as other databases have it. SQLite goes on into March, by as many days as the
  # month of that date counts then, which are taken back. (Its modifier `floor` does so by itself, but a server may be older than it.)

  alias EctoLibSql.TimeSql

  @seconds %{"week" => 604_800, "day" => 86_400, "hour" => 3_600, "minute" => 60, "second" => 1}
  @microseconds %{"millisecond" => 1_000, "microsecond" => 1}

  @doc "A date and `count` units, as a date."
  @spec date(iodata, iodata, String.t()) :: iodata
  def date(date, count, unit) when unit in ["year", "month"] do
    [
      ["(SELECT strftime('%Y-%m-%d', d, ", months("d", unit)],
      [") FROM (SELECT ", date, " AS d, ", count, " AS n))"]
    ]
  end

  def date(date, count, "week"), do: date(date, [?(, count, ") * 7"], "day")
  def date(date, count, unit), do: ["strftime('%Y-%m-%d', ", date, ", ", modifier(count, unit), ?)]

  @doc "A date with time and `count` units, as a value of the type."
  @spec datetime(iodata, iodata, String.t(), term) :: iodata
  def datetime(datetime, count, unit, type) when unit in ["year", "month"] do
    shifted(datetime, months(TimeSql.instant("d"), unit), "0", count, type)
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

  # Of `n` months or years after a date that is SQL of a name alone, which is computed once.
  defp months(date, unit) do
    modifier = modifier("n", unit)
    day = ["strftime('%d', ", date, ", ", modifier, ?)]
    [modifier, ", (CASE ", day, " WHEN strftime('%d', ", date, ") THEN 0 ELSE -", day, " END) || ' days'"]
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
