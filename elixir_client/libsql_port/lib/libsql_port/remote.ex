defmodule LibsqlPort.Remote do
  @moduledoc false
  # Calls from another node. A port and a table can be used on their own node alone, so what needs them runs there, in a
  # process that waits in place of the caller. One more hop each way, and a stream sends no fetch ahead.

  alias LibsqlPort.{Exchange, Handle, InFlight, Request}

  # What a call may take beyond its own timeout and grace: for the two hops.
  @hops_ms 5_000

  @doc "`Exchange.serve/3` at the handle's node."
  @spec call(Handle.t(), Request.t()) :: {:ok, binary, [LibsqlPort.Reply.chunk()]} | {:lost, Exchange.lost()}
  def call(handle, request) do
    arguments = [self(), handle, request]
    :erpc.call(node(handle.port), Exchange, :serve, arguments, wait(handle, request.timeout))
  catch
    # What was sent before the node was lost may have run.
    :error, {:erpc, :timeout} -> {:lost, :silent}
    :error, {:erpc, _reason} -> {:lost, :down}
  end

  @doc """
  The calling process stands for `caller`, on another node, and ends with it: what that has left running is stopped then as that of any
  process.
  """
  @spec stand_for(pid) :: :ok
  def stand_for(caller) do
    server = self()
    spawn(fn -> guard(caller, server) end)
    :ok
  end

  defp guard(caller, server) do
    of_caller = Process.monitor(caller)
    of_server = Process.monitor(server)

    receive do
      {:DOWN, ^of_server, :process, _, _} -> :ok
      {:DOWN, ^of_caller, :process, _, _} -> Process.exit(server, :kill)
    end
  end

  @doc "The requests under way on a connection; none if the node cannot be reached."
  @spec requests(Handle.t(), integer) :: [{pos_integer, pid}]
  def requests(%{table: table, port: port}, connection) when node(port) == node(),
    do: InFlight.of_connection(table, connection)

  def requests(handle, connection) do
    :erpc.call(node(handle.port), InFlight, :of_connection, [handle.table, connection], @hops_ms)
  catch
    :error, {:erpc, _reason} -> []
  end

  @doc "Whether the handle's port is open. Asks the node of the port, not the sidecar."
  @spec open?(Handle.t()) :: boolean
  def open?(%{port: port}) when node(port) == node(), do: :erlang.port_info(port, :id) != :undefined

  def open?(%{port: port}) do
    :erpc.call(node(port), :erlang, :port_info, [port, :id], @hops_ms) != :undefined
  catch
    :error, {:erpc, _reason} -> false
  end

  @doc """
  Monitors the handle's port. A port can be monitored on its own node alone, so for another node's a process there does so,
  and ends with the port or with the calling process.
  """
  @spec monitor(Handle.t()) :: reference
  def monitor(%{port: port}) when node(port) == node(), do: Port.monitor(port)

  def monitor(%{port: port}) do
    {_pid, monitor} = Node.spawn_monitor(node(port), __MODULE__, :await_end, [port, self()])
    monitor
  end

  @doc false
  @spec await_end(port, pid) :: term
  def await_end(port, pid) do
    Port.monitor(port)
    Process.monitor(pid)

    receive do
      {:DOWN, _monitor, _type, _port_or_pid, reason} -> exit(reason)
    end
  end

  @doc "A number that no other request or transaction of the sidecar bears."
  @spec next_id(Handle.t()) :: pos_integer
  def next_id(%{ids: ids, port: port}) when node(port) == node(), do: InFlight.next_id(ids)

  # The request that needs it finds out that the node is lost.
  def next_id(handle) do
    :erpc.call(node(handle.port), InFlight, :next_id, [handle.ids], @hops_ms)
  catch
    :error, {:erpc, _reason} -> 1
  end

  defp wait(_handle, :infinity), do: :infinity
  defp wait(handle, timeout), do: timeout + handle.reply_grace + @hops_ms
end
