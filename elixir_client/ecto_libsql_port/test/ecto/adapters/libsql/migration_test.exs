defmodule Ecto.Adapters.LibSql.MigrationTest do
  use EctoLibSql.RepoCase
  import Ecto.Migration

  defp change(fun), do: migrate(fun)

  defp rows(sql, params \\ []), do: TestRepo.query!(sql, params).rows
  defp sql_of(name), do: "SELECT sql FROM sqlite_schema WHERE name = ?" |> rows([name]) |> hd() |> hd()

  setup do
    script("""
    CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT COLLATE NOCASE DEFAULT 'x', price decimal(2, 1) NOT NULL DEFAULT 0,
      age INTEGER CHECK (age > 0));
    CREATE INDEX users_age_index ON users (age);
    CREATE TABLE audit (what TEXT);
    CREATE TRIGGER written AFTER UPDATE ON users BEGIN INSERT INTO audit VALUES ('update'); END;
    CREATE VIEW adults AS SELECT * FROM users WHERE age > 17;
    CREATE TABLE posts (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users(id) ON DELETE CASCADE);
    INSERT INTO users (name, price, age) VALUES ('a', 1.5, 20), ('b', 2, 30);
    INSERT INTO posts (user_id) VALUES (1), (2);
    """)

    :ok
  end

  test "modify: type and values change, the rest of the column and of the database stays" do
    change(fn ->
      alter table(:users) do
        modify(:age, :string, null: false)
      end
    end)

    assert sql_of("users") =~ ~s|age TEXT NOT NULL CHECK (age > 0)|
    assert sql_of("users") =~ ~s|price decimal(2, 1) NOT NULL DEFAULT 0|
    assert rows("SELECT age, typeof(age) FROM users ORDER BY age") == [["20", "text"], ["30", "text"]]
    assert rows("SELECT name FROM users INDEXED BY users_age_index WHERE age = '20'") == [["a"]]
    assert rows("SELECT count(*) FROM posts") == [[2]]
    assert rows("SELECT count(*) FROM audit") == [[0]]
    assert rows("SELECT count(*) FROM adults") == [[2]]
    assert rows("PRAGMA integrity_check") == [["ok"]]
    TestRepo.query!("UPDATE users SET name = 'c'")
    assert rows("SELECT count(*) FROM audit") == [[2]]
    assert {:error, %{code: :constraint_not_null}} = TestRepo.query("UPDATE users SET age = NULL")
  end

  test "modify: a type with a comma, a default, a reference" do
    change = fn ->
      alter table(:users) do
        modify(:price, :decimal, precision: 10, scale: 2, default: 5, null: true)
        modify(:age, references(:users, on_delete: :nilify_all), check: "age <> 7")
      end
    end

    # The ages of the rows are no identifiers of users.
    error = assert_raise EctoLibSql.MigrationError, fn -> change(change) end
    assert %{code: :rows, table: "users", count: 2, sample: [[{"id", 1}], [{"id", 2}]]} = error
    assert error.message == "2 rows of users refer by age to rows of users that are not there: id = 1; id = 2"
    assert sql_of("users") =~ "price decimal(2, 1) NOT NULL DEFAULT 0"

    TestRepo.query!("UPDATE users SET age = 1")
    change(change)
    assert sql_of("users") =~ ~s|price DECIMAL(10,2) DEFAULT 5,\n|
    assert {:error, error} = TestRepo.query("UPDATE users SET age = 99")
    assert error.constraint.name == "users_age_fkey"
  end

  test "modify: refused if a row has NULL" do
    TestRepo.query!("INSERT INTO users (age) VALUES (NULL)")

    assert_raise EctoLibSql.MigrationError, ~r/1 row of users has no age.*id = 3/, fn ->
      change(fn ->
        alter table(:users) do
          modify(:age, :integer, null: false)
        end
      end)
    end

    assert sql_of("users") =~ "age INTEGER CHECK (age > 0)"
  end

  test "a migration that fails changes nothing" do
    assert_raise EctoLibSql.Error, fn ->
      change(fn ->
        alter table(:users) do
          modify(:age, :string, null: false)
        end

        execute("CREATE WHAT")
      end)
    end

    assert sql_of("users") =~ "age INTEGER CHECK (age > 0)"
    assert rows("SELECT age FROM users ORDER BY age") == [[20], [30]]
  end

  test "check constraints of a table come and go; existing rows are checked" do
    change(fn -> create(constraint(:users, :young, check: "age < 100")) end)
    assert {:error, error} = TestRepo.query("UPDATE users SET age = 100")
    assert error.constraint.name == "young"
    change(fn -> drop(constraint(:users, :young, [])) end)
    TestRepo.query!("UPDATE users SET age = 100")

    assert_raise EctoLibSql.MigrationError, ~r/2 rows of users do not meet the constraint young/, fn ->
      change(fn -> create(constraint(:users, :young, check: "age < 100")) end)
    end
  end

  test "rename index" do
    change(fn -> rename(index(:users, [:age]), to: "by_age") end)
    assert sql_of("by_age") =~ ~s|CREATE INDEX "by_age" ON|
    assert rows("SELECT 1 FROM sqlite_schema WHERE name = 'users_age_index'") == []
  end

  test "remove takes indexes along, and is refused while a view uses the column" do
    change(fn ->
      alter table(:posts) do
        remove(:user_id)
      end
    end)

    assert rows("SELECT name FROM pragma_table_info('posts')") == [["id"]]
    assert rows("SELECT id FROM posts") == [[1], [2]]

    remove = fn ->
      alter table(:users) do
        remove(:age)
      end
    end

    error = assert_raise EctoLibSql.MigrationError, fn -> change(remove) end
    assert error.code == :in_use and error.message =~ "view adults"

    TestRepo.query!("DROP VIEW adults")
    change(remove)
    assert rows("SELECT name FROM pragma_table_info('users')") == [["id"], ["name"], ["price"]]
    assert rows("SELECT name FROM sqlite_schema WHERE type = 'index'") == []
  end

  test "full text, vectors, generated columns" do
    change(fn ->
      create table(:docs, options: [fts5: [tokenize: "porter"]]) do
        add(:body, :text)
      end

      create table(:places) do
        add(:v, :"F32_BLOB(3)")
        add(:a, :integer)
        add(:twice, :integer, generated: "a * 2")
      end

      create(index(:places, [:v], using: :libsql_vector_idx))
    end)

    TestRepo.query!("INSERT INTO docs (body) VALUES ('running fast')")
    assert rows("SELECT body FROM docs WHERE docs MATCH 'run'") == [["running fast"]]
    TestRepo.query!("INSERT INTO places (v, a) VALUES (vector32('[1,2,3]'), 21)")
    assert rows("SELECT id FROM vector_top_k('places_v_index', '[1,2,3]', 1)") == [[1]]
    assert rows("SELECT twice FROM places") == [[42]]
  end

  test "one migrator at a time, while the application goes on", %{config: config} do
    test = self()

    {:ok, other} =
      Task.start_link(fn ->
        {:ok, repo} = EctoLibSql.TestRepo.start_link([name: nil] ++ config)
        meta = Ecto.Adapter.lookup_meta(repo)
        send(test, :started)

        Ecto.Adapters.LibSql.lock_for_migrations(meta, [], fn ->
          send(test, {:locked, self()})
          receive do: (:go -> :ok)
        end)
      end)

    assert_receive :started, 5_000
    assert_receive {:locked, ^other}, 5_000
    # The lock is no transaction on the database.
    assert {:ok, _} = TestRepo.query("UPDATE users SET name = 'z'")

    waiting =
      Task.async(fn ->
        Ecto.Adapters.LibSql.lock_for_migrations(Ecto.Adapter.lookup_meta(TestRepo), [], fn -> :mine end)
      end)

    assert Task.yield(waiting, 300) == nil
    send(other, :go)
    assert Task.await(waiting, 10_000) == :mine
  end
end
