defmodule Peers.Processor do
  # The time that processors have spent on this VM and on the programs that it has started, as Linux counts it.
  @moduledoc false

  @ticks_per_second 100

  @doc "Microseconds of processor time that `work` costs, all threads together, to 10 ms."
  def time(work) do
    before = used()
    work.()
    (used() - before) * 1_000_000 / @ticks_per_second
  end

  defp used do
    processes = for "/proc/" <> _ = path <- Path.wildcard("/proc/[0-9]*"), stat = stat(path), do: stat
    family([String.to_integer(System.pid())], processes)
  end

  defp family([], _processes), do: 0

  defp family(pids, processes) do
    ticks = for %{pid: pid, ticks: ticks} <- processes, pid in pids, do: ticks
    children = for %{pid: pid, parent: parent} <- processes, parent in pids, do: pid
    Enum.sum(ticks) + family(children, processes)
  end

  # Behind the name, which may hold anything: state, parent, …, and as the 12th and 13th user and system time.
  defp stat(path) do
    with {:ok, text} <- File.read(Path.join(path, "stat")) do
      fields = text |> String.split(")") |> List.last() |> String.split()
      [parent, user, system] = for index <- [1, 11, 12], do: fields |> Enum.at(index) |> String.to_integer()
      %{pid: path |> Path.basename() |> String.to_integer(), parent: parent, ticks: user + system}
    else
      # It has just ended.
      {:error, _} -> nil
    end
  end
end
