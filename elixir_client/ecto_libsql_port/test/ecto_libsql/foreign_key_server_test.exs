defmodule EctoLibSql.ForeignKeyServerTest do
  # A server does not say which foreign key was violated; the client finds out.
  use ExUnit.Case, async: false

  import Ecto.Changeset

  alias Ecto.Adapters.LibSql
  alias EctoLibSql.{Error, TestRepo}
  alias LibsqlPort.Sqld

  @moduletag :sqld
  @queue [queue_target: 60_000, queue_interval: 60_000]

  defmodule City do
    use Ecto.Schema

    schema "cities" do
      field :name, :string
      has_many :people, EctoLibSql.ForeignKeyServerTest.Person
    end
  end

  defmodule Person do
    use Ecto.Schema

    schema "people" do
      belongs_to :city, EctoLibSql.ForeignKeyServerTest.City
      belongs_to :employer, EctoLibSql.ForeignKeyServerTest.City
    end
  end

  @schema """
  CREATE TABLE cities (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
  CREATE TABLE people (id INTEGER PRIMARY KEY, city_id INTEGER REFERENCES cities(id),
    employer_id INTEGER CONSTRAINT employed_by REFERENCES cities);
  CREATE TABLE flags (id INTEGER PRIMARY KEY, city TEXT REFERENCES cities(name));
  CREATE TABLE later (id INTEGER PRIMARY KEY, a INTEGER REFERENCES cities DEFERRABLE INITIALLY DEFERRED,
    b INTEGER CONSTRAINT second REFERENCES cities DEFERRABLE INITIALLY DEFERRED);
  CREATE TABLE pairs (a INTEGER, b INTEGER, city_id INTEGER REFERENCES cities, PRIMARY KEY (a, b)) WITHOUT ROWID;
  CREATE TABLE of_pairs (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER, other INTEGER REFERENCES of_pairs,
    CONSTRAINT paired FOREIGN KEY (a, b) REFERENCES pairs);
  CREATE TABLE logged (id INTEGER PRIMARY KEY);
  CREATE TRIGGER log AFTER INSERT ON logged BEGIN INSERT INTO people (employer_id) VALUES (new.id); END;
  INSERT INTO cities VALUES (1, 'Wien');
  INSERT INTO cities VALUES (2, 'Graz');
  INSERT INTO cities VALUES (3, 'Linz');
  INSERT INTO cities VALUES (4, 'Melk');
  INSERT INTO pairs VALUES (1, 1, 4);
  INSERT INTO people VALUES (1, 1, 2);
  INSERT INTO flags VALUES (1, 'Linz');
  INSERT INTO of_pairs VALUES (1, 1, 1, 1);
  """

  setup_all do
    {:ok, server: Sqld.shared()}
  end

  setup %{server: server} do
    namespace = "keys-#{System.unique_integer([:positive])}"
    admin = "http://127.0.0.1:#{server.admin_port}"
    config = [uri: server.url, namespace: namespace, admin_url: admin, pool_size: 1, log: false] ++ @queue
    :ok = LibSql.storage_up(config)
    on_exit(fn -> LibSql.storage_down(config) end)
    start_supervised!({TestRepo, config})
    {:ok, _} = TestRepo.query_many(@schema)
    :ok
  end

  @violations [
    {"INSERT INTO flags (city) VALUES ('Rom')", "flags_city_fkey"},
    {"INSERT INTO people (city_id) VALUES (9)", "people_city_id_fkey"},
    {"INSERT INTO people (employer_id) VALUES (9)", "employed_by"},
    {"INSERT INTO people (city_id, employer_id) VALUES (1, 1), (1, 9), (2, 2)", "employed_by"},
    {"UPDATE people SET city_id = 9", "people_city_id_fkey"},
    {"UPDATE people SET employer_id = 9", "employed_by"},
    {"DELETE FROM cities WHERE id = 2", "employed_by"},
    {"DELETE FROM cities WHERE id = 3", "flags_city_fkey"},
    {"DELETE FROM cities WHERE id = 1", "people_city_id_fkey"},
    {"UPDATE cities SET id = 20 WHERE id = 2", "employed_by"},
    {"UPDATE cities SET name = 'x' WHERE id = 3", "flags_city_fkey"},
    {"REPLACE INTO cities VALUES (3, 'St. Pölten')", "flags_city_fkey"},
    {"INSERT INTO pairs VALUES (2, 2, 9)", "pairs_city_id_fkey"},
    {"INSERT INTO of_pairs (a, b) VALUES (1, 2)", "paired"},
    {"INSERT INTO of_pairs (other) VALUES (9)", "of_pairs_other_fkey"},
    {"INSERT INTO logged VALUES (9)", "employed_by"}
  ]

  defp state do
    for table <- ["cities", "people", "flags", "pairs", "of_pairs", "logged"],
        do: TestRepo.query!("SELECT * FROM #{table}").rows
  end

  defp violated(
         {:error, %Error{code: :constraint_foreign_key, constraint: %{kind: :foreign_key} = constraint}}
       ),
       do: constraint.name

  test "each is named, and nothing else has changed" do
    before = state()

    for {sql, name} <- @violations do
      assert {sql, violated(TestRepo.query(sql))} == {sql, name}
    end

    assert state() == before
  end

  test "inside of a transaction as well, which goes on" do
    before = state()

    for {sql, name} <- @violations do
      assert {:ok, {^sql, ^name}} =
               TestRepo.transaction(fn ->
                 TestRepo.query!("INSERT INTO cities VALUES (7, 'Krems')")
                 TestRepo.query!("PRAGMA defer_foreign_keys = ON")
                 TestRepo.query!("PRAGMA defer_foreign_keys = OFF")
                 named = violated(TestRepo.query(sql))
                 # Checks are as they were.
                 assert TestRepo.query!("PRAGMA defer_foreign_keys").rows == [[0]]
                 assert {:error, _} = TestRepo.query("INSERT INTO people (city_id) VALUES (99)")
                 TestRepo.query!("DELETE FROM cities WHERE id = 7")
                 {sql, named}
               end)
    end

    assert state() == before
  end

  test "parameters are those of the statement" do
    assert violated(TestRepo.query("INSERT INTO people (city_id, employer_id) VALUES (?, ?)", [1, 9])) ==
             "employed_by"

    assert violated(TestRepo.query("INSERT INTO people (city_id, employer_id) VALUES (?, ?)", [9, 1])) ==
             "people_city_id_fkey"
  end

  test "at the commit, by a callback and by hand" do
    for {sql, name} <- [
          {"INSERT INTO later (a) VALUES (9)", "later_a_fkey"},
          {"INSERT INTO later (b) VALUES (9)", "second"}
        ] do
      error = assert_raise Error, fn -> TestRepo.transaction(fn -> TestRepo.query!(sql) end) end
      assert error.constraint.name == name

      TestRepo.checkout(fn ->
        TestRepo.query!("BEGIN")
        TestRepo.query!(sql)
        assert violated(TestRepo.query("COMMIT")) == name
        TestRepo.query!("ROLLBACK")
      end)
    end

    assert TestRepo.query!("SELECT count(*) FROM later").rows == [[0]]
  end

  test "a table of many rows is not looked through, and its new row is found" do
    TestRepo.query!(
      "INSERT INTO people (city_id) SELECT 1 FROM json_each('[' || substr(replace(hex(zeroblob(25001)), '00', ',0,0'), 2) || ']')"
    )

    assert [[count]] = TestRepo.query!("SELECT count(*) FROM people").rows
    assert count > 50_000
    assert violated(TestRepo.query("INSERT INTO people (employer_id) VALUES (9)")) == "employed_by"
    assert violated(TestRepo.query("UPDATE people SET employer_id = 9 WHERE id = 1")) == nil
  end

  test "changesets have them" do
    person = %Person{} |> change(city_id: 9, employer_id: 1) |> foreign_key_constraint(:city_id)
    assert {:error, changeset} = TestRepo.insert(person)

    assert {"does not exist", [constraint: :foreign, constraint_name: "people_city_id_fkey"]} =
             changeset.errors[:city_id]

    employed =
      %Person{} |> change(employer_id: 9) |> foreign_key_constraint(:employer_id, name: "employed_by")

    assert {:error, changeset} = TestRepo.insert(employed)
    assert changeset.errors[:employer_id]

    city = %City{id: 1} |> change() |> no_assoc_constraint(:people)
    assert {:error, changeset} = TestRepo.delete(city)
    assert {"are still associated with this entry", _} = changeset.errors[:people]
  end
end
