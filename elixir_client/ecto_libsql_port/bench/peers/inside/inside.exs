defmodule Peers.Inside do
  # What the orchestrating VM calls in the VM of an adapter.
  @moduledoc false
  alias Peers.{Data, Protocols, Repo}

  @pool 5

  def start(app, config, directory) do
    # What a run logs (a closed connection, a work that fails) is no part of the table; failures are told below it.
    :ok = :logger.set_primary_config(:level, :none)
    :ok = Protocols.consolidate()
    {:ok, _} = Application.ensure_all_started(app)
    Application.put_env(:peers, :directory, directory)
    database = Path.join(directory, "bench.db")

    # A lone connection comes first: a pool whose members all turn an empty file into a WAL file get into each other's way.
    configure(config, database: database, pool_size: 1)
    repo = start_repo()
    Repo.sql!("PRAGMA journal_mode = WAL")
    Data.create()
    stop_repo(repo)

    configure(config, database: database, pool_size: @pool)
    Application.put_env(:peers, :repo, start_repo())
    Data.facts()
  end

  @doc "The figures of one round, from a process that may fail together with its tasks."
  def measure(module, function, quick?) do
    {_pid, monitor} = spawn_monitor(fn -> exit({:measured, apply(module, function, [quick?])}) end)

    receive do
      {:DOWN, ^monitor, _, _, {:measured, figures}} ->
        {:ok, figures}

      {:DOWN, ^monitor, _, _, reason} ->
        {:error, reason |> Exception.format_exit() |> String.replace(~r/\s+/, " ")}
    end
  end

  def stop, do: stop_repo(Application.fetch_env!(:peers, :repo))

  defp configure(config, more), do: Application.put_env(:peers, Repo, config ++ more)

  # Calls from outside run in processes that do not last: the Repo must not be linked to them.
  defp start_repo do
    {:ok, pid} = Repo.start_link()
    Process.unlink(pid)
    pid
  end

  defp stop_repo(pid), do: Supervisor.stop(pid)
end
