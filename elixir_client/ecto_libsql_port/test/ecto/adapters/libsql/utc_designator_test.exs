defmodule Ecto.Adapters.LibSql.UtcDesignatorTest do
  # `config :ecto_libsql_port, utc_designator: true`: times are stored as ecto_sqlite3 and ecto_libsql store them, and compare
  # by instant all the same.
  use EctoLibSql.RepoCase

  defmodule Event do
    use Ecto.Schema

    schema "events" do
      field(:at, :utc_datetime)
      field(:usec, :utc_datetime_usec)
      field(:naive, :naive_datetime)
      field(:naive_usec, :naive_datetime_usec)
      field(:ats, {:array, :utc_datetime})
    end
  end

  @instants [
    ~U[2026-01-02 03:04:04.999999Z],
    ~U[2026-01-02 03:04:05.000000Z],
    ~U[2026-01-02 03:04:05.000600Z],
    ~U[2026-01-02 03:04:06.000000Z],
    ~U[2026-01-02 03:04:10.100000Z]
  ]

  setup do
    TestSettings.put(utc_designator: true)

    migrate(fn ->
      import Ecto.Migration

      create table(:events) do
        add(:at, :utc_datetime, default: fragment("now()"))
        add(:usec, :utc_datetime_usec, default: fragment("CURRENT_TIMESTAMP"))
        add(:naive, :naive_datetime, default: fragment("now()"))
        add(:naive_usec, :naive_datetime_usec, default: fragment("now()"))
        add(:ats, {:array, :utc_datetime})
      end

      create(index(:events, [:at]))
      create(index(:events, [:usec]))
    end)

    :ok
  end

  defp event(at, usec) do
    %Event{
      at: DateTime.truncate(at, :second),
      usec: usec,
      naive: at |> DateTime.truncate(:second) |> DateTime.to_naive(),
      naive_usec: DateTime.to_naive(usec)
    }
  end

  defp stored(columns), do: TestRepo.query!("SELECT #{columns} FROM events ORDER BY id").rows

  test "what is written: fields, parameters without a type, defaults, intervals, casts" do
    TestRepo.insert!(event(hd(@instants), Enum.at(@instants, 1)))

    form = [
      "2026-01-02T03:04:04Z",
      "2026-01-02T03:04:05.000000Z",
      "2026-01-02T03:04:04",
      "2026-01-02T03:04:05"
    ]

    assert stored("at, usec, naive, naive_usec") == [form]

    params = [~U[2026-01-02 03:04:05Z], ~U[2026-01-02 03:04:05.12Z], ~N[2026-01-02 03:04:05.120000]]

    assert TestRepo.query!("SELECT ?, ?, ?", params).rows ==
             [["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.120000Z", "2026-01-02T03:04:05.120000"]]

    TestRepo.update_all(Event, set: [ats: [~U[2026-01-02 03:04:05Z]]])
    assert stored("ats") == [[~S(["2026-01-02T03:04:05Z"])]]
    assert TestRepo.exists?(from e in Event, where: ^~U[2026-01-02 03:04:05Z] in e.ats)

    set =
      from e in Event,
        update: [set: [at: datetime_add(e.at, 1500, "millisecond"), usec: e.at, naive: e.naive]]

    TestRepo.update_all(set, [])
    assert stored("at, usec") == [["2026-01-02T03:04:05Z", "2026-01-02T03:04:04.000000Z"]]
    TestRepo.update_all(from(e in Event, update: [set: [usec: datetime_add(e.usec, 1, "month")]]), [])
    assert stored("usec") == [["2026-02-02T03:04:04.000000Z"]]
    TestRepo.update_all(from(e in Event, update: [set: [at: ago(1, "day"), usec: from_now(1, "day")]]), [])
    assert [[<<_::binary-size(19), "Z">>, <<_::binary-size(26), "Z">>]] = stored("at, usec")

    TestRepo.query!("DELETE FROM events")
    TestRepo.query!("INSERT INTO events DEFAULT VALUES")

    assert [[<<_::binary-size(19), "Z">>, <<_::binary-size(26), "Z">>, <<_::binary-size(19)>>]] =
             stored("at, usec, naive")

    assert %{at: %DateTime{microsecond: {0, 0}}, usec: %DateTime{microsecond: {_, 6}}} = TestRepo.one!(Event)

    text =
      from e in Event,
        select:
          {type(fragment("'2026-01-02 04:04:05+01:00'"), :utc_datetime), type(e.naive, :utc_datetime_usec)}

    assert {~U[2026-01-02 03:04:05Z], %DateTime{}} = TestRepo.one!(text)
  end

  test "comparisons are those of the instants, whatever the types are" do
    for a <- @instants, b <- @instants, do: TestRepo.insert!(event(a, b))
    seconds = &DateTime.truncate(&1, :second)
    later = &(&1 |> seconds.() |> DateTime.add(600, :microsecond))

    for {operator, results} <- [==: [:eq], !=: [:lt, :gt], <: [:lt], <=: [:lt, :eq], >: [:gt], >=: [:gt, :eq]] do
      number = fn left, right ->
        Enum.count(
          for a <- @instants, b <- @instants, DateTime.compare(left.(a, b), right.(a, b)) in results, do: a
        )
      end

      count = fn condition -> TestRepo.aggregate(from(e in Event, where: ^condition), :count) end
      at = fn a, _ -> seconds.(a) end
      usec = fn _, b -> b end
      shifted = fn a, _ -> later.(a) end

      assert count.(compare(operator, :at, :usec)) == number.(at, usec)
      assert count.(compare(operator, :usec, :at)) == number.(usec, at)
      assert count.(compare(operator, :usec, :naive)) == number.(usec, at)
      assert count.(compare(operator, :at, :naive_usec)) == number.(at, usec)
      assert count.(compare_shifted(operator, :usec)) == number.(usec, shifted)
      assert count.(compare_shifted(operator, :at)) == number.(at, shifted)

      for value <- @instants do
        assert count.(compare_value(operator, :usec, value)) == number.(usec, fn _, _ -> value end)
        value = seconds.(value)
        assert count.(compare_value(operator, :at, value)) == number.(at, fn _, _ -> value end)
      end
    end
  end

  column = fn name -> {:field, [], [Macro.var(:e, nil), {:^, [], [Macro.var(name, nil)]}]} end
  value = {:^, [], [Macro.var(:value, nil)]}

  shifted =
    {:datetime_add, [], [{{:., [], [Macro.var(:e, nil), :at]}, [no_parens: true], []}, 600, "microsecond"]}

  for operator <- [:==, :!=, :<, :<=, :>, :>=] do
    defp compare(unquote(operator), left, right),
      do: dynamic([e], unquote({operator, [], [column.(:left), column.(:right)]}))

    defp compare_value(unquote(operator), left, value),
      do: dynamic([e], unquote({operator, [], [column.(:left), value]}))

    defp compare_shifted(unquote(operator), left),
      do: dynamic([e], unquote({operator, [], [column.(:left), shifted]}))
  end

  test "an index serves comparisons with a value and with what is computed" do
    for query <- [
          from(e in Event, where: e.at > ^~U[2026-01-02 03:04:05Z]),
          from(e in Event, where: e.at == ^~U[2026-01-02 03:04:05Z]),
          from(e in Event, where: e.at > ago(1, "day")),
          from(e in Event, where: e.usec < from_now(1, "day")),
          from(e in Event, where: ago(1, "day") <= e.usec and e.usec < ago(1, "hour")),
          from(e in Event, where: e.usec == type(^~U[2026-01-02 03:04:05Z], :utc_datetime))
        ] do
      assert TestRepo.explain(:all, query) =~ ~r/SEARCH e0 USING (COVERING )?INDEX/
    end
  end

  test "rows of other forms are normalized to it, by type" do
    TestRepo.query!("""
    INSERT INTO events (at, usec, naive) VALUES ('2026-01-02 03:04:05', '2026-01-02T04:04:05.5+01:00', '2026-01-02 03:04:05'),
      ('2026-01-02T03:04:05.25Z', '2026-01-02T03:04:05Z', '2026-01-02T03:04:05')
    """)

    columns = [:naive, at: :utc_datetime, usec: :utc_datetime_usec]
    counts = EctoLibSql.Migration.normalize_times(:events, columns, repo: TestRepo)
    assert [{"events", "naive", 1}, {"events", "at", 1}, {"events", "usec", 2}] = counts

    assert stored("at, usec, naive") == [
             ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.500000Z", "2026-01-02T03:04:05"],
             ["2026-01-02T03:04:05.25Z", "2026-01-02T03:04:05.000000Z", "2026-01-02T03:04:05"]
           ]

    assert Enum.all?(
             EctoLibSql.Migration.normalize_times(:events, columns, repo: TestRepo),
             &(elem(&1, 2) == 0)
           )
  end

  test "a wrong value is an error, and a space for the T is ecto_sqlite3's form without a Z" do
    TestSettings.put(utc_designator: "Z")

    assert_raise ArgumentError, ~r/:utc_designator takes true or false/, fn ->
      TestRepo.query!("SELECT ?", [hd(@instants)])
    end

    TestSettings.put(utc_designator: true, datetime_type: :text_datetime)
    assert TestRepo.query!("SELECT ?", [~U[2026-01-02 03:04:05Z]]).rows == [["2026-01-02 03:04:05"]]
  end
end
