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

  Two processes of one name on a node exclude each other; on different nodes both get all changes.

  ## Options

    * `:repo` (required)
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

  alias EctoLibSql.{ChangeLog, Changes}
  alias LibsqlPort.Changes, as: Feed
  alias LibsqlPort.Changes.Ended

  require Logger

  @registry EctoLibSql.ChangeLog.Registry
  # After a look that failed; sooner if the interval is shorter.
  @again_ms 1_000
  @options [
    :repo,
    :name,
    :handler,
    :left_behind,
    from: :beginning,
    batch_size: 500,
    interval_ms: 1_000,
    listen: true,
    trim: [],
    trim_interval_ms: 60_000,
    log: "change_log"
  ]

  @doc false
  def child_spec(options),
    do: %{super(options) | id: {__MODULE__, options[:repo], options[:log], options[:name]}}

  @doc "Starts a consumer. Returns `{:error, {:already_started, pid}}` if one of that name runs on this node."
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(options) do
    options = Keyword.validate!(options, @options)

    for key <- [:repo, :name, :handler],
        options[key] == nil,
        do: raise(ArgumentError, "#{inspect(key)} is missing")

    name = {:via, Registry, {@registry, {options[:repo], options[:log], options[:name]}}}
    GenServer.start_link(__MODULE__, Map.new(options), name: name)
  end

  @impl true
  def init(options), do: {:ok, Map.merge(options, %{begun: false, feed: nil}), {:continue, :start}}

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
      consume(state)
      state
    end)
  end

  # A sidecar that is started again, or a file that another program keeps, is no reason to end: the next round does it.
  defp connected(state, try_again, fun) do
    fun.()
  rescue
    error in [DBConnection.ConnectionError, EctoLibSql.Error] ->
      unless passing?(error), do: reraise(error, __STACKTRACE__)
      Logger.warning("the consumer #{state.name} of #{state.log} waits: #{Exception.message(error)}")
      try_again.()
      state
  end

  defp passing?(%DBConnection.ConnectionError{}), do: true
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
    with {:ok, source} <- Changes.source(state.repo) do
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

      # Somebody has deleted it.
      {:error, :no_consumer} ->
        exit(:normal)
    end
  end

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
