defmodule LibsqlPort.Changes.Subscription do
  @moduledoc false
  # One process for each subscription: it takes the frames that the port's owner passes on, decodes them, sends the messages, and
  # tells the sidecar that they were taken. It ends with its subscriber or its sidecar, and subscribes again when the sidecar's
  # program was started again.
  #
  # A message counts as taken when it has gone to the subscriber's mailbox: until it may, it waits in the outbox, and the sidecar
  # stops sending to one that does not keep up. When the feed ends by itself, what waits goes first, unless it has to be asked for.

  use GenServer, restart: :temporary

  alias LibsqlPort.{Changes, Error, Exchange, Handle, Outcome, Remote, Reply, Request, Sidecar, Wire}
  alias LibsqlPort.Changes.{Busy, Ended, Event, Freeze, Hook, Options, Outbox, Progress, Sync, Witness}

  # What a hook's event takes of the bytes that may be under way.
  @hook_bytes 100
  @retry_ms 10
  @private ":memory:"
  @hops_ms 5_000

  @changes Wire.tag(:changes)
  @lagged Wire.tag(:lagged)
  @hook Wire.tag(:hook)
  @busy Wire.tag(:busy)
  @progress Wire.tag(:progress)
  @sync Wire.tag(:sync_event)
  @freeze Wire.tag(:freeze_event)

  @type source :: {:connection, Handle.t(), integer} | {:sidecar, LibsqlPort.sidecar(), String.t() | nil}

  @spec start(source, Options.t()) :: {:ok, pid} | {:error, Error.t()}
  def start(source, options) do
    # No timeout: the request has its own.
    GenServer.start(__MODULE__, {source, options}, timeout: :infinity)
  end

  @doc """
  Ends it. It is gone when this returns. One that does not answer in time, in a transformation or because its sidecar does not
  answer, is killed; what it holds is given back then as that of any process.
  """
  @spec stop(pid, timeout) :: :ok
  def stop(subscription, timeout) do
    GenServer.call(subscription, :stop, timeout)
  catch
    :exit, {:timeout, _call} -> kill(subscription)
    :exit, _ended_already -> :ok
  end

  # Of the first its witness says nothing. The second is for one whose transformation has made it trap exits.
  defp kill(subscription) do
    monitor = Process.monitor(subscription)
    Process.exit(subscription, Witness.unsubscribed())
    Process.exit(subscription, :kill)

    receive do
      {:DOWN, ^monitor, :process, _pid, _reason} -> :ok
    end
  end

  @spec demand(pid, pos_integer) :: :ok
  def demand(subscription, count), do: GenServer.cast(subscription, {:demand, count})

  # --- its life -------------------------------------------------------------------------------------------------

  @impl true
  def init({source, options}) do
    state = %{
      options: options,
      subscriber: options.subscriber,
      witness: nil,
      supervisor: nil,
      owner: nil,
      handle: nil,
      monitor: nil,
      id: nil,
      scope: nil,
      sequence: 0,
      pieces: [],
      taken: 0,
      outbox: Outbox.new(options),
      # Why the feed has ended by itself, while messages wait.
      ending: nil
    }

    Process.monitor(options.subscriber)

    with {:ok, handle, state} <- find(source, state),
         {:ok, sequence, state} <- subscribe(%{state | handle: handle}) do
      {:ok, %{state | sequence: sequence, witness: Witness.start(options.subscriber)}}
    else
      {:error, error} -> {:stop, error}
    end
  end

  defp find({:connection, handle, connection}, state) do
    Process.monitor(handle.sidecar)
    {:ok, handle, %{state | owner: handle.sidecar, scope: connection}}
  end

  defp find({:sidecar, supervisor, scope}, state) do
    with {:ok, handle} <- LibsqlPort.Supervisor.handle(supervisor, deadline(state.options.timeout)) do
      Process.monitor(handle.sidecar)
      {:ok, handle, %{state | owner: handle.sidecar, supervisor: supervisor, scope: scope}}
    end
  end

  defp deadline(:infinity), do: :infinity
  defp deadline(timeout), do: System.monotonic_time(:millisecond) + timeout

  defp subscribe(%{handle: handle, options: options} = state) do
    request =
      :subscribe
      |> Request.to_sidecar({state.scope, Options.to_wire(options)}, options.timeout, [])
      |> Request.opens({:subscription, connection(state.scope)}, owner: self())

    case call(handle, request, :subscribe) do
      {:ok, {id, sequence, database}} ->
        # A connection may be closed before the next program is there; its database is known by name.
        {:ok, sequence, %{state | id: id, scope: database, monitor: Remote.monitor(handle), pieces: []}}

      {:error, error} ->
        {:error, error}
    end
  end

  # With it a private database ends.
  defp connection(scope) when is_integer(scope), do: scope
  defp connection(_all_or_named), do: nil

  defp call(handle, request, name) do
    with {:ok, frame, chunks} <- Exchange.call(handle, request) do
      case Reply.read(name, frame, chunks) do
        {:ok, answer, _times} -> {:ok, answer}
        {:error, error} -> {:error, error}
        :unreadable -> {:error, Outcome.error(:unreadable, request)}
      end
    else
      {:lost, lost} -> {:error, Outcome.error(lost, request)}
    end
  end

  @impl true
  def handle_call(:stop, _from, state), do: {:stop, :normal, :ok, unsubscribed(state)}

  def handle_call(_other, _from, state),
    do:
      {:reply, {:error, Error.new(:unsupported, "a subscription is asked through LibsqlPort.Changes only")},
       state}

  defp unsubscribed(%{monitor: nil} = state), do: state

  defp unsubscribed(state) do
    request = Request.to_sidecar(:unsubscribe, {state.id}, state.options.timeout, [])
    _ = call(state.handle, %{request | claim: {:release, {:subscription, state.id}}}, :unsubscribe)
    state
  end

  @impl true
  def handle_cast({:demand, count}, state) when is_integer(count) and count > 0,
    do: {:noreply, gone(Outbox.demand(state.outbox, count), state)}

  def handle_cast(_other, state), do: {:noreply, state}

  # A transformation that raises ends the feed, and is logged as any crash.
  @impl true
  def terminate(reason, state) do
    if reason not in [:normal, :shutdown], do: ended(state, crashed(reason))
  end

  defp crashed(reason) do
    Error.new(:internal, "the subscription has crashed: " <> Exception.format_exit(reason))
  end

  @impl true
  def handle_info(message, state) do
    case Outbox.told(state.outbox, message) do
      :other -> told(message, state)
      outbox -> outbox |> gone(state) |> go_on()
    end
  end

  defp told({:DOWN, _monitor, :process, pid, _reason}, %{subscriber: pid} = state),
    do: {:stop, :normal, unsubscribed(state)}

  defp told(_other, %{ending: error} = state) when error != nil, do: {:noreply, state}

  defp told({:libsql_port_event, id, tag, frame}, %{id: id} = state) do
    case event(tag, frame, state) do
      :unreadable -> ending(state, unreadable())
      state -> {:noreply, state}
    end
  end

  # The connection of a private database.
  defp told({:libsql_port_connection_ended, id}, %{id: id} = state), do: ending(state, connection_closed())

  defp told(:taken, state), do: {:noreply, give_credit(state)}

  # The port, or the process that stands for it on another node.
  defp told({:DOWN, monitor, _type, _port, _reason}, %{monitor: monitor} = state) do
    down(%{state | monitor: nil, pieces: [], taken: 0, outbox: Outbox.forget_bytes(state.outbox)})
  end

  # Its supervisor starts another owner, or has ended too.
  defp told({:DOWN, _monitor, :process, pid, _reason}, %{owner: pid, supervisor: nil} = state),
    do: ending(state, sidecar_down())

  defp told({:DOWN, _monitor, :process, pid, _reason}, %{owner: pid} = state) do
    send(self(), :again)
    {:noreply, %{state | owner: nil}}
  end

  defp told(:again, state), do: again(state)
  defp told(_other, state), do: {:noreply, state}

  # A private database is gone with its program.
  defp down(%{scope: @private} = state), do: ending(state, sidecar_down())

  defp down(state) do
    send(self(), :again)
    {:noreply, state}
  end

  # The program is being started again, or its owner: it is looked for until it is there.
  defp again(%{owner: nil} = state) do
    case LibsqlPort.Supervisor.handle(state.supervisor, deadline(state.options.timeout)) do
      {:ok, handle} ->
        Process.monitor(handle.sidecar)
        resubscribe(%{state | owner: handle.sidecar, handle: handle})

      {:error, error} ->
        ending(state, error)
    end
  end

  defp again(%{monitor: nil} = state) do
    case Sidecar.handle(state.owner, @hops_ms) do
      %Handle{} = handle -> resubscribe(%{state | handle: handle})
      :down -> later(state)
    end
  catch
    :exit, _busy_or_ended -> later(state)
  end

  defp again(state), do: {:noreply, state}

  defp later(state) do
    Process.send_after(self(), :again, @retry_ms)
    {:noreply, state}
  end

  defp resubscribe(state) do
    case subscribe(state) do
      {:ok, sequence, state} ->
        changes = [%{operation: :resync, reason: :restarted, from: state.sequence}]
        {:noreply, queue(message(state, sequence, changes), 0, %{state | sequence: sequence})}

      {:error, %Error{code: code}} when code in [:not_sent, :sidecar_down, :timeout] ->
        later(state)

      {:error, error} ->
        ending(state, error)
    end
  end

  # What waits for room goes first. What waits to be asked for may wait for ever.
  defp ending(%{options: %{demand: :manual}} = state, error), do: {:stop, :normal, ended(state, error)}
  defp ending(state, error), do: go_on(%{state | ending: error})

  defp go_on(%{ending: nil} = state), do: {:noreply, state}

  defp go_on(state) do
    if Outbox.empty?(state.outbox),
      do: {:stop, :normal, ended(state, state.ending)},
      else: {:noreply, state}
  end

  defp ended(state, error) do
    Witness.told(state.witness)
    send(state.subscriber, %Ended{subscription: self(), error: error})
    state
  end

  defp sidecar_down, do: Error.new(:sidecar_down, "the sidecar has ended, and the subscription with it")

  defp connection_closed do
    Error.new(
      :connection_closed,
      "the connection of the private database was closed, and the subscription has ended with it"
    )
  end

  defp unreadable do
    Error.new(
      :protocol_mismatch,
      "an event of the sidecar cannot be read; is the program of this client's version?"
    )
  end

  # --- messages -------------------------------------------------------------------------------------------------

  defp event(@changes, frame, state) do
    case Event.piece(frame) do
      {false, bytes} -> %{state | pieces: [bytes | state.pieces]}
      {true, bytes} -> transaction(body(bytes, state.pieces), %{state | pieces: []})
      :unreadable -> :unreadable
    end
  end

  defp event(@lagged, frame, state) do
    with {:ok, {database, from, to}} <- Event.lagged(frame) do
      changes = [%{operation: :resync, reason: :lagged, from: from, to: to}]
      queue(%{message(state, to, changes) | database: database}, 0, %{state | sequence: to})
    end
  end

  defp event(@hook, frame, state) do
    with {:ok, fields} <- Event.hook(frame) do
      hook = %Hook{
        subscription: self(),
        kind: fields.kind,
        database: fields.database,
        schema: fields.schema,
        connection: fields.connection,
        pages: fields.pages
      }

      queue(hook, @hook_bytes, state)
    end
  end

  defp event(@busy, frame, state) do
    with {:ok, fields} <- Event.busy(frame), do: queue(reported(Busy, fields), @hook_bytes, state)
  end

  defp event(@progress, frame, state) do
    with {:ok, fields} <- Event.progress(frame), do: queue(reported(Progress, fields), @hook_bytes, state)
  end

  defp event(@sync, frame, state) do
    with {:ok, fields} <- Event.sync(frame), do: queue(reported(Sync, fields), @hook_bytes, state)
  end

  defp event(@freeze, frame, state) do
    with {:ok, fields} <- Event.freeze(frame), do: queue(reported(Freeze, fields), @hook_bytes, state)
  end

  defp reported(module, fields), do: struct!(module, Map.put(fields, :subscription, self()))

  defp body(bytes, []), do: bytes
  defp body(bytes, pieces), do: IO.iodata_to_binary(Enum.reverse([bytes | pieces]))

  defp transaction(body, state) do
    with {:ok, fields} <- Event.changes(body) do
      message = Map.merge(message(state, fields.sequence, fields.changes), fields)
      queue(message, byte_size(body), %{state | sequence: fields.sequence})
    end
  end

  defp message(state, sequence, changes) do
    %Changes{
      subscription: self(),
      database: state.scope,
      schema: nil,
      connection: nil,
      sequence: sequence,
      changes: changes
    }
  end

  defp queue(message, bytes, %{options: %{transform: nil}} = state), do: ready(message, bytes, state)

  defp queue(message, bytes, %{options: %{transform: transform}} = state) do
    case transform.(message) do
      nil -> taken(bytes, state)
      transformed -> ready(transformed, bytes, state)
    end
  end

  defp ready(message, bytes, state), do: gone(Outbox.put(state.outbox, message, bytes), state)

  defp gone({outbox, bytes}, state), do: taken(bytes, %{state | outbox: outbox})

  # Told in quarters of what may be under way, or at once if that is little.
  defp taken(bytes, %{taken: taken} = state) do
    before = %{state | taken: taken + bytes}

    if before.taken * 4 >= state.options.pending_bytes_max and taken * 4 < state.options.pending_bytes_max,
      do: give_credit(before),
      else: before
  end

  defp give_credit(%{taken: 0} = state), do: state

  defp give_credit(state) do
    if posted?(state.handle, Wire.encode({state.id, min(state.taken, 0xFFFFFFFF)})) do
      %{state | taken: 0}
    else
      Process.send_after(self(), :taken, @retry_ms)
      state
    end
  end

  defp posted?(%Handle{port: port} = handle, payload) when node(port) == node(),
    do: Exchange.post(handle, Wire.tag(:changes_credit), payload) == :ok

  defp posted?(%Handle{port: port} = handle, payload) do
    :erpc.cast(node(port), Exchange, :post, [handle, nil, Wire.tag(:changes_credit), payload])
    true
  end
end
