defmodule EctoLibSql.ChangeLogOptionsTest do
  # What the functions of a change log take: what they would pass over is refused before anything is written.
  use EctoLibSql.RepoCase

  alias EctoLibSql.{ChangeLog, Migration}

  defmodule City do
    use Ecto.Schema

    schema "cities" do
      field :name, :string
    end
  end

  setup do
    TestRepo.query!("CREATE TABLE cities (id INTEGER PRIMARY KEY, name TEXT)")
    :ok
  end

  defp refused(fun) do
    error = assert_raise LibsqlPort.Error, fun
    assert error.code == :invalid_option
    error.message
  end

  describe "a migration's options" do
    test "are refused with their name" do
      for change <- [&Migration.create_change_log/2, &Migration.drop_change_log/2],
          {options, told} <- [
            {[columns: []], ~r/:columns takes a list of at least one column, .*values: :none/},
            {[columns: "name"], ~r/:columns takes/},
            {[columns: [1]], ~r/:columns takes/},
            {[columns: [:name | :id]], ~r/:columns takes/},
            {[operations: [:insert | :update]], ~r/:operations takes/},
            {[columns: [nil]], ~r/:columns takes/},
            {[replace: :no], ~r/:replace takes true or false/},
            {[log: 5], ~r/:log takes the name of a log/},
            {[log: ""], ~r/:log takes/},
            {[log: nil], ~r/:log takes/},
            {[values: :old], ~r/:values takes :none, :new or :old_and_new/},
            {[operations: [:truncate]], ~r/:operations takes/},
            {[operations: []], ~r/:operations takes/},
            {[column: [:name]], ~r/unknown option :column \(did you mean :columns\?\); known are .*:repo/},
            {[repo: City], ~r/is no Repo/}
          ] do
        assert refused(fn -> change.(:cities, Keyword.merge([repo: TestRepo], options)) end) =~ told
      end

      for table <- [nil, "", 7],
          do: assert(refused(fn -> Migration.create_change_log(table) end) =~ "the table")

      assert refused(fn -> Migration.create_change_log(:cities, %{}) end) =~ "keyword list"
      assert TestRepo.query!("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'").rows == [[0]]
    end

    test "outside of a migration are told to name the Repo" do
      for change <- [
            fn -> Migration.create_change_log(:cities) end,
            fn -> Migration.drop_change_log(:cities) end,
            fn -> Migration.normalize_times(:cities, [:at]) end
          ],
          do: assert(refused(change) =~ "`repo: MyApp.Repo`")
    end

    test "name a log by an atom, too" do
      :ok = Migration.create_change_log(:cities, repo: TestRepo, log: :audit)
      TestRepo.insert!(%City{name: "Ulm"})
      :ok = ChangeLog.create_consumer(TestRepo, "a", log: :audit)
      assert {:ok, [%{new: %{"name" => "Ulm"}}]} = ChangeLog.read(TestRepo, "a", log: "audit")
    end
  end

  describe "a function's arguments" do
    setup do
      :ok = Migration.create_change_log(:cities, repo: TestRepo)
      :ok = ChangeLog.create_consumer(TestRepo, "a")
    end

    # With a Repo, a consumer's name and options. Each is one of all that there are.
    defp of_consumer do
      [
        &ChangeLog.create_consumer/3,
        &ChangeLog.delete_consumer/3,
        &ChangeLog.read/3,
        &ChangeLog.stream/3,
        &ChangeLog.ack(&1, &2, 0, &3)
      ]
    end

    defp of_log,
      do: [&ChangeLog.consumers/2, &ChangeLog.trim/2, &ChangeLog.stale/2, &ChangeLog.last_sequence/2]

    defp all, do: of_log() ++ for(call <- of_consumer(), do: &call.(&1, "a", &2))

    test "are refused with their name" do
      for call <- of_consumer(), name <- ["", :a, nil, 7, "a\0b"] do
        assert refused(fn -> call.(TestRepo, name, []) end) =~ "the consumer is a string, not empty"
      end

      for call <- all() do
        assert refused(fn -> call.(TestRepo, nosuch: 1) end) =~ "unknown option :nosuch; known are"
        assert refused(fn -> call.(TestRepo, log: 5) end) =~ ":log takes the name of a log"
        assert refused(fn -> call.(TestRepo, %{}) end) =~ "keyword list"
      end

      for limit <- [0, -1, "1", nil],
          call <- [&ChangeLog.read/3, &ChangeLog.stream/3],
          do:
            assert(
              refused(fn -> call.(TestRepo, "a", limit: limit) end) =~ ":limit takes an integer, 1 or more"
            )

      for name <- [:rows_max, :bytes_max, :age_max_ms],
          value <- [-1, :x, nil, 1.0],
          do: assert(refused(fn -> ChangeLog.trim(TestRepo, [{name, value}]) end) =~ "#{inspect(name)} takes")

      for sequence <- [-1, nil, "1"],
          do: assert(refused(fn -> ChangeLog.ack(TestRepo, "a", sequence) end) =~ "the sequence is")

      assert refused(fn -> ChangeLog.create_consumer(TestRepo, "b", from: 7) end) =~ ":from takes"
      assert [%{name: "a"}] = ChangeLog.consumers(TestRepo)
    end

    test "name a Repo: what is none is refused" do
      for call <- all(), repo <- [City, self(), "repo"] do
        assert refused(fn -> call.(repo, []) |> Enum.to_list() end) =~ "is no Repo"
      end

      assert refused(fn -> ChangeLog.load(City, City, %{}) end) =~ "is no Repo"
      assert refused(fn -> ChangeLog.wake(City) end) =~ "is no Repo"
    end

    test "name a log: one that is not there is told by `stale`, too" do
      assert_raise ChangeLog.NoLog, fn -> ChangeLog.stale(TestRepo, log: "nope") end
      assert ChangeLog.stale(TestRepo) == []
    end

    test "nothing is loaded of values that a change does not have" do
      assert ChangeLog.load(TestRepo, City, nil) == nil
      assert %City{name: "Ulm"} = ChangeLog.load(TestRepo, City, %{"name" => "Ulm"})
    end
  end

  test "a dynamic Repo by its name and process, in all functions", %{config: config, path: path} do
    other = path <> ".other"

    start_supervised!({TestRepo, [name: :other, database: other] ++ Keyword.delete(config, :database)},
      id: :other
    )

    on_exit(fn -> Ecto.Adapters.LibSql.storage_down(database: other) end)
    before = TestRepo.get_dynamic_repo()

    for {repo, number} <- Enum.with_index([:other, Process.whereis(:other)]) do
      TestRepo.put_dynamic_repo(:other)
      TestRepo.query!("CREATE TABLE IF NOT EXISTS cities (id INTEGER PRIMARY KEY, name TEXT)")
      TestRepo.put_dynamic_repo(before)
      log = "log_#{number}"
      :ok = Migration.create_change_log(:cities, repo: repo, log: log)
      :ok = ChangeLog.create_consumer(repo, "b", log: log)

      TestRepo.put_dynamic_repo(:other)
      TestRepo.insert!(%City{name: "Bonn"})
      TestRepo.put_dynamic_repo(before)

      assert {:ok, [%{new: new, sequence: sequence}]} = ChangeLog.read(repo, "b", log: log)
      assert %City{name: "Bonn"} = ChangeLog.load(repo, City, new)
      assert [_] = repo |> ChangeLog.stream("b", log: log) |> Enum.to_list()
      assert ChangeLog.ack(repo, "b", sequence, log: log) == :ok
      assert [%{name: "b", behind: 0}] = ChangeLog.consumers(repo, log: log)
      assert ChangeLog.trim(repo, log: log) == {1, []}
      assert ChangeLog.stale(repo, log: log) == []
      assert ChangeLog.last_sequence(repo, log: log) == sequence
      assert ChangeLog.delete_consumer(repo, "b", log: log)
      assert TestRepo.get_dynamic_repo() == before
      # It is in the other database alone.
      assert_raise ChangeLog.NoLog, fn -> ChangeLog.last_sequence(TestRepo, log: log) end

      assert_raise ArgumentError, fn ->
        ChangeLog.create_consumer(repo, "x", log: log) && ChangeLog.ack(repo, "x", 99, log: log)
      end

      assert TestRepo.get_dynamic_repo() == before
    end
  end
end
