defmodule EctoLibSql.RemoteRepoTest do
  # A Repo whose database is on a server.
  use ExUnit.Case, async: false

  import Ecto.Query

  alias Ecto.Adapters.LibSql
  alias EctoLibSql.{Error, TestRepo}
  alias LibsqlPort.{Proxy, Sqld}

  @moduletag :sqld
  @queue [queue_target: 60_000, queue_interval: 60_000]

  defmodule User do
    use Ecto.Schema

    schema "users" do
      field :name, :string
      field :born, :utc_datetime
      field :balance, :decimal
      timestamps()
    end
  end

  defmodule CreateUsers do
    use Ecto.Migration

    def change do
      create table(:users) do
        add :name, :string, null: false
        add :born, :utc_datetime
        add :balance, :decimal
        timestamps()
      end

      create unique_index(:users, [:name])
    end
  end

  setup_all do
    server = Sqld.shared()
    {:ok, server: server}
  end

  setup %{server: server} = context do
    namespace = "repo-#{System.unique_integer([:positive])}"
    admin = "http://127.0.0.1:#{server.admin_port}"
    config = [uri: server.url, namespace: namespace, admin_url: admin, pool_size: 2, log: false] ++ @queue
    unless context[:no_namespace], do: :ok = LibSql.storage_up(config)
    on_exit(fn -> LibSql.storage_down(config) end)
    if context[:no_namespace] || context[:no_repo], do: :ok, else: start_supervised!({TestRepo, config})
    {:ok, config: config}
  end

  defp migrate, do: Ecto.Migrator.up(TestRepo, System.unique_integer([:positive]), CreateUsers, log: false)

  defp eventually(fun), do: Enum.any?(1..1_000, fn _ -> fun.() or (Process.sleep(10) && false) end)

  test "is migrated, written and read" do
    assert migrate() == :ok
    user = TestRepo.insert!(%User{name: "Ada", born: ~U[1815-12-10 00:00:00Z], balance: Decimal.new("1.50")})
    assert %User{name: "Ada", balance: balance} = TestRepo.get!(User, user.id)
    assert Decimal.equal?(balance, "1.50")

    {2, [%{id: _}, _]} =
      TestRepo.insert_all(User, for(name <- ["Grace", "Joan"], do: with_times(%{name: name})),
        returning: [:id]
      )

    assert TestRepo.aggregate(User, :count) == 3

    assert TestRepo.all(from(u in User, where: u.name > "B", order_by: u.name, select: u.name)) == [
             "Grace",
             "Joan"
           ]

    assert {1, nil} = TestRepo.update_all(from(u in User, where: u.name == "Joan"), set: [name: "Jean"])
    assert {:ok, _} = TestRepo.delete(user)
    assert {:error, changeset} = duplicate("Grace")
    assert changeset.errors[:name]
  end

  defp with_times(map) do
    now = NaiveDateTime.utc_now() |> NaiveDateTime.truncate(:second)
    Map.merge(map, %{inserted_at: now, updated_at: now})
  end

  defp duplicate(name) do
    %User{}
    |> Ecto.Changeset.change(name: name)
    |> Ecto.Changeset.unique_constraint(:name)
    |> TestRepo.insert()
  end

  test "transactions commit, roll back and nest" do
    migrate()

    assert {:ok, 1} =
             TestRepo.transaction(fn ->
               TestRepo.insert!(%User{name: "Ada"})
               TestRepo.aggregate(User, :count)
             end)

    assert {:error, :no} =
             TestRepo.transaction(fn ->
               TestRepo.insert!(%User{name: "Grace"})
               TestRepo.rollback(:no)
             end)

    assert TestRepo.aggregate(User, :count) == 1

    assert {:ok, names} = TestRepo.transaction(fn -> User |> TestRepo.stream() |> Enum.map(& &1.name) end)

    assert names == ["Ada"]
  end

  test "migrations take turns, and the lock ends with them" do
    test = self()

    tasks =
      for _ <- 1..2 do
        Task.async(fn ->
          LibSql.lock_for_migrations(Ecto.Adapter.lookup_meta(TestRepo), [], fn ->
            send(test, {:began, self()})
            receive do: (:go_on -> send(test, {:ended, self()}))
          end)
        end)
      end

    assert_receive {:began, first}, 60_000
    refute_received {:began, _second}
    send(first, :go_on)
    assert_receive {:ended, ^first}, 60_000
    assert_receive {:began, second}, 60_000
    assert second != first
    send(second, :go_on)
    Task.await_many(tasks, 60_000)
    assert TestRepo.query!("SELECT count(*) FROM ecto_libsql_migration_lock").rows == [[0]]
  end

  test "a lock whose holder is gone is had when its time is up" do
    TestRepo.query!(
      "CREATE TABLE ecto_libsql_migration_lock (id INTEGER PRIMARY KEY, holder TEXT, until INTEGER)"
    )

    TestRepo.query!("INSERT INTO ecto_libsql_migration_lock VALUES (1, 'gone', unixepoch() + 1)")
    meta = Ecto.Adapter.lookup_meta(TestRepo)
    assert LibSql.lock_for_migrations(meta, [], fn -> :had end) == :had
  end

  test "lists behind in find what they find in a file" do
    TestRepo.query!("CREATE TABLE t (x)")
    values = [1, 0.1, -2.5e300, 1.0e-320, "text"]
    for value <- values, do: TestRepo.query!("INSERT INTO t VALUES (?)", [value])

    in_list = fn list -> TestRepo.all(from(t in "t", where: t.x in ^list, select: t.x)) end
    assert Enum.sort(in_list.([0.1, -2.5e300, 1.0e-320, 7.5])) == Enum.sort([0.1, -2.5e300, 1.0e-320])
    assert in_list.([1, 2]) == [1]
    assert in_list.(["text"]) == ["text"]

    {:ok, streamed} =
      TestRepo.transaction(fn ->
        from(t in "t", where: t.x in ^[0.1]) |> select([t], t.x) |> TestRepo.stream() |> Enum.to_list()
      end)

    assert streamed == [0.1]
  end

  test "months are added" do
    TestRepo.query!("CREATE TABLE t (d)")
    TestRepo.query!("INSERT INTO t VALUES ('2024-01-31')")
    assert TestRepo.one(from(t in "t", select: date_add(type(t.d, :date), 1, "month"))) == ~D[2024-02-29]
    assert TestRepo.one(from(t in "t", select: date_add(type(t.d, :date), -23, "month"))) == ~D[2022-02-28]
  end

  defmodule ChangeUsers do
    use Ecto.Migration

    def up do
      alter table(:users) do
        remove :balance
        add :age, :integer
      end

      rename table(:users), :born, to: :birthday

      create table(:pets) do
        add :user_id, references(:users)
      end

      create index(:pets, [:user_id])
    end

    def down do
      drop table(:pets)
      rename table(:users), to: table(:people)
      drop table(:people)
    end
  end

  defmodule AddKey do
    use Ecto.Migration

    def change do
      create table(:keys, primary_key: false) do
        add :name, :string
      end

      alter table(:keys) do
        add :id, :integer, primary_key: true
      end
    end
  end

  test "tables are changed as far as a server lets them, and the rest is refused by name" do
    migrate()
    version = System.unique_integer([:positive, :monotonic])
    assert Ecto.Migrator.up(TestRepo, version, ChangeUsers, log: false) == :ok
    columns = fn -> TestRepo.query!("SELECT name FROM pragma_table_info('users')").rows |> List.flatten() end
    assert columns.() == ~w(id name born inserted_at updated_at age) |> List.replace_at(2, "birthday")

    error =
      assert_raise(EctoLibSql.MigrationError, fn ->
        Ecto.Migrator.up(TestRepo, version + 1_000_000, AddKey, log: false)
      end)

    assert error.code == :unsupported
    assert error.message =~ "a server"
    assert Ecto.Migrator.down(TestRepo, version, ChangeUsers, log: false) == :ok
    assert columns.() == []
  end

  test "a prefix is refused, and the way is named" do
    migrate()

    for run <- [
          fn -> TestRepo.all(User, prefix: "tenant") end,
          fn -> TestRepo.insert!(%User{name: "Ada"}, prefix: "tenant") end,
          fn -> TestRepo.insert_all(User, [%{name: "Ada"}], prefix: "tenant") end,
          fn -> TestRepo.update_all(User, [set: [name: "a"]], prefix: "tenant") end
        ] do
      error = assert_raise(Error, run)
      assert error.code == :unsupported
      assert error.message =~ ":namespace"
    end
  end

  @tag :tmp_dir
  @tag :no_repo
  test "the structure is dumped and loaded", %{tmp_dir: directory, config: config} do
    start_supervised!({TestRepo, config})
    migrate()
    assert {:ok, path} = LibSql.structure_dump(directory, config)
    text = File.read!(path)
    assert text =~ "CREATE TABLE"
    assert text =~ "users_name_index"
    other = Keyword.put(config, :namespace, config[:namespace] <> "-copy")
    :ok = LibSql.storage_up(other)
    assert {:ok, ^path} = LibSql.structure_load(directory, other)
    stop_supervised!(TestRepo)
    start_supervised!({TestRepo, other})
    assert TestRepo.aggregate(User, :count) == 0
    stop_supervised!(TestRepo)
    :ok = LibSql.storage_down(other)
  end

  @tag :tmp_dir
  test "all kinds of things are in the structure, and no rows", %{tmp_dir: directory, config: config} do
    TestRepo.query_many!("""
    CREATE TABLE docs (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT, size INTEGER GENERATED ALWAYS AS (length(body)) STORED, v F32_BLOB(3));
    CREATE INDEX docs_v ON docs (libsql_vector_idx(v));
    CREATE VIRTUAL TABLE search USING fts5(body, content = docs, content_rowid = id);
    CREATE VIEW long AS SELECT * FROM docs WHERE size > 10;
    CREATE TRIGGER docs_ai AFTER INSERT ON docs BEGIN INSERT INTO search(rowid, body) VALUES (new.id, new.body); END;
    INSERT INTO docs (body, v) VALUES ('a secret; of "ours"', vector32('[1, 2, 3]'));
    """)

    assert {:ok, path} = LibSql.structure_dump(directory, config)
    text = File.read!(path)
    refute text =~ "secret"
    refute text =~ "shadow"
    refute text =~ "search_data"
    assert {^text, 0} = LibSql.dump_cmd([".schema"], [], config)
    other = Keyword.put(config, :namespace, config[:namespace] <> "-copy")
    :ok = LibSql.storage_up(other)
    assert {:ok, ^path} = LibSql.structure_load(directory, other)
    schema = "SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite%' ORDER BY 1, 2"

    rows = fn options, sql ->
      elem(EctoLibSql.Direct.with_connection(options, &LibsqlPort.query(&1, sql)), 1).rows
    end

    assert rows.(other, schema) == rows.(config, schema)
    # It works, and is empty.
    assert rows.(other, "SELECT count(*) FROM docs") == [[0]]
    assert rows.(other, "INSERT INTO docs (body) VALUES ('a longer text') RETURNING size") == [[13]]
    assert rows.(other, "SELECT body FROM search WHERE search MATCH 'longer'") == [["a longer text"]]
    :ok = LibSql.storage_down(other)
  end

  @tag :no_namespace
  test "storage is made, asked for and removed by the admin API", %{config: config} do
    assert LibSql.storage_status(config) == :down
    assert LibSql.storage_up(config) == :ok
    assert LibSql.storage_up(config) == {:error, :already_up}
    assert LibSql.storage_status(config) == :up
    assert LibSql.storage_down(config) == :ok
    assert LibSql.storage_down(config) == {:error, :already_down}

    # The port of databases is none of the admin API.
    wrong = Keyword.put(config, :admin_url, config[:uri])
    assert {:error, message} = LibSql.storage_down(wrong)
    assert message =~ "answers 404"

    without = Keyword.delete(config, :admin_url)
    assert {:error, message} = LibSql.storage_up(without)
    assert message =~ ":admin_url"
    assert {:error, message} = LibSql.storage_down(without)
    assert message =~ ":admin_url"
  end

  @tag :no_repo
  test "a statement that never reached the server is sent again", %{config: config, server: server} do
    proxy = Proxy.start!(server.http_port)

    start_supervised!(
      {TestRepo, Keyword.merge(config, uri: proxy.url, retry: [attempts: 100, base: 5, max: 20])}
    )

    assert TestRepo.query!("SELECT 1").rows == [[1]]
    :ok = Proxy.plan(proxy, :refuse)
    assert {:error, %Error{code: :remote_unavailable}} = TestRepo.query("SELECT 1", [], retry: false)
    test = self()
    id = {__MODULE__, test}

    # The first pause is the sign that it has failed once: then the server is there again.
    :ok =
      :telemetry.attach(
        id,
        [:ecto_libsql_port, :retry],
        fn _event, _times, _about, _config -> Proxy.plan(proxy, :pass) end,
        nil
      )

    assert TestRepo.query!("SELECT 2").rows == [[2]]
    :telemetry.detach(id)
  end

  @tag :no_namespace
  test "a transaction that the server refuses for good is told so at its end, and not run again" do
    key = Sqld.Token.key()
    server = Sqld.start!(jwt: key)
    options = [uri: server.url, pool_size: 1, log: false] ++ @queue
    start_supervised!({TestRepo, [auth_token: Sqld.Token.sign(key, access: :read)] ++ options})
    {:ok, runs} = Agent.start_link(fn -> 0 end)

    run = fn ->
      Agent.update(runs, &(&1 + 1))
      assert {:error, %Error{code: :forbidden}} = TestRepo.query("CREATE TABLE t (x)")
      assert {:error, %Error{code: :forbidden, statement: "SELECT 1"}} = TestRepo.query("SELECT 1")
    end

    error = assert_raise Error, fn -> EctoLibSql.transaction_with_retry(TestRepo, run, retry: [base: 1]) end
    assert error.code == :forbidden
    assert error.message =~ "over with what was answered before"
    assert Agent.get(runs, & &1) == 1
    # It is of that transaction alone.
    assert {:ok, [[1]]} = TestRepo.transaction(fn -> TestRepo.query!("SELECT 1").rows end)
    stop_supervised!(TestRepo)
  end

  @tag :no_repo
  test "a Repo starts while its server is away, and finds it later", %{config: config} do
    server = Sqld.start!()
    :ok = Sqld.kill(server)
    config = Keyword.drop(config, [:namespace, :queue_target, :queue_interval])
    start_supervised!({TestRepo, Keyword.merge(config, uri: server.url, backoff_min: 10, backoff_max: 50)})
    assert {:error, %DBConnection.ConnectionError{}} = TestRepo.query("SELECT 1")
    :ok = Sqld.restart(server)
    assert eventually(fn -> match?({:ok, %{rows: [[1]]}}, TestRepo.query("SELECT 1")) end)
    stop_supervised!(TestRepo)
  end
end
