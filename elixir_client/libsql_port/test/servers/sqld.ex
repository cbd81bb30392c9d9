defmodule LibsqlPort.Sqld do
  @moduledoc """
  A libSQL server of a test's own, on free ports of the loopback interface, gone with the test:

      server = Sqld.start!(namespaces: true)
      :ok = Sqld.create_namespace(server, "a")
      LibsqlPort.connect(sidecar, url: server.url, namespace: "a")

  Options: `:namespaces` (default `false`), `:jwt` (a key of `LibsqlPort.Sqld.Token`), `:primary` (the server of which this is
  a replica), `:args` (more arguments of the program), `:directory` (default: one that is removed afterwards).

  The program is found by `SQLD_EXECUTABLE`, or where `scripts/sqld` has installed it; tests that need it are tagged `:sqld`,
  and are excluded where it is missing. Used by the adapter's tests too.
  """

  use GenServer, restart: :temporary, shutdown: 30_000

  alias LibsqlPort.Sqld.Http

  @enforce_keys [:pid, :url, :http_port, :grpc_port, :admin_port, :directory]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          pid: pid,
          url: String.t(),
          http_port: pos_integer,
          grpc_port: pos_integer | nil,
          admin_port: pos_integer,
          directory: Path.t()
        }

  @root Path.expand("../../../..", __DIR__)
  # A port may be taken by somebody else between its choice and its use.
  @tries 5
  @ready_ms 60_000
  @end_ms 20_000

  @doc "The program, or `nil`."
  @spec executable() :: Path.t() | nil
  def executable do
    path = System.get_env("SQLD_EXECUTABLE") || Path.join(@root, "target/sqld/sqld")
    if File.exists?(path), do: path
  end

  @doc "What `ExUnit.start/1` is to exclude: nothing, or the tests that need the server, after a line that says so."
  @spec exclusions() :: [atom]
  def exclusions do
    if executable() do
      []
    else
      IO.puts("sqld is not installed (scripts/sqld): the tests tagged :sqld are skipped")
      [:sqld]
    end
  end

  @doc "Starts a server under the supervisor of the test, or of the module if `setup_all` calls."
  @spec start!(keyword) :: t
  def start!(options \\ []) do
    pid = ExUnit.Callbacks.start_supervised!({__MODULE__, options}, id: make_ref())
    GenServer.call(pid, :server, @ready_ms)
  end

  @doc """
  A server with namespaces that all tests of this run share, started when it is first asked for. It ends with the VM. Tests that stop
  or burden it start one of their own.
  """
  @spec shared() :: t
  def shared do
    :global.trans({__MODULE__, self()}, fn ->
      pid =
        case GenServer.start(__MODULE__, [namespaces: true, shared: true], name: __MODULE__) do
          {:ok, pid} -> pid
          {:error, {:already_started, pid}} -> pid
        end

      GenServer.call(pid, :server, @ready_ms)
    end)
  end

  @doc "Kills it (SIGKILL), and waits until it is gone."
  @spec kill(t) :: :ok
  def kill(server), do: GenServer.call(server.pid, {:signal, "KILL"}, @ready_ms)

  @doc "Asks it to end (SIGTERM), and waits until it is gone."
  @spec stop(t) :: :ok
  def stop(server), do: GenServer.call(server.pid, {:signal, "TERM"}, @ready_ms)

  @doc "Lets it stand (SIGSTOP): its sockets are open, and nothing answers."
  @spec pause(t) :: :ok
  def pause(server), do: GenServer.call(server.pid, :pause)

  @doc "Lets it go on."
  @spec resume(t) :: :ok
  def resume(server), do: GenServer.call(server.pid, :resume)

  @doc "Starts it again, on the same ports and data, and waits until it answers."
  @spec restart(t) :: :ok
  def restart(server), do: GenServer.call(server.pid, :restart, @ready_ms)

  @doc "Makes a namespace."
  @spec create_namespace(t, String.t()) :: :ok
  def create_namespace(server, name) do
    {200, _body} = Http.request(server.admin_port, "POST", "/v1/namespaces/#{name}/create", "{}")
    :ok
  end

  @doc "Removes a namespace and what is in it."
  @spec drop_namespace(t, String.t()) :: :ok
  def drop_namespace(server, name) do
    _ = Http.request(server.admin_port, "DELETE", "/v1/namespaces/#{name}", ~s({"keep_backup":false}))
    :ok
  end

  @doc "What the admin API answers: status and body."
  @spec admin(t, String.t(), String.t(), String.t()) :: {pos_integer, binary}
  def admin(server, method, path, body \\ ""), do: Http.request(server.admin_port, method, path, body)

  @doc "The log of the server so far, for failures that need an explanation."
  @spec log(t) :: String.t()
  def log(server), do: GenServer.call(server.pid, :log)

  # --- process --------------------------------------------------------------------------------------------------

  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options), do: GenServer.start_link(__MODULE__, options)

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)
    directory = options[:directory] || temporary()
    File.mkdir_p!(directory)
    # Whoever shares it does not end it.
    if options[:shared], do: System.at_exit(fn _status -> GenServer.stop(__MODULE__) end)
    state = %{options: options, directory: directory, port: nil, os_pid: nil, watcher: nil, output: []}

    case start(state, @tries) do
      {:ok, state} -> {:ok, state}
      {:error, why} -> {:stop, why}
    end
  end

  @impl true
  def handle_call(:server, _from, state), do: {:reply, state.server, state}

  def handle_call({:signal, signal}, _from, %{os_pid: os_pid} = state) when os_pid != nil do
    signal(os_pid, signal)
    {:reply, :ok, ended(state)}
  end

  def handle_call(:pause, _from, state) do
    signal(state.os_pid, "STOP")
    {:reply, stopped(state.os_pid, now() + @end_ms), state}
  end

  def handle_call(:resume, _from, state), do: {:reply, signal(state.os_pid, "CONT"), state}

  def handle_call(:restart, _from, %{os_pid: nil} = state) do
    {:ok, state} = run(state, state.server)
    {:reply, :ok, state}
  end

  def handle_call(:log, _from, state), do: {:reply, IO.iodata_to_binary(state.output), state}

  @impl true
  def handle_info({port, {:data, data}}, %{port: port} = state),
    do: {:noreply, %{state | output: [state.output | data]}}

  def handle_info({port, {:exit_status, _status}}, %{port: port} = state), do: {:noreply, forgotten(state)}
  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    if state.os_pid do
      signal(state.os_pid, "KILL")
      ended(state)
    end

    unless state.options[:directory], do: File.rm_rf(state.directory)
  end

  # --- the program ----------------------------------------------------------------------------------------------

  defp start(state, tries) do
    [http, grpc, admin] = free_ports(3)
    primary? = state.options[:primary] == nil

    server = %__MODULE__{
      pid: self(),
      url: "http://127.0.0.1:#{http}",
      http_port: http,
      grpc_port: if(primary?, do: grpc),
      admin_port: admin,
      directory: state.directory
    }

    case run(state, server) do
      {:ok, state} -> {:ok, state}
      {:error, _taken} when tries > 1 -> start(state, tries - 1)
      {:error, why} -> {:error, why}
    end
  end

  # The shell tells nothing and becomes the server, so the port's process is the server itself.
  defp run(state, server) do
    arguments = ["-c", "exec \"$0\" \"$@\" 2>&1 </dev/null", executable() | arguments(server, state.options)]
    port = Port.open({:spawn_executable, "/bin/sh"}, [:binary, :exit_status, args: arguments])
    {:os_pid, os_pid} = Port.info(port, :os_pid)
    state = %{state | port: port, os_pid: os_pid, watcher: watcher(os_pid)}
    ready(Map.put(state, :server, server), now() + @ready_ms)
  end

  # Kills the server if this VM is gone, however it ended: then its input is closed.
  defp watcher(os_pid) do
    script = "read word; [ \"$word\" = done ] || kill -9 #{os_pid} 2>/dev/null"
    Port.open({:spawn_executable, "/bin/sh"}, [:binary, args: ["-c", script]])
  end

  defp arguments(server, options) do
    listen = &"127.0.0.1:#{&1}"

    ["--no-welcome", "-d", Path.join(server.directory, "data")] ++
      ["--http-listen-addr", listen.(server.http_port), "--admin-listen-addr", listen.(server.admin_port)] ++
      role(options[:primary], server, listen) ++
      if(options[:namespaces], do: ["--enable-namespaces"], else: []) ++
      key(options[:jwt], server.directory) ++ (options[:args] || [])
  end

  defp role(nil, server, listen), do: ["--grpc-listen-addr", listen.(server.grpc_port)]

  defp role(%__MODULE__{} = primary, _server, _listen),
    do: ["--primary-grpc-url", "http://127.0.0.1:#{primary.grpc_port}", "--http-primary-url", primary.url]

  defp key(nil, _directory), do: []

  defp key(key, directory) do
    path = Path.join(directory, "key")
    File.write!(path, LibsqlPort.Sqld.Token.public(key))
    ["--auth-jwt-key-file", path]
  end

  defp ready(state, deadline) do
    port = state.port

    receive do
      {^port, {:data, data}} ->
        ready(%{state | output: [state.output | data]}, deadline)

      {^port, {:exit_status, status}} ->
        forgotten(state)
        {:error, {:ended, status, IO.iodata_to_binary(state.output)}}
    after
      10 ->
        cond do
          match?({200, _}, Http.request(state.server.http_port, "GET", "/health")) ->
            {:ok, state}

          now() > deadline ->
            signal(state.os_pid, "KILL")
            ended(state)
            {:error, {:not_ready, IO.iodata_to_binary(state.output)}}

          true ->
            ready(state, deadline)
        end
    end
  end

  defp ended(%{port: port} = state) do
    receive do
      {^port, {:exit_status, _}} -> forgotten(state)
    after
      @end_ms ->
        signal(state.os_pid, "KILL")
        receive do: ({^port, {:exit_status, _}} -> forgotten(state))
    end
  end

  # Its number may be somebody else's from now on.
  defp forgotten(state) do
    Port.command(state.watcher, "done\n")
    Port.close(state.watcher)
    %{state | port: nil, os_pid: nil, watcher: nil}
  rescue
    # It may have read the word and ended.
    ArgumentError -> %{state | port: nil, os_pid: nil, watcher: nil}
  end

  defp signal(os_pid, name) do
    {_, 0} = System.cmd("kill", ["-#{name}", Integer.to_string(os_pid)], stderr_to_stdout: true)
    :ok
  end

  # A signal is on its way when `kill` returns.
  defp stopped(os_pid, deadline) do
    {text, 0} = System.cmd("ps", ["-o", "state=", "-p", Integer.to_string(os_pid)])

    cond do
      String.starts_with?(String.trim(text), "T") ->
        :ok

      now() > deadline ->
        raise "the server does not stand still"

      true ->
        Process.sleep(5)
        stopped(os_pid, deadline)
    end
  end

  # Held open all together, so that no two are the same.
  defp free_ports(count) do
    sockets =
      for _ <- 1..count do
        {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
        socket
      end

    for socket <- sockets do
      {:ok, port} = :inet.port(socket)
      :ok = :gen_tcp.close(socket)
      port
    end
  end

  defp temporary do
    name = "libsql_port-sqld-#{System.pid()}-#{System.unique_integer([:positive])}"
    Path.join(System.tmp_dir!(), name)
  end

  defp now, do: System.monotonic_time(:millisecond)
end

defmodule LibsqlPort.Sqld.Token do
  @moduledoc "JSON Web Tokens as sqld checks them: Ed25519 by OTP's crypto."

  @type key :: {public :: binary, private :: binary}

  @doc "A pair of keys."
  @spec key() :: key
  def key, do: :crypto.generate_key(:eddsa, :ed25519)

  @doc "The public key as the server reads it."
  @spec public(key) :: String.t()
  def public({public, _private}), do: encoded(public)

  @doc """
  A token with these claims. `access: :read` refuses writes, `expires_in:` seconds (also a negative number), `namespace:`
  restricts it to one.
  """
  @spec sign(key, keyword) :: String.t()
  def sign({_public, private}, claims \\ []) do
    claims =
      Enum.map(claims, fn
        {:access, :read} -> ~s("a":"ro")
        {:access, :write} -> ~s("a":"rw")
        {:expires_in, seconds} -> ~s("exp":#{System.os_time(:second) + seconds})
        {:namespace, name} -> ~s("id":"#{name}")
      end)

    body = encoded(~s({"alg":"EdDSA","typ":"JWT"})) <> "." <> encoded("{#{Enum.join(claims, ",")}}")
    body <> "." <> encoded(:crypto.sign(:eddsa, :none, body, [private, :ed25519]))
  end

  defp encoded(binary), do: Base.url_encode64(binary, padding: false)
end

defmodule LibsqlPort.Sqld.Http do
  @moduledoc "As much of HTTP as a test needs to ask its server; no client of ours takes part."

  @doc "One request to a port of the loopback interface: status and body, or `:error` if nobody answers."
  @spec request(pos_integer, String.t(), String.t(), String.t()) :: {pos_integer, binary} | :error
  def request(port, method, path, body \\ "") do
    with {:ok, socket} <- :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false], 5_000) do
      head =
        "#{method} #{path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: application/json\r\n"

      sent = :gen_tcp.send(socket, [head, "content-length: #{byte_size(body)}\r\n\r\n", body])
      answer = if sent == :ok, do: read(socket, ""), else: :error
      :gen_tcp.close(socket)
      answer
    else
      {:error, _refused} -> :error
    end
  end

  defp read(socket, text) do
    case :gen_tcp.recv(socket, 0, 30_000) do
      {:ok, data} -> read(socket, text <> data)
      {:error, :closed} -> parsed(text)
      {:error, _} -> :error
    end
  end

  defp parsed(text) do
    with [head, body] <- String.split(text, "\r\n\r\n", parts: 2),
         [_, status] <- Regex.run(~r"\AHTTP/1\.\d (\d\d\d)", head) do
      chunked? = head =~ ~r/^transfer-encoding: *chunked/mi
      {String.to_integer(status), if(chunked?, do: joined(body), else: body)}
    else
      _ -> :error
    end
  end

  defp joined(body) do
    case String.split(body, "\r\n", parts: 2) do
      [size, rest] ->
        case Integer.parse(size, 16) do
          {0, _} ->
            ""

          {size, _} ->
            binary_part(rest, 0, size) <> joined(binary_part(rest, size + 2, byte_size(rest) - size - 2))
        end

      _ ->
        ""
    end
  end
end
