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
  Runs the functions in turns, `rounds` times after one round that is not counted, and gives the list of figures of
  each. What disturbs the machine for a while disturbs all of them.
  """
  def in_turns(rounds, funs) do
    Enum.each(funs, & &1.())

    1..rounds
    |> Enum.map(fn _ -> Enum.map(funs, & &1.()) end)
    |> Enum.zip_with(& &1)
  end

  defp microseconds(native), do: :erlang.convert_time_unit(native, :native, :nanosecond) / 1000
end
