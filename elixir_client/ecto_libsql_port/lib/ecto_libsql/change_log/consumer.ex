defmodule EctoLibSql.ChangeLog.Consumer do
  @moduledoc """
  A process that hands the changes of a change log to a function, batch after batch, and acknowledges each batch when the
  function has returned `:ok`.

      children = [
        MyApp.Repo,
        {EctoLibSql.ChangeLog.Consumer, repo: MyApp.Repo, name: "search", handler: &MyApp.Search.index/1}
      ]

  The function may get a batch again: after a crash of the node nobody knows whether it had returned. While the database cannot be
  reached, is busy, or has no such log yet (its migration has not run), the process tries again after a second, or after the interval
  if that is shorter. It logs a warning when that begins.

  ## When the function fails

  If it raises, throws, exits or returns anything but `:ok`, the process logs an error, waits, and reads on from what is acknowledged:
  mostly the same changes. The wait is `:retry_wait_min_ms`, and twice as long after each failure in a row, up to
  `:retry_wait_max_ms`. Commits and `EctoLibSql.ChangeLog.wake/1` do not shorten it. A `:left_behind` function that fails, or is not
  given, is treated alike.

  To give up is one of these:

    * the function itself notes what it cannot process elsewhere, and returns `:ok`
    * `:attempts_max`: after so many failures in a row the process ends, with the reason `{:not_handled, failure}`. Its supervisor decides:
      `Supervisor.child_spec({EctoLibSql.ChangeLog.Consumer, options}, restart: :temporary)` leaves it ended
    * `EctoLibSql.ChangeLog.ack/4` from elsewhere passes over changes

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
      removed
    * `:trim` – the limits of `EctoLibSql.ChangeLog.trim/2`, or `false` to leave the log as it is. Default `[]`
    * `:trim_interval_ms` – default 60,000
    * `:retry_wait_min_ms` – default 1,000
    * `:retry_wait_max_ms` – default 60,000
    * `:attempts_max` – how many failures in a row end the process, default `:infinity`
    * `:log` – default `"change_log"`

  ## Telemetry

    * `[:ecto_libsql_port, :change_log, :left_behind]` with the measurement `rows`, and the `notice` in the metadata
    * `[:ecto_libsql_port, :change_log, :not_handled]` when the function has failed: the measurements `attempt` (from 1) and `wait_ms` (0
      if the process ends), and in the metadata `repo`, `log`, `consumer`, `first` and `last` (numbers of changes) and `failure`:
      `{:returned, term}` or `{kind, reason, stacktrace}` with a kind of `:error`, `:exit` or `:throw`
  """

  use GenServer

  alias EctoLibSql.{ChangeLog, Changes, KnownOptions, RepoInstance}
  alias EctoLibSql.ChangeLog.{NoLog, Options}
  alias LibsqlPort.Changes, as: Feed
  alias LibsqlPort.Changes.Ended
  alias LibsqlPort.OptionCheck

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

  ## Examples

      {:ok, _pid} =
        EctoLibSql.ChangeLog.Consumer.start_link(
          repo: MyApp.Repo,
          name: "search",
          handler: fn changes -> Enum.each(changes, &IO.inspect(&1.key)) end
        )
  """
  @spec start_link(keyword) :: GenServer.on_start() | {:error, Exception.t()}
  def start_link(options) do
    with {:ok, options} <- KnownOptions.check("EctoLibSql.ChangeLog.Consumer", options, known()),
         options = Map.update!(options, :log, &to_string/1),
         :ok <- waits?(options),
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
      handler:
        {:required, &handler?/1,
         "a function of one argument, or {module, function, arguments} of a public function that takes one more"},
      left_behind: {nil, &(is_nil(&1) or is_function(&1, 1)), "a function of one argument"},
      batch_size: KnownOptions.positive(500),
      interval_ms: KnownOptions.positive(1_000),
      listen: {true, &is_boolean/1, "true or false"},
      trim: {[], &(&1 == false or Options.limits?(&1)), "false or limits of EctoLibSql.ChangeLog.trim/2"},
      trim_interval_ms: KnownOptions.positive(60_000),
      retry_wait_min_ms: KnownOptions.positive(1_000),
      retry_wait_max_ms: KnownOptions.positive(60_000),
      attempts_max:
        {:infinity, &(&1 == :infinity or (is_integer(&1) and &1 > 0)), "an integer, 1 or more, or :infinity"}
    ] ++ Options.known([:from, :log])
  end

  defp waits?(%{retry_wait_min_ms: min, retry_wait_max_ms: max}) when min <= max, do: :ok

  defp waits?(_options),
    do:
      KnownOptions.invalid(
        "EctoLibSql.ChangeLog.Consumer: :retry_wait_min_ms is at most :retry_wait_max_ms (60,000 by default)"
      )

  defp handler?({module, function, arguments}),
    do:
      is_atom(module) and is_atom(function) and OptionCheck.list?(arguments) and Code.ensure_loaded?(module) and
        function_exported?(module, function, length(arguments) + 1)

  defp handler?(handler), do: is_function(handler, 1)

  @impl true
  def init(%{repo: instance} = options) do
    state =
      Map.merge(options, %{
        repo: RepoInstance.enter(instance),
        instance: instance,
        begun: false,
        feed: nil,
        # Why it waits for the database, once that has been logged.
        waits: nil,
        # After failures: how many, and whether it waits to try again.
        failed: 0,
        retrying: false
      })

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

  def handle_info(:retry, state), do: {:noreply, look(%{state | retrying: false})}

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
  defp look(%{retrying: true} = state), do: state

  defp look(state) do
    try_again = fn -> if state.interval_ms > @again_ms, do: Process.send_after(self(), :again, @again_ms) end

    connected(state, try_again, fn ->
      # Before the log is read: what commits after that is told.
      state = state |> begin() |> listen()
      consume(%{state | waits: nil})
    end)
  end

  # A sidecar that is started again, or a file that another program keeps, is no reason to end: the next round does it.
  defp connected(state, try_again, fun) do
    fun.()
  rescue
    error in [DBConnection.ConnectionError, DBConnection.OwnershipError, EctoLibSql.Error, NoLog] ->
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
    unless state.waits == why, do: Logger.warning("the consumer #{state.name} of #{state.log} waits: #{why}")
    try_again.()
    %{state | begun: false, waits: why}
  end

  defp waits_for(%DBConnection.OwnershipError{}),
    do: "it has no connection of the sandbox. Allow it one by Ecto.Adapters.SQL.Sandbox.allow/3"

  defp waits_for(error), do: Exception.message(error)

  defp passing?(%module{}) when module in [DBConnection.ConnectionError, DBConnection.OwnershipError, NoLog],
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
        state

      {:ok, changes} ->
        last = List.last(changes).sequence
        full? = length(changes) == state.batch_size
        warn_of_undecoded(changes, state)

        handled(state, {hd(changes).sequence, last}, if(full?, do: :more, else: :all), fn ->
          call(state.handler, changes)
        end)

      {:left_behind, notice} ->
        handled(state, {notice.first, notice.last}, :more, fn -> left_behind(state.left_behind, notice) end)

      # Somebody has deleted it, or the test in which it was made is over.
      {:error, :no_consumer} ->
        if sandboxed?(state), do: %{state | begun: false}, else: exit(:normal)
    end
  end

  # Acknowledges what a function has answered with `:ok`, and goes on.
  defp handled(state, {_first, last} = sequences, what_is_left, fun) do
    case attempt(state, fun) do
      :ok ->
        ack(state, last)
        state = %{state | failed: 0}
        if what_is_left == :more, do: consume(state), else: state

      failure ->
        failed(%{state | failed: state.failed + 1}, sequences, failure)
    end
  end

  defp attempt(state, fun) do
    case fun.() do
      :ok -> :ok
      other -> {:returned, other}
    end
  catch
    kind, reason ->
      # The connection of the sandbox is waited for, as by every look.
      if sandboxed?(state) and of_sandbox?(reason), do: :erlang.raise(kind, reason, __STACKTRACE__)
      {kind, reason, __STACKTRACE__}
  end

  defp of_sandbox?(%DBConnection.OwnershipError{}), do: true
  defp of_sandbox?({_reason, {DBConnection.Holder, :checkout, _arguments}}), do: true
  defp of_sandbox?(_reason), do: false

  defp failed(%{failed: attempts} = state, {first, last}, failure) do
    ends? = attempts >= state.attempts_max
    wait = if ends?, do: 0, else: wait(state)

    Logger.error([
      "the consumer #{state.name} of #{state.log} has not processed the changes #{first} to #{last} (attempt #{attempts}), ",
      if(ends?, do: "and ends: ", else: "and tries again in #{wait} ms: "),
      told(failure)
    ])

    :telemetry.execute([:ecto_libsql_port, :change_log, :not_handled], %{attempt: attempts, wait_ms: wait}, %{
      repo: state.repo,
      log: state.log,
      consumer: state.name,
      first: first,
      last: last,
      failure: failure
    })

    if ends?, do: exit({:not_handled, failure})
    Process.send_after(self(), :retry, wait)
    %{state | retrying: true}
  end

  # Doubled step by step: a power of so many attempts would be a number of any length.
  defp wait(%{failed: attempts, retry_wait_min_ms: min, retry_wait_max_ms: max}),
    do: doubled(min, attempts - 1, max)

  defp doubled(wait, times, max) when times == 0 or wait >= max, do: min(wait, max)
  defp doubled(wait, times, max), do: doubled(wait * 2, times - 1, max)

  defp told({:returned, other}), do: "it returned #{inspect(other)}"
  defp told({kind, reason, stacktrace}), do: Exception.format(kind, reason, stacktrace)

  defp call({module, function, arguments}, changes), do: apply(module, function, [changes | arguments])
  defp call(handler, changes), do: handler.(changes)

  defp left_behind(nil, notice), do: raise(notice)
  defp left_behind(fun, notice), do: fun.(notice)

  defp warn_of_undecoded(changes, state) do
    for change <- changes, change.undecoded != %{} do
      fields = change.undecoded |> Map.keys() |> Enum.map_join(", ", &inspect/1)

      Logger.warning(
        "the change #{change.sequence} of #{state.log} cannot be read: #{fields}. The consumer #{state.name} gets it with what is stored " <>
          "in `undecoded`"
      )
    end
  end

  defp sandboxed?(%{instance: {_module, dynamic}}),
    do: Ecto.Adapter.lookup_meta(dynamic).opts[:pool] == DBConnection.Ownership

  defp ack(state, sequence), do: ChangeLog.ack(state.repo, state.name, sequence, log: state.log)
end
