defmodule LibsqlPort.OsProcess do
  @moduledoc false
  # Looks at and ends processes of the operating system. A number alone does not name a process, because numbers are
  # given out again: `identity/1` adds when it started, and `kill/1` looks again before it strikes.

  @type identity :: {pos_integer, String.t()}

  @doc "Which process bears this number now; `nil` if none does (one that is dead but not yet reaped is none)."
  @spec identity(pos_integer) :: identity | nil
  def identity(os_pid) do
    case started(os_pid) do
      nil -> nil
      started -> {os_pid, started}
    end
  end

  @doc "Whether that very process still runs."
  @spec alive?(identity) :: boolean
  def alive?({os_pid, _started} = identity), do: identity(os_pid) == identity

  @doc "Ends that very process at once."
  @spec kill(identity) :: :ok
  def kill({os_pid, _started} = identity) do
    if alive?(identity), do: run("kill", ["-9", Integer.to_string(os_pid)])
    :ok
  end

  defp started(os_pid) do
    case File.read("/proc/#{os_pid}/stat") do
      {:ok, stat} -> started_from(stat)
      {:error, _} -> if File.dir?("/proc/self"), do: nil, else: started_by_ps(os_pid)
    end
  end

  # The name in parentheses may hold anything, so the fields are counted from the last parenthesis: the first behind
  # it is the state, the twentieth the start time in ticks since boot (proc_pid_stat(5)).
  defp started_from(stat) do
    fields = stat |> String.split(")") |> List.last() |> String.split()
    if hd(fields) in ["Z", "X"], do: nil, else: Enum.at(fields, 19)
  end

  defp started_by_ps(os_pid) do
    case run("ps", ["-o", "stat=,lstart=", "-p", Integer.to_string(os_pid)]) do
      {line, 0} ->
        [state | started] = String.split(line)
        if String.starts_with?(state, "Z"), do: nil, else: Enum.join(started, " ")

      _ ->
        nil
    end
  end

  defp run(program, arguments) do
    case System.find_executable(program) do
      nil -> :error
      path -> System.cmd(path, arguments, stderr_to_stdout: true)
    end
  end
end
