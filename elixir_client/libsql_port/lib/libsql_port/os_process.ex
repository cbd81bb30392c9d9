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

  @doc "Ends that very process at once. One that is gone already is no error."
  @spec kill(identity) :: :ok | {:error, String.t()}
  def kill({os_pid, _started} = identity) do
    if alive?(identity), do: signal(os_pid, "-9", identity), else: :ok
  end

  defp signal(os_pid, signal, identity) do
    case shell("kill #{signal} #{os_pid}") do
      {_, 0} -> :ok
      {message, _status} -> if alive?(identity), do: {:error, String.trim(message)}, else: :ok
    end
  end

  # `kill` of the shell itself: a small image has no program of that name.
  defp shell(command) do
    System.cmd("/bin/sh", ["-c", command], stderr_to_stdout: true)
  rescue
    error in ErlangError -> {"/bin/sh cannot be run: #{Exception.message(error)}", 127}
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
      {line, 0} -> started_from_ps(String.split(line))
      {_line, _status} -> nil
      # Without /proc and without ps the number has to do.
      :error -> if match?({_, 0}, shell("kill -0 #{os_pid}")), do: "unknown", else: nil
    end
  end

  defp started_from_ps([<<"Z", _::binary>> | _]), do: nil
  defp started_from_ps([_state | started]), do: Enum.join(started, " ")
  defp started_from_ps([]), do: nil

  defp run(program, arguments) do
    case System.find_executable(program) do
      nil -> :error
      path -> System.cmd(path, arguments, stderr_to_stdout: true)
    end
  end
end
