defmodule LibsqlPort.SidecarCase do
  @moduledoc """
  Tests against the real program. Each test gets `sidecar`, a directory of its own, `conn` to a database in it, and ends by
  asking the sidecar for what is still open: nothing may be.

  The database is a file, `database`; with the tag `mode: :remote` one on a server, and with `mode: :replica` both
  (`LibsqlPort.Modes`). `location` are the options of `LibsqlPort.connect/2` that name it.
  """

  use ExUnit.CaseTemplate

  alias LibsqlPort.SidecarCase

  using do
    quote do
      import LibsqlPort.SidecarCase
      alias LibsqlPort.{Error, Result}
      @moduletag :sidecar
      @moduletag :tmp_dir
    end
  end

  setup context do
    options = Map.get(context, :sidecar_options, [])
    sidecar = start_supervised!({LibsqlPort, Keyword.merge([log_level: :error], options)})
    database = Path.join(context.tmp_dir, "test.db")
    location = location(Map.get(context, :mode, :local), database)
    given = [sidecar: sidecar, database: database, location: location]

    if Map.get(context, :connect, true) do
      {:ok, conn} = LibsqlPort.connect(sidecar, location)
      on_exit_check(sidecar)
      {:ok, [{:conn, conn} | given]}
    else
      {:ok, given}
    end
  end

  # On a server each test has a namespace, which is empty.
  defp location(:local, database), do: [database: database]
  defp location(:replica, database), do: [{:database, database} | location(:remote, database)]

  defp location(:remote, _database) do
    server = LibsqlPort.Sqld.shared()
    namespace = "test-#{System.unique_integer([:positive])}"
    :ok = LibsqlPort.Sqld.create_namespace(server, namespace)
    ExUnit.Callbacks.on_exit(fn -> LibsqlPort.Sqld.drop_namespace(server, namespace) end)
    [url: server.url, namespace: namespace]
  end

  # The supervisor of the test is stopped before `on_exit` runs, so the question is asked by a process that outlives
  # the test but not the supervisor: one started under it, behind the sidecar, and so stopped before it.
  defp on_exit_check(sidecar), do: start_supervised!({SidecarCase.LeakCheck, sidecar})

  @doc "Waits until the function is true, without saying how long that takes."
  def eventually(fun, tries \\ 1_000) do
    cond do
      fun.() ->
        true

      tries == 0 ->
        ExUnit.Assertions.flunk("it did not come to be")

      true ->
        Process.sleep(10)
        eventually(fun, tries - 1)
    end
  end

  @doc "A statement that runs for ever, until it is stopped."
  def endless do
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
  end

  @doc "How many descriptors a program has open; 0 where the system does not tell."
  def descriptors(os_pid) do
    case File.ls("/proc/#{os_pid}/fd") do
      {:ok, descriptors} -> length(descriptors)
      {:error, _} -> 0
    end
  end

  @doc "Waits until a request of the connection is under way, and answers its id."
  def await_request(conn) do
    eventually(fn -> LibsqlPort.requests(conn) != [] end)
    [{request, _} | _] = LibsqlPort.requests(conn)
    request
  end
end

defmodule LibsqlPort.SidecarCase.LeakCheck do
  @moduledoc "Looks, when the test is over, whether anything of it is still open in the sidecar."

  use GenServer, restart: :temporary, shutdown: 10_000

  def start_link(sidecar), do: GenServer.start_link(__MODULE__, sidecar)

  @impl true
  def init(sidecar) do
    Process.flag(:trap_exit, true)
    {:ok, sidecar}
  end

  @impl true
  def terminate(_reason, sidecar) do
    # The test process has ended, so the connections that belong to it are being closed.
    left = wait(sidecar, 500)

    if left not in [%{connections: 0, cursors: 0, statements: 0}, :gone] do
      # An exit here would only be logged; this ends the run.
      IO.puts(:stderr, "\nleft open in the sidecar: #{inspect(left)}")
      System.halt(3)
    end
  end

  defp wait(sidecar, tries) do
    case LibsqlPort.status(sidecar) do
      {:ok, %{connections: 0, cursors: 0, statements: 0}} ->
        %{connections: 0, cursors: 0, statements: 0}

      {:ok, _status} when tries > 0 ->
        Process.sleep(10)
        wait(sidecar, tries - 1)

      {:ok, status} ->
        Map.take(status, [:connections, :cursors, :statements])

      {:error, _} ->
        :gone
    end
  end
end
