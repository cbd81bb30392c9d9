defmodule LibsqlPort.FailoverTest do
  # A primary, a server that follows it, and what is said while the primary is gone.
  # Not async: a module of the name :telemetry comes and goes.
  use LibsqlPort.SidecarCase, async: false

  alias LibsqlPort.{Sqld, TelemetryDouble}

  @moduletag :sqld
  @moduletag connect: false

  defp connect!(sidecar, primary, replica, options) do
    given = [
      url: primary.url,
      replica_urls: [replica.url],
      breaker_failures: 2,
      breaker_delay: 20,
      breaker_delay_max: 40
    ]

    {:ok, conn} = LibsqlPort.connect(sidecar, given ++ options)
    conn
  end

  test "reads come from the server that follows, with what was written before", %{sidecar: sidecar} do
    primary = Sqld.start!()
    replica = Sqld.start!(primary: primary)
    conn = connect!(sidecar, primary, replica, read_from: :replica, replica_wait: 20_000)
    {:ok, written} = LibsqlPort.query(conn, "CREATE TABLE t (x)")
    assert %Result{server: nil, stale: false, age: nil} = written

    for n <- 1..5 do
      {:ok, _} = LibsqlPort.query(conn, "INSERT INTO t VALUES (1)")

      # Mostly at once. On a busy machine sqld has said once that it had come so far, and then shown what was before.
      eventually(fn ->
        {:ok, read} = LibsqlPort.query(conn, "SELECT count(*) FROM t")
        assert %Result{stale: false, age: nil} = read
        assert read.server == replica.url
        read.rows == [[n]]
      end)
    end

    assert {:ok, %{servers: [%{role: :primary, breaker: :closed}, %{role: :replica, url: url}]}} =
             LibsqlPort.status(conn)

    assert url == replica.url
    # What has more than a chunk of rows says it as well.
    long = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c LIMIT 50000) SELECT i FROM c"
    assert {:ok, %Result{num_rows: 50_000, server: ^url}} = LibsqlPort.query(conn, long)
  end

  test "a primary that is gone is told, reads are stale, and writes fail at once", %{sidecar: sidecar} do
    primary = Sqld.start!()
    replica = Sqld.start!(primary: primary)
    conn = connect!(sidecar, primary, replica, fallback_reads: true)
    TelemetryDouble.load()
    on_exit(&TelemetryDouble.unload/0)
    TelemetryDouble.start()
    Process.register(self(), :libsql_port_telemetry)
    {:ok, _} = LibsqlPort.script(conn, "CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    {:ok, follower} = LibsqlPort.connect(sidecar, url: replica.url)
    eventually(fn -> match?({:ok, [1]}, LibsqlPort.query_one(follower, "SELECT count(*) FROM t")) end)
    :ok = Sqld.kill(primary)
    {:ok, read} = LibsqlPort.query(conn, "SELECT count(*) FROM t")
    assert %Result{rows: [[1]], stale: true, age: age} = read
    assert read.server == replica.url and is_integer(age)
    {:ok, _} = LibsqlPort.query(conn, "SELECT 2")
    assert {:error, %Error{code: :remote_unavailable} = error} = LibsqlPort.query(conn, "DELETE FROM t")
    assert error.message =~ "circuit breaker is open"

    assert {:error, %Error{code: :remote_unavailable}} =
             LibsqlPort.transaction(conn, fn _ -> flunk("it ran") end)

    assert {:ok, %{servers: [%{breaker: breaker, reason: reason, failures: failures} | _]}} =
             LibsqlPort.status(conn)

    assert breaker in [:open, :half_open] and is_binary(reason) and failures >= 2
    event = [:libsql_port, :breaker, :changed]

    assert_receive {:event, ^event, %{failures: 2, since: _, probe: _},
                    %{state: :open, url: url, reason: words}},
                   60_000

    assert url == primary.url and is_binary(words)
    :ok = Sqld.restart(primary)
    assert_receive {:event, ^event, %{failures: 0}, %{state: :closed, url: ^url, reason: nil}}, 60_000
    assert {:ok, %Result{server: nil, stale: false}} = LibsqlPort.query(conn, "SELECT count(*) FROM t")
    assert {:ok, %Result{changes: 1}} = LibsqlPort.query(conn, "DELETE FROM t")
  end
end
