defmodule LibsqlPort.Changes.Subscription do
  @moduledoc false
  # One process for each subscription: it takes the frames that the port's owner passes on, decodes them, sends the messages, and
  # tells the sidecar that they were taken. It ends with its subscriber or its sidecar, and subscribes again when the sidecar's
  # program was started again.
  #
  # What was taken is told when the subscriber has fewer messages waiting than it allows, so that the sidecar stops sending to one
  # that does not keep up. With `demand: :manual` messages wait here until they are asked for, and count as taken then.

  use GenServer, restart: :temporary

  alias LibsqlPort.{Changes, Error, Exchange, Handle, Outcome, Remote, Reply, Request, Sidecar, Wire}
  alias LibsqlPort.Changes.{Busy, Ended, Event, Hook, Options, Progress, Witness}

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

  @type source :: {:connection, Handle.t(), integer} | {:sidecar, LibsqlPort.sidecar(), String.t() | nil}

  @spec start(source, Options.t()) :: {:ok, pid} | {:error, Error.t()}
  def start(source, options) do
    # No timeout: the request has its own.
    GenServer.start(__MODULE__, {source, options}, timeout: :infinity)
  end

  @doc "Ends it. It is gone when this returns."
  @spec stop(pid) :: :ok
  def stop(subscription) do
    GenServer.call(subscription, :stop, :infinity)
  catch
    :exit, _ended_already -> :ok
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
      demand: if(options.demand == :auto, do: :infinity, else: 0),
      queue: :queue.new()
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
      |> Request.opens(:subscription, owner: self())

    case call(handle, request, :subscribe) do
      {:ok, {id, sequence, database}} ->
        # A connection may be closed before the next program is there; its database is known by name.
        {:ok, sequence, %{state | id: id, scope: database, monitor: Remote.monitor(handle), pieces: []}}

      {:error, error} ->
        {:error, error}
    end
  end

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
  def handle_cast({:demand, count}, %{demand: demand} = state) when is_integer(demand),
    do: {:noreply, deliver(%{state | demand: demand + count})}

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
  def handle_info({:libsql_port_event, id, tag, frame}, %{id: id} = state) do
    case event(tag, frame, state) do
      :unreadable -> {:stop, :normal, ended(state, unreadable())}
      state -> {:noreply, state}
    end
  end

  def handle_info(:taken, state), do: {:noreply, give_credit(state)}

  # The port, or the process that stands for it on another node.
  def handle_info({:DOWN, monitor, _type, _port, _reason}, %{monitor: monitor} = state) do
    down(%{state | monitor: nil, pieces: [], taken: 0})
  end

  def handle_info({:DOWN, _monitor, :process, pid, _reason}, %{subscriber: pid} = state),
    do: {:stop, :normal, unsubscribed(state)}

  # Its supervisor starts another owner, or has ended too.
  def handle_info({:DOWN, _monitor, :process, pid, _reason}, %{owner: pid, supervisor: nil} = state),
    do: {:stop, :normal, ended(state, sidecar_down())}

  def handle_info({:DOWN, _monitor, :process, pid, _reason}, %{owner: pid} = state) do
    send(self(), :again)
    {:noreply, %{state | owner: nil}}
  end

  def handle_info(:again, state), do: again(state)
  def handle_info(_other, state), do: {:noreply, state}

  # A private database is gone with its program.
  defp down(%{scope: @private} = state), do: {:stop, :normal, ended(state, sidecar_down())}

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
        {:stop, :normal, ended(state, error)}
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
        {:stop, :normal, ended(state, error)}
    end
  end

  defp ended(state, error) do
    Witness.told(state.witness)
    send(state.subscriber, %Ended{subscription: self(), error: error})
    state
  end

  defp sidecar_down, do: Error.new(:sidecar_down, "the sidecar has ended, and the subscription with it")

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

  # The common case does not go through the queue.
  defp queue(message, bytes, %{options: %{transform: transform}} = state) when transform != nil do
    case transform.(message) do
      nil -> taken(bytes, state)
      transformed -> ready(transformed, bytes, state)
    end
  end

  defp queue(message, bytes, state), do: ready(message, bytes, state)

  defp ready(message, bytes, %{demand: :infinity} = state) do
    send(state.subscriber, message)
    taken(bytes, state)
  end

  defp ready(message, bytes, state), do: deliver(%{state | queue: :queue.in({message, bytes}, state.queue)})

  defp deliver(%{demand: 0} = state), do: state

  defp deliver(state) do
    case :queue.out(state.queue) do
      {:empty, _queue} ->
        state

      {{:value, {message, bytes}}, queue} ->
        send(state.subscriber, message)
        deliver(taken(bytes, %{state | queue: queue, demand: state.demand - 1}))
    end
  end

  # Told in quarters of what may be under way, or at once if that is little.
  defp taken(bytes, %{taken: taken} = state) do
    before = %{state | taken: taken + bytes}

    if before.taken * 4 >= state.options.pending_bytes_max and taken * 4 < state.options.pending_bytes_max,
      do: give_credit(before),
      else: before
  end

  defp give_credit(%{taken: 0} = state), do: state

  defp give_credit(state) do
    if keeps_up?(state) and posted?(state.handle, Wire.encode({state.id, min(state.taken, 0xFFFFFFFF)})) do
      %{state | taken: 0}
    else
      Process.send_after(self(), :taken, @retry_ms)
      state
    end
  end

  # One on another node is taken to keep up: to ask would be to wait.
  defp keeps_up?(%{demand: :infinity, subscriber: pid, options: options}) when node(pid) == node() do
    case Process.info(pid, :message_queue_len) do
      {:message_queue_len, waiting} -> waiting < options.pending_messages_max
      nil -> true
    end
  end

  defp keeps_up?(_state), do: true

  defp posted?(%Handle{port: port} = handle, payload) when node(port) == node(),
    do: Exchange.post(handle, Wire.tag(:changes_credit), payload) == :ok

  defp posted?(%Handle{port: port} = handle, payload) do
    :erpc.cast(node(port), Exchange, :post, [handle, nil, Wire.tag(:changes_credit), payload])
    true
  end
end
