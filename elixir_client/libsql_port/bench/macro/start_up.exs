defmodule Bench.StartUp do
  # From the call that starts a sidecar to its first answer, and what it holds when it has nothing to do.
  @moduledoc false
  alias Bench.{Report, Statistics}

  @limit_us 30_000
  @idle_limit_bytes 12_000_000
  @settle_ms 300

  def run(bench) do
    rounds = Bench.setting(bench, 21, 7)

    [pings, rows, resident] = 1..rounds |> Enum.map(fn _ -> round_of() end) |> Enum.zip_with(& &1)

    [
      Report.within("sidecar start to the first answer (ping)", @limit_us, pings, &Report.ms/1),
      Report.within("sidecar start to the first row of a new database", @limit_us, rows, &Report.ms/1),
      Report.within(
        "idle resident memory, #{@settle_ms} ms after its start",
        @idle_limit_bytes,
        resident,
        &Report.mb/1
      )
    ]
  end

  defp round_of do
    {ping, pid, name} = started(fn name -> :ok = LibsqlPort.ping(name) end)
    Process.sleep(@settle_ms)
    {:ok, %{rss: resident}} = LibsqlPort.status(name)
    Supervisor.stop(pid)

    {row, pid, _} =
      started(fn name ->
        {:ok, conn} = LibsqlPort.connect(name, database: ":memory:")
        {:ok, [1]} = LibsqlPort.query_one(conn, "SELECT 1")
      end)

    Supervisor.stop(pid)
    [ping, row, resident]
  end

  defp started(first) do
    name = :"Bench.StartUp.#{System.unique_integer([:positive])}"
    parent = self()

    taken =
      Statistics.time(fn ->
        {:ok, pid} = Supervisor.start_link([{LibsqlPort, name: name}], strategy: :one_for_one)
        send(parent, {:started, pid})
        first.(name)
      end)

    receive do
      {:started, pid} -> {taken, pid, name}
    end
  end
end
