defmodule LibsqlPort.Telemetry do
  @moduledoc """
  Events for `:telemetry`, if that application runs. This driver does not depend on it: whether it runs is looked up once
  for each connection, when it is opened.

  | event | measurements | metadata |
  |---|---|---|
  | `[:libsql_port, :query, :start]` | `system_time`, `monotonic_time` | `request`, `connection`, `database`, `sql` |
  | `[:libsql_port, :query, :stop]` | `duration`, `monotonic_time`, and where the reply tells them `queue`, `lock`, `run`, `wire` | the same, `result` (`:ok` or `:error`), `error` |
  | `[:libsql_port, :query, :exception]` | `duration`, `monotonic_time` | the same as of start, `kind`, `reason`, `stacktrace` |

  All times are in native units. `queue` is the time before the request's turn on its connection, `lock` the wait for
  the writer turn and for locks, `run` the rest of the time in the sidecar, `wire` what remains of `duration`: both
  codecs, both pipes and the scheduling of the two processes. `request` is the request's name, such as `:execute` or
  `:commit`, `sql` the text where there is one; parameters are never part of an event.
  """

  @compile {:no_warn_undefined, {:telemetry, :execute, 3}}

  @event [:libsql_port, :query]

  @type times :: {non_neg_integer, non_neg_integer, non_neg_integer} | nil

  @doc "Whether `:telemetry` is there and running. One that is loaded and not started logs a warning for each event."
  @spec started?() :: boolean
  def started?, do: List.keymember?(Application.started_applications(), :telemetry, 0)

  @doc """
  Runs a request between a start and a stop event. `times` finds queue, lock and run microseconds in what the request
  gave; an `{:error, error}` makes the stop event bear the error.
  """
  @spec span(map, (() -> result), (result -> times)) :: result when result: term
  def span(metadata, request, times) do
    start = System.monotonic_time()
    execute(:start, %{system_time: System.system_time(), monotonic_time: start}, metadata)

    try do
      request.()
    catch
      kind, reason ->
        failed = Map.merge(metadata, %{kind: kind, reason: reason, stacktrace: __STACKTRACE__})
        execute(:exception, durations(start, nil), failed)
        :erlang.raise(kind, reason, __STACKTRACE__)
    else
      result ->
        execute(:stop, durations(start, times.(result)), outcome(metadata, result))
        result
    end
  end

  defp execute(suffix, measurements, metadata) do
    :telemetry.execute(@event ++ [suffix], measurements, metadata)
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
