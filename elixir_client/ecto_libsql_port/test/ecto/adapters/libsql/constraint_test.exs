defmodule Ecto.Adapters.LibSql.ConstraintTest do
  use EctoLibSql.RepoCase

  defp constraint(sql, params \\ []) do
    {:error, error} = TestRepo.query(sql, params)
    Ecto.Adapters.LibSql.Connection.to_constraints(error, [])
  end

  setup do
    script("""
    CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT NOT NULL, age INTEGER CONSTRAINT grown CHECK (age > 17), a, b, c, UNIQUE (a, b));
    CREATE UNIQUE INDEX one_address ON users (email);
    CREATE UNIQUE INDEX low ON users (lower(c));
    CREATE TABLE posts (id INTEGER PRIMARY KEY, author_id INTEGER CONSTRAINT written_by REFERENCES users(id),
      editor_id INTEGER REFERENCES users(id), parent_id INTEGER REFERENCES posts(id) DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE badges (id INTEGER PRIMARY KEY, user_id INTEGER CONSTRAINT worn_by REFERENCES users(id) ON DELETE RESTRICT);
    INSERT INTO users (id, email) VALUES (1, 'a@x');
    """)

    :ok
  end

  test "unique: the index's own name, else Ecto's" do
    assert constraint("INSERT INTO users (email) VALUES ('a@x')") == [unique: "one_address"]
    assert constraint("INSERT INTO users (email, c) VALUES ('b@x', 'B'), ('c@x', 'b')") == [unique: "low"]
    assert constraint("INSERT INTO users (id, email) VALUES (1, 'b@x')") == [unique: "users_id_index"]

    assert constraint("INSERT INTO users (email, a, b) VALUES ('c@x', 1, 1), ('d@x', 1, 1)") ==
             [unique: "users_a_b_index"]
  end

  test "unique: by its columns, if the changesets were written for ecto_sqlite3" do
    TestSettings.put(unique_constraint_names: :columns)

    assert constraint("INSERT INTO users (email) VALUES ('a@x')") == [unique: "users_email_index"]
    assert constraint("INSERT INTO users (email, c) VALUES ('b@x', 'B'), ('c@x', 'b')") == [unique: "low"]
    assert constraint("INSERT INTO users (id, email) VALUES (1, 'b@x')") == [unique: "users_id_index"]
  end

  test "check" do
    assert constraint("INSERT INTO users (email, age) VALUES ('e@x', 3)") == [check: "grown"]
  end

  defmodule User do
    use Ecto.Schema

    schema "users" do
      field :email, :string
      field :age, :integer
    end
  end

  test "not null is raised in words, whatever writes it" do
    user = TestRepo.insert!(%User{email: "b@x"})

    check =
      &Ecto.Changeset.check_constraint(Ecto.Changeset.change(&1, email: nil), :email, name: :users_email_index)

    for write <- [
          fn -> TestRepo.insert(%User{age: 20}) end,
          fn -> TestRepo.insert(check.(%User{age: 20})) end,
          fn -> TestRepo.update(check.(user)) end,
          fn -> TestRepo.insert_all(User, [%{email: nil}]) end,
          fn -> TestRepo.update_all(User, set: [email: nil]) end
        ] do
      error =
        assert_raise EctoLibSql.Error,
                     ~r/NOT NULL constraint failed: users\.email \(constraint_not_null\)/,
                     write

      assert %{kind: :not_null, table: "users", columns: ["email"]} = error.constraint
    end
  end

  test "foreign keys by name, of the row that is written" do
    assert constraint("INSERT INTO posts (author_id) VALUES (?)", [99]) == [foreign_key: "written_by"]
    assert constraint("INSERT INTO posts (editor_id) VALUES (99)") == [foreign_key: "posts_editor_id_fkey"]
    TestRepo.query!("INSERT INTO posts (author_id, editor_id) VALUES (1, 1)")
    assert constraint("UPDATE \"posts\" SET editor_id = 5") == [foreign_key: "posts_editor_id_fkey"]
  end

  test "and of rows that refer to it" do
    TestRepo.query!("INSERT INTO posts (author_id) VALUES (1)")
    assert constraint("DELETE FROM users WHERE id = 1") == [foreign_key: "written_by"]
  end

  test "RESTRICT as well, where only one can be meant" do
    TestRepo.query!("INSERT INTO badges (user_id) VALUES (1)")
    assert constraint("DELETE FROM users WHERE id = 1") == [foreign_key: "worn_by"]
  end

  test "finding out leaves nothing behind, inside a transaction or outside" do
    assert constraint("INSERT INTO posts (author_id) VALUES (99)") == [foreign_key: "written_by"]

    TestRepo.transaction(fn ->
      TestRepo.query!("INSERT INTO posts (id, author_id) VALUES (7, 1)")
      assert constraint("INSERT INTO posts (author_id) VALUES (99)") == [foreign_key: "written_by"]
      assert TestRepo.query!("PRAGMA defer_foreign_keys").rows == [[0]]
    end)

    assert TestRepo.query!("SELECT id FROM posts").rows == [[7]]
  end

  test "a deferred one fails the commit, by name" do
    error =
      assert_raise EctoLibSql.Error, fn ->
        TestRepo.transaction(fn -> TestRepo.query!("INSERT INTO posts (parent_id) VALUES (99)") end)
      end

    assert Ecto.Adapters.LibSql.Connection.to_constraints(error, []) == [foreign_key: "posts_parent_id_fkey"]
    assert TestRepo.query!("SELECT count(*) FROM posts").rows == [[0]]
  end
end
