defmodule EctoLibSql.ObservedPool do
  @moduledoc false
  # `DBConnection.ConnectionPool`, which tells the lane beside it when all connections are to be replaced. It is that pool:
  # each message goes to its callbacks, and whoever uses it does so by the functions of `DBConnection`. Started by
  # `EctoLibSql.Pool` for a Repo with a lane.

  use GenServer

  alias DBConnection.ConnectionPool
  alias EctoLibSql.Lane

  @spec start_link(module, keyword) :: GenServer.on_start()
  def start_link(module, options) do
    GenServer.start_link(__MODULE__, {module, options}, Keyword.take(options, [:name, :spawn_opt]))
  end

  @impl true
  def init({module, options}) do
    with {:ok, pool} <- ConnectionPool.init({module, Keyword.delete(options, :lane_ref)}),
         do: {:ok, {options[:lane_ref], pool}}
  end

  @impl true
  def handle_call({:disconnect_all, interval} = request, from, {lane, pool}) do
    Lane.disconnect_all(lane, interval)
    request |> ConnectionPool.handle_call(from, pool) |> with_lane(lane)
  end

  def handle_call(request, from, {lane, pool}),
    do: request |> ConnectionPool.handle_call(from, pool) |> with_lane(lane)

  @impl true
  def handle_info(message, {lane, pool}), do: message |> ConnectionPool.handle_info(pool) |> with_lane(lane)

  # Older versions of the pool have none.
  @impl true
  def terminate(reason, {_lane, pool}) do
    if function_exported?(ConnectionPool, :terminate, 2),
      do: apply(ConnectionPool, :terminate, [reason, pool])
  end

  # The state is the last element of what a callback returns, but for `{:noreply, state, timeout}` and its like, which the
  # pool does not return.
  defp with_lane({:reply, reply, pool}, lane), do: {:reply, reply, {lane, pool}}
  defp with_lane({:noreply, pool}, lane), do: {:noreply, {lane, pool}}
  defp with_lane({:stop, reason, pool}, lane), do: {:stop, reason, {lane, pool}}
end
