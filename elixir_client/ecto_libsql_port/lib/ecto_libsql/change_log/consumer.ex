defmodule EctoLibSql.ChangeLog.Consumer do
  @moduledoc """
  A process that hands the changes of a change log to a function, batch after batch, and acknowledges each batch when the
  function has returned `:ok`.

      children = [
        MyApp.Repo,
        {EctoLibSql.ChangeLog.Consumer, repo: MyApp.Repo, name: "search", handler: &MyApp.Search.index/1}
      ]

  The function may get a batch again: if it raises or returns anything else, the process ends and its supervisor starts it
  anew, and after a crash of the node nobody knows whether it had returned. While the database cannot be reached, or is busy, the
  process tries again after a second, or after the interval if that is shorter.

  A consumer looks for changes after each commit of the Repo's sidecar that has written to the log: it subscribes to the log's table
  (`LibsqlPort.Changes`), and asks for one message at a time, so that commits while it works cost neither side more than that one.
  It also looks every `:interval_ms`, so that commits of other programs are seen, and when `EctoLibSql.ChangeLog.wake/1` tells it
  to. To look is one small read. (`PRAGMA data_version` says no more, and only to a connection that is asked again and again.)

  Two processes of one name for one Repo on a node exclude each other; on different nodes both get all changes.

  ## In tests

  In `Ecto.Adapters.SQL.Sandbox` a consumer waits until it may use a connection: it is allowed one (`Sandbox.allow/3` with its process), or
  the mode is shared. It then sees what the test writes when it looks: nothing is committed, so nobody wakes it but
  `EctoLibSql.ChangeLog.wake/1` and its interval. When the test is over its work is rolled back, and the consumer waits for the next one.

  ## Options

    * `:repo` (required) – the Repo: its module, or the name or process of a running dynamic one. With a module it is the dynamic Repo of the
      process that starts the consumer, or `:dynamic_repo`. The function is called with it in place (`put_dynamic_repo/1`)
    * `:dynamic_repo` – the name or process of the dynamic Repo of that module
    * `:name` (required) – of the consumer, a string. It is created if it is not there
    * `:handler` (required) – a function of a list of `EctoLibSql.ChangeLog.Change`, or `{module, function, arguments}`, which gets
      the list first
    * `:from` – where a new consumer begins, `:beginning` (default) or `:end`
    * `:batch_size` – the most changes of a call, default 500
    * `:interval_ms` – default 1,000
    * `:listen` – `false`: it looks every `:interval_ms` only. Default `true`. While somebody listens, a `DELETE` without WHERE, of any
      table of the database, deletes row by row
    * `:left_behind` – a function of an `EctoLibSql.ChangeLog.LeftBehind`. If it returns `:ok`, the consumer goes on behind what was
      removed. Without it the process ends with the notice
    * `:trim` – the limits of `EctoLibSql.ChangeLog.trim/2`, or `false` to leave the log as it is. Default `[]`
    * `:trim_interval_ms` – default 60,000
    * `:log` – default `"change_log"`

  Emits `[:ecto_libsql_port, :change_log, :left_behind]` with the measurement `rows` and the notice in the metadata.
  """

  use GenServer

  alias EctoLibSql.{ChangeLog, Changes, KnownOptions, RepoInstance}
  alias EctoLibSql.ChangeLog.Options
  alias LibsqlPort.Changes, as: Feed
  alias LibsqlPort.Changes.Ended

  require Logger

  @registry EctoLibSql.ChangeLog.Registry
  # After a look that failed; sooner if the interval is shorter.
  @again_ms 1_000

  @doc false
  def child_spec(options) do
    id =
      if Keyword.keyword?(options),
        do: {options[:repo], options[:dynamic_repo], options[:log], options[:name]}

    %{super(options) | id: {__MODULE__, id}}
  end

  @doc """
  Starts a consumer. Returns `{:error, {:already_started, pid}}` if one of that name runs for the Repo on this node, and an error of code
  `:invalid_option` for what is no such option.
  """
  @spec start_link(keyword) :: GenServer.on_start() | {:error, Exception.t()}
  def start_link(options) do
    with {:ok, options} <- KnownOptions.check("EctoLibSql.ChangeLog.Consumer", options, known()),
         options = Map.update!(options, :log, &to_string/1),
         {:ok, instance} <- RepoInstance.of(options.repo, options.dynamic_repo) do
      name = {:via, Registry, {@registry, {instance, options.log, options.name}}}
      GenServer.start_link(__MODULE__, Map.put(options, :repo, instance), name: name)
    end
  end

  defp known do
    [
      repo: {:required, &(&1 != nil), "a Repo"},
      dynamic_repo: {nil, &(is_atom(&1) or is_pid(&1)), "the name or process of a Repo"},
      name: KnownOptions.name(:required),
      handler: {:required, &handler?/1, "a function of one argument or {module, function, arguments}"},
      left_behind: {nil, &(is_nil(&1) or is_function(&1, 1)), "a function of one argument"},
      batch_size: KnownOptions.positive(500),
      interval_ms: KnownOptions.positive(1_000),
      listen: {true, &is_boolean/1, "true or false"},
      trim: {[], &(&1 == false or Options.limits?(&1)), "false or limits of EctoLibSql.ChangeLog.trim/2"},
      trim_interval_ms: KnownOptions.positive(60_000)
    ] ++ Options.known([:from, :log])
  end

  defp handler?({module, function, arguments}),
    do: is_atom(module) and is_atom(function) and is_list(arguments)

  defp handler?(handler), do: is_function(handler, 1)

  @impl true
  def init(%{repo: instance} = options) do
    state =
      Map.merge(options, %{repo: RepoInstance.enter(instance), instance: instance, begun: false, feed: nil})

    {:ok, state, {:continue, :start}}
  end

  @impl true
  def handle_continue(:start, state) do
    if state.trim, do: send(self(), :trim)
    {:noreply, state |> look() |> later()}
  end

  @impl true
  def handle_info(:wake, state) do
    # One round serves all that have come meanwhile.
    flush()
    {:noreply, look(state)}
  end

  # The next one is asked for after the look: what commits meanwhile is told then.
  def handle_info(:committed, state) do
    state = look(state)
    if is_pid(state.feed), do: Feed.demand(state.feed)
    {:noreply, state}
  end

  # The sidecar has ended for good. If the Repo is started again, the next round listens to its new one.
  def handle_info(%Ended{subscription: feed}, %{feed: feed} = state), do: {:noreply, %{state | feed: nil}}

  def handle_info(:interval, state), do: {:noreply, state |> look() |> later()}

  def handle_info(:again, state), do: {:noreply, look(state)}

  def handle_info(:trim, state) do
    connected(state, fn -> :ok end, fn ->
      {_rows, notices} = ChangeLog.trim(state.repo, [log: state.log] ++ state.trim)
      Enum.each(notices, &tell/1)
      state
    end)

    Process.send_after(self(), :trim, state.trim_interval_ms)
    {:noreply, state}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp tell(notice) do
    Logger.warning(Exception.message(notice))
    measurements = %{rows: notice.last - notice.first + 1}
    :telemetry.execute([:ecto_libsql_port, :change_log, :left_behind], measurements, %{notice: notice})
  end

  # All that is there.
  defp look(state) do
    try_again = fn -> if state.interval_ms > @again_ms, do: Process.send_after(self(), :again, @again_ms) end

    connected(state, try_again, fn ->
      # Before the log is read: what commits after that is told.
      state = state |> begin() |> listen()
      %{state | begun: consume(state) != :gone}
    end)
  end

  # A sidecar that is started again, or a file that another program keeps, is no reason to end: the next round does it.
  defp connected(state, try_again, fun) do
    fun.()
  rescue
    error in [DBConnection.ConnectionError, DBConnection.OwnershipError, EctoLibSql.Error] ->
      unless passing?(error), do: reraise(error, __STACKTRACE__)
      waits(state, try_again, waits_for(error))
  catch
    # The test whose connection it was is over.
    :exit, {_reason, {DBConnection.Holder, :checkout, _arguments}} = reason ->
      unless sandboxed?(state), do: :erlang.raise(:exit, reason, __STACKTRACE__)
      waits(state, try_again, "the owner of its connection of the sandbox has ended")
  end

  # What a test has done in a sandbox is gone when it is over, the consumer too.
  defp waits(state, try_again, why) do
    Logger.warning("the consumer #{state.name} of #{state.log} waits: #{why}")
    try_again.()
    %{state | begun: false}
  end

  defp waits_for(%DBConnection.OwnershipError{}),
    do: "it has no connection of the sandbox. Allow it one by Ecto.Adapters.SQL.Sandbox.allow/3"

  defp waits_for(error), do: Exception.message(error)

  defp passing?(%module{}) when module in [DBConnection.ConnectionError, DBConnection.OwnershipError],
    do: true

  defp passing?(%EctoLibSql.Error{code: code}), do: code in [:busy, :timeout]

  defp begin(%{begun: true} = state), do: state

  defp begin(state) do
    ChangeLog.create_consumer(state.repo, state.name, from: state.from, log: state.log)

    for {table, reason} <- ChangeLog.stale(state.repo, log: state.log) do
      Logger.warning(
        "the change log #{state.log} of #{table} is out of date: #{reason}. Run create_change_log again"
      )
    end

    %{state | begun: true}
  end

  defp listen(%{listen: false} = state), do: state
  defp listen(%{feed: feed} = state) when is_pid(feed), do: state

  defp listen(state) do
    case subscribe(state) do
      {:ok, feed} ->
        Feed.demand(feed)
        %{state | feed: feed}

      # Once: it is tried again in each round.
      {:error, error} ->
        unless state.feed == :refused, do: warn_of(error, state)
        %{state | feed: :refused}
    end
  end

  # Only that something has been committed is of interest: whatever else comes meanwhile is told as one.
  defp subscribe(state) do
    with {:ok, source} <- Changes.source(state.instance) do
      Feed.subscribe(source,
        tables: [state.log],
        operations: [:insert],
        demand: :manual,
        pending_bytes_max: 1,
        transform: fn _message -> :committed end
      )
    end
  end

  defp warn_of(error, state) do
    Logger.warning(
      "the consumer #{state.name} of #{state.log} is not told of commits, and looks every #{state.interval_ms} ms: " <>
        Exception.message(error)
    )
  end

  defp later(state) do
    Process.send_after(self(), :interval, state.interval_ms)
    state
  end

  defp flush do
    receive do
      :wake -> flush()
    after
      0 -> :ok
    end
  end

  defp consume(state) do
    case ChangeLog.read(state.repo, state.name, limit: state.batch_size, log: state.log) do
      {:ok, []} ->
        :ok

      {:ok, changes} ->
        call(state.handler, changes)
        ack(state, List.last(changes).sequence)
        if length(changes) == state.batch_size, do: consume(state), else: :ok

      {:left_behind, notice} ->
        unless state.left_behind && state.left_behind.(notice) == :ok, do: exit(notice)
        ack(state, notice.last)
        consume(state)

      # Somebody has deleted it, or the test in which it was made is over.
      {:error, :no_consumer} ->
        if sandboxed?(state), do: :gone, else: exit(:normal)
    end
  end

  defp sandboxed?(%{instance: {_module, dynamic}}),
    do: Ecto.Adapter.lookup_meta(dynamic).opts[:pool] == DBConnection.Ownership

  defp call(handler, changes) do
    answer =
      case handler do
        {module, function, arguments} -> apply(module, function, [changes | arguments])
        handler -> handler.(changes)
      end

    unless answer == :ok, do: exit({:not_handled, answer})
  end

  defp ack(state, sequence), do: ChangeLog.ack(state.repo, state.name, sequence, log: state.log)
end
