defmodule EctoLibSql.ChangesTest do
  # async: false – the repo has one name, as an application's has.
  use EctoLibSql.RepoCase

  alias EctoLibSql.Changes
  alias EctoLibSql.Changes.Broadcaster
  alias LibsqlPort.Changes.Ended

  doctest EctoLibSql.Changes
  doctest EctoLibSql.Changes.Broadcaster

  test "the example of a broadcaster's start" do
    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(Broadcaster)
    [text] = for {{:function, :start_link, 1}, _, _, %{"en" => text}, _} <- docs, do: text
    [_, example] = String.split(text, "With a function in the place of Phoenix.PubSub:\n")

    example
    |> String.replace("MyApp.Repo", inspect(TestRepo))
    |> String.replace("MyApp.City", "EctoLibSql.ChangesTest.City")
    |> Code.eval_string([], __ENV__)
  end

  defmodule City do
    use Ecto.Schema

    schema "cities" do
      field(:name, :string)
      field(:capital, :boolean, default: false)
      field(:population, :decimal, source: :people)
      field(:seen_at, :utc_datetime)
      field(:tags, {:array, :string})
      belongs_to(:country, EctoLibSql.ChangesTest.Country, type: :binary_id)
    end
  end

  defmodule Country do
    use Ecto.Schema
    @primary_key {:id, :binary_id, autogenerate: true}

    schema "countries" do
      field(:name, :string)
      has_many(:cities, EctoLibSql.ChangesTest.City)
    end
  end

  defmodule Town do
    use Ecto.Schema

    # The same table, of which it knows less.
    schema "Cities" do
      field(:name, :string)
    end
  end

  defmodule Beside do
    use Ecto.Schema
    @schema_prefix "Beside"

    schema "cities" do
      field(:name, :string)
      field(:tags, {:array, :string})
    end
  end

  defmodule Seen do
    use Ecto.Schema

    schema "seen_cities" do
      field(:name, :string)
    end
  end

  defmodule Part do
    use Ecto.Schema

    embedded_schema do
      field(:name, :string)
    end
  end

  setup do
    migrate(fn ->
      import Ecto.Migration

      create table(:countries, primary_key: false) do
        add(:id, :binary_id, primary_key: true)
        add(:name, :string)
      end

      create table(:cities) do
        add(:name, :string)
        add(:capital, :boolean)
        add(:people, :decimal)
        add(:seen_at, :utc_datetime)
        add(:tags, {:array, :string})
        add(:country_id, references(:countries, type: :binary_id, on_delete: :delete_all))
      end
    end)

    :ok
  end

  defp told(subscription) do
    assert_receive %Changes{subscription: ^subscription} = message, 5_000
    message
  end

  test "rows come as structs, with values loaded by the schema's types" do
    {:ok, subscription} = Changes.subscribe(TestRepo, [City, Country])

    {:ok, {country, city}} =
      TestRepo.transaction(fn ->
        country = TestRepo.insert!(%Country{name: "Bolivia"})

        city =
          TestRepo.insert!(%City{
            name: "Sucre",
            capital: true,
            population: Decimal.new("300000.50"),
            seen_at: ~U[2026-11-27 10:00:00Z],
            tags: ["white", "old"],
            country_id: country.id
          })

        {country, city}
      end)

    assert %Changes{repo: TestRepo, sequence: sequence, changes: [of_country, of_city]} = told(subscription)
    assert is_integer(sequence)
    assert %{operation: :insert, schema: Country, old: nil, unloaded: []} = of_country
    assert of_country.new.id == country.id and of_country.key == %{id: country.id}
    assert of_city.new == %{TestRepo.get!(City, city.id) | __meta__: of_city.new.__meta__}
    assert of_city.new.__meta__.state == :loaded

    TestRepo.update!(Ecto.Changeset.change(city, name: "La Plata"))
    assert [%{operation: :update, new: %City{name: "La Plata"}, old_key: nil}] = told(subscription).changes
    # The city goes by the foreign key.
    TestRepo.delete!(country)
    id = city.id

    assert [delete, %{operation: :delete, schema: City, key: %{id: ^id}, new: nil}] =
             told(subscription).changes

    assert delete.key == %{id: country.id}
  end

  test "of a transaction that is rolled back nothing comes" do
    {:ok, subscription} = Changes.subscribe(TestRepo, City)

    TestRepo.transaction(fn ->
      TestRepo.insert!(%City{name: "Potosí"})
      TestRepo.rollback(:no)
    end)

    TestRepo.insert!(%City{name: "Oruro"})
    assert [%{new: %{name: "Oruro"}}] = told(subscription).changes
  end

  test "fields and changed fields are named as the schema does" do
    {:ok, subscription} =
      Changes.subscribe(TestRepo, City,
        fields: [:population],
        changed_fields: [:population],
        values: :old_and_new
      )

    city = TestRepo.insert!(%City{name: "Oruro", population: Decimal.new(1)})
    TestRepo.update!(Ecto.Changeset.change(city, name: "Uru Uru"))
    TestRepo.update!(Ecto.Changeset.change(city, population: Decimal.new(2)))
    assert [%{operation: :insert, new: %City{name: nil, population: population}}] = told(subscription).changes
    assert Decimal.equal?(population, 1)
    assert [%{operation: :update, old: old, new: new, key: key}] = told(subscription).changes
    assert Decimal.equal?(old.population, 1) and Decimal.equal?(new.population, 2)
    assert key == %{id: city.id}
  end

  test "values that a type does not take are passed on as they are" do
    {:ok, subscription} = Changes.subscribe(TestRepo, City)
    TestRepo.query!("INSERT INTO cities (name, seen_at) VALUES ('x', 'yesterday')")
    assert [%{unloaded: [:seen_at], new: %City{seen_at: "yesterday", name: "x"}}] = told(subscription).changes
  end

  test "raw SQL and schema changes are told" do
    {:ok, subscription} = Changes.subscribe(TestRepo, City, values: :none)
    TestRepo.query!("INSERT INTO cities (id, name) VALUES (5, 'a'), (6, 'b')")
    assert [%{key: %{id: 5}, new: nil}, %{key: %{id: 6}}] = told(subscription).changes
    TestRepo.query!("ALTER TABLE cities ADD COLUMN extra")
    assert [%{operation: :schema}] = told(subscription).changes
    TestRepo.query!("DELETE FROM cities")
    assert [%{operation: :delete, key: %{id: 5}}, %{operation: :delete}] = told(subscription).changes
    assert :ok = Changes.unsubscribe(subscription)
  end

  test "a stream" do
    {:ok, marker} = Changes.subscribe(TestRepo, City)
    test = self()

    reader =
      Task.async(fn ->
        TestRepo
        |> Changes.stream(City)
        |> Stream.flat_map(& &1.changes)
        # An insert that was under way when the stream subscribed is told as such.
        |> Stream.filter(&(&1.operation == :insert))
        |> Stream.each(fn _ -> send(test, :read) end)
        |> Enum.find(&(&1.new.name == "last"))
      end)

    insert_until_read = fn insert_until_read ->
      TestRepo.insert!(%City{name: "first"})
      told(marker)

      receive do
        :read -> :ok
      after
        20 -> insert_until_read.(insert_until_read)
      end
    end

    insert_until_read.(insert_until_read)
    TestRepo.insert!(%City{name: "last"})
    assert %{new: %City{name: "last"}} = Task.await(reader)
  end

  @tag repo: [database: ":memory:", pool_size: 1]
  test "a private database" do
    {:ok, subscription} = Changes.subscribe(TestRepo, City)
    TestRepo.insert!(%City{name: "Oruro"})
    assert [%{new: %{name: "Oruro"}}] = told(subscription).changes
  end

  test "what is no schema or no field is an error" do
    assert {:error, %{code: :invalid_option, message: message}} = Changes.subscribe(TestRepo, :cities)
    assert message =~ "no schema"
    assert {:error, %{code: :invalid_option}} = Changes.subscribe(TestRepo, City, fields: [:nothing])
    assert {:error, %{code: :invalid_option}} = Changes.subscribe(TestRepo, City, changed_fields: :name)
    assert {:error, %{code: :invalid_option}} = Changes.subscribe(TestRepo, City, watch: 1)
  end

  test "of nothing, or of what has no rows of its own, nothing is subscribed to" do
    script("CREATE VIEW seen_cities AS SELECT id, name FROM cities")

    for {schemas, options, words} <- [
          {[], [], "no schema is named"},
          {City, [fields: []], "at least one"},
          {City, [changed_fields: []], "at least one"},
          {Seen, [], "a view"},
          {[City, Seen], [], "a view"},
          {Part, [], "embedded"},
          {[City, Beside], [], "subscribe to each by itself"},
          {Beside, [], ":attach"}
        ] do
      assert {:error, %{code: :invalid_option, message: message}} =
               Changes.subscribe(TestRepo, schemas, options)

      assert message =~ words
    end
  end

  test "names are compared without the case of ASCII letters" do
    script("""
    DROP TABLE cities;
    CREATE TABLE CITIES (ID INTEGER PRIMARY KEY, Name TEXT, capital, PEOPLE, seen_at, tags, country_id);
    """)

    {:ok, subscription} = Changes.subscribe(TestRepo, City, values: :old_and_new)
    {:ok, some} = Changes.subscribe(TestRepo, City, fields: [:name], changed_fields: [:population])
    city = TestRepo.insert!(%City{name: "Sucre", population: Decimal.new(1)})
    id = city.id
    assert [%{key: %{id: ^id}, new: new}] = told(subscription).changes
    assert new.id == id and new.name == "Sucre" and Decimal.equal?(new.population, 1)
    assert [%{key: %{id: ^id}, new: %City{name: "Sucre", population: nil}}] = told(some).changes

    TestRepo.update!(Ecto.Changeset.change(city, population: Decimal.new(2)))
    assert [%{old: %{name: "Sucre"}, new: %{name: "Sucre"}}] = told(subscription).changes
    assert [%{operation: :update}] = told(some).changes
    TestRepo.query!("UPDATE cities SET id = 77")
    assert [%{key: %{id: 77}, old_key: %{id: ^id}}] = told(subscription).changes
  end

  test "two schemas of a table are both told" do
    {:ok, subscription} = Changes.subscribe(TestRepo, [City, Town, City])
    %{id: id} = TestRepo.insert!(%City{name: "Sucre", capital: true})

    assert [
             %{schema: City, key: %{id: ^id}, new: %City{name: "Sucre", capital: true}},
             %{schema: Town, key: %{id: ^id}, new: %Town{name: "Sucre"}}
           ] = told(subscription).changes
  end

  describe "an attached database" do
    @beside Path.join(System.tmp_dir!(), "ecto_libsql_port-beside-#{System.pid()}.db")
    @describetag repo: [attach: [beside: @beside]]

    setup do
      on_exit(fn -> Ecto.Adapters.LibSql.storage_down(database: @beside) end)
      script("CREATE TABLE beside.cities (id INTEGER PRIMARY KEY, name TEXT, tags TEXT)")
      :ok
    end

    test "is that of the schema's prefix, and no other" do
      {:ok, beside} = Changes.subscribe(TestRepo, Beside)
      {:ok, main} = Changes.subscribe(TestRepo, City)
      TestRepo.insert!(%City{name: "of main"})
      TestRepo.insert!(%Beside{name: "beside"})
      TestRepo.insert!(%City{name: "of main again"})
      assert [%{schema: Beside, new: %Beside{name: "beside"}}] = told(beside).changes
      assert [%{schema: City, new: %City{name: "of main"}}] = told(main).changes
      assert [%{schema: City, new: %City{name: "of main again"}}] = told(main).changes

      # Another program's connection, to which it is the main one.
      {sidecar, _} = EctoLibSql.Direct.database(Ecto.Adapter.lookup_meta(TestRepo))
      {:ok, conn} = LibsqlPort.connect(sidecar, database: @beside)
      LibsqlPort.query!(conn, "INSERT INTO cities (name) VALUES ('directly')")
      assert [%{new: %Beside{name: "directly"}}] = told(beside).changes
      refute_received %Changes{}
      LibsqlPort.close(conn)
    end

    test "is looked at for views too" do
      script("DROP TABLE beside.cities; CREATE VIEW beside.cities AS SELECT 1 AS id, 'a' AS name")
      assert {:error, %{message: message}} = Changes.subscribe(TestRepo, Beside)
      assert message =~ "a view"
      assert {:ok, _} = Changes.subscribe(TestRepo, City)
    end
  end

  @tag repo: [database: ":memory:", pool_size: 1, attach: [beside: ":memory:"]]
  test "a prefix that is a connection's own database" do
    assert {:error, %{code: :invalid_option, message: message}} = Changes.subscribe(TestRepo, Beside)
    assert message =~ "one connection's alone"
  end

  test "the feed of a Repo that stops ends" do
    {:ok, subscription} = Changes.subscribe(TestRepo, City)
    stop_supervised!(TestRepo)
    assert_receive %Ended{subscription: ^subscription}, 30_000
  end

  describe "a broadcaster" do
    defp start_broadcaster(watch) do
      test = self()
      broadcast = fn topic, message -> send(test, {topic, message}) end
      start_supervised!({Broadcaster, repo: TestRepo, broadcast: broadcast, watch: watch})
    end

    test "sends keys and extra columns, to the topic of all and to those of the row" do
      start_broadcaster([
        {City, :inserted},
        {City, :updated, trigger_columns: [:name], extra_columns: [:country_id, :name], label: :renamed},
        {City, :deleted, extra_columns: [:name]}
      ])

      country = TestRepo.insert!(%Country{name: "Bolivia"})
      city = TestRepo.insert!(%City{name: "Sucre", country_id: country.id})
      inserted = {{City, :inserted}, %{id: city.id}}
      topic = Broadcaster.topic({City, :inserted})
      assert_receive {^topic, ^inserted}, 5_000
      topic = Broadcaster.topic({City, :inserted}, id: city.id)
      assert_receive {^topic, ^inserted}, 5_000

      city = TestRepo.update!(Ecto.Changeset.change(city, capital: true))
      TestRepo.update!(Ecto.Changeset.change(city, name: "La Plata"))
      renamed = {:renamed, %{id: city.id, country_id: country.id, name: "La Plata"}}

      for filter <- [[], [id: city.id], [country_id: country.id]] do
        topic = Broadcaster.topic(:renamed, filter)
        assert_receive {^topic, ^renamed}, 5_000
      end

      TestRepo.delete!(city)
      deleted = {{City, :deleted}, %{id: city.id, name: "La Plata"}}
      assert_receive {_topic, ^deleted}, 5_000
      # The update of another column was not told.
      refute_received {_topic, {:renamed, %{name: "Sucre"}}}
    end

    test "says when changes may have been missed" do
      start_broadcaster([{City, :inserted}])
      topic = Broadcaster.topic({City, :inserted})
      assert_receive {^topic, {{City, :inserted}, :resync}}, 5_000
      TestRepo.query!("CREATE TABLE other (a)")
      assert_receive {^topic, {{City, :inserted}, :resync}}, 5_000
    end

    # Whoever reads its rows when it is told to has what was committed before; the broadcaster has to tell of the rest.
    for {name, end_it} <- [kill: &__MODULE__.kill/1, crash: &__MODULE__.crash/1] do
      test "started again after a #{name} loses nothing between what receivers read and what it tells" do
        test = self()

        broadcast = fn
          topic, {_, :resync} ->
            send(test, {:resync, self(), topic})
            receive do: (:read -> :ok)

          topic, message ->
            send(test, {topic, message})
        end

        watch = [
          {City, :inserted},
          {City, :deleted},
          {City, :updated, label: :one},
          {Country, :updated, label: :one}
        ]

        start_supervised!({Broadcaster, repo: TestRepo, broadcast: broadcast, watch: watch})
        topics = Enum.sort(Enum.map([{City, :inserted}, {City, :deleted}, :one], &Broadcaster.topic/1))
        {first, read} = read_anew(topics, [])
        assert read == [[], [], []]

        unquote(end_it).(first)
        assert {second, [_, _, _] = read} = read_anew(topics, [])
        assert second != first
        # It has subscribed: none of these is read before it is told.
        assert read == [[], ["while 1"], ["while 1", "while 2"]]

        told =
          for _ <- 1..3,
              do: assert_receive({"ecto_libsql:EctoLibSql.ChangesTest.City:inserted", {_, %{id: _}}}, 5_000)

        assert length(Enum.uniq(told)) == 3
        refute_received {:resync, _, _}
      end
    end

    # Answers each :resync by reading the rows, and writes one more before the broadcaster goes on.
    defp read_anew([], read), do: flunk("never: #{inspect(read)}")

    defp read_anew(topics, _read) do
      restarted? = TestRepo.exists?(City)
      {pid, read, seen} = read_each(length(topics), restarted?, nil, [], [])
      assert Enum.sort(seen) == topics
      {pid, read}
    end

    defp read_each(0, _write?, pid, read, seen), do: {pid, Enum.reverse(read), seen}

    defp read_each(n, write?, _pid, read, seen) do
      assert_receive {:resync, pid, topic}, 5_000
      names = TestRepo.all(from(c in City, where: like(c.name, "while%"), order_by: c.id, select: c.name))
      if write?, do: TestRepo.insert!(%City{name: "while #{length(read) + 1}"})
      send(pid, :read)
      read_each(n - 1, write?, pid, [names | read], [topic | seen])
    end

    def kill(pid) do
      TestRepo.insert!(%City{name: "first"})
      assert_receive {_topic, {{City, :inserted}, %{id: _}}}, 5_000
      assert_receive {_topic, {{City, :inserted}, %{id: _}}}, 5_000
      Process.exit(pid, :kill)
    end

    def crash(pid) do
      TestRepo.insert!(%City{name: "first"})
      assert_receive {_topic, {{City, :inserted}, %{id: _}}}, 5_000
      assert_receive {_topic, {{City, :inserted}, %{id: _}}}, 5_000
      subscription = :sys.get_state(pid).watchers |> Map.keys() |> hd()

      ExUnit.CaptureLog.capture_log(fn ->
        monitor = Process.monitor(pid)
        send(pid, %Ended{subscription: subscription, error: :broken})
        assert_receive {:DOWN, ^monitor, _, _, _}, 5_000
      end)
    end

    test "values without a text are in messages, and have no topic" do
      watch = [{City, :inserted, extra_columns: [:tags, :seen_at, :name]}]
      broadcaster = start_broadcaster(watch)
      seen_at = ~U[2026-11-27 10:00:00Z]

      for tags <- [["old"], [], ["white", "old"]] do
        %{id: id} = TestRepo.insert!(%City{name: "Sucre", tags: tags, seen_at: seen_at})
        row = %{id: id, tags: tags, seen_at: seen_at, name: "Sucre"}

        for filter <- [[], [id: id], [seen_at: seen_at], [name: "Sucre"]] do
          topic = Broadcaster.topic({City, :inserted}, filter)
          assert_receive {^topic, {{City, :inserted}, ^row}}, 5_000
        end

        refute_received {_topic, {{City, :inserted}, %{id: _}}}
      end

      assert Process.alive?(broadcaster)

      for value <- [["old"], %{}, {1, 2}, nil] do
        assert_raise LibsqlPort.Error, ~r/a filter is one field/, fn ->
          Broadcaster.topic(:label, tags: value)
        end
      end
    end

    test "with wrong options does not start" do
      for options <- [
            [watch: [{City, :inserted}]],
            [broadcast: fn _, _ -> :ok end, watch: []],
            [broadcast: fn _, _ -> :ok end, watch: [{City, :truncated}]],
            [broadcast: fn _, _ -> :ok end, watch: [{City, :inserted, trigger: [:name]}]],
            [broadcast: fn _, _ -> :ok end, watch: [{City, :inserted, extra_columns: [:nothing]}]]
          ] do
        assert {:error, {%LibsqlPort.Error{code: :invalid_option}, _child}} =
                 start_supervised({Broadcaster, [repo: TestRepo] ++ options})
      end
    end
  end
end
