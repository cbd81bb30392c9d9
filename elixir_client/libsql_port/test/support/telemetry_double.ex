defmodule LibsqlPort.TelemetryDouble do
  @moduledoc """
  A module `:telemetry` that passes events to the process registered as `:libsql_port_telemetry`. The driver has no
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
  end
  """

  def load, do: Code.compile_string(@source)

  def unload do
    :code.purge(:telemetry)
    :code.delete(:telemetry)
    :code.purge(:telemetry)
  end
end
