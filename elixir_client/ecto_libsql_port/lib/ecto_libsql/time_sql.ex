defmodule EctoLibSql.TimeSql do
  @moduledoc false
  # Stored times in SQL: any form that is read, as the one that is written. Called by the adapter for `type/2`, intervals
  # and defaults, and by `NormalizeTimes`.
  #
  # The form: `2026-01-02T03:04:05`, in UTC, without a zone, and with `.123456` only where there are microseconds. Text of
  # this form sorts as the instants do and is equal where they are, whatever precision the types have (a fraction is
  # longer than none, and no zone stands behind the seconds). `:datetime_type` may put a space for the T.
  #
  # With `:utc_designator`, times of the UTC types end with a Z. Then text compares only within a type: `…05Z` sorts behind
  # `…05.000600Z`, and does not equal `…05.000000Z`. Other comparisons go by `key/1`, the form above.

  alias EctoLibSql.Parameter

  @datetimes [:naive_datetime, :naive_datetime_usec, :utc_datetime, :utc_datetime_usec]
  @times [:time, :time_usec]
  @utc [:utc_datetime, :utc_datetime_usec]
  # The forms of a zone, its length, and how SQLite reads it from a text `d`. A date alone has a sign as well.
  @zones [
    {"*:*[+-][0-9][0-9]:[0-9][0-9]", 6, &__MODULE__.zone/1},
    {"*:*[+-][0-9][0-9][0-9][0-9]", 5, &__MODULE__.packed_zone/1},
    {"*:*[+-][0-9][0-9]", 3, &__MODULE__.hours/1}
  ]
  @date "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*"

  @doc "Types whose values are stored as times."
  defguard is_time(type) when type in @datetimes or type in @times or type == :date

  @doc """
  `sql` (text in any form) as a value of the type, NULL if it is no time. An operand that is not `simple?` is written once.
  """
  @spec cast(iodata, atom, boolean) :: iodata
  def cast(sql, type, true), do: form(sql, type)
  def cast(sql, type, false), do: ["(SELECT ", form("d", type), " FROM (SELECT ", sql, " AS d))"]

  defp form(d, :date), do: ["strftime('%Y-%m-%d', ", instant(d), ?)]
  defp form(d, :time), do: ["strftime('%H:%M:%S', ", clock(d), ?)]
  defp form(d, :time_usec), do: ["(strftime('%H:%M:%S', ", clock(d), ") || ", fraction(d), ?)]
  defp form(d, type) when type in @datetimes, do: datetime(d, type, designated?(type))

  defp datetime(d, :utc_datetime, true), do: [?(, seconds(d), " || 'Z')"]
  defp datetime(d, :utc_datetime_usec, true), do: [?(, seconds(d), " || '.' || ", micros(d), " || 'Z')"]
  defp datetime(d, type, false) when type in [:naive_datetime, :utc_datetime], do: seconds(d)
  defp datetime(d, _usec, false), do: [?(, seconds(d), " || ", fraction(d), ?)]

  @doc "Whether times of the type are stored with a Z."
  @spec designated?(term) :: boolean
  def designated?(type), do: type in @utc and Parameter.designator?()

  @doc "What is behind the whole seconds of a computed time: a fraction (`always?`, or where there is one), and a Z."
  @spec rest(iodata, term) :: iodata
  def rest(micros, type) do
    printed = ["printf('.%06d', ", micros, ?)]
    some = ["CASE WHEN ", micros, " THEN ", printed, " ELSE '' END"]

    case {type, designated?(type)} do
      {:utc_datetime_usec, true} -> [printed, " || 'Z'"]
      {_type, true} -> [some, " || 'Z'"]
      {_type, false} -> some
    end
  end

  @doc "What times of different forms are compared by: neither a Z nor a fraction of zeros."
  @spec key(iodata) :: iodata
  def key(sql), do: ["replace(replace(", sql, ", '.000000', ''), 'Z', '')"]

  @doc """
  A comparison by `key/1`, where the left side is a column. The second condition follows from the first, and is one that an
  index on the column serves.
  """
  @spec range(atom, iodata, iodata) :: iodata
  def range(operator, column, value) do
    seconds = ["substr(", key(value), ", 1, 19)"]
    from = [" AND ", column, " >= ", seconds]
    to = [" AND ", column, " <= ", seconds, " || '~'"]

    case operator do
      :== -> [from, to]
      operator when operator in [:>, :>=] -> from
      operator when operator in [:<, :<=] -> to
      :!= -> []
    end
  end

  defp seconds(d), do: ["strftime(", format(), ", ", instant(d), ?)]

  @doc "The format of a date with time, without its fraction."
  @spec format() :: iodata
  def format, do: ["'%Y-%m-%d", Parameter.separator(), "%H:%M:%S'"]

  @doc """
  The whole seconds of a time and its zone: SQLite would round the fraction to milliseconds. NULL where the text does not
  begin with a date: SQLite takes `now` and numbers for times.
  """
  @spec instant(iodata) :: iodata
  def instant(d) do
    zones =
      for {form, length, zone} <- @zones do
        body = ["substr(", d, ", 1, min(19, length(", d, ") - #{length}))"]
        [" WHEN ", d, " GLOB '", form, "' THEN upper(", body, ") || ", zone.(d)]
      end

    ["CASE WHEN ", d, " NOT GLOB '#{@date}' THEN NULL", zones, " ELSE upper(substr(", d, ", 1, 19)) END"]
  end

  @doc false
  def zone(d), do: ["substr(", d, ", -6)"]
  @doc false
  def packed_zone(d), do: ["substr(", d, ", -5, 3) || ':' || substr(", d, ", -2)"]
  @doc false
  def hours(d), do: ["substr(", d, ", -3) || ':00'"]

  defp clock(d),
    do: [
      "CASE WHEN ",
      d,
      " GLOB '[0-9][0-9]:[0-9][0-9]*' THEN substr(",
      d,
      ", 1, 8) ELSE ",
      instant(d),
      " END"
    ]

  defp fraction(d) do
    micros = ["CAST(", micros(d), " AS INTEGER)"]
    ["CASE WHEN ", micros, " THEN printf('.%06d', ", micros, ") ELSE '' END"]
  end

  @doc "The six digits behind the point, as text; `000000` if there is none."
  @spec micros(iodata) :: iodata
  def micros(d) do
    # What trimming the digits at the front leaves is the zone.
    rest = ["substr(", d, ", instr(", d, ", '.') + 1)"]
    digits = ["substr(", rest, ", 1, length(", rest, ") - length(ltrim(", rest, ", '0123456789')))"]
    ["CASE WHEN instr(", d, ", '.') THEN substr(", digits, " || '000000', 1, 6) ELSE '000000' END"]
  end

  @now ~r/\A\s*\(*\s*(now\s*\(\s*\)|current_timestamp|datetime\s*\(\s*('now'(\s*,\s*'subsec(ond)?')?)?\s*\))\s*\)*\s*\z/i

  @doc """
  The expression of a column's default, where it is the present time in another form (`now()`, CURRENT_TIMESTAMP,
  `datetime('now', '+1 day')`), in the stored form. `nil` where there is nothing to change.
  """
  @spec default(String.t(), term) :: iodata | nil
  def default(expression, type) when type in @datetimes or type == :timestamp do
    cond do
      expression =~ @now ->
        present("'now'", type)

      expression =~ ~r/current_timestamp|'now'/i ->
        ["coalesce(", present(expression, type), ", ", expression, ?)]

      true ->
        nil
    end
  end

  def default(_expression, _type), do: nil

  # SQLite's clock has milliseconds.
  defp present(expression, type) when type in [:naive_datetime_usec, :utc_datetime_usec] do
    if designated?(type) do
      ["strftime('%Y-%m-%dT%H:%M:%f000Z', ", expression, ?)]
    else
      format = ["'%Y-%m-%d", Parameter.separator(), "%H:%M:%f000'"]
      ["replace(strftime(", format, ", ", expression, "), '.000000', '')"]
    end
  end

  defp present(expression, type) do
    if designated?(type),
      do: ["strftime('%Y-%m-%dT%H:%M:%SZ', ", expression, ?)],
      else: ["strftime(", format(), ", ", expression, ?)]
  end
end
