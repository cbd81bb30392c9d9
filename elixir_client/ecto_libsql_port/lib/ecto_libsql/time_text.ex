defmodule EctoLibSql.TimeText do
  @moduledoc false
  # Dates and times in the forms in which they are stored, read and written at once: `2026-01-02`, `03:04:05` with or without
  # six digits of microseconds, both with a T or a space between them, with or without a Z behind. Rows are made of these, and
  # the parsers of Elixir, which know all of ISO 8601, take several times as long.
  #
  # Whatever is in another form, or no date or time, is `:other`, for the caller to read or write with Elixir's functions.
  # Where there is an answer it is the same as theirs. Called by `Parameter` and by the adapter's loaders.

  defguardp digits(a, b) when a in ?0..?9 and b in ?0..?9
  defguardp is_time(hour, minute, second) when hour in 0..23 and minute in 0..59 and second in 0..59
  defguardp is_date(year, month, day) when year in 0..9999 and month in 1..12 and day in 1..31

  defmacrop number(a, b), do: quote(do: (unquote(a) - ?0) * 10 + unquote(b) - ?0)

  # --- reading --------------------------------------------------------------------------------------------------

  @doc "A date."
  @spec date(term) :: {:ok, Date.t()} | :other
  def date(<<y1, y2, y3, y4, ?-, m1, m2, ?-, d1, d2>>)
      when digits(y1, y2) and digits(y3, y4) and digits(m1, m2) and digits(d1, d2) do
    {year, month, day} = {number(y1, y2) * 100 + number(y3, y4), number(m1, m2), number(d1, d2)}
    if valid?(year, month, day), do: {:ok, %Date{year: year, month: month, day: day}}, else: :other
  end

  def date(_other), do: :other

  @doc "A time of day."
  @spec time(term) :: {:ok, Time.t()} | :other
  def time(<<h1, h2, ?:, i1, i2, ?:, s1, s2, rest::binary>>)
      when digits(h1, h2) and digits(i1, i2) and digits(s1, s2) do
    time(number(h1, h2), number(i1, i2), number(s1, s2), fraction(rest))
  end

  def time(_other), do: :other

  defp time(hour, minute, second, {_, _} = microsecond) when is_time(hour, minute, second),
    do: {:ok, %Time{hour: hour, minute: minute, second: second, microsecond: microsecond}}

  defp time(_hour, _minute, _second, _fraction), do: :other

  @doc "A date with time, whose zone is left out."
  @spec naive(term) :: {:ok, NaiveDateTime.t()} | :other
  def naive(text) do
    case fields(text) do
      {year, month, day, hour, minute, second, microsecond} ->
        {:ok,
         %NaiveDateTime{
           year: year,
           month: month,
           day: day,
           hour: hour,
           minute: minute,
           second: second,
           microsecond: microsecond
         }}

      :other ->
        :other
    end
  end

  @doc "A date with time of UTC."
  @spec utc(term) :: {:ok, DateTime.t()} | :other
  def utc(text) do
    case fields(text) do
      {year, month, day, hour, minute, second, microsecond} ->
        {:ok,
         %DateTime{
           year: year,
           month: month,
           day: day,
           hour: hour,
           minute: minute,
           second: second,
           microsecond: microsecond,
           time_zone: "Etc/UTC",
           zone_abbr: "UTC",
           utc_offset: 0,
           std_offset: 0
         }}

      :other ->
        :other
    end
  end

  defp fields(
         <<y1, y2, y3, y4, ?-, m1, m2, ?-, d1, d2, separator, h1, h2, ?:, i1, i2, ?:, s1, s2, rest::binary>>
       )
       when digits(y1, y2) and digits(y3, y4) and digits(m1, m2) and digits(d1, d2) and
              digits(h1, h2) and digits(i1, i2) and digits(s1, s2) and separator in [?T, ?\s] do
    {year, month, day} = {number(y1, y2) * 100 + number(y3, y4), number(m1, m2), number(d1, d2)}
    {hour, minute, second} = {number(h1, h2), number(i1, i2), number(s1, s2)}

    with {_, _} = microsecond <- without_zone(rest),
         true <- is_time(hour, minute, second) and valid?(year, month, day) do
      {year, month, day, hour, minute, second, microsecond}
    else
      _ -> :other
    end
  end

  defp fields(_other), do: :other

  defp valid?(year, month, day),
    do: is_date(year, month, day) and (day <= 28 or day <= Calendar.ISO.days_in_month(year, month))

  defp without_zone("Z"), do: {0, 0}
  defp without_zone(<<fraction::binary-size(7), "Z">>), do: fraction(fraction)
  defp without_zone(rest), do: fraction(rest)

  defp fraction(""), do: {0, 0}

  defp fraction(<<?., a, b, c, d, e, f>>) when digits(a, b) and digits(c, d) and digits(e, f),
    do: {(number(a, b) * 100 + number(c, d)) * 100 + number(e, f), 6}

  defp fraction(_other), do: :other

  # --- writing --------------------------------------------------------------------------------------------------

  # Two digits, as an integer of 16 bits.
  defmacrop two(number), do: quote(do: div(unquote(number), 10) * 256 + rem(unquote(number), 10) + 0x3030)

  @doc "The text of a date."
  @spec from_date(Calendar.date()) :: String.t() | :other
  def from_date(%{calendar: Calendar.ISO, year: year, month: month, day: day})
      when is_date(year, month, day) do
    <<two(div(year, 100))::16, two(rem(year, 100))::16, ?-, two(month)::16, ?-, two(day)::16>>
  end

  def from_date(_other), do: :other

  @doc "The text of a time of day, with six digits of microseconds or none."
  @spec from_time(Calendar.time(), 0 | 6) :: String.t() | :other
  def from_time(%{calendar: Calendar.ISO, hour: hour, minute: minute, second: second}, 0)
      when is_time(hour, minute, second) do
    <<two(hour)::16, ?:, two(minute)::16, ?:, two(second)::16>>
  end

  def from_time(%{calendar: Calendar.ISO, hour: hour, minute: minute, second: second} = time, 6)
      when is_time(hour, minute, second) do
    case time.microsecond do
      {micros, _precision} when micros in 0..999_999 ->
        rest = rem(micros, 10_000)

        <<two(hour)::16, ?:, two(minute)::16, ?:, two(second)::16, ?., two(div(micros, 10_000))::16,
          two(div(rest, 100))::16, two(rem(rest, 100))::16>>

      _other ->
        :other
    end
  end

  def from_time(_other, _digits), do: :other

  @doc "The text of a date with time, with this byte between them. Its fields are written as they are, whatever its zone."
  @spec from_datetime(Calendar.datetime() | Calendar.naive_datetime(), byte, 0 | 6) :: String.t() | :other
  def from_datetime(%{calendar: Calendar.ISO, year: year, month: month, day: day} = value, separator, digits)
      when is_date(year, month, day) do
    case from_time(value, digits) do
      :other ->
        :other

      # Not `<>`, nor a binary in front: what grows at its end is made to grow further, at three times the price.
      time ->
        <<two(div(year, 100))::16, two(rem(year, 100))::16, ?-, two(month)::16, ?-, two(day)::16, separator,
          time::binary>>
    end
  end

  def from_datetime(_other, _separator, _digits), do: :other
end
