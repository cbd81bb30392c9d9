defmodule Ecto.Adapters.LibSql.TimeTest do
  use EctoLibSql.RepoCase

  import EctoLibSql.Properties, only: [check!: 2, map: 2, range: 1, one_of: 1, utc_usec: 0]

  defmodule Event do
    use Ecto.Schema

    schema "events" do
      field(:at, :utc_datetime)
      field(:at_usec, :utc_datetime_usec)
      field(:naive, :naive_datetime)
      field(:naive_usec, :naive_datetime_usec)
      field(:day, :date)
      field(:time, :time)
      field(:time_usec, :time_usec)
      field(:note, :string)
      field(:meta, :map)
    end
  end

  defmodule CreateEvents do
    use Ecto.Migration

    def change do
      create table(:events) do
        add(:at, :utc_datetime, default: fragment("CURRENT_TIMESTAMP"))
        add(:at_usec, :utc_datetime_usec, default: fragment("now()"))
        add(:naive, :naive_datetime, default: fragment("datetime('now', '+1 hour')"))
        add(:naive_usec, :naive_datetime_usec, default: fragment("(datetime('now'))"))
        add(:day, :date, default: fragment("CURRENT_DATE"))
        add(:time, :time, default: fragment("CURRENT_TIME"))
        add(:time_usec, :time_usec)
        add(:note, :string, default: fragment("CURRENT_TIMESTAMP"))
        add(:meta, :map)
      end

      create(index(:events, [:at]))
    end
  end

  setup do
    migrate(CreateEvents)
    :ok
  end

  @form ~r/\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\z/

  defp berlin(utc, hours) do
    %{
      DateTime.add(utc, hours * 3600)
      | time_zone: "Europe/Berlin",
        zone_abbr: "CET",
        utc_offset: hours * 3600
    }
  end

  defp stored(column), do: TestRepo.query!("SELECT #{column} FROM events ORDER BY id").rows |> List.flatten()

  test "defaults of the present time have the form of all others" do
    TestRepo.query!("INSERT INTO events DEFAULT VALUES")
    for column <- ~w(at at_usec naive naive_usec), [text] = stored(column), do: assert(text =~ @form)
    assert [<<_::binary-size(10), " ", _::binary>>] = stored("note")
    event = TestRepo.one!(Event)
    assert abs(DateTime.diff(event.at, DateTime.utc_now())) < 100
    assert NaiveDateTime.diff(event.naive, DateTime.to_naive(event.at)) in 3599..3601
    assert TestRepo.exists?(from(e in Event, where: e.at > ago(1, "hour") and e.at < from_now(1, "hour")))
    assert TestRepo.exists?(from(e in Event, where: e.naive > from_now(30, "minute")))
    assert TestRepo.get_by(Event, at: event.at, at_usec: event.at_usec, naive: event.naive, day: event.day)
  end

  test "parameters, schemas, intervals and casts write one form" do
    at = ~U[2026-01-01 10:00:00Z]
    cet = berlin(at, 1)
    TestRepo.insert!(%Event{at: at, naive: ~N[2026-01-01 10:00:00], at_usec: ~U[2026-01-01 10:00:00.000000Z]})

    TestRepo.insert_all("events", [
      %{at: cet, naive: ~N[2026-01-01 10:00:00.000], at_usec: ~U[2026-01-01 10:00:00.0Z]}
    ])

    TestRepo.query!("INSERT INTO events (at, naive, at_usec) VALUES (?, ?, ?)", [
      cet,
      ~N[2026-01-01 10:00:00],
      at
    ])

    for column <- ~w(at naive at_usec), do: assert(Enum.uniq(stored(column)) == ["2026-01-01T10:00:00"])

    TestRepo.update_all(Event, set: [at: at, at_usec: ~U[2026-01-01 10:00:00.250000Z]])

    first = from(e in Event, limit: 1)

    for {query, text} <- [
          {select(first, [e], fragment("?", datetime_add(e.at_usec, 750, "millisecond"))),
           "2026-01-01T10:00:01"},
          {select(first, [e], fragment("?", datetime_add(e.at_usec, 1, "microsecond"))),
           "2026-01-01T10:00:00.250001"},
          {select(first, [e], fragment("?", datetime_add(e.at, 1, "microsecond"))),
           "2026-01-01T10:00:00.000001"},
          {select(first, [e], fragment("?", datetime_add(e.at, -1, "month"))), "2025-12-01T10:00:00"},
          {select(first, fragment("?", datetime_add(^cet, 0, "second"))), "2026-01-01T10:00:00"},
          {select(first, fragment("?", datetime_add(fragment("'2026-01-01 11:00:00.5+01:00'"), 0, "day"))),
           "2026-01-01T10:00:00.500000"}
        ] do
      assert TestRepo.one(query) == text
    end
  end

  test "times of any precision compare by the instant" do
    TestRepo.insert!(%Event{at: ~U[2026-01-01 10:00:00Z], at_usec: ~U[2026-01-01 10:00:00.250000Z]})
    TestRepo.insert!(%Event{at: ~U[2026-01-01 10:00:00Z], at_usec: ~U[2026-01-01 10:00:00.000000Z]})
    assert TestRepo.aggregate(from(e in Event, where: e.at < e.at_usec), :count) == 1
    assert TestRepo.aggregate(from(e in Event, where: e.at == e.at_usec), :count) == 1

    assert TestRepo.aggregate(from(e in Event, where: e.at >= datetime_add(e.at_usec, 0, "second")), :count) ==
             1

    assert TestRepo.aggregate(from(e in "events", where: e.at < ^~U[2026-01-01 10:00:00.000001Z]), :count) ==
             2
  end

  test "type/2 casts columns and expressions to the form of the type" do
    TestRepo.insert!(%Event{
      at: ~U[2026-01-01 23:59:59Z],
      at_usec: ~U[2026-01-01 23:59:59.999999Z],
      naive: ~N[2026-01-01 00:00:00],
      day: ~D[2026-01-01],
      note: "2026-01-02 01:30:00.25+02:00",
      meta: %{"at" => "2026-01-01T23:59:59Z", "n" => "1.10"}
    })

    one = fn select -> TestRepo.one(select(Event, ^%{x: select})).x end

    for {cast, value} <- [
          {dynamic([e], type(e.at_usec, :date)), ~D[2026-01-01]},
          {dynamic([e], type(e.note, :date)), ~D[2026-01-01]},
          {dynamic([e], type(e.at_usec, :time)), ~T[23:59:59]},
          {dynamic([e], type(e.at_usec, :time_usec)), ~T[23:59:59.999999]},
          {dynamic([e], type(e.note, :time_usec)), ~T[23:30:00.250000]},
          {dynamic([e], type(e.at_usec, :utc_datetime)), ~U[2026-01-01 23:59:59Z]},
          {dynamic([e], type(e.note, :utc_datetime_usec)), ~U[2026-01-01 23:30:00.250000Z]},
          {dynamic([e], type(e.note, :naive_datetime)), ~N[2026-01-01 23:30:00]},
          {dynamic([e], type(e.day, :naive_datetime)), ~N[2026-01-01 00:00:00]},
          {dynamic([e], type(e.meta["at"], :utc_datetime)), ~U[2026-01-01 23:59:59Z]},
          {dynamic([e], type(e.meta["n"], :decimal)), Decimal.new("1.1")},
          {dynamic([e], type(fragment("'12'"), :integer)), 12},
          {dynamic([e], type(fragment("'1.5'"), :float)), 1.5},
          {dynamic([e], type(e.id, :string)), "#{TestRepo.one!(Event).id}"},
          {dynamic([e], type(fragment("'true'"), :boolean)), true},
          {dynamic([e], type(fragment("2"), :boolean)), true},
          {dynamic([e], type(fragment("NULL"), :date)), nil},
          {dynamic([e], type(fragment("'no time'"), :date)), nil}
        ] do
      assert one.(cast) == value
    end

    assert TestRepo.exists?(from(e in Event, where: type(e.at, :date) == ^~D[2026-01-01]))
    assert TestRepo.exists?(from(e in Event, where: type(e.at_usec, :time) == ^~T[23:59:59]))
    assert TestRepo.exists?(from(e in Event, where: type(e.note, :utc_datetime_usec) < e.at))
    assert TestRepo.exists?(from(e in Event, where: type(e.meta["at"], :utc_datetime) == e.at))
    assert TestRepo.exists?(from(e in Event, where: type(e.day, :naive_datetime) == e.naive))

    assert TestRepo.query!("SELECT typeof(x) FROM (SELECT CAST(note AS BLOB) AS x FROM events)").rows == [
             ["blob"]
           ]

    days = from(e in Event, group_by: type(e.at, :date), select: {type(e.at, :date), count()})
    assert TestRepo.all(days) == [{~D[2026-01-01], 1}]
  end

  test "every form is read" do
    for text <- [
          "2026-01-01T10:00:00",
          "2026-01-01 10:00:00",
          "2026-01-01T10:00:00Z",
          "2026-01-01T10:00:00.000Z",
          "2026-01-01 10:00:00.000000",
          "2026-01-01T11:00:00+01:00"
        ] do
      TestRepo.query!("INSERT INTO events (at, at_usec, naive, day) VALUES (?1, ?1, ?1, ?1)", [text])
      event = TestRepo.one!(Event)
      assert {event.at, event.at_usec} == {~U[2026-01-01 10:00:00Z], ~U[2026-01-01 10:00:00.000000Z]}
      assert {event.naive, event.day} == {~N[2026-01-01 10:00:00], ~D[2026-01-01]}
      TestRepo.delete_all(Event)
    end
  end

  test "years that text does not sort are refused" do
    assert_raise ArgumentError, ~r/does not sort/, fn -> TestRepo.insert!(%Event{day: ~D[-0001-01-01]}) end

    assert_raise ArgumentError, ~r/does not sort/, fn ->
      TestRepo.insert!(%Event{at: ~U[-0001-01-01 00:00:00Z]})
    end
  end

  test "an index serves comparisons" do
    plan = TestRepo.explain(:all, from(e in Event, where: e.at > ago(1, "hour"), order_by: e.at)) |> inspect()
    assert plan =~ "events_at_index"
    refute plan =~ "TEMP B-TREE"
  end

  @tag :proper
  test "order and equality in SQL are those of DateTime.compare" do
    # Near each other, so that all precisions meet.
    near = map(range({-3, 3}), &DateTime.add(~U[2026-01-01 00:00:00.000000Z], &1 * 500_000, :microsecond))
    precision = one_of([:second, :millisecond, :microsecond])

    time =
      map({one_of([near, utc_usec()]), precision, range({-12, 12})}, fn {at, precision, hours} ->
        at = DateTime.truncate(at, precision)
        if at.year in 1..9998, do: berlin(at, hours), else: at
      end)

    check!({time, time}, fn {a, b} ->
      order = %{lt: -1, eq: 0, gt: 1}[DateTime.compare(a, b)]
      assert [[^order]] = TestRepo.query!("SELECT (?1 > ?2) - (?1 < ?2)", [a, b]).rows
      TestRepo.delete_all(Event)
      TestRepo.insert_all("events", [%{at_usec: a, at: b}])
      found = TestRepo.one(from(e in Event, select: [e.at_usec < e.at, e.at_usec == e.at, e.at_usec > e.at]))
      assert found == for(o <- [-1, 0, 1], do: o == order)

      # Any form, once it is rewritten.
      forms = [DateTime.to_iso8601(a), DateTime.to_string(DateTime.shift_zone!(b, "Etc/UTC"))]
      TestRepo.query!("UPDATE events SET at_usec = ?1, at = ?2", forms)
      counts = EctoLibSql.Migration.normalize_times(:events, [:at, :at_usec], repo: TestRepo)
      assert [{"events", "at", _}, {"events", "at_usec", _}] = counts

      assert TestRepo.one(from(e in Event, select: [e.at_usec < e.at, e.at_usec == e.at, e.at_usec > e.at])) ==
               found

      assert Enum.all?(
               EctoLibSql.Migration.normalize_times(:events, [:at, :at_usec], repo: TestRepo),
               &(elem(&1, 2) == 0)
             )

      true
    end)
  end

  test "a column that is not there is no text without times" do
    for {table, column} <- [{:events, :att}, {:event, :at}, {:events, ~s(a" OR "at)}] do
      assert_raise ArgumentError, ~r/no table .* with a column/, fn ->
        EctoLibSql.Migration.normalize_times(table, [column], repo: TestRepo)
      end
    end
  end

  @forms [
    {"2026-01-02 03:04", ~U[2026-01-02 03:04:00.000000Z]},
    {"2026-01-02T03:04Z", ~U[2026-01-02 03:04:00.000000Z]},
    {"2026-01-02T03:04+01:00", ~U[2026-01-02 02:04:00.000000Z]},
    {"2026-01-02t03:04:05z", ~U[2026-01-02 03:04:05.000000Z]},
    {"2026-01-02t03:04:05", ~U[2026-01-02 03:04:05.000000Z]},
    {"2026-01-02 03:04+01", ~U[2026-01-02 02:04:00.000000Z]},
    {"2026-01-02t03:04:05.5", ~U[2026-01-02 03:04:05.500000Z]},
    {"2026-01-02 03:04:05 +01:00", ~U[2026-01-02 02:04:05.000000Z]},
    {"2026-01-02 03:04:05.123456789 -01:30", ~U[2026-01-02 04:34:05.123456Z]},
    {"2026-01-02T03:04:05+0100", ~U[2026-01-02 02:04:05.000000Z]},
    {"2026-01-02T03:04:05.25+0130", ~U[2026-01-02 01:34:05.250000Z]},
    {"2026-01-02T03:04:05-01", ~U[2026-01-02 04:04:05.000000Z]},
    {"2026-01-02 03:04:05.1Z", ~U[2026-01-02 03:04:05.100000Z]},
    {"2026-01-02", ~U[2026-01-02 00:00:00.000000Z]}
  ]

  test "every form is the same instant for Elixir and for SQL" do
    for {text, instant} <- @forms, column <- ~w(at at_usec naive naive_usec)a do
      TestRepo.query!("DELETE FROM events")
      TestRepo.query!("INSERT INTO events (#{column}) VALUES (?)", [text])
      type = Event.__schema__(:type, column)

      utc =
        if type in [:utc_datetime, :naive_datetime], do: DateTime.truncate(instant, :second), else: instant

      value = if type in [:naive_datetime, :naive_datetime_usec], do: DateTime.to_naive(utc), else: utc

      assert TestRepo.one(from e in Event, select: field(e, ^column)) == value, "#{text} as #{type}"

      assert TestRepo.one(from e in Event, select: type(fragment("?", field(e, ^column)), ^type)) == value,
             "#{text} in SQL"

      day = from e in Event, select: type(fragment("?", field(e, ^column)), :date)
      assert TestRepo.one(day) == DateTime.to_date(utc)
      EctoLibSql.Migration.normalize_times(:events, [column], repo: TestRepo)
      assert TestRepo.one(from e in Event, select: field(e, ^column)) == value

      # A fraction in a column of seconds is kept.
      if DateTime.compare(utc, instant) == :eq,
        do: assert(TestRepo.exists?(from e in Event, where: field(e, ^column) == ^value))
    end
  end

  test "what is no time stays, though SQLite takes it for one" do
    texts = ["now", "NOW", "2451545", "2026", "03:04:05", "12:00", "20260102T030405Z", "", "x"]
    for text <- texts, do: TestRepo.query!("INSERT INTO events (at) VALUES (?)", [text])
    assert [{"events", "at", 0}] = EctoLibSql.Migration.normalize_times(:events, [:at], repo: TestRepo)
    assert stored("at") == texts

    assert TestRepo.all(from e in Event, select: type(fragment("?", e.at), :utc_datetime)) ==
             Enum.map(texts, fn _ -> nil end)
  end

  test "times of day without seconds" do
    TestRepo.query!(
      "INSERT INTO events (time, time_usec, day) VALUES ('03:04', '2026-01-02t03:04', '2026-01-02 03:04')"
    )

    assert [%{time: ~T[03:04:00], time_usec: ~T[03:04:00.000000], day: ~D[2026-01-02]}] = TestRepo.all(Event)
    assert [~T[03:04:00]] = TestRepo.all(from e in Event, select: type(fragment("?", e.time_usec), :time))
  end

  # Each day of a leap year and of the next, by months and years there and back: as the engine's own modifier has it, which servers may lack.
  test "months and years after the last days of a month are its last days" do
    for {unit, many} <- [{"month", 14}, {"year", 4}] do
      sql = fn date, count ->
        date |> Ecto.Adapters.LibSql.IntervalSql.date(count, unit) |> IO.iodata_to_binary()
      end

      differences = """
      WITH RECURSIVE days(day) AS (SELECT '2024-01-01' UNION ALL SELECT date(day, '+1 day') FROM days WHERE day < '2025-12-31'),
        counts(count) AS (SELECT -#{many} UNION ALL SELECT count + 1 FROM counts WHERE count < #{many})
      SELECT day, count FROM days, counts
      WHERE #{sql.("day", "count")} IS NOT strftime('%Y-%m-%d', day, count || ' #{unit}s', 'floor')
      """

      assert TestRepo.query!(differences).rows == []
    end
  end
end
