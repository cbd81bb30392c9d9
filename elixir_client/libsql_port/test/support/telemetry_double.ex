defmodule LibsqlPort.TelemetryDouble do
  @moduledoc """
  A module and an application `:telemetry` that pass events to the process registered as `:libsql_port_telemetry`. The driver has no
  dependency on the real one, so its tests have none either.
  """

  @source """
  defmodule :telemetry do
    def execute(event, measurements, metadata) do
      case Process.whereis(:libsql_port_telemetry) do
        nil -> :ok
        pid -> send(pid, {:event, event, measurements, metadata})
      end

      :ok
    end

    def attach_many(id, events, handler, _config) do
      send(Process.whereis(:libsql_port_telemetry), {:attached, id, events, handler})
      :ok
    end
  end
  """

  # What the real one calls to find the handlers of an event.
  @table """
  defmodule :telemetry_handler_table do
    def list_for_event(event), do: Enum.filter(:persistent_term.get(__MODULE__, []), &(&1 == event))
  end
  """

  @application {:application, :telemetry, [vsn: ~c"0", modules: [], registered: [], applications: []]}
  # The process by which the real one is recognised.
  @handlers :telemetry_handler_table

  def load do
    Code.compile_string(@source)
    :ok = :application.load(@application)
  end

  def start do
    :ok = Application.start(:telemetry)
    {:ok, _} = Agent.start(fn -> nil end, name: @handlers)
    :ok
  end

  @doc "From now on it says which events have handlers: these."
  def listen(events) do
    :persistent_term.put(@handlers, events)
    unless Code.ensure_loaded?(@handlers), do: Code.compile_string(@table)
    :ok
  end

  def unload do
    if Process.whereis(@handlers), do: Agent.stop(@handlers)
    # Its end is logged otherwise.
    ExUnit.CaptureLog.capture_log(fn -> Application.stop(:telemetry) end)
    :ok = Application.unload(:telemetry)
    :persistent_term.erase(@handlers)

    for module <- [:telemetry, @handlers] do
      :code.purge(module)
      :code.delete(module)
      :code.purge(module)
    end
  end
end
