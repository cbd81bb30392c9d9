defmodule EctoLibSql.ChangesTest do
  # async: false – the repo has one name, as an application's has.
  use EctoLibSql.RepoCase

  alias EctoLibSql.Changes
  alias EctoLibSql.Changes.Broadcaster
  alias LibsqlPort.Changes.Ended

  doctest EctoLibSql.Changes.Broadcaster

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
      TestRepo.query!("CREATE TABLE other (a)")
      topic = Broadcaster.topic({City, :inserted})
      assert_receive {^topic, {{City, :inserted}, :resync}}, 5_000
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
