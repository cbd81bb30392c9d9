defmodule Peers.Protocols do
  # Protocols in the form that a release has them in: Mix does this for a project as a whole, while these VMs are put
  # together from parts of several. Without it each dispatch asks the code server, and who dispatches often looks slow.
  @moduledoc false

  def consolidate do
    paths = :code.get_path()

    for protocol <- Enum.uniq(Protocol.extract_protocols(paths)) do
      {:ok, binary} = Protocol.consolidate(protocol, Protocol.extract_impls(protocol, paths))
      :code.purge(protocol)
      {:module, ^protocol} = :code.load_binary(protocol, ~c"consolidated", binary)
    end

    true = Protocol.consolidated?(DBConnection.Query)
    :ok
  end
end
