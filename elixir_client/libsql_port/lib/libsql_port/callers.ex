defmodule LibsqlPort.Callers do
  @moduledoc false
  # The processes that wait for a reply, monitored while they do, so that what one has left running is stopped when it ends.
  # Held by the process that owns the port, which looks ten times a second who waits. Most requests are over between two looks,
  # and cost nothing here; nobody sends a message for one that takes longer. Pure but for the monitors.

  alias LibsqlPort.InFlight

  defstruct monitors: %{}

  @type t :: %__MODULE__{monitors: %{optional(pid) => reference}}

  @doc """
  Monitors those who wait now, and nobody else. One that has ended since it sent its request is told to the calling process at
  once. `table` is `nil` between two runs of the program.
  """
  @spec look(t, :ets.table() | nil) :: t
  def look(%__MODULE__{monitors: before} = callers, table) do
    waiting = if table == nil or InFlight.empty?(table), do: [], else: InFlight.callers(table)

    if waiting == [] and before == %{} do
      callers
    else
      monitors = for pid <- waiting, pid != self(), into: %{}, do: {pid, before[pid] || Process.monitor(pid)}

      for {pid, monitor} <- before, not is_map_key(monitors, pid), do: Process.demonitor(monitor, [:flush])
      %{callers | monitors: monitors}
    end
  end

  @doc "A process has ended. Returns whether it was monitored here."
  @spec down(t, reference, pid) :: {boolean, t}
  def down(%__MODULE__{monitors: monitors} = callers, monitor, pid) do
    case monitors do
      %{^pid => ^monitor} -> {true, %{callers | monitors: Map.delete(monitors, pid)}}
      _other -> {false, callers}
    end
  end
end
