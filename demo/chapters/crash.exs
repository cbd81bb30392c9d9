defmodule Demo.Crash do
  # SIGKILL for the sidecar in mid-transaction. Writers keep a ledger of every commit that was acknowledged; afterwards
  # all of it must be there, and nothing of the open transaction.
  @moduledoc false
  alias Demo.Terminal

  @writers 4
  @acknowledged_before_kill 400
  @uncommitted_rows 500

  def title, do: "The sidecar is killed in mid-transaction"

  def run(%{conn: conn, sidecar: sidecar, database: database} = context) do
    {:ok, _} = LibsqlPort.script(conn, "CREATE TABLE ledger (id INTEGER PRIMARY KEY, kind TEXT NOT NULL)")
    {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
    ledger = :ets.new(:ledger, [:public, :ordered_set])
    writers = Enum.map(1..@writers, fn number -> Task.async(fn -> write(context, ledger, number) end) end)
    true = wait_until(30_000, fn -> :ets.info(ledger, :size) >= @acknowledged_before_kill end)

    {killed_at, transaction} = kill_in_transaction(conn, os_pid)
    answers = Task.await_many(writers, 30_000)
    Terminal.field("the open transaction", answer(transaction))

    for {answer, count} <- answers |> Enum.map(&answer(elem(&1, 0))) |> Enum.frequencies() do
      Terminal.field("#{count} waiting writers", answer)
    end

    slowest_us = answers |> Enum.map(fn {_, at} -> at - killed_at end) |> Enum.max()
    Terminal.field("all callers answered", "#{Terminal.ms(slowest_us)} after the kill")

    {again, restart_us} = reconnect(sidecar, database, killed_at)
    {:ok, %{os_pid: new_os_pid}} = LibsqlPort.status(sidecar)
    Terminal.field("restarted", "process #{new_os_pid} answers #{Terminal.ms(restart_us)} after the kill")
    count(again, ledger) ++ verdicts(transaction, answers, slowest_us, {os_pid, new_os_pid})
  end

  # One row per commit; what was acknowledged goes into the ledger. Ends with the first error.
  defp write(%{sidecar: sidecar, database: database}, ledger, number) do
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database)

    Enum.find_value(Stream.iterate(number, &(&1 + @writers)), fn id ->
      case LibsqlPort.query(conn, "INSERT INTO ledger VALUES (?, 'acknowledged')", [id]) do
        {:ok, _} ->
          :ets.insert(ledger, {id})
          nil

        error ->
          {error, now()}
      end
    end)
  end

  # The transaction holds the writer's turn, so at the kill the writers are waiting for theirs.
  defp kill_in_transaction(conn, os_pid) do
    killed_at = :atomics.new(1, signed: true)

    result =
      LibsqlPort.transaction(
        conn,
        fn conn ->
          for id <- 1..@uncommitted_rows do
            LibsqlPort.query!(conn, "INSERT INTO ledger VALUES (?, 'uncommitted')", [1_000_000 + id])
          end

          {:ok, [inside]} =
            LibsqlPort.query_one(conn, "SELECT count(*) FROM ledger WHERE kind = 'uncommitted'")

          Terminal.field("inside the transaction", "#{inside} rows that nobody else can see")
          :atomics.put(killed_at, 1, now())
          {"", 0} = System.cmd("sh", ["-c", "kill -KILL #{os_pid}"])
          Terminal.field("SIGKILL", "process #{os_pid}")
          true = wait_until(5_000, fn -> not running?(os_pid) end)
          with {:error, error} <- LibsqlPort.query(conn, "SELECT 1"), do: LibsqlPort.rollback(conn, error)
        end,
        mode: :immediate
      )

    {:atomics.get(killed_at, 1), result}
  end

  # Right after the kill there may be no sidecar yet; that too is a typed error, so asking again is all it takes.
  defp reconnect(sidecar, database, killed_at) do
    true = wait_until(10_000, fn -> match?({:ok, _}, LibsqlPort.status(sidecar)) end)
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database)
    {:ok, [_]} = LibsqlPort.query_one(conn, "SELECT count(*) FROM ledger")
    {conn, now() - killed_at}
  end

  defp count(conn, ledger) do
    stored =
      conn
      |> LibsqlPort.query!("SELECT id FROM ledger WHERE kind = 'acknowledged'")
      |> Map.fetch!(:rows)
      |> MapSet.new(fn [id] -> id end)

    acknowledged = ledger |> :ets.tab2list() |> MapSet.new(fn {id} -> id end)
    missing = MapSet.size(MapSet.difference(acknowledged, stored))
    unanswered = MapSet.size(MapSet.difference(stored, acknowledged))

    {:ok, [uncommitted]} =
      LibsqlPort.query_one(conn, "SELECT count(*) FROM ledger WHERE kind = 'uncommitted'")

    {:ok, [integrity]} = LibsqlPort.query_one(conn, "PRAGMA integrity_check")
    Terminal.field("acknowledged commits", "#{MapSet.size(acknowledged)}, missing #{missing}")
    Terminal.field("rolled back", "#{@uncommitted_rows} rows, left over #{uncommitted}")

    # Their callers have been told that the outcome is unknown, and this is why.
    Terminal.field("stored, not acknowledged", "#{unanswered}")
    Terminal.field("integrity_check", integrity)

    [
      {"acknowledged commits missing after the kill", "#{missing} of #{MapSet.size(acknowledged)}",
       missing == 0},
      {"rows left of the open transaction", "#{uncommitted} of #{@uncommitted_rows}", uncommitted == 0},
      {"the database after the kill", integrity, integrity == "ok"}
    ]
  end

  defp verdicts(transaction, answers, slowest_us, {os_pid, new_os_pid}) do
    typed? = fn answer -> match?({:error, %LibsqlPort.Error{code: code}} when is_atom(code), answer) end
    all = [transaction | Enum.map(answers, &elem(&1, 0))]

    [
      {"callers answered by a typed error", "#{Enum.count(all, typed?)} of #{length(all)}",
       Enum.all?(all, typed?)},
      {"the last of them, after the kill", Terminal.ms(slowest_us), slowest_us < 2_000_000},
      {"a new sidecar took over", "#{os_pid} → #{new_os_pid}", new_os_pid != os_pid}
    ]
  end

  defp answer({:error, %LibsqlPort.Error{code: code, message: message}}), do: "#{inspect(code)}: #{message}"
  defp answer(other), do: inspect(other)

  @doc "Is there a process of this id that has not ended?"
  def running?(os_pid) do
    {_, status} = System.cmd("sh", ["-c", "kill -0 #{os_pid} 2>/dev/null"])
    status == 0
  end

  @doc "Asks again and again until the answer is true; false if the time is up before."
  def wait_until(timeout_ms, fun, started \\ System.monotonic_time(:millisecond)) do
    cond do
      fun.() -> true
      System.monotonic_time(:millisecond) - started > timeout_ms -> false
      true -> Process.sleep(2) && wait_until(timeout_ms, fun, started)
    end
  end

  defp now, do: System.monotonic_time(:microsecond)
end
