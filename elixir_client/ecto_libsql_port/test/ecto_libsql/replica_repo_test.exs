defmodule EctoLibSql.ReplicaRepoTest do
  # A Repo whose database is a replica.
  use ExUnit.Case, async: false

  import Ecto.Query

  alias Ecto.Adapters.LibSql
  alias EctoLibSql.{Error, Native, TestRepo}
  alias LibsqlPort.Sqld

  @moduletag :sqld
  @moduletag :tmp_dir
  @queue [queue_target: 60_000, queue_interval: 60_000]

  defmodule User do
    use Ecto.Schema

    schema "users" do
      field :name, :string
      field :born, :utc_datetime
      timestamps()
    end
  end

  defmodule CreateUsers do
    use Ecto.Migration

    def change do
      create table(:users) do
        add :name, :string, null: false
        add :born, :utc_datetime
        timestamps()
      end

      create unique_index(:users, [:name])
    end
  end

  setup %{tmp_dir: folder} do
    server = Sqld.start!()
    config = [uri: server.url, database: Path.join(folder, "r.db"), pool_size: 4, log: false] ++ @queue
    {:ok, server: server, config: config}
  end

  defp start!(config) do
    start_supervised!({TestRepo, config})
    :ok
  end

  defp migrate, do: Ecto.Migrator.up(TestRepo, System.unique_integer([:positive]), CreateUsers, log: false)

  # On the server, past the Repo.
  defp remote!(server, sql) do
    {:ok, conn} = LibsqlPort.connect(TestRepo.Sidecar, url: server.url)
    {:ok, result} = LibsqlPort.query(conn, sql, [])
    :ok = LibsqlPort.close(conn)
    result
  end

  test "is migrated, written and read, by whichever connection", %{config: config, server: server} do
    start!(config)
    assert migrate() == :ok
    born = ~U[1815-12-10 00:00:00Z]
    user = TestRepo.insert!(%User{name: "Ada", born: born})

    # Many readers, so that all connections of the pool and of the lane take part.
    for n <- 1..20 do
      TestRepo.insert!(%User{name: "user #{n}"})
      counts = Task.async_stream(1..8, fn _ -> TestRepo.aggregate(User, :count) end, max_concurrency: 8)
      assert Enum.all?(counts, &(&1 == {:ok, n + 1}))
    end

    assert %User{name: "Ada", born: ^born} = TestRepo.get!(User, user.id)
    assert remote!(server, "SELECT count(*) FROM users").rows == [[21]]

    assert {:error, changeset} =
             %User{name: "Ada"}
             |> Ecto.Changeset.change()
             |> Ecto.Changeset.unique_constraint(:name)
             |> TestRepo.insert()

    assert [name: {"has already been taken", _}] = changeset.errors
    assert TestRepo.update_all(User, set: [born: nil]) == {21, nil}
    assert TestRepo.delete_all(from(u in User, where: u.name != "Ada")) == {20, nil}
    assert [%User{born: nil}] = TestRepo.all(User)
    assert {:ok, 1} = TestRepo.transaction(fn -> TestRepo.stream(User) |> Enum.count() end)
  end

  test "reads in a transaction what it has written, and rolls it back", %{config: config} do
    start!(config)
    migrate()

    assert {:error, 1} =
             TestRepo.transaction(fn ->
               TestRepo.insert!(%User{name: "Ada"})
               TestRepo.rollback(TestRepo.aggregate(User, :count))
             end)

    assert TestRepo.aggregate(User, :count) == 0

    assert {:ok, []} = TestRepo.transaction(fn -> TestRepo.all(User) end, mode: :read_only)
  end

  test "has what a call asks for", %{config: config, server: server} do
    start!([consistency: :local] ++ config)
    migrate()
    {:ok, _} = TestRepo.query("SELECT 1", [], consistency: :latest)

    remote!(
      server,
      "INSERT INTO users (name, inserted_at, updated_at) VALUES ('Ada', '2020-01-01T00:00:00', '2020-01-01T00:00:00')"
    )

    assert TestRepo.aggregate(User, :count) == 0
    assert TestRepo.aggregate(User, :count, consistency: :latest) == 1

    remote!(server, "DELETE FROM users")
    assert [%User{}] = TestRepo.all(User, max_lag: 60_000)
    Process.sleep(2)
    assert TestRepo.all(User, max_lag: 1) == []

    assert_raise Error, ~r/:consistency takes/, fn -> TestRepo.all(User, consistency: :new) end
    assert_raise Error, ~r/:max_lag takes/, fn -> TestRepo.all(User, max_lag: 0) end
    assert_raise Error, ~r/did you mean :max_lag/, fn -> TestRepo.all(User, maxlag: 5) end
  end

  test "is read on when the server is gone, and told by its health", %{config: config, server: server} do
    start!(config)
    migrate()
    TestRepo.insert!(%User{name: "Ada"})

    assert %{healthy?: true, mode: :replica, replica: %{age_ms: age, error: nil}} =
             EctoLibSql.health(TestRepo)

    assert is_integer(age)
    Sqld.kill(server)
    assert [%User{name: "Ada"}] = TestRepo.all(User)
    assert_raise Error, fn -> TestRepo.insert!(%User{name: "Grace"}) end
    assert {:error, %Error{code: :remote_unavailable}} = TestRepo.query("SELECT 1", [], consistency: :latest)
    assert [%User{name: "Ada"}] = TestRepo.all(User)
    assert %{replica: %{error: :remote_unavailable}} = EctoLibSql.health(TestRepo)
    Sqld.restart(server)
    # The circuit breaker lets nothing through before its next probe is answered.
    assert Enum.any?(1..600, fn _ ->
             match?({:ok, _}, TestRepo.query("UPDATE users SET name = name")) or
               Process.sleep(50) != :ok
           end)

    assert %User{} = TestRepo.insert!(%User{name: "Grace"})
    assert TestRepo.aggregate(User, :count) == 2
  end

  test "starts without the server, if the file has been synced", %{config: config, server: server} do
    start!(config)
    migrate()
    TestRepo.insert!(%User{name: "Ada"})
    stop_supervised!(TestRepo)
    Sqld.kill(server)
    start!([offline: true] ++ config)
    assert [%User{name: "Ada"}] = TestRepo.all(User)
  end

  test "is made and removed with what stands beside it", %{config: config, server: server, tmp_dir: folder} do
    assert LibSql.storage_status(config) == :down
    assert LibSql.storage_up(config) == :ok
    assert LibSql.storage_status(config) == :up
    assert LibSql.storage_up(config) == {:error, :already_up}
    start!(config)
    migrate()
    stop_supervised!(TestRepo)
    assert LibSql.storage_down(config) == :ok
    assert File.ls!(folder) == []
    start!(config)
    assert TestRepo.all(User) == []
    assert remote!(server, "SELECT count(*) FROM users").rows == [[0]]
  end

  test "has ecto_libsql's names", %{config: config} do
    {:ok, state} = EctoLibSql.connect([sync: true] ++ Keyword.take(config, [:uri, :database]))
    {:ok, _, _, state} = EctoLibSql.handle_execute("CREATE TABLE t(a)", [], [], state)
    assert Native.sync(state) == {:ok, "success sync"}
    assert {:ok, frame} = Native.get_frame_number_for_replica(state)
    assert is_integer(frame)
    assert {:ok, ^frame} = Native.get_max_write_frame(state)
    assert {:ok, ^frame} = Native.flush_and_get_frame(state)
    assert :ok = Native.sync_until_frame(state, frame)
    EctoLibSql.disconnect(nil, state)
  end
end
