defmodule Ecto.Adapters.LibSql.MigrationLease do
  @moduledoc false
  # One migrator at a time for a database on a server, from whichever machine. Called by `MigrationLock`.
  #
  # A server has no lock that outlasts a transaction, and takes one from a transaction whose writer others wait for. So the lock is a row
  # that says who migrates and until when, by the server's clock. Whoever finds it taken looks again, by reading: one who waited to
  # write would have the server end the transaction of the migration.
  #
  # It is not renewed, for the same reason: a migrator that takes longer than its lease may meet another one. One that is killed while its VM lives
  # gives it back.

  require Logger

  @table "ecto_libsql_migration_lock"
  @lease_s 900
  @pause_ms 500
  @told_ms 5_000

  @doc "How long a lease is, seconds, unless the option `:migration_lock_lease` says otherwise."
  @spec default() :: pos_integer
  def default, do: @lease_s

  @doc "Runs a function while nobody else migrates this database."
  @spec run(map, pos_integer | nil, (() -> result)) :: result when result: var
  def run(meta, lease_s, fun) do
    holder = "#{node()} #{System.pid()} #{:crypto.strong_rand_bytes(8) |> Base.encode16(case: :lower)}"

    query!(meta, """
    CREATE TABLE IF NOT EXISTS #{@table} (id INTEGER PRIMARY KEY CHECK (id = 1), holder TEXT NOT NULL, until INTEGER NOT NULL)
    """)

    acquire(meta, holder, lease_s || @lease_s, System.monotonic_time(:millisecond))
    guard = guard(meta, holder)

    try do
      fun.()
    after
      # It has stopped looking before the lease may be somebody else's.
      dismiss(guard)
      give_back(meta, holder)
    end
  end

  # A process that outlives the one that migrates.
  defp guard(meta, holder) do
    migrator = self()

    spawn(fn ->
      monitor = Process.monitor(migrator)

      receive do
        {:DOWN, ^monitor, :process, _, _} -> give_back(meta, holder)
        {:dismissed, from} -> send(from, {:gone, self()})
      end
    end)
  end

  defp dismiss(guard) do
    monitor = Process.monitor(guard)
    send(guard, {:dismissed, self()})

    receive do
      {:gone, ^guard} -> Process.demonitor(monitor, [:flush])
      {:DOWN, ^monitor, :process, _, _} -> :ok
    end
  end

  # What has become of the migrations is known and is what the caller wants to hear: a lease that cannot be given back ends by itself.
  defp give_back(meta, holder) do
    query!(meta, "DELETE FROM #{@table} WHERE holder = ?1", [holder])
    :ok
  rescue
    error -> not_given_back(holder, Exception.message(error))
  catch
    kind, reason -> not_given_back(holder, Exception.format_banner(kind, reason))
  end

  defp not_given_back(holder, why) do
    Logger.warning(
      "the migration lock of #{holder} could not be given back (#{why}). The migrations are not concerned: what they returned or " <>
        "raised holds. The next migrator waits until the lock's time is up, or until DELETE FROM #{@table}"
    )
  end

  defp acquire(meta, holder, lease_s, told) do
    case query!(meta, "SELECT holder, until, until - unixepoch() FROM #{@table} WHERE until > unixepoch()") do
      [[other, _until, left]] ->
        told = tell(other, left, told)
        Process.sleep(@pause_ms)
        acquire(meta, holder, lease_s, told)

      [] ->
        case take(meta, holder, lease_s) do
          [[^holder]] -> :ok
          [] -> acquire(meta, holder, lease_s, told)
        end
    end
  end

  defp take(meta, holder, lease_s) do
    query!(
      meta,
      """
      INSERT INTO #{@table} (id, holder, until) VALUES (1, ?1, unixepoch() + ?2)
      ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, until = excluded.until WHERE #{@table}.until <= unixepoch()
      RETURNING holder
      """,
      [holder, lease_s]
    )
  end

  defp tell(other, left, told) do
    now = System.monotonic_time(:millisecond)

    if now - told >= @told_ms do
      Logger.warning(
        "waiting for the migrations of #{other}, which holds the lock for #{left} s more. If it has ended: DELETE FROM #{@table}"
      )

      now
    else
      told
    end
  end

  # Not told as statements of the application, or of its migrations.
  defp query!(meta, sql, params \\ []),
    do: Ecto.Adapters.SQL.query!(meta, sql, params, log: false, telemetry_event: nil).rows
end
