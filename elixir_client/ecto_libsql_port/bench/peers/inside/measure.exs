defmodule Peers.Measure do
  # Time, and what came of it: a figure is worth something only if the answer was right.
  @moduledoc false
  alias Bench.Statistics

  def setting(true, _full, quick), do: quick
  def setting(false, full, _quick), do: full

  @doc "Microseconds that `work` takes; `check` looks at its result afterwards and raises if that is not what it should be."
  def checked(work, check) do
    started = System.monotonic_time()
    result = work.()
    taken = System.monotonic_time() - started
    check.(result)
    :erlang.convert_time_unit(taken, :native, :nanosecond) / 1_000
  end

  @doc "As `checked/2`, in a process of its own, so that the heap that other work has left behind does not count."
  def checked_apart(work, check) do
    Task.async(fn -> checked(work, check) end) |> Task.await(:infinity)
  end

  @doc "The median of the microseconds of `count` calls."
  def p50(count, call), do: Statistics.median(Statistics.times(count, call))
end
