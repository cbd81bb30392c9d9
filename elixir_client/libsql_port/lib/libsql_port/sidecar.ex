defmodule LibsqlPort.Sidecar do
  @moduledoc false
  # Owns the port. For each frame it reads ten bytes, takes the caller's entry out of the table and passes the frame
  # on undecoded: about a microsecond. No query waits for it, and it waits for nothing; what it is asked directly is
  # rare (open a connection, hand out the handle).
  #
  # It also closes the connections whose owners have ended, and ends itself when the program has ended, broke the
  # protocol or does not answer its heartbeat. The guardian then answers the callers, the supervisor starts anew.

  use GenServer, shutdown: 5_000

  alias LibsqlPort.{Error, Exchange, Guardian, Handle, Handshake, InFlight, Life, Wire}

  @heartbeat_id 1
  @retry_ms 10

  @rows Wire.tag(:rows)
  @part Wire.tag(:part)
  @connection_lost Wire.tag(:connection_lost)
  @log Wire.tag(:log)

  def start_link(argument), do: GenServer.start_link(__MODULE__, argument)

  @doc "The handle of the present run."
  @spec handle(pid, timeout) :: Handle.t()
  def handle(sidecar, timeout), do: GenServer.call(sidecar, :handle, timeout)

  @doc """
  Opens a connection on behalf of the caller: the process that will have to close it is thus the one that learns of it
  first, even if the caller is killed meanwhile.
  """
  @spec open(pid, iodata, pid | nil, reference, pos_integer) ::
          {:ok, Handle.t(), integer, map} | {:error, Error.t()} | :not_sent
  def open(sidecar, payload, owner, key, timeout) do
    GenServer.call(sidecar, {:open, payload, owner, key}, timeout)
  end

  @doc "The caller of `open/5` has the answer."
  @spec confirm(pid, reference) :: :ok
  def confirm(sidecar, key), do: GenServer.cast(sidecar, {:confirm, key})

  @doc "The caller of `open/5` no longer waits: its connection is to be closed, as soon as it is there."
  @spec abandon(pid, reference) :: :ok
  def abandon(sidecar, key), do: GenServer.cast(sidecar, {:abandon, key})

  @doc "The connection has been closed; its owner need not be watched any longer."
  @spec disown(pid, integer) :: :ok
  def disown(sidecar, connection), do: GenServer.cast(sidecar, {:disown, connection})

  # --- life -----------------------------------------------------------------------------------------------------

  @impl true
  def init({registry, options}) do
    Process.flag(:trap_exit, true)
    [{:guardian, guardian}] = :ets.lookup(registry, :guardian)
    [{:ids, ids}] = :ets.lookup(registry, :ids)

    with {:ok, port, identity} <- Handshake.open(options),
         :ok <- watch(guardian, identity),
         {:ok, hello} <- Handshake.await_hello(port, options.start_timeout) do
      state = started(port, identity, hello, {guardian, ids, options})
      runs = :ets.update_counter(registry, :runs, 1, {:runs, 0})
      Life.started(Map.put(state.about, :restart, runs > 1), hello)
      {:ok, state}
    else
      {:error, %Error{} = error} -> {:stop, error}
    end
  end

  defp watch(_guardian, nil), do: :ok
  defp watch(guardian, identity), do: Guardian.watch(guardian, identity)

  defp started(port, identity, hello, {guardian, ids, options}) do
    handle = %Handle{
      port: port,
      table: InFlight.new(guardian, port),
      ids: ids,
      sidecar: self(),
      guardian: guardian,
      os_pid: identity && elem(identity, 0),
      hello: hello,
      frame_bytes_max: Map.get(hello, "frame_bytes_max", 16_777_216),
      reply_grace: options.reply_grace
    }

    heartbeat(options.heartbeat)
    os_pid = handle.os_pid || hello["os_pid"]
    Life.metadata(options.name, os_pid)

    # `port` and `table` stand beside the handle, because the routing clause matches on them for each frame.
    %{
      port: port,
      table: handle.table,
      handle: handle,
      about: %{name: options.name, os_pid: os_pid},
      identity: identity,
      heartbeat: options.heartbeat,
      answered: true,
      opening: %{},
      unconfirmed: %{},
      owners: %{}
    }
  end

  # --- frames ---------------------------------------------------------------------------------------------------

  @impl true
  def handle_info(
        {port, {:data, <<131, 104, 3, 98, id::32, 97, tag, _::binary>> = frame}},
        %{port: port} = state
      ) do
    route(id, tag, frame, state)
  end

  def handle_info({port, {:data, frame}}, %{port: port} = state) do
    broke_off("sent #{byte_size(frame)} bytes that are no frame", state)
  end

  def handle_info({port, {:exit_status, status}}, %{port: port} = state) do
    if state.identity, do: Guardian.gone(state.handle.guardian, state.identity)
    broke_off("ended, #{Handshake.exit_status(status)}", state)
  end

  def handle_info({:EXIT, port, reason}, %{port: port} = state) do
    broke_off("closed its pipes (#{inspect(reason)})", state)
  end

  def handle_info({:sync, pid, ref}, state) do
    send(pid, {ref, :synced})
    {:noreply, state}
  end

  def handle_info({ref, reply}, %{opening: opening} = state) when is_map_key(opening, ref) do
    {request, opening} = Map.pop!(opening, ref)
    {:noreply, opened(reply, request, %{state | opening: opening})}
  end

  def handle_info({:DOWN, monitor, :process, _pid, _reason}, state) do
    case Map.pop(state.owners, monitor) do
      {nil, _} ->
        {:noreply, state}

      {connection, owners} ->
        close(connection, state)
        Life.closed(state.about, connection, :owner_down)
        {:noreply, %{state | owners: owners}}
    end
  end

  def handle_info({:close, connection}, state) do
    close(connection, state)
    {:noreply, state}
  end

  def handle_info(:heartbeat, %{answered: false} = state) do
    broke_off("has answered nothing for #{state.heartbeat} ms", state)
  end

  # A pipe that is full says nothing about the program's health; the next beat will.
  def handle_info(:heartbeat, state) do
    heartbeat(state.heartbeat)
    sent = Exchange.post(state.handle, @heartbeat_id, Wire.tag(:ping), Wire.encode(nil))
    {:noreply, %{state | answered: sent == :not_sent}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp route(0, tag, frame, state), do: {:noreply, event(tag, frame, state)}
  defp route(@heartbeat_id, _tag, _frame, state), do: {:noreply, %{state | answered: true}}

  defp route(id, tag, frame, %{table: table} = state) do
    entry = if closes?(tag, frame), do: InFlight.take(table, id), else: InFlight.peek(table, id)

    case entry do
      {:ok, pid, ref} -> send(pid, {ref, frame})
      :none -> :dropped
    end

    {:noreply, state}
  end

  defp closes?(@rows, _frame), do: false
  defp closes?(@part, <<_::binary-size(10), 104, 2, 97, last, _::binary>>), do: last == 2
  defp closes?(_tag, _frame), do: true

  defp event(@connection_lost, frame, state) do
    {connection, code, message} = Wire.payload(frame)
    Life.connection_lost(state.about, connection, code, message)
    forget(connection, state)
  end

  defp event(@log, frame, state) do
    Life.line(Wire.payload(frame))
    state
  end

  defp event(_newer, _frame, state), do: state

  # Ending is all there is to do: the table falls to the guardian, the port closes, the supervisor starts anew.
  defp broke_off(what, state) do
    Life.lost(state.about, what, map_size(state.owners))
    {:stop, {:shutdown, {:sidecar_down, what}}, state}
  end

  defp heartbeat(:infinity), do: :ok
  defp heartbeat(interval), do: Process.send_after(self(), :heartbeat, interval)

  # --- connections ----------------------------------------------------------------------------------------------

  @impl true
  def handle_call(:handle, _from, state), do: {:reply, state.handle, state}

  def handle_call({:open, payload, owner, key}, from, state) do
    handle = state.handle
    ref = make_ref()
    id = InFlight.enter(handle.table, handle.ids, ref, nil)

    case Exchange.post(handle, id, Wire.tag(:open), payload) do
      :ok ->
        {:noreply, put_in(state.opening[ref], %{from: from, owner: owner, key: key})}

      :not_sent ->
        InFlight.take(handle.table, id)
        {:reply, :not_sent, state}
    end
  end

  @impl true
  def handle_cast({:disown, connection}, state) do
    Life.closed(state.about, connection, :closed)
    {:noreply, forget(connection, state)}
  end

  def handle_cast({:confirm, key}, state) do
    {:noreply, %{state | unconfirmed: Map.delete(state.unconfirmed, key)}}
  end

  def handle_cast({:abandon, key}, state) do
    case Map.pop(state.unconfirmed, key) do
      {nil, _} ->
        opening = Map.new(state.opening, fn {ref, request} -> {ref, abandoned(request, key)} end)
        {:noreply, %{state | opening: opening}}

      {connection, unconfirmed} ->
        close(connection, state)
        {:noreply, forget(connection, %{state | unconfirmed: unconfirmed})}
    end
  end

  defp abandoned(%{key: key} = request, key), do: %{request | from: nil}
  defp abandoned(request, _key), do: request

  defp opened(frame, request, state) do
    if Wire.reply_tag(frame) == Wire.tag(:ok) do
      {connection, info} = Wire.payload(frame)
      adopt(connection, info, request, state)
    else
      answer(request.from, {:error, Error.from_wire(Wire.payload(frame))})
      state
    end
  end

  defp adopt(connection, _info, %{from: nil}, state) do
    close(connection, state)
    state
  end

  defp adopt(connection, info, request, state) do
    Life.opened(state.about, connection, info["path"])
    answer(request.from, {:ok, state.handle, connection, info})
    state = put_in(state.unconfirmed[request.key], connection)

    case request.owner do
      nil -> state
      owner -> put_in(state.owners[Process.monitor(owner)], connection)
    end
  end

  defp answer(nil, _reply), do: :ok
  defp answer(from, reply), do: GenServer.reply(from, reply)

  defp forget(connection, state) do
    {monitors, owners} = Enum.split_with(state.owners, fn {_monitor, owned} -> owned == connection end)
    for {monitor, _} <- monitors, do: Process.demonitor(monitor, [:flush])
    %{state | owners: Map.new(owners)}
  end

  # The port's owner must not wait for a full pipe.
  defp close(connection, state) do
    payload = Wire.addressed(Wire.encode(connection), 0)

    if Exchange.post(state.handle, Wire.tag(:close), payload) == :not_sent do
      Process.send_after(self(), {:close, connection}, @retry_ms)
    end
  end
end
