defmodule Demo.Streaming do
  # A million rows in, a million rows out, and what that does to the memory of both processes.
  @moduledoc false
  alias Demo.Terminal

  @rows 1_000_000
  @rows_per_insert 20_000
  @rows_per_sample 20_000
  @growth_bytes_max 64 * 1_048_576

  def title, do: "A million rows"

  def run(context) do
    write(context.conn)
    collect_garbage()
    read(context)
  end

  defp write(conn) do
    {:ok, _} =
      LibsqlPort.script(
        conn,
        "CREATE TABLE reading (id INTEGER PRIMARY KEY, zone TEXT, at INTEGER, value REAL)"
      )

    sql = """
    WITH RECURSIVE n (i) AS (SELECT :from UNION ALL SELECT i + 1 FROM n WHERE i < :to)
    INSERT INTO reading
    SELECT n.i, zone.name, 1700000000 + n.i, n.i % 1000 / 10.0
      FROM n JOIN zone ON zone.id = 1 + n.i % (SELECT count(*) FROM zone)
    """

    {time_us, :ok} =
      :timer.tc(fn ->
        Terminal.with_progress("writing", @rows, fn report ->
          for from <- 1..@rows//@rows_per_insert do
            to = from + @rows_per_insert - 1
            {:ok, %{changes: @rows_per_insert}} = LibsqlPort.query(conn, sql, %{from: from, to: to})
            report.(to, "#{Terminal.grouped(to)} rows")
          end

          :ok
        end)
      end)

    Terminal.field("written", "#{Terminal.grouped(@rows)} rows in #{Terminal.ms(time_us)}")
  end

  defp read(%{conn: conn, sidecar: sidecar}) do
    before = memory(sidecar)

    {time_us, {count, sum, samples}} =
      :timer.tc(fn ->
        Terminal.with_progress("streaming", @rows, fn report ->
          conn
          |> LibsqlPort.stream("SELECT id, zone, at, value FROM reading")
          |> Enum.reduce({0, 0, []}, fn [id, _, _, _], {count, sum, samples} ->
            count = count + 1
            {count, sum + id, sample(count, samples, sidecar, report)}
          end)
        end)
      end)

    Terminal.field("streamed", "#{Terminal.grouped(count)} rows in #{Terminal.ms(time_us)}")
    Terminal.line("")
    show(before, Enum.reverse(samples))
    peak = peak(samples)

    [
      {"rows streamed, and the sum of their ids", "#{Terminal.grouped(count)}, #{Terminal.grouped(sum)}",
       count == @rows and sum == div(@rows * (@rows + 1), 2)},
      growth("memory of this VM while streaming", before.vm, peak.vm),
      growth("memory of the sidecar while streaming", before.sidecar, peak.sidecar)
    ]
  end

  defp sample(count, samples, sidecar, report) when rem(count, @rows_per_sample) == 0 do
    memory = memory(sidecar)

    report.(
      count,
      "#{Terminal.grouped(count)} rows  VM #{Terminal.mib(memory.vm)}  sidecar #{Terminal.mib(memory.sidecar)}"
    )

    [{count, memory} | samples]
  end

  defp sample(_, samples, _, _), do: samples

  defp memory(sidecar) do
    {:ok, status} = LibsqlPort.status(sidecar)
    %{vm: :erlang.memory(:total), sidecar: status.rss}
  end

  defp show(before, samples) do
    some = Enum.filter(samples, fn {count, _} -> rem(count, div(@rows, 5)) == 0 end)

    Terminal.table(
      ["rows streamed", "this VM", "sidecar"],
      Enum.map([{0, before} | some], fn {count, memory} ->
        [count, Terminal.mib(memory.vm), Terminal.mib(memory.sidecar)]
      end)
    )
  end

  defp peak(samples) do
    %{
      vm: samples |> Enum.map(fn {_, memory} -> memory.vm end) |> Enum.max(),
      sidecar: samples |> Enum.map(fn {_, memory} -> memory.sidecar end) |> Enum.max()
    }
  end

  defp growth(what, before, peak) do
    {what, "at most +#{Terminal.mib(max(peak - before, 0))}", peak - before < @growth_bytes_max}
  end

  defp collect_garbage, do: Enum.each(Process.list(), &:erlang.garbage_collect/1)
end
