defmodule EctoLibSql.ListenersTest do
  # What listens to a Repo, whichever Repo that is: options, dynamic Repos, the sandbox.
  use EctoLibSql.RepoCase

  import ExUnit.CaptureLog

  alias Ecto.Adapters.SQL.Sandbox
  alias EctoLibSql.{ChangeLog, Changes, Migration}
  alias EctoLibSql.ChangeLog.{Consumer, NoLog}
  alias EctoLibSql.Changes.Broadcaster

  defmodule City do
    use Ecto.Schema

    schema "cities" do
      field :name, :string
    end
  end

  defmodule NamedRepo do
    use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
  end

  defmodule Embedded do
    use Ecto.Schema

    embedded_schema do
      field :name, :string
    end
  end

  setup context do
    unless context[:bare] do
      TestRepo.query!("CREATE TABLE cities (id INTEGER PRIMARY KEY, name TEXT)")
      Migration.create_change_log(:cities, repo: TestRepo)
    end

    :ok
  end

  defp refused({:error, {%LibsqlPort.Error{code: :invalid_option, message: message}, _child}}), do: message
  defp refused({:error, %LibsqlPort.Error{code: :invalid_option, message: message}}), do: message

  describe "options" do
    test "of a subscription: those of the driver are refused, with what to write in their place" do
      for {option, told} <- [
            {{:columns, ["name"]}, ~r/:columns; known are :changed_fields, .*:fields, .*Write :fields/},
            {{:changed_columns, ["name"]}, ~r/:changed_columns; .*Write :changed_fields/},
            {{:tables, ["cities"]}, ~r/:tables; .*schemas/},
            {{:transform, & &1}, ~r/:transform/},
            {{:hooks, [:commit]}, ~r/:hooks/},
            {{:changes, false}, ~r/:changes; known/},
            {{:progress_interval, 10}, ~r/:progress_interval/},
            {{:vlaues, :new}, ~r/:vlaues \(did you mean :values\?\); known are .*:fields.*:values/},
            {{:values, :all}, ~r/:values takes :none, :new or :old_and_new, not :all/},
            {{:operations, :insert}, ~r/:operations takes a list/},
            {{:fields, :name}, ~r/:fields takes a list of fields/},
            {{:fields, [:name | :id]}, ~r/:fields takes a list of fields/},
            {{:operations, [:insert | :update]}, ~r/:operations takes a list/},
            {{:demand, 1}, ~r/:demand takes :auto or :manual/},
            {{:pending_bytes_max, 0}, ~r/:pending_bytes_max takes an integer/}
          ] do
        assert refused(Changes.subscribe(TestRepo, City, [option])) =~ told
      end

      assert refused(Changes.subscribe(TestRepo, City, %{})) =~ "keyword list"
      assert refused(Changes.subscribe(City, City)) =~ "is no Repo"
      assert refused(Changes.subscribe(self(), City)) =~ "is no Repo"

      for {option, value} <- [subscriber: self(), demand: :auto] do
        error = assert_raise LibsqlPort.Error, fn -> Changes.stream(TestRepo, City, [{option, value}]) end
        assert {error.code, error.message =~ inspect(option)} == {:invalid_option, true}
      end
    end

    test "of a subscription that would tell nothing" do
      for schemas <- [[], nil],
          do: assert(refused(Changes.subscribe(TestRepo, schemas)) =~ "no schema is named")

      assert refused(Changes.subscribe(TestRepo, [City | Embedded])) =~ "is no list of schemas"
      assert refused(Changes.subscribe(TestRepo, [City, Embedded])) =~ "Embedded is an embedded schema"

      for name <- [:operations, :fields, :changed_fields],
          do:
            assert(
              refused(Changes.subscribe(TestRepo, City, [{name, []}])) =~ "#{inspect(name)} takes a list"
            )
    end

    test "of the driver: a Repo in the place of its sidecar is told the sidecar's name" do
      repo = EctoLibSql.ListenersTest.NamedRepo
      path = Path.join(System.tmp_dir!(), "named_#{System.unique_integer([:positive])}.db")
      on_exit(fn -> Ecto.Adapters.LibSql.storage_down(database: path) end)
      start_supervised!({repo, database: path, pool_size: 1, log: false})

      for call <- [
            &LibsqlPort.create_function(&1, "f", 0, fn -> 1 end),
            &LibsqlPort.set_commit_hook(&1, fn _ -> :ok end),
            &LibsqlPort.Changes.subscribe(&1, [])
          ] do
        assert refused(call.(repo)) =~ "Give #{inspect(repo)}.Sidecar, which is that of #{inspect(repo)}"
        # One of another kind of process has no such name.
        assert refused(call.(self())) =~ "A Repo's own is MyApp.Repo.Sidecar, or the Repo's option `sidecar:`"
      end
    end

    test "of a topic: events and filters that nothing is sent to" do
      for {identifier, filter} <- [
            {{City, :insertd}, []},
            {{City, :insert}, []},
            {"cities", []},
            {nil, []},
            {:label, [name: nil]},
            {:label, [id: 1, name: "x"]},
            {:label, %{id: 1}},
            {{City, :updated}, [name: nil]}
          ],
          call <- [&Broadcaster.topic/2, &Broadcaster.subscribe(MyApp.PubSub, &1, &2)] do
        error = assert_raise LibsqlPort.Error, fn -> call.(identifier, filter) end
        assert error.code == :invalid_option
        assert error.message =~ ~r/an identifier is|a filter is/
      end
    end

    test "of two broadcasters under one supervisor" do
      options = [repo: TestRepo, broadcast: fn _, _ -> :ok end, watch: [{City, :inserted}]]

      children =
        for name <- [:one_broadcaster, :other_broadcaster], do: {Broadcaster, [name: name] ++ options}

      assert {:ok, supervisor} = Supervisor.start_link(children, strategy: :one_for_one)
      Supervisor.stop(supervisor)
    end

    test "of a broadcaster" do
      good = [repo: TestRepo, broadcast: fn _, _ -> :ok end, watch: [{City, :inserted}]]

      for {options, told} <- [
            {Keyword.delete(good, :repo), ":repo is missing"},
            {Keyword.delete(good, :watch), ":watch is missing"},
            {Keyword.put(good, :pub_sub, A),
             "unknown option :pub_sub (did you mean :pubsub?); known are :broadcast"},
            {Keyword.put(good, :pubsub, A), "not both"},
            {Keyword.put(good, :repo, City), "is no Repo"},
            {Keyword.put(good, :broadcast, & &1), ":broadcast takes a function of a topic and a message"},
            {Keyword.put(good, :watch, [{City, :inserted, trigger_columns: [:name]}]),
             "Updates have :trigger_columns"},
            {Keyword.put(good, :watch, [{City, :updated, trigger_columns: :name}]),
             ":trigger_columns takes a list"},
            {Keyword.put(good, :watch, [{City, :updated, label: "x"}]), ":label takes an atom"},
            {Keyword.put(good, :watch, [{City, :updated, columns: []}]), "unknown option :columns"},
            {Keyword.put(good, :watch, [{City, :insert}]),
             "an event of :inserted, :updated or :deleted, not"},
            {Keyword.put(good, :watch, [{City, :updated, trigger_columns: []}]), ":trigger_columns takes"},
            {Keyword.put(good, :watch, [{City, :updated, trigger_columns: [:nam]}]),
             ":trigger_columns names :nam"},
            {Keyword.put(good, :watch, [{City, :inserted, extra_columns: [:nam]}]),
             ":extra_columns names :nam"},
            {Keyword.put(good, :watch, [{Embedded, :inserted}]), "embedded schema"},
            {Keyword.put(good, :watch, [{City, :inserted} | {City, :deleted}]), ":watch takes a list"},
            {Keyword.put(good, :watch, [{Enum, :inserted}]), "Enum is no schema"},
            {good |> Keyword.delete(:broadcast) |> Keyword.put(:pubsub, A), ":phoenix_pubsub"},
            {%{}, "keyword list"}
          ] do
        assert refused(Broadcaster.start_link(options)) =~ told
      end
    end

    test "of a consumer" do
      good = [repo: TestRepo, name: "c", handler: fn _ -> :ok end]

      for {options, told} <- [
            {Keyword.delete(good, :repo), ":repo is missing"},
            {Keyword.delete(good, :handler), ":handler is missing"},
            {Keyword.put(good, :name, :c), ":name takes a string"},
            {Keyword.put(good, :handler, fn -> :ok end), ":handler takes"},
            {Keyword.put(good, :batch, 1),
             "unknown option :batch (did you mean :batch_size?); known are :attempts_max, :batch_size"},
            {Keyword.put(good, :batch_size, 0), ":batch_size takes an integer, 1 or more"},
            {Keyword.put(good, :from, 7), ":from takes :beginning or :end"},
            {Keyword.put(good, :trim, rows: 1), ":trim takes"},
            {Keyword.put(good, :trim, rows_max: -1), ":trim takes"},
            {Keyword.put(good, :listen, nil), ":listen takes true or false"},
            {Keyword.put(good, :repo, "repo"), "is no Repo"},
            {Keyword.put(good, :name, ""), ":name takes a string, not empty"},
            {Keyword.put(good, :handler, {IO, :nofun, []}), ":handler takes"},
            {Keyword.put(good, :handler, {Map, :new, [1, 2]}), ":handler takes"},
            {Keyword.put(good, :handler, {Map, :new, [1 | 2]}), ":handler takes"},
            {Keyword.put(good, :handler, {NoModule, :new, []}), ":handler takes"},
            {Keyword.put(good, :retry_wait_min_ms, 0), ":retry_wait_min_ms takes"},
            {Keyword.put(good, :retry_wait_min_ms, 60_001),
             ":retry_wait_min_ms is at most :retry_wait_max_ms"},
            {Keyword.put(good, :attempts_max, 0), ":attempts_max takes"},
            {[:repo], "keyword list"}
          ] do
        assert refused(Consumer.start_link(options)) =~ told
      end

      assert refused(start_supervised({Consumer, Keyword.put(good, :batch, 1)})) =~ ":batch"
    end
  end

  test "fields without the key: the key is told all the same" do
    {:ok, _} = Changes.subscribe(TestRepo, City, fields: [:name])
    %{id: id} = TestRepo.insert!(%City{name: "Ulm"})
    assert_receive %Changes{changes: [%{key: %{id: ^id}, new: %City{id: ^id, name: "Ulm"} = city}]}, 30_000
    assert {:ok, _} = TestRepo.update(Ecto.Changeset.change(city, name: "Bonn"))
  end

  describe "a dynamic Repo" do
    setup %{config: config, path: path} do
      # The other one's: a Repo of the module's own name runs as well, and must be told nothing.
      other = path <> ".other"

      start_supervised!(
        {TestRepo, [name: :dynamic_one, database: other] ++ Keyword.delete(config, :database)},
        id: :dynamic
      )

      on_exit(fn -> Ecto.Adapters.LibSql.storage_down(database: other) end)

      within(:dynamic_one, fn ->
        TestRepo.query!("CREATE TABLE cities (id INTEGER PRIMARY KEY, name TEXT)")
        Migration.create_change_log(:cities, repo: TestRepo)
      end)

      :ok
    end

    defp within(repo, fun) do
      before = TestRepo.put_dynamic_repo(repo)

      try do
        fun.()
      after
        TestRepo.put_dynamic_repo(before)
      end
    end

    defp insert(repo, name), do: within(repo, fn -> TestRepo.insert!(%City{name: name}) end)

    # By module and name, by name, by process, and by what the starting process has put.
    defp named do
      pid = Process.whereis(:dynamic_one)

      [
        fn start -> start.(repo: TestRepo, dynamic_repo: :dynamic_one) end,
        fn start -> start.(repo: TestRepo, dynamic_repo: pid) end,
        fn start -> start.(repo: :dynamic_one) end,
        fn start -> start.(repo: pid) end,
        fn start -> within(:dynamic_one, fn -> start.(repo: TestRepo) end) end
      ]
    end

    test "is subscribed to" do
      for name <- [:dynamic_one, Process.whereis(:dynamic_one), TestRepo] do
        {:ok, subscription} = within(:dynamic_one, fn -> Changes.subscribe(name, City) end)
        insert(TestRepo, "other")
        insert(:dynamic_one, "told")
        assert_receive %Changes{subscription: ^subscription, repo: TestRepo, changes: [%{new: new}]}, 5_000
        assert %City{name: "told"} = new
        Changes.unsubscribe(subscription)
      end
    end

    test "is broadcast" do
      test = self()

      for start <- named() do
        {:ok, broadcaster} =
          start.(fn repo ->
            options = [broadcast: fn topic, message -> send(test, {topic, message}) end]
            Broadcaster.start_link(repo ++ options ++ [watch: [{City, :inserted, extra_columns: [:name]}]])
          end)

        insert(TestRepo, "other")
        insert(:dynamic_one, "told")
        topic = Broadcaster.topic({City, :inserted})
        assert_receive {^topic, {{City, :inserted}, %{name: name}}}, 5_000
        assert name == "told"
        GenServer.stop(broadcaster)
      end
    end

    test "is consumed, and its handler has it in place" do
      test = self()

      handler = fn changes ->
        send(test, {:changes, Enum.map(changes, & &1.new["name"]), TestRepo.get_dynamic_repo()}) && :ok
      end

      for {start, number} <- Enum.with_index(named()) do
        {:ok, consumer} =
          start.(fn repo ->
            Consumer.start_link(
              repo ++ [name: "c#{number}", from: :end, handler: handler, interval_ms: 3_600_000, trim: false]
            )
          end)

        # It has looked once, and so has begun.
        :sys.get_state(consumer)
        insert(TestRepo, "other")
        insert(:dynamic_one, "told")
        assert_receive {:changes, ["told"], :dynamic_one}, 30_000

        assert {:error, {:already_started, ^consumer}} =
                 start.(&Consumer.start_link(&1 ++ [name: "c#{number}", handler: handler]))

        GenServer.stop(consumer)
      end
    end

    test "consumers of one name for two Repos are two, and each is woken for its own" do
      test = self()

      for repo <- [TestRepo, :dynamic_one] do
        handler = fn changes -> send(test, {repo, Enum.map(changes, & &1.new["name"])}) && :ok end

        options = [
          repo: repo,
          name: "same",
          handler: handler,
          interval_ms: 3_600_000,
          trim: false,
          listen: false
        ]

        # It has looked once when it answers.
        {Consumer, options} |> start_supervised!() |> :sys.get_state()
      end

      insert(TestRepo, "a")
      insert(:dynamic_one, "b")
      ChangeLog.wake(:dynamic_one)
      assert_receive {:dynamic_one, ["b"]}, 30_000
      refute_received {TestRepo, _}
      ChangeLog.wake(TestRepo)
      assert_receive {TestRepo, ["a"]}, 30_000
      insert(:dynamic_one, "c")
      within(:dynamic_one, fn -> ChangeLog.wake(TestRepo) end)
      assert_receive {:dynamic_one, ["c"]}, 30_000
    end
  end

  describe "in the sandbox" do
    @describetag repo: [pool: Sandbox, pool_size: 4]

    setup do
      Sandbox.mode(TestRepo, :manual)
      test = self()
      handler = fn changes -> send(test, {:changes, Enum.map(changes, & &1.new["name"])}) && :ok end
      {:ok, options: [repo: TestRepo, name: "s", handler: handler, interval_ms: 10, trim: false]}
    end

    test "a consumer waits until it is allowed a connection, and outlives the test", %{options: options} do
      log =
        capture_log(fn ->
          # Not one restart is left to it.
          {:ok, supervisor} =
            Supervisor.start_link([{Consumer, options}], strategy: :one_for_one, max_restarts: 0)

          [{_id, consumer, _, _}] = Supervisor.which_children(supervisor)

          for name <- ["first test", "second test"] do
            Task.await(
              Task.async(fn ->
                Sandbox.checkout(TestRepo)
                TestRepo.insert!(%City{name: name})
                Sandbox.allow(TestRepo, self(), consumer)
                send(consumer, :wake)
                # The handler's own sandbox is that of the test, so the test waits.
                wait_until(fn -> match?([%{behind: 0}], ChangeLog.consumers(TestRepo)) end)
              end)
            )

            assert_receive {:changes, [^name]}, 30_000
          end

          assert [{_id, ^consumer, _, _}] = Supervisor.which_children(supervisor)
          Supervisor.stop(supervisor)
        end)

      assert log =~ "Ecto.Adapters.SQL.Sandbox.allow/3"
    end

    test "a consumer in the shared mode, whose row goes with each test", %{options: options} do
      capture_log(fn ->
        {:ok, supervisor} =
          Supervisor.start_link([{Consumer, options}], strategy: :one_for_one, max_restarts: 0)

        [{_id, consumer, _, _}] = Supervisor.which_children(supervisor)

        for name <- ["first", "second", "third"] do
          owner = Sandbox.start_owner!(TestRepo, shared: true)
          TestRepo.insert!(%City{name: name})
          assert_receive {:changes, [^name]}, 30_000
          Sandbox.stop_owner(owner)
        end

        assert [{_id, ^consumer, _, _}] = Supervisor.which_children(supervisor)
        Supervisor.stop(supervisor)
      end)
    end

    test "a broadcaster and a subscription are told of what is written beside it" do
      test = self()
      options = [repo: TestRepo, broadcast: fn topic, message -> send(test, {topic, message}) end]
      start_supervised!({Broadcaster, options ++ [watch: [{City, :inserted, extra_columns: [:name]}]]})
      {:ok, subscription} = Changes.subscribe(TestRepo, City)
      Sandbox.checkout(TestRepo)
      TestRepo.insert!(%City{name: "rolled back"})
      Sandbox.checkin(TestRepo)
      Sandbox.unboxed_run(TestRepo, fn -> TestRepo.insert!(%City{name: "committed"}) end)
      topic = Broadcaster.topic({City, :inserted})
      assert_receive {^topic, {{City, :inserted}, %{name: "committed"}}}, 5_000
      assert_receive %Changes{subscription: ^subscription, changes: [%{new: %{name: "committed"}}]}, 5_000
      refute_received {^topic, {_, %{id: _}}}
    end

    defp wait_until(fun), do: unless(fun.(), do: wait_until(fun))
  end

  describe "a change log that is not there" do
    @describetag :bare

    test "is named by every function, with its mend" do
      for read <- [
            &ChangeLog.read(TestRepo, "a", &1),
            &ChangeLog.ack(TestRepo, "a", 1, &1),
            &ChangeLog.create_consumer(TestRepo, "a", &1),
            &ChangeLog.delete_consumer(TestRepo, "a", &1),
            &ChangeLog.consumers(TestRepo, &1),
            &ChangeLog.trim(TestRepo, &1),
            &ChangeLog.last_sequence(TestRepo, &1),
            &(TestRepo |> ChangeLog.stream("a", &1) |> Enum.to_list())
          ] do
        error = assert_raise NoLog, fn -> read.([]) end
        assert error.log == "change_log"
        assert Exception.message(error) =~ "EctoLibSql.Migration.create_change_log(:my_table)"
        error = assert_raise NoLog, fn -> read.(log: "mine") end
        assert Exception.message(error) =~ "create_change_log(:my_table, log: \"mine\")"
      end
    end

    test "in a database that has another one" do
      TestRepo.query!("CREATE TABLE cities (id INTEGER PRIMARY KEY, name TEXT)")
      Migration.create_change_log(:cities, repo: TestRepo, log: "mine")
      assert_raise NoLog, fn -> ChangeLog.last_sequence(TestRepo) end
      assert ChangeLog.last_sequence(TestRepo, log: "mine") == 0
      # Another error is what it is.
      TestRepo.query!("DROP TABLE mine_consumers")

      assert_raise EctoLibSql.Error, ~r/no such table: mine_consumers/, fn ->
        ChangeLog.consumers(TestRepo, log: "mine")
      end
    end

    test "is waited for by its consumer, which says so once" do
      test = self()
      handler = fn changes -> send(test, {:changes, Enum.map(changes, & &1.new["name"])}) && :ok end

      log =
        capture_log(fn ->
          consumer =
            start_supervised!(
              {Consumer, repo: TestRepo, name: "c", handler: handler, interval_ms: 5, listen: false}
            )

          # It looks for the log again and again, and is the same process when it is there.
          for _ <- 1..3, do: send(consumer, :wake) && :sys.get_state(consumer)
          TestRepo.query!("CREATE TABLE cities (id INTEGER PRIMARY KEY, name TEXT)")
          Migration.create_change_log(:cities, repo: TestRepo)
          TestRepo.insert!(%City{name: "Ulm"})
          assert_receive {:changes, ["Ulm"]}, 30_000

          assert [{consumer, nil}] ==
                   Registry.lookup(ChangeLog.Registry, {{TestRepo, TestRepo}, "change_log", "c"})

          stop_supervised!(consumer_id())
        end)

      assert [_, said] = String.split(log, "waits: there is no change log")
      assert said =~ "run the migrations before its consumers"
    end

    defp consumer_id, do: {Consumer, {TestRepo, nil, nil, "c"}}
  end
end
