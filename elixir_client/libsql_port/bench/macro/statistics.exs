defmodule Bench.Statistics do
  @moduledoc false

  @doc "The value below which the given share of the list lies."
  def quantile(values, share) do
    sorted = Enum.sort(values)
    Enum.at(sorted, min(length(sorted) - 1, trunc(share * length(sorted))))
  end

  def median(values), do: quantile(values, 0.5)

  @doc "Microseconds, with fractions, that `fun` takes; its result is dropped."
  def time(fun) do
    started = System.monotonic_time()
    fun.()
    microseconds(System.monotonic_time() - started)
  end

  @doc "Microseconds of each of `count` calls of `fun`."
  def times(count, fun), do: times(count, fun, [])

  defp times(0, _fun, taken), do: Enum.map(taken, &microseconds/1)

  defp times(count, fun, taken) do
    started = System.monotonic_time()
    fun.()
    times(count - 1, fun, [System.monotonic_time() - started | taken])
  end

  @doc "As `time/1`, in a process of its own, so that the heap that other work has left behind does not count."
  def time_apart(fun) do
    Task.async(fn -> time(fun) end) |> Task.await(:infinity)
  end

  @doc """
  Calls per second of so many processes that call without pause. `caller` makes what a process calls of its number, from 1.
  """
  def per_second(callers, duration_ms, caller) do
    stop = :atomics.new(1, [])

    tasks =
      for number <- 1..callers do
        call = caller.(number)
        Task.async(fn -> until_stopped(call, stop, 0) end)
      end

    started = System.monotonic_time(:microsecond)
    Process.sleep(duration_ms)
    :atomics.put(stop, 1, 1)
    calls = tasks |> Task.await_many(:infinity) |> Enum.sum()
    calls * 1_000_000 / (System.monotonic_time(:microsecond) - started)
  end

  defp until_stopped(call, stop, calls) do
    if :atomics.get(stop, 1) == 1 do
      calls
    else
      call.()
      until_stopped(call, stop, calls + 1)
    end
  end

  @doc """
  Runs the functions in turns, `rounds` times after one round that is not counted, and gives the list of figures of
  each. What disturbs the machine for a while disturbs all of them.
  """
  def in_turns(rounds, funs) do
    Enum.each(funs, & &1.())

    1..rounds
    |> Enum.map(fn _ -> Enum.map(funs, & &1.()) end)
    |> Enum.zip_with(& &1)
  end

  @doc """
  Runs each of `funs` together with `yardstick`, in pairs, `rounds` times after one round that is not counted, and gives for each
  the list of `{figure, figure of the yardstick beside it}`. Which of the two comes first changes from round to round, so that
  neither a machine that becomes slower nor what the first one leaves behind favours one of them.
  """
  def in_pairs(rounds, yardstick, funs) do
    Enum.each([yardstick | funs], & &1.())

    1..rounds
    |> Enum.map(fn round -> Enum.map(funs, &pair(rem(round, 2), yardstick, &1)) end)
    |> Enum.zip_with(& &1)
  end

  defp pair(0, yardstick, fun) do
    beside = yardstick.()
    {fun.(), beside}
  end

  defp pair(1, yardstick, fun), do: {fun.(), yardstick.()}

  defp microseconds(native), do: :erlang.convert_time_unit(native, :native, :nanosecond) / 1000
end
