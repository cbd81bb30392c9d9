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
    case start(:sidecar, []) do
      {:error, {:already_started, pid}} -> {:ok, pid}
      started -> started
    end
  end

  defp start(id, options) do
    spec = Supervisor.child_spec({LibsqlPort, options}, id: id, restart: :temporary)

    with {:error, {reason, _child}} when is_exception(reason) <- Supervisor.start_child(__MODULE__, spec),
         do: {:error, reason}
  end

  @doc "Runs a function with a sidecar of its own, started with these options of `LibsqlPort.start_link/1`."
  @spec with_own(keyword, (pid -> result)) :: result | {:error, term} when result: var
  def with_own(options, fun) do
    id = make_ref()

    # Its name is that of a Repo's, which may run beside it.
    with {:ok, sidecar} <- start(id, Keyword.delete(options, :name)) do
      try do
        fun.(sidecar)
      after
        Supervisor.terminate_child(__MODULE__, id)
      end
    end
  end
end
