defmodule Ecto.Adapters.LibSql.MigrationLock do
  @moduledoc false
  # One migrator at a time for a database, also across machines' processes and VMs that share the file. Called by the
  # adapter.
  #
  # The lock is an exclusive transaction on a small database beside the file. It ends with the process that holds it,
  # however that ends, and is not in the way of the application, which goes on reading and writing. It needs no
  # connection of the pool.

  # A database on a server has a lock there: `MigrationLease`.

  alias Ecto.Adapters.LibSql.MigrationLease
  alias EctoLibSql.{Direct, State}

  @suffix "-migrations"
  @busy_ms 1_000

  @doc "The file that is locked."
  @spec path(String.t()) :: String.t()
  def path(database), do: database <> @suffix

  @doc "Runs a function while nobody else migrates this database."
  @spec run(map, keyword, (() -> result)) :: result when result: var
  def run(meta, _options, fun) do
    case Direct.state(meta) do
      %State{mode: :local} = state -> state |> Direct.database() |> locked(fun)
      %State{} -> MigrationLease.run(meta, meta.opts[:migration_lock_lease], fun)
    end
  end

  # A database in memory is this VM's alone.
  defp locked({sidecar, nil}, fun), do: :global.trans({{__MODULE__, sidecar}, self()}, fun, [node()])

  defp locked({sidecar, database}, fun) do
    conn = connect!(sidecar, database)

    try do
      acquire(conn, database)
      fun.()
    after
      LibsqlPort.close(conn)
    end
  end

  defp connect!(sidecar, database) do
    options = [journal_mode: :delete, synchronous: :off, busy_timeout: @busy_ms]

    case LibsqlPort.connect(sidecar, [database: path(database)] ++ options) do
      {:ok, conn} -> conn
      {:error, error} -> not_locked!(database, error)
    end
  end

  # As long as the other one migrates; how long that may be nobody knows.
  defp acquire(conn, database) do
    case LibsqlPort.Connection.begin(conn, :exclusive, timeout: :infinity) do
      {:ok, _} ->
        :ok

      {:error, %{code: code}} when code in [:busy, :locked] ->
        acquire(conn, database)

      {:error, error} ->
        not_locked!(database, error)
    end
  end

  defp not_locked!(database, error) do
    raise Ecto.MigrationError,
          "the migration lock of #{database}, the file #{path(database)}, could not be had: #{Exception.message(error)}"
  end
end
