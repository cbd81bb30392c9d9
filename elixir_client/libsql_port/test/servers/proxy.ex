defmodule LibsqlPort.Proxy do
  @moduledoc """
  Stands between a client and a server of the loopback interface, and is a network that fails as a test wants it to:

      proxy = Proxy.start!(server.http_port)
      Proxy.plan(proxy, {:cut, :to_client, 100})

  With `tls: Proxy.certificates(directory)` its clients speak TLS to it; `client_certificate: true` asks for theirs. A plan holds for
  all connections, those that are open included:

    * `:pass` – what comes in goes out
    * `{:cut, direction, bytes}` – once so many further bytes have gone `:to_server` or `:to_client`, that connection is reset
      on both sides; then `:pass`
    * `{:delay, ms}` – each piece of data waits
    * `:blackhole` – connections stay open, nothing arrives
    * `:refuse` – connections are reset as soon as they are made, and those that are open by the next data
  """

  use GenServer, restart: :temporary

  @enforce_keys [:pid, :port, :url]
  defstruct @enforce_keys

  @type t :: %__MODULE__{pid: pid, port: pos_integer, url: String.t()}
  @type plan ::
          :pass
          | {:cut, :to_server | :to_client, non_neg_integer}
          | {:delay, pos_integer}
          | :blackhole
          | :refuse

  @localhost {127, 0, 0, 1}
  @san {2, 5, 29, 17}

  @doc "Starts a proxy before a port, under the supervisor of the test."
  @spec start!(pos_integer, keyword) :: t
  def start!(to, options \\ []) do
    pid = ExUnit.Callbacks.start_supervised!({__MODULE__, {to, options}}, id: make_ref())
    port = GenServer.call(pid, :port)
    scheme = if options[:tls], do: "https", else: "http"
    %__MODULE__{pid: pid, port: port, url: "#{scheme}://localhost:#{port}"}
  end

  @doc "Sets what happens from now on."
  @spec plan(t, plan) :: :ok
  def plan(proxy, plan), do: GenServer.call(proxy.pid, {:plan, plan})

  @doc "How many connections clients have made so far."
  @spec connections(t) :: non_neg_integer
  def connections(proxy), do: GenServer.call(proxy.pid, :connections)

  @doc """
  An authority, a certificate of it for `localhost` and 127.0.0.1, and one for a client, made for this test. The files are
  what a client's options take.
  """
  @spec certificates(Path.t()) :: map
  def certificates(directory) do
    # OTP writes the curve into the signatures of elliptic ones, where it has no place and strict clients refuse it.
    key = {:rsa, 2_048, 65_537}
    names = [{:dNSName, ~c"localhost"}, {:iPAddress, <<127, 0, 0, 1>>}]
    peer = [key: key, digest: :sha256, extensions: [{:Extension, @san, false, names}]]
    chain = %{root: [key: key, digest: :sha256], intermediates: [], peer: peer}
    made = :public_key.pkix_test_data(%{server_chain: chain, client_chain: chain})

    # Each side of `made` trusts the other one's authority.
    [server: server, client: client] = [server: made.server_config, client: made.client_config]

    %{
      server: server,
      ca_file: pem(directory, "ca.pem", for(der <- client[:cacerts], do: {:Certificate, der})),
      client_cert_file: pem(directory, "client.pem", [{:Certificate, client[:cert]}]),
      client_key_file: pem(directory, "client_key.pem", [client[:key]])
    }
  end

  defp pem(directory, name, entries) do
    path = Path.join(directory, name)
    entries = for {type, der} <- entries, do: {type, der, :not_encrypted}
    File.write!(path, :public_key.pem_encode(entries))
    path
  end

  # --- process --------------------------------------------------------------------------------------------------

  @spec start_link({pos_integer, keyword}) :: GenServer.on_start()
  def start_link(argument), do: GenServer.start_link(__MODULE__, argument)

  @impl true
  def init({to, options}) do
    if options[:tls], do: {:ok, _} = Application.ensure_all_started(:ssl)

    {:ok, listener} =
      :gen_tcp.listen(0, [:binary, ip: @localhost, active: false, reuseaddr: true, backlog: 1_024])

    table = :ets.new(__MODULE__, [:public, read_concurrency: true])
    :ets.insert(table, [{:plan, :pass}, {:connections, 0}])
    state = %{listener: listener, table: table, to: to, tls: tls(options)}
    accept(state)
    {:ok, state}
  end

  defp tls(options) do
    if certificates = options[:tls] do
      verify =
        if options[:client_certificate], do: [verify: :verify_peer, fail_if_no_peer_cert: true], else: []

      certificates.server ++ verify
    end
  end

  @impl true
  def handle_call(:port, _from, state) do
    {:ok, port} = :inet.port(state.listener)
    {:reply, port, state}
  end

  def handle_call({:plan, plan}, _from, state) do
    :ets.insert(state.table, {:plan, prepared(plan)})
    {:reply, :ok, state}
  end

  def handle_call(:connections, _from, state),
    do: {:reply, :ets.lookup_element(state.table, :connections, 2), state}

  @impl true
  def handle_info(:accepted, state) do
    accept(state)
    {:noreply, state}
  end

  defp prepared({:cut, direction, bytes}), do: {:cut, direction, bytes, :counters.new(1, [])}
  defp prepared(plan), do: plan

  # Whoever accepts a connection serves it; the next one is accepted by another process. All are linked to the proxy.
  defp accept(state) do
    proxy = self()

    spawn_link(fn ->
      case :gen_tcp.accept(state.listener) do
        {:ok, socket} ->
          send(proxy, :accepted)
          :ets.update_counter(state.table, :connections, 1)
          serve(socket, state)

        {:error, :closed} ->
          :ok
      end
    end)
  end

  defp serve(socket, state) do
    with false <- present(state.table) == :refuse,
         {:ok, client} <- handshake(socket, state.tls),
         {:ok, server} <- :gen_tcp.connect(@localhost, state.to, [:binary, active: false]) do
      pass(%{client: client, server: {:gen_tcp, server}, raw: socket, table: state.table})
    else
      _refused -> reset(socket)
    end
  end

  defp present(table), do: :ets.lookup_element(table, :plan, 2)

  defp handshake(socket, nil), do: {:ok, {:gen_tcp, socket}}

  defp handshake(socket, options) do
    with {:ok, socket} <- :ssl.handshake(socket, options, 30_000), do: {:ok, {:ssl, socket}}
  end

  defp pass(state) do
    active(state.client)
    active(state.server)
    loop(state)
  end

  defp loop(%{client: {_, client}, server: {_, server}} = state) do
    receive do
      {kind, ^client, data} when kind in [:tcp, :ssl] ->
        forward(state, :to_server, state.client, state.server, data)

      {:tcp, ^server, data} ->
        forward(state, :to_client, state.server, state.client, data)

      {kind, _socket} when kind in [:tcp_closed, :ssl_closed] ->
        closed(state)

      {kind, _socket, _reason} when kind in [:tcp_error, :ssl_error] ->
        cut(state)
    end
  end

  defp forward(state, direction, from, to, data) do
    case present(state.table) do
      :blackhole ->
        active(from)
        loop(state)

      :refuse ->
        cut(state)

      {:delay, ms} ->
        Process.sleep(ms)
        sent(state, from, to, data)

      {:cut, ^direction, bytes, counter} ->
        before = :counters.get(counter, 1)
        :counters.add(counter, 1, byte_size(data))

        if before + byte_size(data) >= bytes do
          put(to, binary_part(data, 0, max(bytes - before, 0)))
          :ets.insert(state.table, {:plan, :pass})
          cut(state)
        else
          sent(state, from, to, data)
        end

      _pass ->
        sent(state, from, to, data)
    end
  end

  defp sent(state, from, to, data) do
    case put(to, data) do
      :ok ->
        active(from)
        loop(state)

      {:error, _} ->
        cut(state)
    end
  end

  defp closed(%{client: {module, client}, server: {:gen_tcp, server}}) do
    module.close(client)
    :gen_tcp.close(server)
  end

  # With what is under way lost on both sides.
  defp cut(%{raw: socket, server: {:gen_tcp, server}}) do
    reset(server)
    reset(socket)
  end

  defp reset(socket) do
    :inet.setopts(socket, linger: {true, 0})
    :gen_tcp.close(socket)
  end

  defp put(_socket, ""), do: :ok
  defp put({module, socket}, data), do: module.send(socket, data)

  defp active({:gen_tcp, socket}), do: :inet.setopts(socket, active: :once)
  defp active({:ssl, socket}), do: :ssl.setopts(socket, active: :once)
end
