defmodule LibsqlPort.Stub do
  @moduledoc "Starts the programs of tests/stubs in place of the sidecar."

  @stubs Path.expand("../../../../tests/stubs", __DIR__)

  def path(name \\ "sidecar_stub"), do: Path.join(@stubs, name)

  @doc "Options that start a stub in one of its modes."
  def options(mode, options \\ []) do
    Keyword.merge([executable: path(), args: [mode], log_to: :stderr], options)
  end

  @doc "A stub under the test's supervisor, and a connection to it."
  def start(mode, options \\ []) do
    sidecar = ExUnit.Callbacks.start_supervised!({LibsqlPort, options(mode, options)}, id: make_ref())
    {:ok, conn} = LibsqlPort.connect(sidecar, database: "stub")
    {sidecar, conn}
  end
end
