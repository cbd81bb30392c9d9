defmodule Bench.Endless do
  # More endless queries than the machine has cores or the VM has dirty I/O threads: does anybody else notice?
  @moduledoc false
  alias Bench.{Report, Statistics}

  @queries 11
  @limit_us 25_000
  @endless "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"

  def run(bench) do
    duration_ms = Bench.setting(bench, 5_000, 1_500)
    file = Path.join(bench.directory, "file")
    File.write!(file, :binary.copy("x", 4_096))
    other = Bench.connect(bench)
    select = fn -> {:ok, [_]} = LibsqlPort.query_one(other, "SELECT short FROM bulk WHERE id = ?", [1]) end
    read = fn -> {:ok, _} = File.read(file) end
    select.()
    read.()

    conns = Enum.map(1..@queries, fn _ -> Bench.connect(bench) end)

    runaways =
      Enum.map(conns, fn conn ->
        Task.async(fn -> LibsqlPort.query(conn, @endless, [], timeout: :infinity) end)
      end)

    true = all_running?(bench, 5_000)

    {reads, selects} = alternate(read, select, duration_ms)

    # Each of them was running until now, or the figures are worth nothing.
    true = Enum.all?(runaways, &Process.alive?(&1.pid))
    Enum.each(conns, &LibsqlPort.cancel/1)
    ended = Task.await_many(runaways, 10_000)
    true = Enum.all?(ended, &match?({:error, %LibsqlPort.Error{code: :cancelled}}, &1))
    Enum.each([other | conns], &LibsqlPort.close/1)

    [row("File.read", reads), row("short query on another connection", selects)]
  end

  defp row(what, times) do
    "#{@queries} endless queries running: worst #{what}"
    |> Report.within(@limit_us, [Enum.max(times)], &Report.ms/1)
    |> Report.note(
      "of #{length(times)}; p50 #{Report.ms(Statistics.median(times))}, p99 #{Report.ms(Statistics.quantile(times, 0.99))}"
    )
  end

  defp alternate(read, select, duration_ms) do
    until = System.monotonic_time(:millisecond) + duration_ms
    alternate(read, select, until, {[], []})
  end

  defp alternate(read, select, until, {reads, selects}) do
    if System.monotonic_time(:millisecond) < until do
      reads = Statistics.times(1, read) ++ reads
      selects = Statistics.times(1, select) ++ selects
      # A pause of no fixed length, so that the samples do not fall into step with the system's scheduler.
      Process.sleep(:rand.uniform(3))
      alternate(read, select, until, {reads, selects})
    else
      {reads, selects}
    end
  end

  # The queries run when the sidecar has read them all and has none left in its queues.
  defp all_running?(bench, patience_ms) do
    {:ok, status} = LibsqlPort.status(bench.sidecar)

    cond do
      status.connections >= @queries + 2 and status.queued_requests == 0 -> true
      patience_ms <= 0 -> false
      true -> Process.sleep(10) && all_running?(bench, patience_ms - 10)
    end
  end
end
