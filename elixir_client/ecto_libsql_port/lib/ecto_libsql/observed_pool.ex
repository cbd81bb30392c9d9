defmodule EctoLibSql.ObservedPool do
  @moduledoc false
  # `DBConnection.ConnectionPool`, with what it has not: gauges (`EctoLibSql.pool_status/1`), events for those who wait, a
  # limit to its queue, errors that tell who holds the connections, the warmest connection first (`EctoLibSql.WarmFirst`), and
  # a word to the lane beside it when all connections are to be replaced. It is that pool: each message goes to its callbacks,
  # and whoever uses it does so by the functions of `DBConnection`, with the option `pool: EctoLibSql.ObservedPool`. Without
  # that option it works, and counts nothing.
  #
  # `checkout/3` runs in the caller's process, all that is below `init/1` in the pool's.

  use GenServer

  alias DBConnection.{ConnectionError, ConnectionPool, Holder}
  alias EctoLibSql.{Lane, Options, PoolGauges, PoolGrowth, PoolStatus, ServerLocation, State, WarmFirst}

  require Holder

  @behaviour DBConnection.Pool

  # A full queue is looked through for calls whose processes have ended, not more often than this.
  @clearing_ms 100

  @spec start_link({module, keyword}) :: GenServer.on_start()
  def start_link({module, options}) do
    GenServer.start_link(__MODULE__, {module, options}, Keyword.take(options, [:name, :spawn_opt]))
  end

  # --- callers --------------------------------------------------------------------------------------------------

  @impl DBConnection.Pool
  def checkout(pool, callers, options) do
    asked = System.monotonic_time()

    case ConnectionPool.checkout(pool, callers, options) do
      {:ok, Holder.pool_ref(holder: holder), _module, idle_since, %State{gauges: %PoolGauges{} = gauges}} = ok ->
        # A connection that has been free has been so since some time. To one that waited it was handed on.
        waited = PoolGauges.checked_out(gauges, holder, asked, idle_since == 0)
        if waited > gauges.threshold, do: tell(:wait, %{duration: waited}, pool, options, %{})
        ok

      {:error, %ConnectionError{} = error} ->
        {:error, refused(error, asked, pool, options)}

      other ->
        other
    end
  end

  @impl DBConnection.Pool
  defdelegate disconnect_all(pool, interval, options), to: ConnectionPool

  @impl DBConnection.Pool
  defdelegate get_connection_metrics(pool), to: ConnectionPool

  # The caller was refused, or dropped from the queue. The type and its `reason` are those of `DBConnection`.
  defp refused(error, asked, pool, options) do
    duration = System.monotonic_time() - asked

    with pid when is_pid(pid) <- GenServer.whereis(pool), %{gauges: gauges} <- PoolGauges.of(pid) do
      PoolGauges.count(gauges, :drops)
      status = PoolStatus.of_pool(pid)
      error = if status, do: %{error | message: explained(error.message, status, gauges)}, else: error
      tell(:drop, %{duration: duration}, pool, options, %{reason: error.reason, error: error})
      error
    else
      _ended_or_foreign -> error
    end
  end

  # Whoever waits for a connection that cannot be opened is told why, before all that is said of pools that are too small.
  defp explained(message, status, gauges) do
    message = String.trim_trailing(message) <> "\n\n" <> PoolStatus.explain(status)

    case PoolGauges.not_opened(gauges) do
      nil -> message
      why -> "no connection could be opened when it was last tried: #{Exception.message(why)}\n\n" <> message
    end
  end

  defp tell(event, measurements, pool, options, metadata) do
    metadata = Map.merge(%{pool: pool, repo: options[:repo]}, metadata)
    :telemetry.execute([:ecto_libsql_port, :pool, event], measurements, metadata)
  end

  # --- the pool -------------------------------------------------------------------------------------------------

  @impl GenServer
  def init({module, options}) do
    gauges = PoolGauges.new(options)
    {lane, options} = Keyword.pop(options, :lane_ref)
    options = [{:gauges, gauges} | options]

    with {:ok, {_status, queue, _codel, _times} = pool} <-
           ConnectionPool.init({module, PoolGrowth.first(options)}) do
      growth = PoolGrowth.start(module, options, queue)
      size = Keyword.get(options, :pool_size, 1)
      own = %{gauges: gauges, size: size, lane: lane, growth: growth, warm: [], cleared_at: nil}
      own = Map.put(own, :origin, origin(options))
      {:ok, {published(Map.put(own, :queue_max, Keyword.get(options, :queue_max, :infinity)), queue), pool}}
    end
  end

  @impl GenServer
  def handle_call(request, from, {own, pool}) do
    with {:disconnect_all, interval} <- request, do: Lane.disconnect_all(own.lane, interval)
    request |> ConnectionPool.handle_call(from, pool) |> with_own(own)
  end

  @impl GenServer
  def handle_info(
        {:db_connection, from, {:checkout, _callers, _now, true}} = message,
        {%{queue_max: max} = own, pool}
      )
      when is_integer(max) and elem(pool, 0) == :busy do
    case room(own, elem(pool, 1)) do
      {true, own} ->
        to_pool(message, own, pool)

      {false, own} ->
        Holder.reply_error(from, full(max))
        {:noreply, {own, pool}}
    end
  end

  def handle_info(
        {:db_connection, from, {:checkout, _callers, _now, _queue?}} = message,
        {own, {:ready, queue, _codel, _times} = pool}
      ) do
    case WarmFirst.pop(own.warm, queue) do
      {{since, holder} = key, colder} ->
        # False if the caller has ended: the connection stays.
        given? = Holder.handle_checkout(holder, from, queue, since)
        own = if given?, do: taken(own, queue, key, colder), else: own
        {:noreply, {regrown(own, pool, &grow(&1, message, :ready)), pool}}

      nil ->
        to_pool(message, own, pool)
    end
  end

  # The time of a caller is up, if it has the connection still.
  def handle_info({:timeout, deadline, {_queue, holder, _pid, _length}} = message, {own, pool}) do
    if Holder.handle_deadline(holder, deadline), do: PoolGauges.count(own.gauges, :timeouts)
    to_pool(message, own, pool)
  end

  # One of the pool's own timers.
  def handle_info({:timeout, _timer, _of_pool} = message, {own, pool}) do
    PoolGauges.sweep(own.gauges, own.size)
    to_pool(message, own, pool)
  end

  def handle_info({PoolGrowth, :shrink}, {own, pool}),
    do: {:noreply, {regrown(own, pool, &shrink(&1, own.warm, pool)), pool}}

  def handle_info(
        {:"ETS-TRANSFER", holder, pid, {:checkin, _, _}},
        {%{growth: %{given_up: pid}}, _pool} = state
      ) do
    :ets.delete(holder)
    {:noreply, state}
  end

  def handle_info({:"ETS-TRANSFER", holder, from, {:checkin, queue, since}} = message, {own, pool}) do
    connection = PoolGrowth.connection(holder)

    with {:noreply, {own, pool}} <- to_pool(message, own, pool) do
      warm = WarmFirst.came(own.warm, connection, {since, holder}, from, queue)
      {:noreply, {%{own | warm: warm}, pool}}
    end
  end

  # Not one of DBConnection's own, which has a supervisor there.
  def handle_info(
        {:DOWN, _monitor, :process, pid, _reason},
        {%{growth: %{connections: connections}} = own, pool}
      )
      when is_map_key(connections, pid),
      do: {:noreply, {regrown(own, pool, &PoolGrowth.ended(&1, pid, elem(pool, 0))), pool}}

  def handle_info(message, {own, pool}), do: to_pool(message, own, pool)

  # Older versions of the pool have none.
  @impl GenServer
  def terminate(reason, {own, pool}) do
    PoolGrowth.stop(own.growth)

    if function_exported?(ConnectionPool, :terminate, 2),
      do: apply(ConnectionPool, :terminate, [reason, pool])
  end

  defp to_pool(message, %{growth: nil} = own, pool),
    do: message |> ConnectionPool.handle_info(pool) |> with_own(own)

  defp to_pool(message, own, pool) do
    with {:noreply, pool} <- ConnectionPool.handle_info(message, pool),
         do: {:noreply, {regrown(own, pool, &grow(&1, message, elem(pool, 0))), pool}}
  end

  defp taken(own, queue, key, colder) do
    :ets.delete(queue, key)
    %{own | warm: colder}
  end

  defp shrink(growth, warm, pool),
    do: PoolGrowth.shrink(growth, elem(pool, 0), WarmFirst.coldest(warm, elem(pool, 1)))

  defp grow(growth, {:db_connection, _from, {:checkout, _callers, _now, _queue?}}, status),
    do: PoolGrowth.asked(growth, status)

  defp grow(growth, {:"ETS-TRANSFER", holder, from, {:checkin, _queue, _now}}, status),
    do: PoolGrowth.came(growth, holder, from, status)

  defp grow(growth, _other, _status), do: growth

  defp regrown(%{growth: nil} = own, _pool, _grow), do: own

  defp regrown(%{growth: growth} = own, pool, grow) do
    grown = grow.(growth)
    own = %{own | growth: grown}
    if PoolGrowth.size(grown) != PoolGrowth.size(growth), do: published(own, elem(pool, 1)), else: own
  end

  defp published(%{growth: growth, size: size_max} = own, queue) do
    size = if growth, do: PoolGrowth.size(growth), else: size_max

    PoolGauges.publish(
      own
      |> Map.take([:gauges, :queue_max, :lane, :origin])
      |> Map.merge(%{queue: queue, size: size, size_max: size_max})
    )

    own
  end

  defp origin(options) do
    case {ServerLocation.of(options), Options.path(options)} do
      {{:ok, place}, {:ok, path}} -> %{sidecar: options[:sidecar], place: place, path: path}
      # Options that each connection has of its own (`:configure`) say it elsewhere.
      _unknown -> %{sidecar: options[:sidecar], place: nil, path: nil}
    end
  end

  # The state is the last element of what a callback returns, but for `{:noreply, state, timeout}` and its like, which the
  # pool does not return.
  defp with_own({:reply, reply, pool}, own), do: {:reply, reply, {own, pool}}
  defp with_own({:noreply, pool}, own), do: {:noreply, {own, pool}}
  defp with_own({:stop, reason, pool}, own), do: {:stop, reason, {own, pool}}

  # --- the queue's limit ----------------------------------------------------------------------------------------

  # The queue of a busy pool has nothing but calls.
  defp room(%{queue_max: max} = own, queue) do
    if :ets.info(queue, :size) < max, do: {true, own}, else: clear(own, queue)
  end

  # The pool learns that the process of a call has ended when the call's turn comes.
  defp clear(%{queue_max: max, cleared_at: before} = own, queue) do
    now = System.monotonic_time(:millisecond)

    if before == nil or now - before >= @clearing_ms do
      for {{_since, _number, {pid, _ref}} = key} <- :ets.tab2list(queue),
          not Process.alive?(pid),
          do: :ets.delete(queue, key)

      {:ets.info(queue, :size) < max, %{own | cleared_at: now}}
    else
      {false, own}
    end
  end

  defp full(max) do
    %ConnectionError{
      message:
        "connection not available and request was refused: #{max} others wait already, the limit of :queue_max",
      reason: :queue_full
    }
  end
end
