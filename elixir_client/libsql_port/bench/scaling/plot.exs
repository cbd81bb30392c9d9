defmodule Scaling.Plot do
  # An SVG picture of tables: the cost of a unit over the size, both axes logarithmic, a band from best to worst, dashed
  # the processor time. Its text
  # depends on the figures alone, so that two versions of a picture can be compared line by line.
  @moduledoc false
  alias Scaling.{Quantity, Table}

  @width 760
  @height 440
  @left 92
  @right 24
  @top 92
  @bottom 62
  # What a size of 0 stands apart from the smallest other one: it has no logarithm.
  @zero_decades 0.6

  # Lines differ in their markers too, not only in colour.
  @markers [:circle, :square, :diamond, :triangle]

  # Colours are rules of classes, not variables: some programs that draw SVG know no variables, and no media queries, and show
  # the light ones.
  @style """
  text { font-family: system-ui, sans-serif; font-size: 13px; fill: #1f2328 }
  .title { font-size: 16px; font-weight: 600 }
  .tick { font-size: 12px; fill: #59636e }
  .paper { fill: #ffffff }
  .grid { stroke: #dfe3e8; stroke-width: 1 }
  .frame { stroke: #59636e; stroke-width: 1; fill: none }
  .s0 { stroke: #0969da; fill: #0969da }
  .s1 { stroke: #bc4c00; fill: #bc4c00 }
  .s2 { stroke: #1a7f37; fill: #1a7f37 }
  .s3 { stroke: #8250df; fill: #8250df }
  .line { fill: none; stroke-width: 2; stroke-linejoin: round }
  .processor { fill: none; stroke-width: 1.5; stroke-dasharray: 4 4 }
  .band { stroke: none; fill-opacity: 0.15 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc }
    .tick { fill: #9198a1 }
    .paper { fill: #0d1117 }
    .grid { stroke: #2a313c }
    .frame { stroke: #9198a1 }
    .s0 { stroke: #58a6ff; fill: #58a6ff }
    .s1 { stroke: #f0883e; fill: #f0883e }
    .s2 { stroke: #3fb950; fill: #3fb950 }
    .s3 { stroke: #bc8cff; fill: #bc8cff }
  }
  """

  @doc "The picture of tables that share sizes and the kind of cost. `title` stands above it."
  def svg(title, [first | _] = tables) do
    points = Enum.flat_map(tables, & &1.points)
    x = x_axis(Enum.map(points, & &1.size))
    y = y_axis(Enum.flat_map(points, &costs/1))

    """
    <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 #{@width} #{@height}" width="#{@width}" height="#{@height}" role="img">
    <title>#{escaped(title)}</title>
    <desc>Cost for each #{escaped(units(tables))} over #{escaped(first.sizes)}; both axes are logarithmic. Medians, bands from best to worst, dashed the processor time.</desc>
    <style>
    #{@style}</style>
    <rect class="paper" width="#{@width}" height="#{@height}"/>
    <text class="title" x="#{@left}" y="28">#{escaped(title)}</text>
    #{[legend(tables), processor_legend(points), x_ticks(first, x), y_ticks(first, y)]}\
    <rect class="frame" x="#{@left}" y="#{@top}" width="#{inner_width()}" height="#{inner_height()}"/>
    <text x="#{n(@left + inner_width() / 2)}" y="#{@height - 16}" text-anchor="middle">#{escaped(first.sizes)}</text>
    <text transform="translate(20 #{n(@top + inner_height() / 2)}) rotate(-90)" text-anchor="middle">cost per #{escaped(units(tables))}</text>
    #{tables |> Enum.with_index() |> Enum.map(fn {table, index} -> series(table, index, x, y) end)}\
    </svg>
    """
  end

  defp costs(point), do: Tuple.to_list(Table.per_unit(point)) ++ List.wrap(point.processor)

  defp units(tables), do: tables |> Enum.map(& &1.unit) |> Enum.uniq() |> Enum.join(" or ")

  # --- axes -----------------------------------------------------------------------------------------------------

  # Functions from a value to a coordinate, and the values that get a tick.
  defp x_axis(sizes) do
    sizes = sizes |> Enum.uniq() |> Enum.sort()
    # A picture of nothing, where all sizes were left out, has an axis all the same.
    positive = with [] <- Enum.filter(sizes, &(&1 > 0)), do: [1]
    low = :math.log10(hd(positive)) - if(0 in sizes, do: @zero_decades, else: 0)
    high = max(:math.log10(List.last(positive)), low + 0.1)
    pad = (high - low) * 0.03
    log = fn size -> if size == 0, do: low, else: :math.log10(size) end
    %{at: &(@left + inner_width() * (log.(&1) - low + pad) / (high - low + 2 * pad)), ticks: sizes}
  end

  # From one step of 1-2-5 to another, and a decade at least: noise shall not look like growth.
  defp y_axis(costs) do
    positive = Enum.filter(costs, &(&1 > 0))
    {least, most} = if positive == [], do: {1, 10}, else: Enum.min_max(positive)
    low = step_below(least)
    high = max(step_above(most), low * 10)
    {log_low, log_high} = {:math.log10(low), :math.log10(high)}

    at = fn cost ->
      share = (:math.log10(max(cost, low)) - log_low) / (log_high - log_low)
      @top + inner_height() * (1 - share)
    end

    %{at: at, ticks: ticks(low, high), labelled: if(log_high - log_low > 2.4, do: [1], else: [1, 2, 5])}
  end

  @steps [1, 2, 5]

  defp step_below(value) do
    decade = decade(value)
    @steps |> Enum.reverse() |> Enum.map(&(&1 * decade)) |> Enum.find(decade, &(&1 <= value * 1.000001))
  end

  defp step_above(value) do
    decade = decade(value)
    Enum.find(Enum.map([1, 2, 5, 10], &(&1 * decade)), &(&1 >= value * 0.999999))
  end

  defp decade(value), do: :math.pow(10, Float.floor(:math.log10(value) + 1.0e-9))

  # Pairs of the step and the value.
  defp ticks(low, high) do
    first = round(:math.log10(decade(low)))
    last = round(:math.log10(decade(high)))

    for exponent <- first..last,
        step <- @steps,
        value = step * :math.pow(10, exponent),
        value >= low * 0.999999 and value <= high * 1.000001 do
      {step, value}
    end
  end

  defp x_ticks(table, axis) do
    for size <- axis.ticks, x = n(axis.at.(size)) do
      """
      <line class="grid" x1="#{x}" y1="#{@top}" x2="#{x}" y2="#{@top + inner_height()}"/>
      <text class="tick" x="#{x}" y="#{@top + inner_height() + 18}" text-anchor="middle">#{Quantity.size(table.kind, size)}</text>
      """
    end
  end

  defp y_ticks(table, axis) do
    for {step, value} <- axis.ticks, y = axis.at.(value) do
      label =
        if step in axis.labelled,
          do:
            ~s|<text class="tick" x="#{@left - 8}" y="#{n(y + 4)}" text-anchor="end">#{Quantity.cost(table.cost, value)}</text>\n|,
          else: ""

      ~s|<line class="grid" x1="#{@left}" y1="#{n(y)}" x2="#{@left + inner_width()}" y2="#{n(y)}"/>\n#{label}|
    end
  end

  # --- series ---------------------------------------------------------------------------------------------------

  defp series(%{points: []}, _index, _x, _y), do: ""

  defp series(table, index, x, y) do
    points =
      for point <- table.points,
          {median, best, worst} = Table.per_unit(point),
          do: {x.at.(point.size), median, best, worst}

    upper = for {at, _, _, worst} <- points, do: "#{n(at)},#{n(y.at.(worst))}"
    lower = for {at, _, best, _} <- Enum.reverse(points), do: "#{n(at)},#{n(y.at.(best))}"
    middle = for {at, median, _, _} <- points, do: "#{n(at)},#{n(y.at.(median))}"

    processor =
      for %{processor: cost} = point when cost != nil <- table.points,
          do: "#{n(x.at.(point.size))},#{n(y.at.(cost))}"

    [
      ~s|<g class="s#{index}">\n|,
      ~s|<polygon class="band" points="#{Enum.join(upper ++ lower, " ")}"/>\n|,
      ~s|<polyline class="line" points="#{Enum.join(middle, " ")}"/>\n|,
      if(processor == [],
        do: "",
        else: ~s|<polyline class="processor" points="#{Enum.join(processor, " ")}"/>\n|
      ),
      for({at, median, _, _} <- points, do: marker(index, at, y.at.(median))),
      "</g>\n"
    ]
  end

  defp legend(tables) do
    {entries, _} =
      tables
      |> Enum.with_index()
      |> Enum.map_reduce(@left, fn {table, index}, x ->
        entry = """
        <g class="s#{index}">
        <line class="line" x1="#{x}" y1="52" x2="#{x + 24}" y2="52"/>
        #{marker(index, x + 12, 52)}</g>
        <text x="#{x + 30}" y="56">#{escaped(table.series)}</text>
        """

        # An average letter of this size is about 7 wide.
        {entry, x + 52 + 7 * String.length(table.series)}
      end)

    entries
  end

  defp processor_legend(points) do
    if Enum.any?(points, & &1.processor),
      do:
        ~s|<text class="tick" x="#{@left}" y="76">dashed: processor time of the VM and the sidecar together</text>\n|,
      else: ""
  end

  defp marker(index, x, y) do
    case Enum.at(@markers, rem(index, length(@markers))) do
      :circle -> ~s|<circle cx="#{n(x)}" cy="#{n(y)}" r="4"/>\n|
      :square -> ~s|<rect x="#{n(x - 3.5)}" y="#{n(y - 3.5)}" width="7" height="7"/>\n|
      :diamond -> polygon([{x, y - 5}, {x + 5, y}, {x, y + 5}, {x - 5, y}])
      :triangle -> polygon([{x, y - 5}, {x + 4.5, y + 4}, {x - 4.5, y + 4}])
    end
  end

  defp polygon(corners),
    do: ~s|<polygon points="#{Enum.map_join(corners, " ", fn {x, y} -> "#{n(x)},#{n(y)}" end)}"/>\n|

  defp inner_width, do: @width - @left - @right
  defp inner_height, do: @height - @top - @bottom

  defp n(value), do: :erlang.float_to_binary(value * 1.0, decimals: 1)

  defp escaped(text) do
    text |> String.replace("&", "&amp;") |> String.replace("<", "&lt;") |> String.replace(">", "&gt;")
  end
end
