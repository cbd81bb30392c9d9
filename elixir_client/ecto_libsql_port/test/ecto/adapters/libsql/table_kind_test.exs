defmodule Ecto.Adapters.LibSql.TableKindTest do
  # Structs are written to views with INSTEAD OF triggers and to virtual tables as to any other.
  use EctoLibSql.RepoCase

  defmodule Person do
    use Ecto.Schema
    @primary_key {:id, :binary_id, autogenerate: true}
    schema "people" do
      field :name, :string
      field :version, :integer, default: 1
    end
  end

  defmodule Note do
    use Ecto.Schema
    @primary_key {:rowid, :id, autogenerate: true}
    schema "notes" do
      field :body, :string
    end
  end

  defmodule Box do
    use Ecto.Schema

    schema "boxes" do
      field :left, :float
      field :right, :float
    end
  end

  describe "a view" do
    setup do
      for sql <- [
            "CREATE TABLE all_people (id TEXT PRIMARY KEY, name TEXT UNIQUE, version INTEGER)",
            "CREATE VIEW people AS SELECT id, name, version FROM all_people",
            "CREATE TRIGGER pi INSTEAD OF INSERT ON people BEGIN INSERT INTO all_people VALUES (new.id, new.name, new.version); END",
            "CREATE TRIGGER pu INSTEAD OF UPDATE ON people BEGIN UPDATE all_people SET name = new.name, version = new.version WHERE id = old.id; END",
            "CREATE TRIGGER pd INSTEAD OF DELETE ON people BEGIN DELETE FROM all_people WHERE id = old.id; END"
          ],
          do: TestRepo.query!(sql)

      :ok
    end

    test "insert, update, delete" do
      person = TestRepo.insert!(%Person{name: "a"})
      assert %{name: "a"} = TestRepo.get!(Person, person.id)
      person = TestRepo.update!(Ecto.Changeset.change(person, name: "b"))
      assert %{name: "b"} = TestRepo.get!(Person, person.id)

      assert {:ok, %{name: "c"}} =
               person |> Ecto.Changeset.change(name: "c") |> TestRepo.update(returning: true)

      assert {:ok, _} = TestRepo.delete(person)
      assert TestRepo.all(Person) == []
    end

    test "what is stale is so" do
      person = TestRepo.insert!(%Person{name: "a"})
      locked = person |> Ecto.Changeset.change(name: "b") |> Ecto.Changeset.optimistic_lock(:version)
      assert {:ok, %{version: 2}} = TestRepo.update(locked)
      assert_raise Ecto.StaleEntryError, fn -> TestRepo.update(locked) end
      TestRepo.delete!(person)
      assert_raise Ecto.StaleEntryError, fn -> TestRepo.delete(person) end
    end

    test "constraints of the table behind it" do
      TestRepo.insert!(%Person{name: "a"})

      changeset =
        Ecto.Changeset.change(%Person{name: "a"})
        |> Ecto.Changeset.unique_constraint(:name, name: :all_people_name_index)

      assert {:error, %{errors: [name: _]}} = TestRepo.insert(changeset)
    end
  end

  describe "a virtual table" do
    defmodule Notes do
      use Ecto.Migration

      def change do
        create table(:notes, options: [fts5: true]) do
          add :body, :text
        end

        execute("CREATE VIRTUAL TABLE boxes USING rtree(id, \"left\", \"right\")", "DROP TABLE boxes")
      end
    end

    setup do
      # Known before there are any, and forgotten by the migration.
      script("CREATE TABLE people (id TEXT PRIMARY KEY, name TEXT, version INTEGER)")
      TestRepo.insert!(%Person{})
      migrate(Notes)
      :ok
    end

    test "full text: the row's number, update, delete" do
      TestRepo.insert!(%Note{body: "first"})
      note = TestRepo.insert!(%Note{body: "hello"})
      assert [[1], [2]] = TestRepo.query!("SELECT rowid FROM notes").rows
      assert note.rowid == 2
      assert TestRepo.insert!(%Note{rowid: 77, body: "x"}, returning: true).rowid == 77

      note = TestRepo.update!(Ecto.Changeset.change(note, body: "bye"))

      assert {:ok, %{body: "by"}} =
               note |> Ecto.Changeset.change(body: "by") |> TestRepo.update(returning: true)

      assert [%{rowid: 2}] = TestRepo.all(from n in Note, where: fragment("notes MATCH ?", "by"))
      assert {:ok, _} = TestRepo.delete(note)
      assert_raise Ecto.StaleEntryError, fn -> TestRepo.update(Ecto.Changeset.change(note, body: "none")) end
      assert_raise Ecto.StaleEntryError, fn -> TestRepo.delete(note) end
    end

    test "ranges" do
      box = TestRepo.insert!(%Box{left: 1.0, right: 2.0})
      assert [[box.id]] == TestRepo.query!("SELECT id FROM boxes").rows
      assert {:ok, %{left: 0.0}} = box |> Ecto.Changeset.change(left: 0.0) |> TestRepo.update(returning: true)
      assert {:ok, _} = TestRepo.delete(box)
    end
  end
end
