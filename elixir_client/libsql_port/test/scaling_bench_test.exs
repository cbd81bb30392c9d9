defmodule LibsqlPort.ScalingBenchTest do
  # What the scaling benchmark makes of its figures: verdicts, sizes left out, plots. That its measurements run is CI's to see.
  use ExUnit.Case, async: true

  for file <- ~w(macro/statistics macro/report scaling/quantity scaling/room scaling/table scaling/plot) do
    Code.require_file("../bench/#{file}.exs", __DIR__)
  end

  alias Scaling.{Plot, Quantity, Room, Table}

  defp table(costs, fields \\ []) do
    points = for {size, figures} <- costs, do: Table.point(size, figures, 1)

    struct!(
      Table,
      Keyword.merge(
        [
          plot: "p",
          series: "one & <two>",
          title: "t",
          sizes: "rows",
          operation: "a call",
          unit: "row",
          points: points
        ],
        fields
      )
    )
  end

  describe "a verdict" do
    test "compares the worst larger size with the reference, medians of the rounds" do
      costs = [{1, [900.0]}, {10, [10.0, 11.0, 500.0]}, {100, [21.0, 22.0, 23.0]}, {1_000, [12.0]}]
      assert Table.verdict(table(costs, bound: {10, 2})) == :reached
      assert Table.verdict(table(costs, bound: {10, 1.9})) == :missed
    end

    test "is none without a bound, without its reference and without a larger size" do
      costs = [{1, [1.0]}, {10, [9.0]}]
      assert Table.verdict(table(costs)) == nil
      assert Table.verdict(table(costs, bound: {5, 2})) == nil
      assert Table.verdict(table(costs, bound: {10, 2})) == nil
    end

    test "is about a unit, not about the operation" do
      points = for size <- [1, 10, 100], do: Table.point(size, [5.0 * size], size)
      assert Table.verdict(table([], points: points, bound: {1, 1.01})) == :reached
    end
  end

  test "rounds with processor time: figures stay apart from it" do
    point = Table.point(10, [{100.0, 50.0}, {300.0, 70.0}, {200.0, 60.0}], 10)
    assert point.per_unit == [10.0, 30.0, 20.0]
    assert point.processor == 6.0
    assert Table.point(10, [{100.0, nil}], 10).processor == nil
  end

  test "sizes that the machine cannot give are left out with the reason, those without a known limit are not" do
    {fit, left_out} =
      Room.split([1, 2, 3], System.tmp_dir!(), &%{disk: if(&1 == 2, do: 1.0e30, else: 1), unheard_of: 1.0e30})

    assert fit == [1, 3]
    assert [{2, "needs " <> reason}] = left_out
    assert reason =~ "disk space, there are "
  end

  test "quantities have three digits and the unit that suits them" do
    assert Enum.map([0.0123, 0.9, 1.0, 12.34, 999.6, 1_234.0, 59_999_999.0], &Quantity.cost(:time, &1)) ==
             ["12.3 ns", "900 ns", "1 µs", "12.3 µs", "1 ms", "1.23 ms", "60 s"]

    assert Enum.map([9, 1_000, 192_000, 1.5e9], &Quantity.cost(:bytes, &1)) == [
             "9 B",
             "1 kB",
             "192 kB",
             "1.5 GB"
           ]

    assert Enum.map([0, 1, 512, 1_000, 4_096, 10_000_000], &Quantity.size(:count, &1)) == [
             "0",
             "1",
             "512",
             "10³",
             "4,096",
             "10⁷"
           ]

    assert Enum.map([100, 30_000, 1_000_000], &Quantity.size(:bytes, &1)) == ["100 B", "30 kB", "1 MB"]

    assert Enum.map([1_024, 524_288, 268_435_456], &Quantity.size(:binary_bytes, &1)) == [
             "1 KiB",
             "512 KiB",
             "256 MiB"
           ]
  end

  describe "a plot" do
    test "has a line and a marker for each point, within its frame, and closes what it opens" do
      tables = [table([{1, [10.0, 11.0, 12.0]}, {1_000, [20.0]}]), table([{10, [3.0]}], series: "b")]
      svg = Plot.svg("A <title>", tables)

      assert svg =~ "<title>A &lt;title&gt;</title>"
      assert svg =~ "one &amp; &lt;two&gt;"
      assert svg =~ "prefers-color-scheme: dark"
      # Two points and one of the legend.
      assert length(Regex.scan(~r/<circle /, svg)) == 3
      for label <- ["1", "10", "10³", "2 µs", "10 µs", "20 µs"], do: assert(svg =~ ">#{label}</text>")

      for [_, x, y] <- Regex.scan(~r/(\d+\.\d),(\d+\.\d)/, svg) do
        assert String.to_float(x) >= 92 and String.to_float(x) <= 736
        assert String.to_float(y) >= 92 and String.to_float(y) <= 378
      end

      assert balanced?(svg)
    end

    test "gives a size of 0 a place of its own, and a cost of 0 the foot" do
      svg = Plot.svg("t", [table([{0, [5.0]}, {1, [4.0]}, {16, [0.0]}])])
      assert svg =~ ">0</text>"
      [points] = Regex.run(~r/<polyline class="line" points="([^"]*)"/, svg, capture: :all_but_first)

      [[x0, _], [x1, _], [x16, y16]] =
        for pair <- String.split(points), do: pair |> String.split(",") |> Enum.map(&String.to_float/1)

      assert x0 < x1 and x1 < x16
      assert y16 == 378.0
    end

    test "shows processor time where it is known" do
      known = Plot.svg("t", [table([{1, [{50.0, 20.0}]}, {10, [{51.0, nil}]}, {100, [{52.0, 400.0}]}])])

      assert [points] =
               Regex.run(~r/<polyline class="processor" points="([^"]*)"/, known, capture: :all_but_first)

      assert length(String.split(points)) == 2
      # The axis has room for it.
      assert known =~ ">20 µs</text>" and known =~ ">500 µs</text>"
      refute Plot.svg("t", [table([{1, [50.0]}])]) =~ ~s(class="processor")
    end

    test "depends on the figures alone" do
      picture = fn -> Plot.svg("t", [table([{1, [5.0]}, {10, [6.0]}])]) end
      assert picture.() == picture.()
    end

    test "has an axis of a decade at least, so that noise is not drawn as growth" do
      svg = Plot.svg("t", [table([{1, [50.0]}, {10, [51.0]}])])
      assert svg =~ ">50 µs</text>" and svg =~ ">500 µs</text>"
    end

    test "of no points is a picture all the same" do
      assert "t" |> Plot.svg([table([])]) |> balanced?()
    end
  end

  defp balanced?(svg) do
    open =
      Enum.reduce(Regex.scan(~r/<(\/?)([a-z]+)[^>]*?(\/?)>/, svg), [], fn
        [_, "", _name, "/"], open -> open
        [_, "", name, ""], open -> [name | open]
        [_, "/", name, ""], [name | open] -> open
      end)

    open == []
  end
end
