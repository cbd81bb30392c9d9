defmodule Demo.Server do
  # A database on a server (sqld), and a file that follows it. The server is killed in the midst of writing: what was acknowledged is
  # compared afterwards, reads go on from the file meanwhile, and writes say what is certain. Where there is no server to be had, this chapter
  # says so.
  @moduledoc false
  alias Demo.{Crash, Terminal}

  @acknowledged_before_kill 200
  @answers_ms 60_000

  def title, do: "A database on a server, and the server is killed"

  def run(context) do
    case System.get_env("SQLD_EXECUTABLE") do
      nil ->
        Terminal.field("left out", "sqld is not installed (scripts/sqld)")
        []

      executable ->
        run(context, %{executable: executable, directory: Path.join(Path.dirname(context.database), "server")})
    end
  end

  defp run(%{sidecar: sidecar, database: database}, server) do
    server = started(Map.merge(server, ports()))
    url = "http://127.0.0.1:#{server.http}"
    Terminal.field("server", "process #{server.os_pid}, #{url}")
    {:ok, remote} = LibsqlPort.connect(sidecar, url: url)
    {:ok, _} = LibsqlPort.script(remote, "CREATE TABLE ledger (id INTEGER PRIMARY KEY, at TEXT NOT NULL)")

    file = database <> "-replica"
    {:ok, replica} = LibsqlPort.connect(sidecar, url: url, database: file)
    {:ok, _} = LibsqlPort.query(replica, "INSERT INTO ledger VALUES (0, 'by the replica')")
    {:ok, own} = LibsqlPort.query_one(replica, "SELECT count(*) FROM ledger WHERE id = 0")
    Terminal.field("written by the replica, read from its file", "#{hd(own)} row")

    ledger = :ets.new(:ledger, [:public, :ordered_set])
    writer = Task.async(fn -> write(remote, ledger, 1) end)
    true = Crash.wait_until(@answers_ms, fn -> :ets.info(ledger, :size) >= @acknowledged_before_kill end)
    {:ok, _} = LibsqlPort.Replica.sync(replica)
    kill(server)
    {:error, error} = Task.await(writer, @answers_ms)
    Terminal.field("the writer", "#{inspect(error.code)}: #{error.message}")

    {:error, refused} = LibsqlPort.query(remote, "INSERT INTO ledger VALUES (-1, 'no server')")
    Terminal.field("a write while it is away", "#{inspect(refused.code)}")
    {:ok, [offline]} = LibsqlPort.query_one(replica, "SELECT count(*) FROM ledger", [], timeout: 5_000)
    {:ok, %{age: age}} = LibsqlPort.Replica.status(replica)
    Terminal.field("a read while it is away", "#{offline} rows from the file, #{age} ms old")

    server = started(server)
    Terminal.field("the server is back", "process #{server.os_pid}")
    true = Crash.wait_until(@answers_ms, fn -> match?({:ok, _}, LibsqlPort.Replica.sync(replica)) end)
    lines = compared(remote, replica, ledger, error, refused)
    kill(server)

    [
      {"rows that the replica read without its server", "#{offline}", offline > @acknowledged_before_kill}
      | lines
    ]
  end

  # One row a commit; what was acknowledged goes into the ledger. Ends with the first error.
  defp write(conn, ledger, id) do
    case LibsqlPort.query(conn, "INSERT INTO ledger VALUES (?, datetime())", [id]) do
      {:ok, _} ->
        :ets.insert(ledger, {id})
        write(conn, ledger, id + 1)

      error ->
        error
    end
  end

  defp compared(remote, replica, ledger, error, refused) do
    acknowledged = ledger |> :ets.tab2list() |> MapSet.new(&elem(&1, 0))

    [stored, followed] =
      for conn <- [remote, replica] do
        conn
        |> LibsqlPort.query!("SELECT id FROM ledger WHERE id <> 0")
        |> Map.fetch!(:rows)
        |> MapSet.new(&hd/1)
      end

    missing = MapSet.difference(acknowledged, stored) |> MapSet.size()
    more = MapSet.difference(stored, acknowledged) |> MapSet.size()
    Terminal.field("acknowledged by the server", "#{MapSet.size(acknowledged)} commits, missing #{missing}")
    Terminal.field("stored, not acknowledged", "#{more}")
    most = if error.code == :outcome_unknown, do: 1, else: 0

    [
      {"commits missing after the server was killed", "#{missing} of #{MapSet.size(acknowledged)}",
       missing == 0},
      {"rows of writes that failed", "#{more}, #{most} may be unknown", more <= most},
      {"a write without a server", inspect(refused.code), refused.code == :remote_unavailable},
      {"the replica has what the server has", "#{MapSet.size(followed)} rows", followed == stored}
    ]
  end

  # --- the server -----------------------------------------------------------------------------------------------

  defp started(server) do
    File.mkdir_p!(server.directory)
    listen = &"127.0.0.1:#{&1}"

    arguments =
      ["--no-welcome", "-d", Path.join(server.directory, "data")] ++
        ["--http-listen-addr", listen.(server.http), "--admin-listen-addr", listen.(server.admin)] ++
        ["--grpc-listen-addr", listen.(server.grpc)]

    # It is killed when the shell's input is closed, at the end of this VM at the latest.
    script =
      "\"$0\" \"$@\" >#{Path.join(server.directory, "log")} 2>&1 </dev/null & echo $!; read line; kill -KILL $!"

    port =
      Port.open({:spawn_executable, "/bin/sh"}, [:binary, args: ["-c", script, server.executable | arguments]])

    os_pid = receive do: ({^port, {:data, line}} -> line |> String.trim() |> String.to_integer())
    server = Map.merge(server, %{port: port, os_pid: os_pid})
    true = Crash.wait_until(@answers_ms, fn -> answers?(server.http) end)
    server
  end

  defp answers?(port) do
    with {:ok, socket} <- :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false]),
         :ok <- :gen_tcp.send(socket, "GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
         {:ok, "HTTP/1.1 200" <> _} <- :gen_tcp.recv(socket, 0, 5_000) do
      :gen_tcp.close(socket) == :ok
    else
      _not_yet -> false
    end
  end

  defp kill(server) do
    Port.close(server.port)
    true = Crash.wait_until(@answers_ms, fn -> not answers?(server.http) end)
    Terminal.field("SIGKILL", "process #{server.os_pid}")
  end

  # Held open together, so that no two are the same.
  defp ports do
    sockets = for _ <- 1..3, do: elem(:gen_tcp.listen(0, ip: {127, 0, 0, 1}), 1)
    [http, admin, grpc] = for socket <- sockets, do: socket |> :inet.port() |> elem(1)
    for socket <- sockets, do: :ok = :gen_tcp.close(socket)
    %{http: http, admin: admin, grpc: grpc}
  end
end
