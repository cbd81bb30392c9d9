defmodule EctoLibSql.PolicyTest do
  # The option `:policy` of a Repo: pool, lane, streams, migrations, sandbox.
  use ExUnit.Case, async: true

  alias EctoLibSql.Native

  defmodule Repo do
    use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
  end

  defmodule Person do
    use Ecto.Schema

    schema "people" do
      field(:name, :string)
      field(:ssn, :string)
    end
  end

  defmodule Migration do
    use Ecto.Migration

    def change do
      create table(:later) do
        add(:name, :string)
      end
    end
  end

  @moduletag :tmp_dir

  setup %{tmp_dir: dir} do
    database = Path.join(dir, "app.db")
    {:ok, state} = EctoLibSql.connect(database: database)
    conn = state.conn

    {:ok, _} =
      LibsqlPort.script(conn, """
      CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, ssn TEXT);
      INSERT INTO people VALUES (1, 'Ada', 's1'), (2, 'Bob', 's2');
      """)

    {:ok, database: database, state: state, plain: conn}
  end

  defp start(%{database: database}, options) do
    name = :"policy_#{System.unique_integer([:positive])}"
    start_supervised!({Repo, [database: database, name: name, log: false] ++ options}, id: name)
    Repo.put_dynamic_repo(name)
    name
  end

  defp tables(conn), do: LibsqlPort.query!(conn, "SELECT name FROM sqlite_schema ORDER BY name").rows

  test "holds for every connection of the pool and of the lane", context do
    start(context,
      policy: [{:ignore, :read, table: "people", column: "ssn"}, {:allow, [:query, :write]}],
      pool_size: 3
    )

    # The first runs of a text take the pool, later ones the lane.
    for _ <- 1..20, lane <- [true, false] do
      options = if lane, do: [], else: [lane: false]
      assert [%Person{name: "Ada", ssn: nil}, %Person{ssn: nil}] = Repo.all(Person, options)
      assert {:error, error} = Repo.query("DROP TABLE people", [], options)

      assert %EctoLibSql.Error{code: :not_authorized, denial: %{action: :drop_table, object: "people"}} =
               error
    end

    name = Repo.get_dynamic_repo()

    parallel =
      for _ <- 1..30 do
        Task.async(fn ->
          Repo.put_dynamic_repo(name)
          Repo.all(Person)
        end)
      end

    assert Enum.all?(Task.await_many(parallel), fn people -> Enum.all?(people, &(&1.ssn == nil)) end)

    assert {:ok, [nil, nil]} = Repo.transaction(fn -> Person |> Repo.stream() |> Enum.map(& &1.ssn) end)

    assert %Person{id: id} = Repo.insert!(%Person{name: "Eve", ssn: "s3"})
    assert %{num_rows: 1} = Repo.query!("DELETE FROM people WHERE id = ?", [id])
  end

  test "a write of the library is refused as a whole, and the transaction goes on", context do
    start(context, policy: [{:deny, :delete}, {:allow, [:query, :write]}])

    assert {:ok, :kept} =
             Repo.transaction(fn ->
               Repo.insert!(%Person{name: "Eve"})
               assert {:error, %{code: :not_authorized}} = Repo.query("DELETE FROM people")
               :kept
             end)

    assert_raise EctoLibSql.Error, ~r/delete people/, fn -> Repo.delete_all(Person) end
    assert Repo.aggregate(Person, :count) == 3
  end

  test "migrations are refused under :no_schema_changes, and change nothing", context do
    start(context, policy: :no_schema_changes, pool_size: 2)
    before = tables(context.plain)

    assert_raise EctoLibSql.Error, ~r/not authorized: create_table/, fn ->
      Ecto.Migrator.run(Repo, [{1, Migration}], :up,
        all: true,
        log: false,
        dynamic_repo: Repo.get_dynamic_repo()
      )
    end

    assert tables(context.plain) == before
    # Rows are the application's.
    assert %Person{} = Repo.insert!(%Person{name: "Eve"})

    start(context, pool_size: 2)
    assert migrate(:up) == [1]
    before = tables(context.plain)

    for policy <- [:no_schema_changes, :read_only] do
      start(context, policy: policy, pool_size: 2)
      # A migrated database has nothing left to do.
      assert migrate(:up) == []
      assert [{:up, 1, _name}] = Ecto.Migrator.migrations(Repo, [], dynamic_repo: Repo.get_dynamic_repo())
      assert_raise EctoLibSql.Error, ~r/not authorized/, fn -> migrate(:down) end
      assert tables(context.plain) == before
    end
  end

  defp migrate(direction) do
    Ecto.Migrator.run(Repo, [{1, Migration}], direction,
      all: true,
      log: false,
      dynamic_repo: Repo.get_dynamic_repo()
    )
  end

  describe "policy: false" do
    setup context do
      start(context, policy: :read_only, pool_size: 2)
      :ok
    end

    defp insert(name), do: Repo.insert(%Person{name: name})
    defp names, do: Repo.all(Person) |> Enum.map(& &1.name) |> Enum.sort()

    defp denied(fun), do: assert_raise(EctoLibSql.Error, ~r/not authorized/, fun)

    # No connection has kept the right.
    defp state(repo), do: repo.get_dynamic_repo() |> Ecto.Adapter.lookup_meta() |> EctoLibSql.Direct.state()

    defp none_is_left do
      for _ <- 1..6,
          options <- [[], [lane: false]],
          do: denied(fn -> Repo.insert!(%Person{name: "left"}, options) end)

      Repo.checkout(fn -> denied(fn -> insert("left") end) end)
      Repo.transaction(fn -> denied(fn -> insert("left") end) end)
    end

    test "holds for a transaction and what is in it, and ends with it" do
      assert {:ok, :done} =
               Repo.transaction(
                 fn ->
                   insert("one")
                   Repo.transaction(fn -> insert("two") end)
                   Repo.query!("CREATE TABLE made (a)")
                   :done
                 end,
                 policy: false
               )

      none_is_left()
    end

    test "holds for a part of a transaction" do
      assert {:ok, _} =
               Repo.transaction(fn ->
                 denied(fn -> insert("before") end)
                 {:ok, _} = Repo.transaction(fn -> insert("within") end, policy: false)
                 denied(fn -> insert("behind") end)

                 catch_throw(Repo.checkout(fn -> insert("checkout") && throw(:out) end, policy: false))

                 denied(fn -> insert("behind") end)
               end)

      assert names() == ["Ada", "Bob", "checkout", "within"]
      none_is_left()
    end

    test "holds for a checkout, and for a transaction in it" do
      Repo.checkout(
        fn ->
          insert("one")
          {:ok, _} = Repo.transaction(fn -> insert("two") end)
          insert("three")
          {:error, :no} = Repo.transaction(fn -> insert("gone") && Repo.rollback(:no) end)
          insert("four")
        end,
        policy: false
      )

      assert names() == ["Ada", "Bob", "four", "one", "three", "two"]
      none_is_left()
    end

    test "ends with a failure" do
      for run <- [&Repo.transaction/2, &Repo.checkout/2] do
        assert_raise RuntimeError, fn -> run.(fn -> raise "no" end, policy: false) end
        none_is_left()
      end

      # A process that is killed takes its connection along.
      name = Repo.get_dynamic_repo()
      test = self()

      {pid, monitor} =
        spawn_monitor(fn ->
          Repo.put_dynamic_repo(name)

          Repo.checkout(
            fn ->
              send(test, :in)
              Process.sleep(:infinity)
            end,
            policy: false
          )
        end)

      assert_receive :in, 5_000
      Process.exit(pid, :kill)
      assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}, 5_000
      none_is_left()
    end

    test "holds for Ecto.Multi, and for what Ecto itself puts into a transaction" do
      multi =
        Ecto.Multi.new() |> Ecto.Multi.insert(:a, %Person{name: "multi"}) |> Ecto.Multi.delete(:b, & &1.a)

      denied(fn -> Repo.transaction(multi) end)
      assert {:ok, %{b: %{name: "multi"}}} = Repo.transaction(multi, policy: false)

      changeset =
        %Person{name: "prepared"}
        |> Ecto.Changeset.change()
        |> Ecto.Changeset.prepare_changes(fn changeset ->
          changeset.repo.insert!(%Person{name: "beside"})
          changeset
        end)

      assert {:ok, _} = Repo.insert(changeset, policy: false)
      assert names() == ["Ada", "Bob", "beside", "prepared"]
      none_is_left()
    end

    test "is refused by streams, which run under the policy" do
      stream = fn options -> Person |> Repo.stream(options) |> Enum.map(& &1.name) end
      assert {:ok, ["Ada", "Bob"]} = Repo.transaction(fn -> stream.([]) end)

      for {transaction, options} <- [{[], [policy: false]}, {[policy: false], []}, {[], [defensive: false]}] do
        error =
          assert_raise EctoLibSql.Error, fn -> Repo.transaction(fn -> stream.(options) end, transaction) end

        assert error.code == :unsupported
        assert error.message =~ "a stream runs under the policy of its connection"
      end
    end

    # A transaction within another one, a checkout within it, and both with privileges.
    defp parts(repo, options) do
      repo.transaction(
        fn ->
          repo.query!("SELECT 1", [], log: :info)
          repo.transaction(fn -> repo.query!("SELECT 2", [], log: :info) end, options)
          repo.checkout(fn -> repo.query!("SELECT 3", [], log: :info) end, options)
          repo.transaction(fn -> repo.rollback(:no) end, options)
        end,
        options
      )
    end

    # Ecto's events, the driver's requests, and the lines of the log.
    defp noticed(fun) do
      test = self()
      id = {__MODULE__, make_ref()}
      events = [[:ecto_lib_sql, :policy_test, :repo, :query], [:libsql_port, :query, :stop]]

      tell = fn
        [:libsql_port | _], _times, about, _config ->
          if self() == test, do: send(test, {id, about.request, about.sql})

        _ecto, _times, about, _config ->
          if self() == test, do: send(test, {id, :ecto, about.query})
      end

      :ok = :telemetry.attach_many(id, events, tell, nil)

      log =
        ExUnit.CaptureLog.capture_log(fn ->
          try do
            fun.()
          after
            :telemetry.detach(id)
          end
        end)

      {received(id),
       log |> String.split("\n") |> Enum.filter(&(&1 =~ ~r/SELECT|begin|commit|rollback|privileges|close/))}
    end

    defp received(id) do
      receive do
        {^id, kind, what} -> [{kind, what} | received(id)]
      after
        0 -> []
      end
    end

    test "is told to the connection past telemetry, logs and counts", context do
      # What its first run looks up is looked up once.
      parts(Repo, [])

      checkouts = fn ->
        EctoLibSql.pool_status(Repo.get_dynamic_repo()) |> elem(1) |> Map.fetch!(:checkouts)
      end

      before = checkouts.()
      {plain, log} = noticed(fn -> parts(Repo, log: :info) end)
      assert {:ecto, "begin"} in plain and {:ecto, "SELECT 2"} in plain and {:execute, "SELECT 3"} in plain
      assert length(log) >= 5
      between = checkouts.()

      for options <- [[policy: false], [defensive: false], [policy: false, defensive: true]] do
        {told, lines} = noticed(fn -> parts(Repo, [log: :info] ++ options) end)
        assert told == plain
        assert length(lines) == length(log)
        refute Enum.any?(lines, &(&1 =~ "privileges"))
      end

      assert checkouts.() - between == 3 * (between - before)

      # Without Ecto, by the function that the call itself gives.
      {:ok, db} = EctoLibSql.start_link(database: context.database, policy: :read_only, pool_size: 1)
      test = self()
      logged = fn entry -> send(test, {:logged, entry.call, to_string(entry.query)}) end

      for options <- [[], [policy: false], [defensive: false]] do
        EctoLibSql.transaction(
          db,
          fn conn ->
            EctoLibSql.transaction(
              conn,
              fn conn -> EctoLibSql.query!(conn, "SELECT 1") end,
              [log: logged] ++ options
            )

            EctoLibSql.checkout(
              conn,
              fn conn -> EctoLibSql.query!(conn, "SELECT 1") end,
              [log: logged] ++ options
            )
          end,
          [log: logged] ++ options
        )

        assert [{:begin, "begin"} | _] = calls = calls()
        assert calls == Process.get(:calls, calls)
        Process.put(:calls, calls)
      end
    end

    defp calls do
      receive do
        {:logged, call, query} -> [{call, query} | calls()]
      after
        0 -> []
      end
    end

    test "holds without Ecto, and for savepoints", context do
      {:ok, db} = EctoLibSql.start_link(database: context.database, policy: :read_only, pool_size: 1)
      insert = fn conn, name -> EctoLibSql.query(conn, "INSERT INTO people (name) VALUES (?)", [name]) end

      EctoLibSql.transaction(
        db,
        fn conn ->
          assert {:ok, _} = insert.(conn, "a")
          EctoLibSql.transaction(conn, fn conn -> assert {:ok, _} = insert.(conn, "b") end, mode: :savepoint)
        end,
        policy: false
      )

      EctoLibSql.checkout(db, fn conn ->
        assert {:error, %{code: :not_authorized}} = insert.(conn, "no")
        EctoLibSql.transaction(conn, fn conn -> assert {:ok, _} = insert.(conn, "c") end, policy: false)
        assert {:error, %{code: :not_authorized}} = insert.(conn, "no")
        EctoLibSql.checkout(conn, fn conn -> assert {:ok, _} = insert.(conn, "d") end, policy: false)
        assert {:error, %{code: :not_authorized}} = insert.(conn, "no")
      end)

      assert {:error, %{code: :not_authorized}} = insert.(db, "no")
      assert ["Ada", "Bob", "a", "b", "c", "d"] = names()
    end

    test "ends with a part that rolls back or raises, and the connection goes on", context do
      start(context, policy: :read_only, pool_size: 1)

      ends = [fn -> Repo.rollback(:no) end, fn -> raise "no" end, fn -> throw(:no) end]
      parts = [&Repo.transaction/2, &Repo.checkout/2]

      for ends <- ends,
          part <- parts,
          options <- [[policy: false], [policy: false, mode: :savepoint], [defensive: false]],
          part == (&Repo.transaction/2) or options[:mode] == nil do
        before = state(Repo)

        caught =
          Repo.transaction(fn ->
            try do
              part.(ends, options)
            rescue
              error in RuntimeError -> error
            catch
              :no -> :thrown
            end

            # Another one in what is being rolled back already.
            Repo.transaction(fn -> Repo.rollback(:again) end, policy: false)
          end)

        assert caught in [{:error, :rollback}, {:error, :no}]
        assert %{privileges: [], checkout_privileges: []} = later = state(Repo)
        assert later.conn_id == before.conn_id
        none_is_left()
      end
    end

    test "ends with a savepoint that is rolled back", %{database: database} do
      {:ok, state} = EctoLibSql.connect(database: database, policy: :read_only)
      {:ok, _, state} = EctoLibSql.handle_begin([mode: :deferred], state)

      for finish <- [&EctoLibSql.handle_rollback/2, &EctoLibSql.handle_commit/2] do
        {:ok, _, within} = EctoLibSql.handle_begin([mode: :savepoint, policy: false], state)
        assert [[policy: false], []] = within.privileges
        assert {:ok, _, %{privileges: [[]]}} = finish.([mode: :savepoint], within)
      end

      :ok = EctoLibSql.disconnect(nil, state)
    end

    test "ends with a part that rolls back in the sandbox, and the rows of the test stay", context do
      alias Ecto.Adapters.SQL.Sandbox
      start(context, policy: :read_only, pool: Sandbox, pool_size: 1)
      :ok = Sandbox.checkout(Repo)
      Repo.insert!(%Person{name: "kept"}, policy: false)

      for options <- [[policy: false], [defensive: false]], part <- [&Repo.transaction/2, &Repo.checkout/2] do
        assert {:error, _} = Repo.transaction(fn -> part.(fn -> Repo.rollback(:x) end, options) end)
        assert {:error, :x} = Repo.transaction(fn -> Repo.rollback(:x) end, options)
        assert Repo.aggregate(Person, :count) == 3
        denied(fn -> insert("no") end)
        Repo.transaction(fn -> denied(fn -> insert("no") end) end)
      end

      :ok = Sandbox.checkin(Repo)
    end

    test "holds in the sandbox", context do
      alias Ecto.Adapters.SQL.Sandbox
      start(context, policy: :read_only, pool: Sandbox, pool_size: 1)
      :ok = Sandbox.checkout(Repo)
      {:ok, _} = Repo.transaction(fn -> insert("one") end, policy: false)
      denied(fn -> insert("no") end)
      {:error, :no} = Repo.transaction(fn -> insert("gone") && Repo.rollback(:no) end, policy: false)
      Repo.transaction(fn -> denied(fn -> insert("no") end) end)
      Repo.checkout(fn -> insert("two") end, policy: false)
      denied(fn -> insert("no") end)
      assert names() == ["Ada", "Bob", "one", "two"]
      :ok = Sandbox.checkin(Repo)
      assert names() == ["Ada", "Bob"]
    end
  end

  test "holds in the sandbox", context do
    start(context, policy: :read_only, pool: Ecto.Adapters.SQL.Sandbox, pool_size: 1)
    :ok = Ecto.Adapters.SQL.Sandbox.checkout(Repo)
    assert [_, _] = Repo.all(Person)
    assert {:ok, _} = Repo.transaction(fn -> Repo.all(Person) end)
    assert_raise EctoLibSql.Error, ~r/insert people/, fn -> Repo.insert!(%Person{name: "Eve"}) end
    assert [_, _] = Repo.all(Person)
    :ok = Ecto.Adapters.SQL.Sandbox.checkin(Repo)
  end

  test "databases of :attach are the Repo's own", context do
    other = Path.join(context.tmp_dir, "other.db")
    start(context, policy: :read_only, attach: [other: other], pool_size: 1)
    assert %{rows: [[0]]} = Repo.query!("SELECT count(*) FROM other.sqlite_schema")
    assert {:error, %{denial: %{action: :attach}}} = Repo.query("ATTACH ':memory:' AS more")
  end

  test "a statement of the application itself", context do
    start(context, policy: :no_schema_changes, pool_size: 1)
    assert %{} = Repo.query!("CREATE TABLE mine (a)", [], policy: false)
    assert {:error, %{code: :not_authorized}} = Repo.query("DROP TABLE mine")
  end

  test "a wrong policy ends the start of the Repo" do
    assert {:error, error} = EctoLibSql.Options.check(database: "a.db", policy: [{:allow, :reed}])
    assert %EctoLibSql.Error{code: :invalid_option} = error
    assert error.message =~ ":policy" and error.message =~ ":reed"
  end

  test "ecto_libsql's add_authorizer takes a policy", %{state: state} do
    assert :ok = Native.add_authorizer(state, [{:deny, :read, column: "ssn"}, {:allow, :any}])
    assert {:error, %{denial: %{column: "ssn"}}} = LibsqlPort.query(state.conn, "SELECT ssn FROM people")
    assert :ok = Native.add_authorizer(state, nil)
    assert {:ok, _} = LibsqlPort.query(state.conn, "SELECT ssn FROM people")
    assert {:error, message} = Native.add_authorizer(state, :readonly)
    assert message =~ "read_only"
  end
end
