defmodule LibsqlPort.Stub do
  @moduledoc "Starts the programs of tests/stubs in place of the sidecar."

  @stubs Path.expand("../../../../tests/stubs", __DIR__)

  def path(name \\ "sidecar_stub"), do: Path.join(@stubs, name)

  @doc "Options that start a stub in one of its modes."
  def options(mode, options \\ []) do
    # A stub is a script that is compiled as it starts, which takes long where others want the processor too.
    defaults = [executable: path(), args: [mode], log_to: :stderr, start_timeout: 60_000]
    Keyword.merge(defaults, options)
  end

  @doc "A stub under the test's supervisor, and a connection to it."
  def start(mode, options \\ []) do
    sidecar = ExUnit.Callbacks.start_supervised!({LibsqlPort, options(mode, options)}, id: make_ref())
    {:ok, conn} = LibsqlPort.connect(sidecar, database: "stub")
    {sidecar, conn}
  end
end
