defmodule Scaling.Room do
  # What the machine can give: a size that needs more is left out, and the table says so.
  @moduledoc false
  alias Scaling.Quantity

  # Whatever else runs here keeps this share of what is free now.
  @share 0.8

  @doc """
  Splits sizes into those that there is room for and those that are left out, each with its reason. `needs` tells of a size
  what it takes: `:memory` and `:disk` in bytes, `:descriptors` and `:threads`. What the system does not tell is no limit.
  """
  def split(sizes, directory, needs) do
    available = available(directory)

    {fit, left_out} =
      sizes |> Enum.map(&{&1, lacking(needs.(&1), available)}) |> Enum.split_with(&match?({_, nil}, &1))

    {Enum.map(fit, &elem(&1, 0)), left_out}
  end

  defp lacking(needs, available) do
    Enum.find_value(needs, fn {kind, needed} ->
      case available[kind] do
        most when is_number(most) and needed > most ->
          "needs #{text(kind, needed)}, there are #{text(kind, most)}"

        _ ->
          nil
      end
    end)
  end

  defp text(:memory, bytes), do: Quantity.cost(:bytes, bytes) <> " of memory"
  defp text(:disk, bytes), do: Quantity.cost(:bytes, bytes) <> " of disk space"
  defp text(:descriptors, count), do: "#{trunc(count)} file descriptors"
  defp text(:threads, count), do: "#{trunc(count)} threads"

  defp available(directory) do
    %{
      memory: share(least([free_memory(), control_group_memory()])),
      disk: share(disk(directory)),
      descriptors: number(shell("ulimit -n")),
      threads:
        share(
          least([
            number(shell("ulimit -u")),
            read("/proc/sys/kernel/threads-max"),
            read("/proc/sys/vm/max_map_count", 2),
            read("/sys/fs/cgroup/pids.max")
          ])
        )
    }
  end

  defp share(nil), do: nil
  defp share(amount), do: amount * @share

  defp least(amounts), do: amounts |> Enum.reject(&is_nil/1) |> Enum.min(fn -> nil end)

  defp free_memory do
    with {:ok, text} <- File.read("/proc/meminfo"),
         [_, kib] <- Regex.run(~r/^MemAvailable:\s+(\d+) kB$/m, text) do
      String.to_integer(kib) * 1_024
    else
      _ -> nil
    end
  end

  defp control_group_memory do
    with limit when is_integer(limit) <- read("/sys/fs/cgroup/memory.max"),
         used when is_integer(used) <- read("/sys/fs/cgroup/memory.current") do
      max(limit - used, 0)
    end
  end

  # Free blocks of 1 KiB, as POSIX has df print them.
  defp disk(directory) do
    with {text, 0} <- System.cmd("df", ["-Pk", directory], stderr_to_stdout: true),
         [_, line | _] <- String.split(text, "\n"),
         [_, _, _, free | _] <- String.split(line),
         kib when is_integer(kib) <- number(free) do
      kib * 1_024
    else
      _ -> nil
    end
  end

  # A program that the VM starts inherits its limits, as the sidecar does.
  defp shell(command) do
    case System.cmd("sh", ["-c", command], stderr_to_stdout: true) do
      {text, 0} -> text
      _ -> ""
    end
  end

  # A mapping has a limit of the system as well; a thread takes two: its stack and the page that guards it.
  defp read(path, each \\ 1) do
    with {:ok, text} <- File.read(path),
         value when is_integer(value) <- number(text),
         do: div(value, each),
         else: (_ -> nil)
  end

  defp number(text) do
    case Integer.parse(String.trim(text)) do
      {number, ""} -> number
      _ -> nil
    end
  end
end
