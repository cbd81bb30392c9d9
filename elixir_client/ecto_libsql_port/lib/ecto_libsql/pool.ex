defmodule EctoLibSql.Pool do
  @moduledoc false
  # The processes of a Repo, or of a pool without one: its sidecar, and the pool of connections to it, under a supervisor.
  # One does not run without the other. Started through the adapter's child specification.
  #
  # Ecto takes the process that its child specification starts for the pool and calls it directly, so the start functions
  # return the pool and not the supervisor around it, and link the pool to the caller. A supervisor that stops its child
  # thus waits for the pool, not for the sidecar. `start_link_for_repo/1` makes Ecto's supervisor wait for both.

  use Supervisor

  alias EctoLibSql.{Error, Options, PoolDefaults, PoolGauges, ServerLocation, Settings, StartOptions}

  @predecessors 3
  # Longer than a sidecar is given to end.
  @end_ms 10_000

  @doc "Child specification with the options of a Repo. Supervisors show it in their reports, so no secret is in it."
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    options = ServerLocation.hidden(options)

    # Where a secret stands is known only if the options fit together.
    start =
      case refused(options) do
        nil -> {__MODULE__, :start_link, [options]}
        error -> {__MODULE__, :refuse, [error]}
      end

    %{id: __MODULE__, start: start, type: :supervisor}
  end

  defp refused(options) do
    with {:error, error} <- StartOptions.check(options), do: error, else: (:ok -> nil)
  end

  # Errors that the next try may not meet: the pool's connections try again. Any other ends the start.
  @passing [
    :busy,
    :locked,
    :remote_unavailable,
    :timeout,
    :cancelled,
    :limit_exceeded,
    :disk_full,
    :out_of_memory,
    :internal
  ]

  # Of the function for a token: whoever gives tokens out may be down as the server may.
  @passing_for_a_token [:callback_failed, :callback_timeout]

  # What cannot be is told at once, not by connections that try for ever.
  @spec start_link(keyword) :: {:ok, pid} | {:error, term}
  def start_link(options) do
    with {:ok, pool, _supervisor} <- start(options), do: {:ok, pool}
  end

  @doc """
  The same, for a Repo. To be called by Ecto's supervisor: its stop then returns when the sidecar has ended too, so that the
  database file can be moved or removed.
  """
  @spec start_link_for_repo(keyword) :: {:ok, pid} | {:error, term}
  def start_link_for_repo(options) do
    with {:ok, pool, supervisor} <- start(options) do
      become_child(supervisor)
      {:ok, pool}
    end
  end

  defp start(options) do
    options = ServerLocation.hidden(options)

    with :ok <- Settings.reload(),
         :ok <- StartOptions.check(options),
         {:ok, supervisor} <- Supervisor.start_link(__MODULE__, []),
         {:ok, pool} <- start_children(supervisor, options |> Options.anchored() |> named_memory()) do
      Process.link(pool)
      unless options[:repeated], do: PoolDefaults.put(pool, options)
      {:ok, pool, supervisor}
    end
  end

  # Makes the supervisor a second child of the calling one, which is its parent already. Children are stopped youngest
  # first: this one, with the pool and then the sidecar, before the pool, which is gone by then.
  #
  # The caller is starting a child and cannot call itself, so another process sends it the request of
  # `Supervisor.start_child/2`. It is in the caller's mailbox before this returns, and thus before any request to stop.
  # Temporary: the pool's end, which follows, is what Ecto's supervisor reacts to.
  defp become_child(supervisor) do
    parent = self()

    spec = %{
      id: {__MODULE__, supervisor},
      start: {__MODULE__, :started, [supervisor]},
      type: :supervisor,
      restart: :temporary
    }

    {pid, monitor} = spawn_monitor(fn -> :gen_server.send_request(parent, {:start_child, spec}) end)

    receive do
      {:DOWN, ^monitor, :process, ^pid, _reason} -> :ok
    end
  end

  @doc "The start function of a process that runs already."
  @spec started(pid) :: {:ok, pid} | :ignore
  def started(pid), do: if(Process.alive?(pid), do: {:ok, pid}, else: :ignore)

  @doc "A start that fails with an error, for options that were refused before there was anything to start."
  @spec refuse(Exception.t()) :: {:error, Exception.t()}
  def refuse(error), do: {:error, error}

  # A pool that is stopped by its parent takes the others along, as one that crashes does.
  @impl true
  def init(_),
    do: {:ok, {%{strategy: :one_for_all, intensity: 0, period: 1, auto_shutdown: :any_significant}, []}}

  defp start_children(supervisor, options) do
    with {:ok, sidecar} <- start_sidecar(supervisor, options),
         options = Keyword.put(options, :sidecar, sidecar),
         :ok <- openable(options),
         {:ok, _} <- keeper(supervisor, options),
         spec = %{id: :pool, start: {__MODULE__, :start_connections, [options]}, restart: :transient},
         spec = Map.merge(spec, %{type: :worker, significant: true}),
         {:ok, pool} <- Supervisor.start_child(supervisor, spec),
         {:ok, _} <- start_lane(supervisor, options) do
      {:ok, pool}
    else
      {:error, reason} ->
        Supervisor.stop(supervisor)
        {:error, reason}
    end
  end

  @doc """
  Starts the connections. Called by the supervisor around them, which so owns the switch of private copies: a table of the
  process that started the pool would stay when the pool is stopped.
  """
  @spec start_connections(keyword) :: Supervisor.on_start_child()
  def start_connections(options) do
    options = options |> Keyword.put(:private_copy, EctoLibSql.PrivateCopy.new()) |> PoolGauges.observed()
    %{start: {module, function, arguments}} = DBConnection.child_spec(EctoLibSql.Protocol, options)
    apply(module, function, arguments)
  end

  @doc "Starts what opens the connections of a Repo's lane under a supervisor, if there is one."
  @spec start_lane(Supervisor.supervisor(), keyword) :: Supervisor.on_start_child()
  def start_lane(supervisor, options) do
    if options[:lane_ref] && !options[:lane_elsewhere],
      do: Supervisor.start_child(supervisor, {EctoLibSql.Lane.Connections, options}),
      else: {:ok, nil}
  end

  @doc "Starts the sidecar of a Repo under a supervisor, or finds the one that the option `:sidecar` names."
  @spec start_sidecar(Supervisor.supervisor(), keyword) ::
          {:ok, LibsqlPort.sidecar()} | {:error, term}
  def start_sidecar(supervisor, options) do
    case options[:sidecar] do
      nil ->
        spec = Supervisor.child_spec({LibsqlPort, sidecar_options(options)}, id: :sidecar)
        start_named(supervisor, spec, @predecessors)

      sidecar ->
        if running?(sidecar), do: {:ok, sidecar}, else: {:error, not_running(sidecar)}
    end
  end

  @doc "The options of the sidecar of a Repo, its name among them."
  @spec sidecar_options(keyword) :: keyword
  def sidecar_options(options),
    do: Keyword.put_new(options[:sidecar_options] || [], :name, options[:sidecar_name])

  # That of another node is asked when a connection is opened.
  defp running?({name, node}) when is_atom(node) and name not in [:global, :via], do: true
  defp running?(pid) when is_pid(pid) and node(pid) != node(), do: true
  defp running?(sidecar), do: GenServer.whereis(sidecar) not in [nil, :undefined] and alive?(sidecar)

  defp alive?(pid) when is_pid(pid), do: Process.alive?(pid)
  defp alive?(_name), do: true

  defp not_running(sidecar) do
    %Error{
      code: :invalid_option,
      message:
        "the option :sidecar names #{inspect(sidecar)}, and no such process runs. Start it before the Repo: " <>
          "children = [{LibsqlPort, name: …}, MyApp.Repo]"
    }
  end

  @doc """
  Opens the database and closes it again. Returns an error that every further try would meet as well, such as a directory
  that does not exist. `:configure` may give each connection other options, so then nothing is tried.
  """
  @spec openable(keyword) :: :ok | {:error, Exception.t()}
  def openable(options) do
    case options[:configure] || EctoLibSql.Protocol.connect(options) do
      {:ok, state} -> EctoLibSql.Protocol.disconnect(nil, state)
      {:error, %Error{code: code} = error} when code not in @passing -> token_or(error, options)
      _passing_or_configured -> :ok
    end
  end

  defp token_or(%Error{code: code} = error, options) do
    if code in @passing_for_a_token and ServerLocation.server?(options), do: :ok, else: {:error, error}
  end

  # The sidecar of a Repo whose supervisor was killed ends a moment later, and has the name until then.
  defp start_named(supervisor, spec, tries) do
    case Supervisor.start_child(supervisor, spec) do
      {:error, {{:already_started, predecessor}, _spec}} when tries > 0 ->
        await_end(predecessor)
        start_named(supervisor, spec, tries - 1)

      {:error, {%LibsqlPort.Error{} = error, _spec}} ->
        {:error, Error.new(error, nil)}

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

  @doc "Gives a database in memory the name by which the connections of a Repo share it."
  @spec named_memory(keyword) :: keyword
  def named_memory(options) do
    case Options.path(options) do
      {:ok, :memory} -> Keyword.put_new(options, :memory_name, "ecto-#{System.unique_integer([:positive])}")
      _file_or_error -> options
    end
  end
end
