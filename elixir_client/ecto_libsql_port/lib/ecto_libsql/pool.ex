defmodule EctoLibSql.Pool do
  @moduledoc false
  # A Repo's processes: its sidecar, and the pool of connections to it. Started through the adapter's child specification.
  #
  # Ecto takes the process that its child specification starts for the pool and speaks to it directly, so `start_link/1`
  # answers the pool and not the supervisor around it. It links the pool to the caller, Ecto's supervisor, which thereby
  # sees it end as that of any child: together with the sidecar, for none is of use without the other.

  use Supervisor

  @predecessors 3
  # Longer than a sidecar is given to end.
  @end_ms 10_000

  @doc "Child specification with the options of a Repo."
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    %{id: __MODULE__, start: {__MODULE__, :start_link, [options]}, type: :supervisor}
  end

  # Options that cannot be are told at once, not by connections that try for ever.
  @spec start_link(keyword) :: {:ok, pid} | {:error, term}
  def start_link(options) do
    with {:ok, _, _} <- EctoLibSql.Options.check(options),
         {:ok, supervisor} <- Supervisor.start_link(__MODULE__, []),
         {:ok, pool} <- start_children(supervisor, options |> EctoLibSql.Options.anchored() |> named_memory()) do
      Process.link(pool)
      {:ok, pool}
    end
  end

  @impl true
  def init(_), do: Supervisor.init([], strategy: :one_for_all, max_restarts: 0)

  defp start_children(supervisor, options) do
    with {:ok, sidecar} <- sidecar(supervisor, options),
         options = Keyword.merge(options, sidecar: sidecar, private_copy: EctoLibSql.PrivateCopy.new()),
         {:ok, _} <- keeper(supervisor, options) do
      spec = DBConnection.child_spec(EctoLibSql.Protocol, options)
      Supervisor.start_child(supervisor, Supervisor.child_spec(spec, id: :pool, restart: :transient))
    else
      {:error, reason} ->
        Supervisor.stop(supervisor)
        {:error, reason}
    end
  end

  defp sidecar(supervisor, options) do
    case options[:sidecar] do
      nil ->
        sidecar_options = Keyword.put_new(options[:sidecar_options] || [], :name, options[:sidecar_name])
        spec = Supervisor.child_spec({LibsqlPort, sidecar_options}, id: :sidecar)
        start_named(supervisor, spec, @predecessors)

      sidecar ->
        {:ok, sidecar}
    end
  end

  # A Repo has stopped when its pool has; its sidecar follows, and has the name until then.
  defp start_named(supervisor, spec, tries) do
    case Supervisor.start_child(supervisor, spec) do
      {:error, {{:already_started, predecessor}, _spec}} when tries > 0 ->
        await_end(predecessor)
        start_named(supervisor, spec, tries - 1)

      other ->
        other
    end
  end

  defp await_end(pid) do
    monitor = Process.monitor(pid)

    receive do
      {:DOWN, ^monitor, :process, _, _} -> :ok
    after
      @end_ms -> Process.demonitor(monitor, [:flush])
    end
  end

  # The connections of a pool come and go. A database in memory lives while one is open, so one is held for its sake.
  defp keeper(supervisor, options) do
    if options[:memory_name] do
      Supervisor.start_child(supervisor, {EctoLibSql.MemoryKeeper, options})
    else
      {:ok, nil}
    end
  end

  defp named_memory(options) do
    case EctoLibSql.Options.path(options) do
      {:ok, :memory} -> Keyword.put_new(options, :memory_name, "ecto-#{System.unique_integer([:positive])}")
      _file_or_error -> options
    end
  end
end
