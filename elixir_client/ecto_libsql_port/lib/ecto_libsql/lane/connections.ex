defmodule EctoLibSql.Lane.Connections do
  @moduledoc false
  # Opens and closes the connections of a lane, by what its callers tell and by looking at their leases. Started under the
  # supervisor of the Repo; if it crashes, it starts again with no connection open.
  #
  # Each connection is the only one of a pool of `DBConnection`, so it is opened, prepared (`:after_connect`), logged, told to
  # `:connection_listeners` and opened again after a loss just as those of the Repo's pool are. Nobody checks it out.
  #
  # While leases are taken, they are looked at every @tick_ms. A lease that is older gets its caller monitored. When the
  # caller ends, the connection is closed, which stops what it still runs. A lease without a caller is one of a process that was
  # killed before it could say that it has it; after @forgotten_ms it is taken for that. While no lease is taken nothing is
  # looked at.

  use GenServer

  alias EctoLibSql.Lane.Slots
  alias EctoLibSql.{Protocol, Query, State}

  @tick_ms 250
  @forgotten_ms 60_000
  # After a connection could not be opened.
  @pause_ms 1_000
  # DBConnection's own looks at a connection are of no use here.
  @never_ms 86_400_000

  # A database that each connection has for itself.
  @private ["", ":memory:"]

  @doc "Child specification of a supervisor, around the lane's options `:lane_ref` and those of a connection."
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    children = [%{id: __MODULE__, start: {__MODULE__, :start_link, [options]}}]

    # The Repo goes on without a lane that has crashed too often.
    %{
      id: __MODULE__,
      start: {Supervisor, :start_link, [children, [strategy: :one_for_one]]},
      type: :supervisor,
      restart: :temporary
    }
  end

  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options), do: GenServer.start_link(__MODULE__, options)

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)
    {lane, options} = Keyword.pop!(options, :lane_ref)
    options = existing(options)
    Slots.own(lane)

    {:ok,
     %{
       lane: lane,
       options: options,
       on?: Slots.on?(lane),
       slots: %{},
       seen: %{},
       watched: %{},
       ticking?: false,
       idle_timer?: false
     }}
  end

  # A database that was removed is made anew by the pool, or by nobody.
  defp existing(options) do
    if options[:mode] in [nil, :read_write_create] and options[:memory_name] == nil,
      do: Keyword.put(options, :mode, :read_write),
      else: options
  end

  # --- messages -------------------------------------------------------------------------------------------------

  # After the answer no connection is leased that was open before.
  @impl true
  def handle_call({:switch, on?}, _from, state), do: {:reply, :ok, switch(on?, state)}

  # `slots` has an entry for each slot that is in use: `:trying` before there is a pool, else the pool and what it is doing.
  @impl true
  def handle_info({:lane, message}, state), do: {:noreply, told(message, state)}

  # Opened again by DBConnection after a loss, or for the first time.
  def handle_info({:opened, slot, pool, opened}, state) do
    case state.slots[slot] do
      %{pool: ^pool, is: :opening} = entry ->
        Slots.open(state.lane, slot, opened)
        expire(slot, pool, state.options)
        {:noreply, state |> put(slot, %{entry | is: :open, at: now()}) |> await_idle() |> grown()}

      _closed ->
        {:noreply, state}
    end
  end

  def handle_info({:not_opened, slot, pool}, state) do
    case state.slots[slot] do
      %{pool: ^pool, is: :opening} -> {:noreply, grown(close(slot, state))}
      _closed -> {:noreply, state}
    end
  end

  def handle_info({:tried, slot, tried}, state) do
    case tried do
      {:ok, %State{conn: %{path: path}}} when path in @private ->
        {:noreply, switch(false, drop(state, slot))}

      {:ok, _state} when state.on? ->
        {:noreply, start(slot, state)}

      # The pool tells its callers what is wrong.
      _error_or_off ->
        Process.send_after(self(), :may_grow, @pause_ms)
        {:noreply, drop(state, slot)}
    end
  end

  def handle_info(:may_grow, state), do: {:noreply, grown(state)}

  def handle_info({:retire, slot, pool}, state) do
    case state.slots[slot] do
      %{pool: ^pool} -> {:noreply, retire(slot, state)}
      _another -> {:noreply, state}
    end
  end

  def handle_info(:tick, state), do: {:noreply, tick(%{state | ticking?: false})}

  def handle_info(:idle, state) do
    state = close_idle(%{state | idle_timer?: false})
    {:noreply, if(state.slots == %{}, do: state, else: await_idle(state))}
  end

  # The caller of a lease has ended.
  def handle_info({:DOWN, monitor, :process, _pid, _reason}, state) do
    case Enum.find(state.watched, fn {_slot, {_word, watched}} -> watched == monitor end) do
      {slot, {word, _}} -> {:noreply, seize(slot, word, state)}
      nil -> {:noreply, state}
    end
  end

  # A pool has ended: it was closed, or it crashed.
  def handle_info({:EXIT, pid, _reason}, state) do
    case Enum.find(state.slots, fn {_slot, entry} -> match?(%{pool: ^pid}, entry) end) do
      {slot, entry} ->
        Slots.take(state.lane, slot)
        state = drop(state, slot)
        {:noreply, if(entry.is == :opening, do: grown(state), else: state)}

      nil ->
        {:noreply, state}
    end
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp told(:grow, state) do
    case Enum.find(1..state.lane.size, &(not is_map_key(state.slots, &1))) do
      slot when slot != nil and state.on? -> try_to_open(slot, state)
      _none_or_off -> grown(state)
    end
  end

  defp told({:lost, slot, word, error}, state) do
    with %{is: is} = entry when is in [:open, :retiring] <- state.slots[slot],
         true <- Slots.take_lease(state.lane, slot, word) do
      lost(slot, entry, error, state)
    else
      _taken_already -> state
    end
  end

  defp told({:released, slot, word}, state) do
    with %{is: :retiring} <- state.slots[slot], true <- Slots.take(state.lane, slot, word) do
      close(slot, state)
    else
      _taken_already -> state
    end
  end

  defp told(:wake, state), do: next_tick(state)

  defp told({:retire, before, interval}, state) do
    for {slot, %{pool: pool, is: is, at: at}} when is in [:open, :opening] and at <= before <- state.slots do
      Process.send_after(self(), {:retire, slot, pool}, :erlang.phash2(pool, max(interval, 1)))
    end

    state
  end

  # --- opening --------------------------------------------------------------------------------------------------

  # Opened once to see whether it can be, as a pool would log each failure and try again for ever. The Repo's pool does that.
  defp try_to_open(slot, %{options: options} = state) do
    lane = self()

    spawn_link(fn -> send(lane, {:tried, slot, try_to_open(options)}) end)
    put(state, slot, :trying)
  end

  defp try_to_open(options) do
    with {:ok, opened} <- Protocol.connect(options) do
      Protocol.disconnect(nil, opened)
      {:ok, opened}
    end
  catch
    kind, reason -> {:error, {kind, reason}}
  end

  defp start(slot, state) do
    {:ok, pool} = DBConnection.start_link(Protocol, of_one(state.options))
    await_open(slot, pool, nil)
    state |> put(slot, %{pool: pool, is: :opening, at: now()}) |> await_idle()
  end

  defp of_one(options) do
    never = [idle_interval: @never_ms, queue_target: @never_ms, queue_interval: @never_ms]
    options |> Keyword.drop([:name, :max_lifetime]) |> Keyword.merge([pool_size: 1] ++ never)
  end

  # Asks the pool for its connection, which it has when it is open. An error is told first: it closes the connection.
  defp await_open(slot, pool, error) do
    lane = self()

    spawn_link(fn ->
      try do
        if error, do: DBConnection.execute(pool, %Query{operation: :lost}, [], error: error)

        case DBConnection.execute(pool, %Query{operation: :state}, [], timeout: :infinity) do
          {:ok, _query, state} -> send(lane, {:opened, slot, pool, state})
          {:error, _error} -> send(lane, {:not_opened, slot, pool})
        end
      catch
        # The pool was closed meanwhile.
        :exit, _reason -> :ok
      end
    end)
  end

  # DBConnection reports the loss and opens the connection again.
  defp lost(slot, entry, error, state) do
    if entry.is == :retiring do
      close(slot, state)
    else
      await_open(slot, entry.pool, error)
      state |> put(slot, %{entry | is: :opening, at: now()}) |> unwatch(slot)
    end
  end

  defp expire(slot, pool, options) do
    with first..last <- options[:max_lifetime],
         do: Process.send_after(self(), {:retire, slot, pool}, first + :erlang.phash2(pool, last - first + 1))
  end

  # --- closing --------------------------------------------------------------------------------------------------

  defp close(slot, state) do
    %{pool: pool} = entry = state.slots[slot]
    Process.exit(pool, :shutdown)
    state |> put(slot, %{entry | is: :closing}) |> unwatch(slot)
  end

  defp retire(slot, state) do
    case state.slots[slot] do
      %{is: :open} = entry ->
        if Slots.retire(state.lane, slot) == :now,
          do: close(slot, state),
          else: put(state, slot, %{entry | is: :retiring})

      %{is: :opening} ->
        grown(close(slot, state))

      _gone_or_closing ->
        state
    end
  end

  # The caller of a lease has ended, so nobody gives it back.
  defp seize(slot, word, state) do
    case state.slots[slot] do
      %{is: is} when is in [:open, :retiring] ->
        if Slots.take_lease(state.lane, slot, word), do: close(slot, state), else: state

      _closed ->
        state
    end
  end

  defp switch(on?, state) do
    state = %{state | on?: on?}
    if on?, do: grown(state), else: Enum.reduce(Map.keys(state.slots), state, &retire/2)
  end

  defp close_idle(%{lane: lane} = state) do
    long_ago = now() - native(lane.idle_timeout)

    Enum.reduce(state.slots, state, fn
      {slot, %{is: :open}}, state ->
        word = Slots.word(lane, slot)
        idle? = not Slots.leased?(word) and Slots.time(lane, word) < long_ago
        if idle? and Slots.take(lane, slot, word), do: close(slot, state), else: state

      # `:after_connect` may fail again and again here, and nowhere else.
      {slot, %{is: :opening, at: at}}, state when at < long_ago ->
        grown(close(slot, state))

      _other, state ->
        state
    end)
  end

  defp await_idle(%{idle_timer?: true} = state), do: state

  defp await_idle(state) do
    Process.send_after(self(), :idle, state.lane.idle_timeout)
    %{state | idle_timer?: true}
  end

  # --- leases ---------------------------------------------------------------------------------------------------

  defp tick(state) do
    words = words(state)
    state = watch(state, words)

    cond do
      words != state.seen or Enum.any?(words, fn {_slot, word} -> Slots.leased?(word) end) ->
        next_tick(%{state | seen: words})

      # Nothing has been used since the last look. A lease that was taken before this was told is seen by the second.
      Slots.sleep(state.lane, true) == :ok and words(state) != words ->
        Slots.sleep(state.lane, false)
        next_tick(state)

      true ->
        state
    end
  end

  defp next_tick(%{ticking?: true} = state), do: state

  defp next_tick(state) do
    Process.send_after(self(), :tick, @tick_ms)
    %{state | ticking?: true}
  end

  defp words(%{lane: lane, slots: slots}) do
    for {slot, %{is: is}} when is in [:open, :retiring] <- slots,
        into: %{},
        do: {slot, Slots.word(lane, slot)}
  end

  defp watch(state, words) do
    Enum.reduce(words, state, fn {slot, word}, state ->
      same? = state.seen[slot] == word and Slots.leased?(word)

      case state.watched[slot] do
        {^word, _monitor} -> state
        _ when same? -> state |> unwatch(slot) |> watch_caller(slot, word)
        nil -> state
        _lease_is_over -> unwatch(state, slot)
      end
    end)
  end

  defp watch_caller(%{lane: lane} = state, slot, word) do
    case Slots.holder(lane, slot, word) do
      nil ->
        if Slots.time(lane, word) < now() - native(@forgotten_ms), do: seize(slot, word, state), else: state

      pid ->
        %{state | watched: Map.put(state.watched, slot, {word, Process.monitor(pid)})}
    end
  end

  defp unwatch(state, slot) do
    case Map.pop(state.watched, slot) do
      {{_word, monitor}, watched} ->
        Process.demonitor(monitor, [:flush])
        %{state | watched: watched}

      {nil, _watched} ->
        state
    end
  end

  # --- rest -----------------------------------------------------------------------------------------------------

  @impl true
  def terminate(_reason, state) do
    for {slot, entry} <- state.slots do
      Slots.take(state.lane, slot)
      with %{pool: pool} <- entry, do: stop(pool)
    end
  end

  # The pool closes its connection before it has ended.
  defp stop(pool) do
    GenServer.stop(pool, :shutdown)
  catch
    :exit, _reason -> :ok
  end

  defp put(state, slot, entry), do: %{state | slots: Map.put(state.slots, slot, entry)}
  defp drop(state, slot), do: unwatch(%{state | slots: Map.delete(state.slots, slot)}, slot)

  defp grown(state) do
    Slots.grown(state.lane)
    state
  end

  defp now, do: System.monotonic_time()
  defp native(ms), do: System.convert_time_unit(ms, :millisecond, :native)
end
