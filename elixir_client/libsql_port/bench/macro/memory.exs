defmodule Bench.Memory do
  # The memory of both processes while a long result streams through, sampled by a process beside it.
  @moduledoc false
  alias Bench.Report

  @limit_bytes 64_000_000
  @sample_ms 50

  def run(bench) do
    times = Bench.setting(bench, 100, 10)
    rows = times * Bench.bulk_rows()

    sql = """
    WITH RECURSIVE again (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM again WHERE i < #{times})
    SELECT bulk.* FROM again CROSS JOIN bulk
    """

    Enum.each(Process.list(), &:erlang.garbage_collect/1)
    idle = sample(bench)
    streaming = Task.async(fn -> streamed(bench.conn, sql) end)
    samples = samples(bench, streaming.pid, [])
    ^rows = Task.await(streaming, :infinity)

    vm = growth(samples, idle, :vm)
    sidecar = growth(samples, idle, :sidecar)

    [
      "memory while streaming #{div(rows, 1_000_000)} M rows: both, peak above idle"
      |> Report.within(@limit_bytes, [vm + sidecar], &Report.mb/1)
      |> Report.note(
        "#{length(samples)} samples; this VM +#{Report.mb(vm)}, the sidecar +#{Report.mb(sidecar)}"
      ),
      "the same: last quarter above second quarter"
      |> Report.within(div(@limit_bytes, 8), [drift(samples)], &Report.mb/1)
      |> Report.note(
        "flat means that what is read does not pile up; an eighth of the limit is allowed for noise"
      )
    ]
  end

  defp samples(bench, pid, taken) do
    if Process.alive?(pid) do
      Process.sleep(@sample_ms)
      samples(bench, pid, [sample(bench) | taken])
    else
      Enum.reverse(taken)
    end
  end

  defp sample(bench) do
    {:ok, %{rss: rss}} = LibsqlPort.status(bench.sidecar)
    %{vm: :erlang.memory(:total), sidecar: rss}
  end

  defp growth(samples, idle, key) do
    peak = samples |> Enum.map(&Map.fetch!(&1, key)) |> Enum.max()
    max(peak - Map.fetch!(idle, key), 0)
  end

  # A leak shows as a rise between the second and the last quarter, whatever the first allocations cost.
  defp drift(samples) do
    quarter = max(div(length(samples), 4), 1)
    sums = Enum.map(samples, &(&1.vm + &1.sidecar))
    mean = fn values -> Enum.sum(values) / length(values) end
    max(mean.(Enum.take(sums, -quarter)) - mean.(sums |> Enum.drop(quarter) |> Enum.take(quarter)), 0)
  end

  defp streamed(conn, sql) do
    conn |> LibsqlPort.stream(sql, [], chunks: true) |> Enum.reduce(0, &(length(&1) + &2))
  end
end
