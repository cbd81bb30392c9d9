defmodule EctoLibSql.SharedSidecar do
  @moduledoc false
  # One sidecar for all connections that are opened without naming one: `EctoLibSql.connect/1` by hand, `mix ecto.create`
  # and its like. Started by the first who asks, so that an application whose Repos all have their own pays nothing. One
  # that has given up its restarts is gone, and the next who asks starts another; it never ends the application.

  use Supervisor

  @spec start_link(term) :: Supervisor.on_start()
  def start_link(_), do: Supervisor.start_link(__MODULE__, [], name: __MODULE__)

  @impl true
  def init(_), do: Supervisor.init([], strategy: :one_for_one)

  @doc "The sidecar, started if need be."
  @spec get() :: {:ok, pid} | {:error, term}
  def get do
    # Two callers may race: the second is told who won.
    case Supervisor.start_child(
           __MODULE__,
           Supervisor.child_spec({LibsqlPort, []}, id: :sidecar, restart: :temporary)
         ) do
      {:ok, pid} -> {:ok, pid}
      {:error, {:already_started, pid}} -> {:ok, pid}
      {:error, _} = error -> error
    end
  end
end
