defmodule EctoLibSql.Pools do
  @moduledoc false
  # The processes of a Repo with `:pool_count`: its sidecar, and Ecto's partition supervisor with the pools, which all use
  # that sidecar. Started through the adapter's `init/1`.

  use Supervisor

  alias EctoLibSql.{Pool, StartOptions}

  @doc "Child specification around the one that Ecto made of the pools, with the options of the Repo."
  @spec child_spec({Supervisor.child_spec(), keyword}) :: Supervisor.child_spec()
  def child_spec({pools, options}) do
    %{id: __MODULE__, start: {__MODULE__, :start_link, [pools, options]}, type: :supervisor}
  end

  @spec start_link(Supervisor.child_spec(), keyword) :: Supervisor.on_start()
  def start_link(pools, options) do
    # The pools check the rest; an error of theirs would come out of the partition supervisor.
    with :ok <- StartOptions.check(options),
         {:ok, supervisor} <- Supervisor.start_link(__MODULE__, []),
         {:ok, sidecar} <- started(Pool.start_sidecar(supervisor, options), supervisor),
         :ok <- started(Pool.openable([sidecar: sidecar] ++ options), supervisor),
         {:ok, _pools} <- started(Supervisor.start_child(supervisor, pools), supervisor),
         {:ok, _lane} <- started(Pool.start_lane(supervisor, [sidecar: sidecar] ++ options), supervisor) do
      {:ok, supervisor}
    end
  end

  @impl true
  def init(_), do: Supervisor.init([], strategy: :one_for_all, max_restarts: 0)

  defp started({:error, reason}, supervisor) do
    Supervisor.stop(supervisor)
    {:error, reason}
  end

  defp started(ok, _supervisor), do: ok
end
