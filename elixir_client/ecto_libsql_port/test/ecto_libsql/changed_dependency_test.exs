defmodule EctoLibSql.ChangedDependencyTest do
  # What an application brings along that ran on ecto_libsql: its tables and what is stored in them.
  use EctoLibSql.RepoCase

  alias Ecto.Adapters.LibSql.Connection
  alias Ecto.Migration.{Reference, Table}

  defmodule User do
    use Ecto.Schema

    schema "users" do
      field(:email, :string)
      field(:tags, {:array, :string})
    end
  end

  test "a unique column of a table made by hand is known by Ecto's convention" do
    script("CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT UNIQUE, tags TEXT)")
    TestRepo.insert!(%User{email: "a@b.c"})

    assert {:error, changeset} =
             %User{email: "a@b.c"}
             |> Ecto.Changeset.change()
             |> Ecto.Changeset.unique_constraint(:email)
             |> TestRepo.insert()

    assert [email: {"has already been taken", _}] = changeset.errors
  end

  test "an empty text is an empty array" do
    script(
      "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, tags TEXT); INSERT INTO users (tags) VALUES ('')"
    )

    assert [%User{tags: []}] = TestRepo.all(User)
  end

  test "migrations are texts, with null and the key of a reference left out" do
    columns = [
      {:add, :user_id, %Reference{table: :users, column: nil, type: :id, name: "of_user"}, []},
      {:add, :bio, :text, [default: :null]}
    ]

    assert [sql] = Connection.execute_ddl({:create, %Table{name: :posts}, columns})
    assert sql =~ ~s|REFERENCES "users"("id")|
    assert sql =~ "DEFAULT NULL"
  end
end
