defmodule LibsqlPort.Supervisor do
  @moduledoc false
  # The guardian first, the port's owner behind it: if the guardian ends, the owner must be started anew to name the
  # new one as its heir; the other way round not. Between them the supervisor of those that run SQL functions. The little table lets them find each other without names, and outlives
  # both. The end of a program restarts neither: its owner starts the next one.

  use Supervisor

  alias LibsqlPort.{Error, Functions, Guardian, Handle, InFlight, Runners, Sidecar}

  @pause_ms 10

  @typedoc "Monotonic milliseconds; as an atom `:infinity` is later than any time."
  @type deadline :: integer | :infinity

  @spec start_link(map) :: Supervisor.on_start()
  def start_link(options) do
    names = if options.name, do: [name: options.name], else: []

    # A failed start is reported as the error it is, not as the report of a child.
    case Supervisor.start_link(__MODULE__, options, names) do
      {:error, {:shutdown, {:failed_to_start_child, Sidecar, %Error{} = error}}} -> {:error, error}
      other -> other
    end
  end

  @impl true
  def init(options) do
    registry = :ets.new(:libsql_port_registry, [:set, :public])
    :ets.insert(registry, {:ids, InFlight.new_ids()})
    functions = Functions.new()
    Functions.put(functions, options.functions)
    :ets.insert(registry, {:functions, functions})

    children = [
      {Guardian, {registry, options}},
      {Runners, {registry, options}},
      {Sidecar, {registry, options}}
    ]

    Supervisor.init(children,
      strategy: :rest_for_one,
      max_restarts: options.max_restarts,
      max_seconds: options.max_seconds
    )
  end

  @doc """
  The process that owns the port, waiting for it up to `deadline` (monotonic milliseconds) while a restart is under way.
  """
  @spec sidecar(Supervisor.supervisor(), deadline) :: {:ok, pid} | {:error, Error.t()}
  def sidecar(supervisor, deadline) do
    if stranger?(supervisor),
      do: {:error, Error.new(:invalid_option, not_ours(supervisor))},
      else: find(supervisor, deadline)
  end

  # Any other process must not be asked for its children: a GenServer that does not know the call crashes, a process that
  # answers nothing costs the whole time. What OTP notes of a process at its start tells them apart. Of one on another node
  # it is not known here.
  defp stranger?(supervisor) do
    with pid when is_pid(pid) and node(pid) == node() <- GenServer.whereis(supervisor),
         {:dictionary, dictionary} <- Process.info(pid, :dictionary) do
      dictionary[:"$initial_call"] != {:supervisor, __MODULE__, 1}
    else
      _ended_or_elsewhere -> false
    end
  rescue
    _no_name_of_a_process in [FunctionClauseError, ArgumentError] -> true
  end

  # A Repo of the adapter names its sidecar after itself.
  defp not_ours(supervisor) do
    own = is_atom(supervisor) && Module.concat(supervisor, "Sidecar")

    give =
      if own && Process.whereis(own) && not stranger?(own),
        do: "Give #{inspect(own)}, which is that of #{inspect(supervisor)}",
        else:
          "Give the name or the process of one that LibsqlPort.start_link/1 has started: " <>
            "children = [{LibsqlPort, name: MyApp.Sidecar}]. A Repo's own is MyApp.Repo.Sidecar, or the Repo's option `sidecar:`"

    "#{inspect(supervisor)} is no sidecar. #{give}"
  end

  defp find(supervisor, deadline) do
    case children(supervisor, left(deadline)) do
      {:ok, children} ->
        case List.keyfind(children, Sidecar, 0) do
          {_, pid, _, _} when is_pid(pid) -> {:ok, pid}
          _restarting_or_none -> again(supervisor, deadline)
        end

      :ended ->
        {:error, Error.new(:sidecar_down, "the sidecar #{inspect(supervisor)} is not running")}

      :silent ->
        late(supervisor)
    end
  end

  @doc "The handle of the present run."
  @spec handle(Supervisor.supervisor(), deadline) :: {:ok, Handle.t()} | {:error, Error.t()}
  def handle(supervisor, deadline) do
    with {:ok, sidecar} <- sidecar(supervisor, deadline) do
      try do
        Sidecar.handle(sidecar, left(deadline))
      catch
        :exit, {:timeout, _} ->
          {:error, Error.new(:timeout, "the process that owns the port does not answer")}

        :exit, _ended ->
          again(supervisor, deadline, &handle/2)
      else
        %Handle{} = handle -> {:ok, handle}
        :down -> again(supervisor, deadline, &handle/2)
      end
    end
  end

  @doc "Waits a moment and tries again, unless the deadline has passed."
  @spec again(Supervisor.supervisor(), deadline, (Supervisor.supervisor(), deadline -> result)) ::
          result | {:error, Error.t()}
        when result: var
  def again(supervisor, deadline, fun \\ &sidecar/2) do
    if now() >= deadline do
      late(supervisor)
    else
      Process.sleep(@pause_ms)
      fun.(supervisor, deadline)
    end
  end

  @doc "The error of a caller whose time was up while the sidecar was being started again."
  @spec late(Supervisor.supervisor()) :: {:error, Error.t()}
  def late(supervisor) do
    {:error,
     Error.new(
       :timeout,
       "the sidecar of #{inspect(supervisor)} is being started again, and was not ready in time"
     )}
  end

  # A supervisor that is starting a child answers nobody, and the question has no timeout of its own: so it is asked
  # by a process that can be left behind.
  defp children(supervisor, timeout) do
    {pid, monitor} = spawn_monitor(fn -> exit({:children, Supervisor.which_children(supervisor)}) end)

    receive do
      {:DOWN, ^monitor, :process, ^pid, {:children, children}} -> {:ok, children}
      {:DOWN, ^monitor, :process, ^pid, _} -> :ended
    after
      timeout ->
        Process.demonitor(monitor, [:flush])
        Process.exit(pid, :kill)
        :silent
    end
  end

  defp left(:infinity), do: :infinity
  defp left(deadline), do: max(deadline - now(), 1)

  defp now, do: System.monotonic_time(:millisecond)
end
