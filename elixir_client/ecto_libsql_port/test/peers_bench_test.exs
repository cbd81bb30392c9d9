defmodule EctoLibSql.PeersBenchTest do
  # What the benchmark beside the peers makes of its figures. The measurements themselves need the peers' builds.
  use ExUnit.Case, async: true

  for file <- ~w(statistics report),
      do: Code.require_file("../../libsql_port/bench/macro/#{file}.exs", __DIR__)

  for file <- ~w(vm table neighbours works), do: Code.require_file("../bench/peers/#{file}.exs", __DIR__)

  alias Peers.{Table, Works}

  @own "ecto_libsql_port"

  defp row(unit, limits, figures, above \\ []) do
    measured = measured(figures)
    Table.row("a work", unit, limits, measured, Enum.map(above, &measured/1) ++ [measured])
  end

  # A figure for each adapter: rounds, or none.
  defp measured(figures) do
    names = [@own, "ecto_libsql", "ecto_sqlite3"]

    for {name, figure} <- Enum.zip(names, figures), figure != :not_at_hand, into: %{} do
      case figure do
        :fails -> {name, {:error, "wrong answer"}}
        rounds -> {name, {:ok, List.wrap(rounds)}}
      end
    end
  end

  defp verdicts(row), do: Enum.map(row.limits, & &1.verdict)

  describe "a limit" do
    test "is a factor of the faster peer's median: the least time, the most calls" do
      for {own, verdict} <- [{80.0, :reached}, {80.1, :missed}] do
        row = row(:us, [{:faster, 0.8}], [[own, own, 900.0], 100.0, 120.0])
        assert [%{verdict: ^verdict, yardstick: "ecto_libsql"}] = row.limits
      end

      for {own, verdict} <- [{150.0, :reached}, {149.9, :missed}] do
        row = row(:per_second, [{:faster, 1.5}], [[1.0, own, own], 70.0, 100.0])
        assert [%{verdict: ^verdict, yardstick: "ecto_sqlite3"}] = row.limits
      end
    end

    test "may be of a named peer, of another row of the work, or absolute" do
      assert verdicts(row(:ms, [{"ecto_sqlite3", 1.1}], [110.0, 50.0, 100.0])) == [:reached]
      assert verdicts(row(:us, [{{:row, 0}, 2.0}], [21.0, 1.0, 1.0], [[10.0, 99.0, 99.0]])) == [:missed]
      assert verdicts(row(:ms, [{:absolute, 10_000}], [10_000.0, :fails, :not_at_hand])) == [:reached]
      assert verdicts(row(:ms, [{:absolute, 10_000}], [10_001.0, 1.0, 1.0])) == [:missed]
    end

    test "is set by the other peer, if one is not there or fails" do
      for none <- [:not_at_hand, :fails] do
        assert verdicts(row(:us, [{:faster, 1.0}], [100.0, none, 100.0])) == [:reached]
        assert verdicts(row(:us, [{:faster, 1.0}], [100.1, none, 100.0])) == [:missed]
      end
    end

    test "without a figure is neither reached nor missed, and a strict run fails" do
      for none <- [:not_at_hand, :fails] do
        row = row(:us, [{:faster, 1.0}, {:absolute, 1_000}], [100.0, none, none])
        assert verdicts(row) == [:unknown, :reached]
        refute Table.reached?(row)
      end

      assert Table.reached?(row(:us, [{:faster, 1.0}], [100.0, :fails, 100.0]))
      assert Table.reached?(row(:us, [], [100.0, :not_at_hand, :not_at_hand]))
      refute Table.reached?(row(:us, [{:absolute, 1_000}, {:faster, 1.0}], [100.0, 99.0, 101.0]))
    end

    test "is missed by an adapter that fails" do
      assert verdicts(row(:us, [{:faster, 1.0}, {:absolute, 1}], [:fails, 1.0, 1.0])) == [:missed, :missed]
    end
  end

  test "what has a limit is the median of seven rounds or more" do
    for work <- Works.chosen(nil), Enum.any?(work.rows, fn {_title, _unit, limits} -> limits != [] end) do
      assert work.rounds >= 7, work.name
    end
  end

  test "works are chosen by name, and each has its own" do
    names = Enum.map(Works.chosen(nil), & &1.name)
    assert names == Enum.uniq(names)
    assert Enum.map(Works.chosen("engine,repo_get"), & &1.name) == ["engine", "repo_get"]
    assert_raise ArgumentError, ~r/no work unheard_of, only repo_get, /, fn -> Works.chosen("unheard_of") end
  end
end
