defmodule Scaling.Table do
  # The figures of one kind of work over the sizes of its axis, and what is made of them: a table and a line of a plot.
  @moduledoc false
  alias Bench.{Report, Statistics}
  alias Scaling.Quantity

  defmodule Point do
    @moduledoc false
    # One size: the figures of the rounds for the whole operation, and for one unit of it; `processor` is the processor time
    # of a unit, nil if it is not known; `also` are further columns, heading and text.
    @enforce_keys [:size, :operation, :per_unit]
    defstruct [:size, :operation, :per_unit, :processor, also: []]
  end

  # `plot` names the file that the tables of one picture share, `series` the line in it. `sizes` is what is varied, `kind`
  # how a size is written, `cost` whether figures are :time (µs) or :bytes. `bound` is `{size, factor}`: from that size on
  # a unit costs at most `factor` times as much as there. `left_out` are pairs of a size and the reason.
  @enforce_keys [:plot, :series, :title, :sizes, :operation, :unit, :points]
  defstruct [
    :plot,
    :series,
    :title,
    :sizes,
    :operation,
    :unit,
    :points,
    :bound,
    kind: :count,
    cost: :time,
    left_out: [],
    notes: []
  ]

  @doc """
  A point whose operation consists of so many units. `rounds` are the figures, or pairs of a figure and the processor time of
  an operation.
  """
  def point(size, rounds, units, also \\ [])

  def point(size, [{_, _} | _] = rounds, units, also) do
    {figures, processor} = Enum.unzip(rounds)
    %{point(size, figures, units, also) | processor: processor(processor, units)}
  end

  def point(size, figures, units, also) do
    %Point{size: size, operation: figures, per_unit: Enum.map(figures, &(&1 / units)), also: also}
  end

  @doc "The processor time of a unit: the mean of the rounds, because the system counts it in coarse steps."
  def processor(rounds, units) do
    unless Enum.any?(rounds, &is_nil/1), do: Enum.sum(rounds) / length(rounds) / units
  end

  @doc "Whether a unit costs no more at any size than the bound allows: `:reached`, `:missed`, or nil if there is nothing to compare."
  def verdict(table) do
    case growth(table) do
      nil -> nil
      {_reference, _worst, ratio} -> if ratio <= elem(table.bound, 1), do: :reached, else: :missed
    end
  end

  def print(table) do
    IO.puts("\n#{table.title}\n")
    Report.aligned([header(table) | Enum.map(table.points, &cells(table, &1))])
    Enum.each([growth_text(table) | table.notes], &if(&1, do: IO.puts("  #{&1}")))

    for {size, reason} <- table.left_out,
        do: IO.puts("  LEFT OUT: #{size(table, size)} #{table.sizes}: #{reason}")

    :ok
  end

  @doc "The cost of a unit: median, best and worst."
  def per_unit(point) do
    {best, worst} = Enum.min_max(point.per_unit)
    {Statistics.median(point.per_unit), best, worst}
  end

  defp header(table) do
    also = table.points |> Enum.flat_map(& &1.also) |> Enum.map(&elem(&1, 0)) |> Enum.uniq()

    [table.sizes, table.operation, "per #{table.unit}", "best–worst", "÷ least"] ++
      if(processor?(table), do: ["processor"], else: []) ++ also
  end

  defp cells(table, point) do
    {median, best, worst} = per_unit(point)
    least = table.points |> Enum.map(&elem(per_unit(&1), 0)) |> Enum.min()
    cost = &Quantity.cost(table.cost, &1)

    [
      size(table, point.size),
      cost.(Statistics.median(point.operation)),
      cost.(median),
      "#{cost.(best)}–#{cost.(worst)}",
      if(least > 0, do: Quantity.ratio(median / least), else: "–")
    ] ++
      if(processor?(table), do: [processor_text(table, point)], else: []) ++
      Enum.map(point.also, &elem(&1, 1))
  end

  defp processor?(table), do: Enum.any?(table.points, & &1.processor)

  defp processor_text(_table, %{processor: nil}), do: "–"
  defp processor_text(table, point), do: Quantity.cost(table.cost, point.processor)

  defp size(table, size), do: Quantity.size(table.kind, size)

  defp growth_text(%{bound: nil}), do: nil

  defp growth_text(table) do
    case growth(table) do
      nil ->
        "growth: nothing to compare"

      {reference, worst, ratio} ->
        "growth: a #{table.unit} costs #{Quantity.ratio(ratio)} × as much at #{size(table, worst)} as at " <>
          "#{size(table, reference)}#{processor_growth(table, reference, worst)}, limit #{elem(table.bound, 1)} ×: " <>
          if(verdict(table) == :reached, do: "reached", else: "MISSED")
    end
  end

  defp processor_growth(table, reference, worst) do
    of = fn size -> Enum.find(table.points, &(&1.size == size)).processor end

    case {of.(reference), of.(worst)} do
      {base, other} when base != nil and other != nil and base > 0 ->
        " (in processor time #{Quantity.ratio(other / base)} ×)"

      _ ->
        ""
    end
  end

  # The worst size beyond the bound's reference.
  defp growth(%{bound: nil}), do: nil

  defp growth(%{bound: {reference, _factor}} = table) do
    with %Point{} = base <- Enum.find(table.points, &(&1.size == reference)),
         [_ | _] = larger <- Enum.filter(table.points, &(&1.size > reference)) do
      worst = Enum.max_by(larger, &elem(per_unit(&1), 0))
      {reference, worst.size, elem(per_unit(worst), 0) / elem(per_unit(base), 0)}
    else
      _ -> nil
    end
  end
end
