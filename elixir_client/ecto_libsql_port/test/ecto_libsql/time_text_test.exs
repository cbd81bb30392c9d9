defmodule EctoLibSql.TimeTextTest do
  # Its answers are those of Elixir's own functions, or none.
  use ExUnit.Case, async: true

  alias Ecto.Adapters.LibSql.TypeCodec
  alias EctoLibSql.{Cases, Parameter, TimeText}

  @readers [
    date: &Date.from_iso8601/1,
    time: &Time.from_iso8601/1,
    naive: &__MODULE__.naive/1,
    utc: &__MODULE__.utc/1
  ]

  def utc(text) do
    case DateTime.from_iso8601(text) do
      {:ok, datetime, _offset} -> {:ok, datetime}
      {:error, :missing_offset} -> text |> NaiveDateTime.from_iso8601!() |> DateTime.from_naive("Etc/UTC")
      error -> error
    end
  rescue
    ArgumentError -> {:error, :invalid_format}
  end

  def naive(text), do: with({:ok, datetime} <- utc(text), do: {:ok, DateTime.to_naive(datetime)})

  # --- reading --------------------------------------------------------------------------------------------------

  test "what is stored is read here" do
    for date <- ["0000-01-01", "1999-12-31", "2000-02-29", "2024-02-29", "9999-12-31"] do
      assert {:ok, %Date{}} = TimeText.date(date)
      assert TimeText.date(date) == Date.from_iso8601(date)

      for time <- ["00:00:00", "23:59:59", "12:00:00.000001", "00:00:00.999999", "00:00:00.000000"] do
        assert TimeText.time(time) == Time.from_iso8601(time)

        for separator <- ["T", " "], zone <- ["", "Z"], text = date <> separator <> time <> zone do
          assert {:ok, %NaiveDateTime{}} = TimeText.naive(text)
          assert TimeText.naive(text) == naive(text)
          assert {:ok, %DateTime{}} = TimeText.utc(text)
          assert TimeText.utc(text) == utc(text)
        end
      end
    end
  end

  test "what is no such date or time is left to others" do
    for date <- [
          "2026-02-29",
          "1900-02-29",
          "2026-04-31",
          "2026-00-01",
          "2026-13-01",
          "2026-01-00",
          "2026-01-32"
        ] do
      assert TimeText.date(date) == :other
      assert TimeText.utc(date <> "T00:00:00") == :other
      assert TimeText.naive(date <> "T00:00:00") == :other
    end

    for time <- ["24:00:00", "00:60:00", "00:00:60", "00:00", "00:00:00.", "00:00:00.1", "00:00:00.1234567"] do
      assert TimeText.time(time) == :other
      assert TimeText.utc("2026-01-01T" <> time) == :other
    end

    for other <- [nil, 1, 1.5, "", <<255>>, "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00ZZ"],
        read <- [&TimeText.date/1, &TimeText.time/1, &TimeText.naive/1, &TimeText.utc/1] do
      assert read.(other) == :other
    end
  end

  test "whatever the text, there is Elixir's answer or none" do
    Cases.check!(4_000, &text/1, &smaller/1, fn text ->
      for {name, elixirs} <- @readers do
        case apply(TimeText, name, [text]) do
          :other -> :ok
          answer -> assert answer == elixirs.(text), "#{name}: #{inspect(answer)}"
        end
      end
    end)
  end

  test "whatever the text, the loaders answer as by Elixir's functions alone" do
    Cases.check!(4_000, &text/1, &smaller/1, fn text ->
      for {type, elixirs} <- [naive_datetime_usec: &naive/1, utc_datetime_usec: &utc/1] do
        [load, ^type] = TypeCodec.loaders(type, type)
        # Beyond ISO 8601 they know more.
        with {:ok, _} = expected <- elixirs.(text), do: assert(load.(text) == expected)
      end
    end)
  end

  # A stored form with some of its bytes replaced, left out or doubled.
  defp text(seed) do
    :rand.seed(:exsss, seed)
    date = pick(["2026-01-02", "2024-02-29", "2023-02-29", "0000-12-31", "9999-06-30"])
    time = pick(["03:04:05", "23:59:59", "03:04:05.000600", "00:00:00.999999"])
    separator = pick(["T", " ", "t", "  "])
    text = pick([date, time, date <> separator <> time, date <> separator <> time <> pick(["Z", "z"])])
    Enum.reduce(1..pick([0, 1, 1, 2, 8])//1, text, fn _, text -> changed(text) end)
  end

  defp changed(""), do: ""

  defp changed(text) do
    at = :rand.uniform(byte_size(text)) - 1
    <<before::binary-size(at), byte, rest::binary>> = text

    case :rand.uniform(8) do
      1 -> before <> rest
      2 -> <<before::binary, byte, byte, rest::binary>>
      3 -> <<before::binary, Enum.random('TtZz +-:.,/;\0')>> <> rest
      4 -> <<before::binary, :rand.uniform(256) - 1>> <> rest
      5 -> text <> pick(["Z", "+01:00", "-00:00", "z", " ", "0", "+01", ".5"])
      _ -> <<before::binary, Enum.random(?0..?9)>> <> rest
    end
  end

  defp pick(list), do: Enum.random(list)

  defp smaller(text) do
    for at <- 0..(byte_size(text) - 1)//1,
        <<before::binary-size(at), _, rest::binary>> = text,
        do: before <> rest
  end

  # --- writing --------------------------------------------------------------------------------------------------

  test "values are written as Elixir writes them" do
    Cases.check!(4_000, &value/1, fn _ -> [] end, fn value ->
      digits = if elem(value.microsecond, 0) == 0, do: 0, else: 6
      written = %{value | microsecond: {elem(value.microsecond, 0), digits}}
      date = Date.to_iso8601(value)
      time = written |> NaiveDateTime.to_time() |> Time.to_iso8601()
      assert TimeText.from_date(value) == date
      assert TimeText.from_time(value, digits) == time
      assert TimeText.from_datetime(value, ?T, digits) == date <> "T" <> time
      assert TimeText.from_datetime(value, ?\s, digits) == date <> " " <> time
      assert Parameter.encode(value) == date <> "T" <> time
      assert Parameter.encode(NaiveDateTime.to_date(value)) == date
      assert Parameter.encode(NaiveDateTime.to_time(value)) == time
      utc = DateTime.from_naive!(value, "Etc/UTC")
      assert Parameter.encode(utc) == date <> "T" <> time
      assert TimeText.utc(date <> "T" <> time) == {:ok, %{utc | microsecond: written.microsecond}}
    end)
  end

  defp value(seed) do
    :rand.seed(:exsss, seed)
    date = Date.from_gregorian_days(:rand.uniform(3_652_425) - 1)
    micros = pick([0, 1, 999_999, :rand.uniform(1_000_000) - 1])
    precision = if micros == 0, do: pick([0, 3, 6]), else: 6
    time = Time.add(~T[00:00:00], :rand.uniform(86_400) - 1)
    NaiveDateTime.new!(date, %{time | microsecond: {micros, precision}})
  end

  test "what has another form is left to others" do
    for date <- [~D[-0001-01-01], %{~D[2026-01-01] | year: 10_000}, %{~D[2026-01-01] | calendar: Other}] do
      assert TimeText.from_date(date) == :other
    end

    # Made by hand.
    assert TimeText.from_date(%{~D[2026-01-01] | month: 13}) == :other
    assert TimeText.from_time(%{~T[00:00:00] | hour: 24}, 0) == :other
    assert TimeText.from_time(%{~T[00:00:00] | microsecond: {1_000_000, 6}}, 6) == :other
    assert TimeText.from_datetime(%{~N[2026-01-01 00:00:00] | second: 60}, ?T, 0) == :other
    assert TimeText.from_datetime(%{~N[2026-01-01 00:00:00] | day: 32}, ?T, 6) == :other
  end
end
