defmodule Ecto.Adapters.LibSql.CitextTest do
  use EctoLibSql.RepoCase

  defmodule Create do
    use Ecto.Migration

    def change do
      create table(:users) do
        add :email, :citext, null: false
        add :name, :citext, collate: :binary
      end

      create unique_index(:users, [:email])
    end
  end

  defmodule Modify do
    use Ecto.Migration

    def change do
      create(table(:people), do: add(:email, :string))
      flush()
      alter(table(:people), do: modify(:email, :citext))
    end
  end

  defmodule User do
    use Ecto.Schema

    schema "users" do
      field :email, :string
      field :name, :string
    end
  end

  test "compares, groups and is unique without regard to the case of ASCII letters" do
    migrate(Create)
    TestRepo.insert!(%User{email: "Ada@Example.org", name: "Ada"})

    assert TestRepo.get_by(User, email: "ada@example.ORG")
    assert TestRepo.exists?(from u in User, where: u.email in ^["x", "ADA@EXAMPLE.ORG"])
    refute TestRepo.get_by(User, name: "ada")

    changeset =
      Ecto.Changeset.change(%User{email: "ADA@example.org"}) |> Ecto.Changeset.unique_constraint(:email)

    assert {:error, %{errors: [email: _]}} = TestRepo.insert(changeset)

    TestRepo.insert!(%User{email: "É@example.org"})
    refute TestRepo.get_by(User, email: "é@example.org")
  end

  test "an existing column becomes one" do
    migrate(Modify)
    TestRepo.query!("INSERT INTO people (email) VALUES ('Ada')")
    assert TestRepo.query!("SELECT count(*) FROM people WHERE email = 'ada'").rows == [[1]]
  end
end
