defmodule Ecto.Adapters.LibSql.MigrationLeaseTest do
  # The lease is a row, and SQL alone: a file does for a server here.
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias Ecto.Adapters.LibSql.MigrationLease

  defmodule Repo do
    use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
  end

  @moduletag :tmp_dir

  setup %{tmp_dir: directory} do
    name = :"migration_lease_#{System.unique_integer([:positive])}"
    start_supervised!({Repo, database: Path.join(directory, "app.db"), name: name, log: false})
    Repo.put_dynamic_repo(name)
    {:ok, meta: Ecto.Adapter.lookup_meta(name)}
  end

  # The lease cannot be given back any more.
  defp lose, do: Repo.query!("DROP TABLE ecto_libsql_migration_lock")

  test "is given back whatever the migrations do", %{meta: meta} do
    assert MigrationLease.run(meta, nil, fn -> :done end) == :done
    assert_raise RuntimeError, "mine", fn -> MigrationLease.run(meta, nil, fn -> raise "mine" end) end
    assert catch_throw(MigrationLease.run(meta, nil, fn -> throw(:mine) end)) == :mine
    assert Repo.query!("SELECT count(*) FROM ecto_libsql_migration_lock").rows == [[0]]
  end

  test "of a migrator that is killed is given back", %{meta: meta} do
    test = self()

    {pid, monitor} =
      spawn_monitor(fn ->
        MigrationLease.run(meta, nil, fn -> send(test, :migrates) && Process.sleep(:infinity) end)
      end)

    assert_receive :migrates, 60_000
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, _, _, _}, 60_000
    # Without that it would wait for a quarter of an hour.
    assert MigrationLease.run(meta, nil, fn -> :done end) == :done
  end

  test "one that cannot be given back hides no success", %{meta: meta} do
    log = capture_log(fn -> assert MigrationLease.run(meta, nil, fn -> lose() && :done end) == :done end)
    assert log =~ "could not be given back"
    assert log =~ "no such table"
  end

  test "nor what the migrations raise", %{meta: meta} do
    log =
      capture_log(fn ->
        assert_raise RuntimeError, "mine", fn ->
          MigrationLease.run(meta, nil, fn -> lose() && raise("mine") end)
        end
      end)

    assert log =~ "could not be given back"
  end

  test "nor does a Repo that has ended meanwhile", %{meta: meta} do
    log =
      capture_log(fn ->
        assert MigrationLease.run(meta, nil, fn -> stop_supervised!(Repo) && :done end) == :done
      end)

    assert log =~ "could not be given back"
  end
end
