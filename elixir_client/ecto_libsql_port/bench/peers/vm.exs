defmodule Peers.VM do
  # A VM for one adapter, spoken to over its standard input and output: no distribution, and nothing shared with the
  # others but the machine.
  @moduledoc false

  @enforce_keys [:adapter, :peer, :facts]
  defstruct @enforce_keys

  # What is loaded there, in this order.
  @files ["../../../libsql_port/bench/macro/statistics.exs"] ++
           Enum.map(
             ~w(protocols repo data measure processor repo_get result_sets inserts queries violations slow_queries engine at_hand inside),
             &"inside/#{&1}.exs"
           )

  def start(adapter, directory) do
    arguments = Enum.flat_map(adapter.code_path, &["-pa", &1])

    {:ok, peer, _node} =
      :peer.start_link(%{
        connection: :standard_io,
        args: Enum.map(arguments, &to_charlist/1),
        wait_boot: 30_000
      })

    {:ok, _} = call(peer, Application, :ensure_all_started, [:logger])
    :ok = call(peer, Application, :put_env, [:peers, :adapter, adapter.module])
    Enum.each(@files, &call(peer, Code, :require_file, [&1, __DIR__]))

    own_directory = Path.join(directory, adapter.name)
    File.mkdir_p!(own_directory)
    facts = call(peer, Peers.Inside, :start, [adapter.app, adapter.config, own_directory])
    %__MODULE__{adapter: adapter, peer: peer, facts: facts}
  end

  @doc "The figures of one round of a work, or why there are none."
  def measure(vm, module, function, quick?) do
    call(vm.peer, Peers.Inside, :measure, [module, function, quick?])
  end

  def stop(vm) do
    :ok = call(vm.peer, Peers.Inside, :stop, [])
    :peer.stop(vm.peer)
  end

  defp call(peer, module, function, arguments), do: :peer.call(peer, module, function, arguments, :infinity)
end
