defmodule Demo.Deadline do
  # A query without end, stopped at its deadline, while a neighbour on another connection is served.
  @moduledoc false
  alias Demo.Terminal

  @timeout_ms 700
  @endless "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"

  def title, do: "A query without end"

  def run(%{conn: conn, sidecar: sidecar, database: database}) do
    {:ok, other} = LibsqlPort.connect(sidecar, database: database)

    runaway =
      Task.async(fn -> :timer.tc(fn -> LibsqlPort.query(conn, @endless, [], timeout: @timeout_ms) end) end)

    neighbour = neighbour(other, runaway, [])
    {time_us, answer} = Task.await(runaway)
    :ok = LibsqlPort.close(other)

    {:error, error} = answer

    Terminal.field(
      "runaway",
      "#{inspect(error.code)} after #{Terminal.ms(time_us)}, its limit was #{@timeout_ms} ms"
    )

    worst = Enum.max(neighbour, fn -> 0 end)
    Terminal.field("neighbour", "#{length(neighbour)} queries meanwhile, the slowest #{Terminal.ms(worst)}")
    again = LibsqlPort.query_one(conn, "SELECT count(*) FROM reading", [])
    Terminal.field("the same connection", "answers again: #{inspect(again)}")

    [
      {"a runaway query ends at its #{@timeout_ms} ms limit",
       "#{inspect(error.code)}, #{Terminal.ms(time_us)}",
       error.code == :timeout and time_us in (@timeout_ms * 1_000)..(@timeout_ms * 3_000)},
      {"queries of a neighbour meanwhile", "#{length(neighbour)}", neighbour != []},
      {"its connection's next answer", inspect(again), again == {:ok, [1_000_000]}}
    ]
  end

  # Short questions, one after the other, for as long as the runaway runs.
  defp neighbour(conn, %Task{pid: pid} = task, times) do
    if Process.alive?(pid) do
      {time_us, {:ok, _}} =
        :timer.tc(fn -> LibsqlPort.query_one(conn, "SELECT name FROM zone WHERE id = ?", [1]) end)

      neighbour(conn, task, [time_us | times])
    else
      times
    end
  end
end
