defmodule EctoLibSql.MemoryKeeper do
  @moduledoc false
  # Holds a connection to a database in memory, which would vanish with the last one. Uses it for nothing. If the sidecar
  # ends the database is gone anyway; the keeper ends as well, and the Repo starts anew with an empty one.

  use GenServer

  def start_link(options), do: GenServer.start_link(__MODULE__, options)

  @impl true
  def init(options) do
    case EctoLibSql.connect(options) do
      {:ok, state} -> {:ok, state}
      {:error, error} -> {:stop, error}
    end
  end
end
