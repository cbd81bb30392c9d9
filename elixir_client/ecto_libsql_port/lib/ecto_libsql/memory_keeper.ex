defmodule EctoLibSql.MemoryKeeper do
  @moduledoc false
  # Holds a connection to a database in memory, which would vanish with the last one. Uses it for nothing. If the sidecar
  # ends the database is gone with it: the keeper says so and holds the empty one that takes its place.

  use GenServer

  require Logger

  def start_link(options), do: GenServer.start_link(__MODULE__, options)

  @impl true
  def init(options) do
    case hold(options) do
      {:ok, monitor} -> {:ok, {options, monitor}}
      {:error, error} -> {:stop, error}
    end
  end

  @impl true
  def handle_info({:DOWN, monitor, _type, _object, reason}, {options, monitor}) do
    Logger.error(
      "libsql_port: the sidecar of #{inspect(options[:repo] || options[:memory_name])} has ended, and its database " <>
        "in memory with it; an empty one takes its place (#{inspect(reason)})"
    )

    case hold(options) do
      {:ok, monitor} -> {:noreply, {options, monitor}}
      {:error, error} -> {:stop, error, {options, nil}}
    end
  end

  def handle_info(_other, state), do: {:noreply, state}

  # The connection belongs to this process and is closed when it ends.
  defp hold(options) do
    with {:ok, %{conn: conn}} <- EctoLibSql.Protocol.connect(options),
         do: {:ok, LibsqlPort.Connection.monitor_sidecar(conn)}
  end
end
