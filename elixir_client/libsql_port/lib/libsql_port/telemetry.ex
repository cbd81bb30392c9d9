defmodule LibsqlPort.Telemetry do
  @moduledoc """
  Events for `:telemetry`, if that application runs. This driver does not depend on it: whether it runs is looked up once
  for each connection, when it is opened. A connection that is opened with `telemetry: false` has no query events.

  Without a handler for query events a request builds none and reads no clock. It only looks for the handlers, before it is
  sent: one that is attached later sees nothing of it.

  | event | measurements | metadata |
  |---|---|---|
  | `[:libsql_port, :query, :start]` | `system_time`, `monotonic_time` | `request`, `connection`, `database`, `sql` |
  | `[:libsql_port, :query, :stop]` | `duration`, `monotonic_time`, and where the reply tells them `queue`, `lock`, `run`, `wire` | the same, `result` (`:ok` or `:error`), `error` |
  | `[:libsql_port, :query, :exception]` | `duration`, `monotonic_time` | the same as of start, `kind`, `reason`, `stacktrace` |

  Life-cycle events, all with the metadata `name` (the sidecar's, or `nil`) and `os_pid`:

  | event | measurements | further metadata |
  |---|---|---|
  | `[:libsql_port, :sidecar, :started]` | | `version`, `restart` (`false` for the first run under its supervisor) |
  | `[:libsql_port, :sidecar, :lost]` | `connections`, how many of those with an owner were open | `reason`, in words |
  | `[:libsql_port, :connection, :opened]` | | `connection`, `database` |
  | `[:libsql_port, :connection, :closed]` | | `connection`, `reason`: `:closed` by a call, `:owner_down`, `:lost` by a bug. After `[:sidecar, :lost]` there is none for each of its connections |

  | `[:libsql_port, :policy, :denied]` | `count` (1), `left_out`: denials since the last event that have none of their own (`:denials_per_second_max`) | `connection`, and of the denial `action`, `object`, `column`, `database`, `through`, `rule`; see `LibsqlPort.Policy` |
  | `[:libsql_port, :breaker, :changed]` | `failures`, one after the other; `since`: ms for which the circuit breaker has not been closed, `probe`: ms until the next probe, both `nil` if it is closed | `url` of the server, `state` (`:open`, `:half_open` or `:closed`), `reason`: the last failure in words, or `nil` |

  | `[:libsql_port, :replica, :failing]` | | `database` (the replica's file), `error`: why it is not synced from now on; see `LibsqlPort.Replica` |
  | `[:libsql_port, :replica, :synced]` | | `database`: it is synced again |

  Their measurements include `system_time` and `monotonic_time`. `attach_default_handler/0` logs them.

  A function written in Elixir (see `LibsqlPort.Function`) that raises, throws or exits is an event
  `[:libsql_port, :callback, :exception]`, with the metadata `os_pid` (of the sidecar), `connection`, `function` (its name),
  `kind`, `reason` and `stacktrace`. What it was called with is no part of it. Of a function for `:auth_token` the `reason` is the
  module of the exception, or `:not_shown`, because what it raises, throws or exits with may hold a token.

  All times are in native units. `queue` is the time before the request's turn on its connection, `lock` the wait for
  the writer turn and for locks, `run` the rest of the time in the sidecar, `wire` what remains of `duration`: both
  codecs, both pipes and the scheduling of the two processes. `request` is the request's name, such as `:execute` or
  `:commit`, `sql` the text where there is one; parameters are never part of an event.
  """

  @start [:libsql_port, :query, :start]
  @stop [:libsql_port, :query, :stop]
  @exception [:libsql_port, :query, :exception]

  @life [
    [:libsql_port, :sidecar, :started],
    [:libsql_port, :sidecar, :lost],
    [:libsql_port, :connection, :opened],
    [:libsql_port, :connection, :closed],
    [:libsql_port, :policy, :denied],
    [:libsql_port, :breaker, :changed],
    [:libsql_port, :replica, :failing],
    [:libsql_port, :replica, :synced]
  ]

  require Logger

  @type times :: {non_neg_integer, non_neg_integer, non_neg_integer} | nil

  @doc "Whether `:telemetry` is there and running. One that is loaded and not started logs a warning for each event."
  @spec started?() :: boolean
  # By the process that keeps its handlers. The application controller must not be asked: it answers nobody while it stops
  # an application, which waits for the port's owner, who would wait for the answer.
  def started?, do: Process.whereis(:telemetry_handler_table) != nil

  @typedoc """
  Whether requests of a connection are told: not at all; if a handler is attached; or always, where `:telemetry` does not say
  which handlers there are.
  """
  @type mode :: false | :if_attached | true

  @doc false
  # The mode of a connection that is opened now, with this value of its option `:telemetry`.
  @spec mode(boolean) :: mode
  def mode(wanted?) do
    cond do
      not (wanted? and started?()) -> false
      function_exported?(:telemetry_handler_table, :list_for_event, 1) -> :if_attached
      true -> true
    end
  end

  @doc false
  # Whether to tell a request that is about to be sent. The public `:telemetry.list_handlers/1` goes through the handlers of
  # all events, at some 80 ns each; what `:telemetry.execute/3` asks finds those of one event.
  @spec listened?(mode) :: boolean
  def listened?(:if_attached), do: attached?(@stop) or attached?(@start) or attached?(@exception)
  def listened?(mode), do: mode

  @compile {:inline, attached?: 1}
  defp attached?(event), do: :telemetry_handler_table.list_for_event(event) != []

  @doc """
  Logs the life-cycle events: a lost sidecar, what a policy denies, a server that is given up for a while and a replica that is not synced as
  a warning, a restarted sidecar and a replica that is synced again as information, the rest at level `:debug`.

  Returns `{:error, :already_exists}` if it is attached already. Raises if `:telemetry` is not there.

      :ok = LibsqlPort.Telemetry.attach_default_handler()
  """
  @spec attach_default_handler() :: :ok | {:error, :already_exists}
  def attach_default_handler do
    :telemetry.attach_many("libsql_port-default-handler", @life, &__MODULE__.handle_event/4, nil)
  end

  @doc false
  @spec handle_event([atom], map, map, term) :: :ok
  def handle_event([:libsql_port, of, what], _measurements, metadata, _config) do
    Logger.log(level(of, what, metadata), fn ->
      "libsql_port: #{of} #{what} " <>
        Enum.map_join(Enum.sort(metadata), " ", fn {key, value} -> "#{key}=#{inspect(value)}" end)
    end)
  end

  defp level(:sidecar, :lost, _metadata), do: :warning
  defp level(:policy, :denied, _metadata), do: :warning
  defp level(:breaker, :changed, %{state: :open}), do: :warning
  defp level(:breaker, :changed, %{state: :closed}), do: :info
  defp level(:replica, :failing, _metadata), do: :warning
  defp level(:replica, :synced, _metadata), do: :info
  defp level(:sidecar, :started, %{restart: true}), do: :info
  defp level(_of, _what, _metadata), do: :debug

  @doc false
  # A life-cycle event: rare, so `:telemetry` is looked for each time.
  @spec event([atom], map, map) :: :ok
  def event(name, measurements, metadata) do
    if started?() do
      times = %{system_time: System.system_time(), monotonic_time: System.monotonic_time()}
      :telemetry.execute([:libsql_port | name], Map.merge(times, measurements), metadata)
    end

    :ok
  end

  @doc """
  Runs a request between a start and a stop event. `times` finds queue, lock and run microseconds in what the request
  gave; an `{:error, error}` makes the stop event bear the error.
  """
  @spec span(map, (() -> result), (result -> times)) :: result when result: term
  def span(metadata, request, times) do
    start = System.monotonic_time()
    :telemetry.execute(@start, %{system_time: System.system_time(), monotonic_time: start}, metadata)

    try do
      request.()
    catch
      kind, reason ->
        failed = Map.merge(metadata, %{kind: kind, reason: reason, stacktrace: __STACKTRACE__})
        :telemetry.execute(@exception, durations(start, nil), failed)
        :erlang.raise(kind, reason, __STACKTRACE__)
    else
      result ->
        :telemetry.execute(@stop, durations(start, times.(result)), outcome(metadata, result))
        result
    end
  end

  defp outcome(metadata, {:error, error}), do: Map.merge(metadata, %{result: :error, error: error})
  defp outcome(metadata, _ok), do: Map.merge(metadata, %{result: :ok, error: nil})

  @doc false
  @spec durations(integer, times) :: map
  def durations(start, nil) do
    now = System.monotonic_time()
    %{duration: now - start, monotonic_time: now}
  end

  def durations(start, {queue_us, lock_us, run_us}) do
    now = System.monotonic_time()
    duration = now - start
    queue = native(queue_us)
    lock = native(lock_us)
    run = native(run_us)

    # The two clocks tick apart: what is a microsecond too long there must not become a negative time here.
    wire = max(duration - queue - lock - run, 0)
    %{duration: duration, monotonic_time: now, queue: queue, lock: lock, run: run, wire: wire}
  end

  defp native(0), do: 0
  defp native(us), do: :erlang.convert_time_unit(us, :microsecond, :native)
end
