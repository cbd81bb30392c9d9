defmodule EctoLibSql.PoolGrowth do
  @moduledoc false
  # Connections that a pool opens when calls wait, and closes when they are not needed: those between `:pool_size_min` and
  # `:pool_size`. The first `:pool_size_min` are `DBConnection.ConnectionPool`'s own and always there. All is called by the
  # pool's process, after a message went to `ConnectionPool`, with the status that it has then.
  #
  # A further connection is a process of `DBConnection` as the others are, under a supervisor of its own, and comes into the
  # pool by the same message. One is opened at a time: for a call that waits while none is being opened, and when it is open
  # the next, if calls wait still.
  #
  # DBConnection looks at each free connection once a second, which is a use as its queue sees it. Hence not the time since a
  # connection was used tells how many are needed, but how many were free at the worst moment of a period.

  alias DBConnection.{Connection, ConnectionError, Holder}

  require Holder

  @idle_timeout 30_000

  @enforce_keys [:module, :options, :queue, :supervisor, :min, :max, :idle_timeout]
  defstruct @enforce_keys ++ [connections: %{}, opening: nil, given_up: nil, first: [], spare: 0]

  @typedoc """
  `connections` has the index of each by its process, `opening` is the one of them that is being opened, `given_up` the last
  that was not waited for, `first` those of `ConnectionPool` that are known to have been opened, `spare` how many connections
  were free at the worst moment of this period.
  """
  @type t :: %__MODULE__{
          module: module,
          options: keyword,
          queue: :ets.table(),
          supervisor: pid,
          min: pos_integer,
          max: pos_integer,
          idle_timeout: pos_integer,
          connections: %{pid => pos_integer},
          opening: pid | nil,
          given_up: pid | nil,
          first: [pid],
          spare: non_neg_integer
        }
  @type status :: :busy | :ready

  @doc "The options with which `ConnectionPool` starts: with the connections that are always there."
  @spec first(keyword) :: keyword
  def first(options) do
    case options[:pool_size_min] do
      nil -> options
      min -> options |> Keyword.put_new(:idle_limit, options[:pool_size]) |> Keyword.put(:pool_size, min)
    end
  end

  @doc "`nil` for a pool whose size does not change."
  @spec start(module, keyword, :ets.table()) :: t | nil
  def start(module, options, queue) do
    max = Keyword.get(options, :pool_size, 1)
    min = options[:pool_size_min] || max
    if min < max, do: start(module, options, queue, min, max)
  end

  defp start(module, options, queue, min, max) do
    {:ok, supervisor} = DynamicSupervisor.start_link(strategy: :one_for_one)
    idle_timeout = Keyword.get(options, :pool_idle_timeout, @idle_timeout)

    await_period(%__MODULE__{
      module: module,
      options: options,
      queue: queue,
      supervisor: supervisor,
      min: min,
      max: max,
      idle_timeout: idle_timeout
    })
  end

  @doc "How many connections there are, the one that is being opened included."
  @spec size(t) :: pos_integer
  def size(%__MODULE__{min: min, connections: connections}), do: min + map_size(connections)

  @doc "A call came. If the pool is busy now, it waits."
  @spec asked(t, status) :: t
  def asked(growth, :busy), do: grow(%{growth | spare: 0})
  def asked(growth, :ready), do: %{growth | spare: min(growth.spare, queued(growth))}

  @doc "A connection came into the pool or back to it, from this process."
  @spec came(t, Holder.t(), pid, status) :: t
  def came(%{opening: pid} = growth, _holder, pid, status), do: grow_further(%{growth | opening: nil}, status)

  def came(%{first: first, min: min} = growth, holder, _from, _status) when length(first) < min,
    do: %{growth | first: Enum.uniq(List.wrap(connection(holder)) ++ first)}

  def came(growth, _holder, _from, _status), do: growth

  @doc "The process of a connection has ended."
  @spec ended(t, pid, status) :: t
  def ended(growth, pid, status) do
    opening = if growth.opening != pid, do: growth.opening
    grow_further(%{growth | connections: Map.delete(growth.connections, pid), opening: opening}, status)
  end

  @doc "A period is over: closes as many connections as were free all the time, of those that are free in this order."
  @spec shrink(t, status, [{pid, {integer, Holder.t()}}]) :: t
  def shrink(growth, :busy, _free), do: await_period(%{growth | spare: 0})

  def shrink(growth, :ready, free) do
    free =
      for {pid, {_since, holder} = key} <- free, is_map_key(growth.connections, pid), do: {key, holder, pid}

    free |> Enum.take(growth.spare) |> Enum.each(&close(growth, &1))
    growth |> give_up() |> Map.put(:spare, queued(growth)) |> await_period()
  end

  # Nobody waits for it any more, and it may not be able to open. If it is on its way to the pool, it is not let in.
  defp give_up(%{opening: nil} = growth), do: growth

  defp give_up(%{opening: pid} = growth) do
    DynamicSupervisor.terminate_child(growth.supervisor, pid)
    %{growth | opening: nil, given_up: pid}
  end

  @doc "Closes the connections. The pool ends."
  @spec stop(t | nil) :: :ok
  def stop(nil), do: :ok
  def stop(growth), do: DynamicSupervisor.stop(growth.supervisor, :shutdown)

  defp grow_further(growth, :busy), do: if(queued(growth) > 0, do: grow(growth), else: growth)
  defp grow_further(growth, :ready), do: growth

  # Not before the first ones are open: calls may come while they are opened.
  defp grow(%{opening: nil, first: first, min: min, connections: connections, max: max} = growth)
       when length(first) == min and map_size(connections) < max - min do
    index = Enum.find((min + 1)..max, &(&1 not in Map.values(connections)))
    options = [pool_index: index] ++ growth.options
    spec = Connection.child_spec(growth.module, options, self(), growth.queue, id: index, restart: :temporary)
    {:ok, pid} = DynamicSupervisor.start_child(growth.supervisor, spec)
    Process.monitor(pid)
    %{growth | opening: pid, connections: Map.put(connections, pid, index)}
  end

  defp grow(growth), do: growth

  # The sidecar is told by another process: the pool waits for nobody. The connection would be opened again, so it ends.
  defp close(%{queue: queue, supervisor: supervisor}, {key, holder, pid}) do
    :ets.delete(queue, key)
    {module, state} = Holder.delete(holder)

    spawn(fn ->
      try do
        module.disconnect(%ConnectionError{message: "not needed", severity: :debug}, state)
      after
        DynamicSupervisor.terminate_child(supervisor, pid)
      end
    end)
  end

  defp await_period(growth) do
    Process.send_after(self(), {__MODULE__, :shrink}, growth.idle_timeout)
    growth
  end

  # Of a busy pool the calls that wait, else the connections that are free.
  defp queued(%{queue: queue}), do: :ets.info(queue, :size)

  @doc "The process of the connection that a holder has; `nil` if it is closed."
  @spec connection(Holder.t()) :: pid | nil
  def connection(holder) do
    [Holder.conn(connection: pid)] = :ets.lookup(holder, :conn)
    pid
  rescue
    # It is closed already.
    ArgumentError -> nil
  end
end
