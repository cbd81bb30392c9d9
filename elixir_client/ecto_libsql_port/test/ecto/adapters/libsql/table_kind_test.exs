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

  test "kinds that are unknown in a transaction that rolls back: the error is that of the write" do
    TestRepo.query!("CREATE TABLE notes (body)")

    result =
      TestRepo.transaction(fn ->
        Ecto.Adapters.LibSql.TableKind.forget(Ecto.Adapter.lookup_meta(TestRepo))
        assert {:error, :oops} = TestRepo.transaction(fn -> TestRepo.rollback(:oops) end)

        assert_raise DBConnection.ConnectionError, "transaction rolling back", fn ->
          TestRepo.insert!(%Note{body: "a"})
        end
      end)

    assert result == {:error, :rollback}
  end

  describe "a command of a migration" do
    alias Ecto.Adapters.LibSql.TableKind

    setup do
      %{meta: Ecto.Adapter.lookup_meta(TestRepo), elsewhere: start_supervised!(Task.Supervisor)}
    end

    defp command(meta, sql), do: Ecto.Adapters.LibSql.execute_ddl(meta, sql, [])
    defp of(meta), do: TableKind.of(meta, nil, "v")

    defp elsewhere(supervisor, fun),
      do: supervisor |> Task.Supervisor.async(fun) |> Task.await(:infinity)

    test "is known to its transaction, and to all when that has been committed", context do
      %{meta: meta, elsewhere: elsewhere} = context
      assert of(meta) == :table

      TestRepo.transaction(fn ->
        command(meta, "CREATE VIEW v AS SELECT 1 AS id")
        assert of(meta) == :view
        assert elsewhere(elsewhere, fn -> of(meta) end) == :table

        command(meta, "DROP VIEW v")
        assert of(meta) == :table
        command(meta, "CREATE VIEW v AS SELECT 2 AS id")
        assert of(meta) == :view
      end)

      assert elsewhere(elsewhere, fn -> of(meta) end) == :view
      assert of(meta) == :view
    end

    test "is known to nobody when it has been rolled back", %{meta: meta, elsewhere: elsewhere} do
      for finish <- [fn -> TestRepo.rollback(:no) end, fn -> raise "no" end, fn -> throw(:no) end] do
        try do
          TestRepo.transaction(fn ->
            command(meta, "CREATE VIEW v AS SELECT 1 AS id")
            assert of(meta) == :view
            finish.()
          end)
        rescue
          RuntimeError -> :ok
        catch
          :no -> :ok
        end

        assert of(meta) == :table
        assert elsewhere(elsewhere, fn -> of(meta) end) == :table
      end
    end

    test "is looked up once afterwards", %{meta: meta} do
      for _ <- 1..2 do
        command(meta, "CREATE VIEW v AS SELECT 1 AS id")
        {_, requests} = requests(fn -> for _ <- 1..3, do: assert(of(meta) == :view) end)
        assert [%{sql: sql}] = requests
        assert sql =~ "pragma_table_list"

        {_, requests} =
          requests(fn ->
            TestRepo.transaction(fn ->
              command(meta, "DROP VIEW v")
              for _ <- 1..3, do: assert(of(meta) == :table)
            end)
          end)

        assert Enum.count(requests, &(to_string(&1.sql) =~ "pragma_table_list")) == 1
      end
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

    test "update_all and delete_all: conditions, arithmetic, selected rows, joins, subqueries" do
      [a, b, c] = for name <- ~w(a b c), do: TestRepo.insert!(%Person{name: name})

      script(
        "CREATE TABLE tags (person_id TEXT, tag TEXT); INSERT INTO tags VALUES ('#{a.id}', 'x'), ('#{b.id}', 'y')"
      )

      people = fn -> TestRepo.all(from p in Person, order_by: p.name, select: {p.name, p.version}) end

      assert {1, nil} = TestRepo.update_all(from(p in Person, where: p.id == ^a.id), inc: [version: 1])
      assert {0, nil} = TestRepo.update_all(from(p in Person, where: p.name == "none"), set: [version: 9])

      assert {0, []} =
               TestRepo.update_all(from(p in Person, where: p.name == "none", select: p), set: [version: 9])

      set =
        from p in Person,
          where: p.name == "a" or p.version > 5,
          update: [set: [version: p.version * 10]],
          select: p

      assert {1, [%Person{name: "a", version: 20}]} = TestRepo.update_all(set, [])
      assert {3, nil} = TestRepo.update_all(Person, inc: [version: 1])
      assert people.() == [{"a", 21}, {"b", 2}, {"c", 2}]

      joined =
        from p in Person, join: t in "tags", on: t.person_id == p.id, where: t.tag == "x" or p.name == "none"

      assert {1, nil} = TestRepo.update_all(joined, set: [version: 3])

      left =
        from p in Person,
          left_join: t in "tags",
          on: t.person_id == p.id,
          where: is_nil(t.tag),
          select: p.name

      assert {1, ["c"]} = TestRepo.update_all(left, set: [version: 4])
      twice = from p in Person, join: o in Person, on: o.id == p.id and o.name == "b"
      assert {1, nil} = TestRepo.update_all(twice, set: [version: 5])
      assert people.() == [{"a", 3}, {"b", 5}, {"c", 4}]

      tagged = from t in "tags", where: t.person_id == parent_as(:person).id and t.tag == "y", select: 1

      assert {1, nil} =
               TestRepo.update_all(from(p in Person, as: :person, where: exists(tagged)), inc: [version: 1])

      assert {1, [6]} =
               TestRepo.delete_all(from p in Person, as: :person, where: exists(tagged), select: p.version)

      assert {1, nil} = TestRepo.delete_all(exclude(joined, :update))

      assert {1, nil} =
               TestRepo.delete_all(from p in Person, where: p.id in subquery(from q in Person, select: q.id))

      assert {0, nil} = TestRepo.delete_all(from p in Person, where: p.id == ^c.id)
    end

    test "insert_all counts its rows" do
      ids = for _ <- 1..2, do: Ecto.UUID.generate()
      rows = for {id, name} <- Enum.zip(ids, ~w(a b)), do: %{id: id, name: name}
      assert {2, nil} = TestRepo.insert_all(Person, rows)
      assert {1, [%Person{name: "c"}]} = TestRepo.insert_all(Person, [%{name: "c"}], returning: [:name])
      copies = from p in Person, where: p.name == "a", select: %{id: p.name, name: "d", version: 1}
      assert {1, nil} = TestRepo.insert_all(Person, copies)
      assert TestRepo.aggregate(Person, :count) == 4
    end

    @tag repo: [attach: [ten: ":memory:"], pool_size: 1]
    test "of an attached database" do
      script("""
      CREATE TABLE ten.all_cats (id INTEGER PRIMARY KEY, name TEXT); CREATE VIEW ten.cats AS SELECT * FROM all_cats;
      CREATE TRIGGER ten.u INSTEAD OF UPDATE ON cats BEGIN UPDATE all_cats SET name = new.name WHERE id = old.id; END;
      INSERT INTO ten.all_cats VALUES (1, 'a'), (2, 'b'); CREATE TABLE cats (id INTEGER, name TEXT); INSERT INTO cats VALUES (1, 'm');
      """)

      cats = from c in "cats", where: c.id == 1
      assert {1, nil} = TestRepo.update_all(cats, [set: [name: "x"]], prefix: "ten")
      assert {1, nil} = TestRepo.update_all(cats, set: [name: "y"])

      assert TestRepo.query!("SELECT name FROM ten.cats UNION ALL SELECT name FROM main.cats").rows == [
               ["x"],
               ["b"],
               ["y"]
             ]
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

    test "many rows: their numbers are returned, and what SQLite cannot return is refused in words" do
      rows = [%{body: "one"}, %{body: {:placeholder, :two}}, %{rowid: 50, body: "three"}]
      {3, notes} = TestRepo.insert_all(Note, rows, returning: true, placeholders: %{two: "two"})
      assert for(n <- notes, do: {n.rowid, n.body}) == [{1, "one"}, {2, "two"}, {50, "three"}]
      assert {2, nil} = TestRepo.insert_all(Note, [%{body: "x"}, %{body: "y"}])
      assert {1, nil} = TestRepo.update_all(from(n in Note, where: n.rowid == 2), set: [body: "2"])
      assert {2, nil} = TestRepo.delete_all(from n in Note, where: n.rowid > 50)

      for write <- [
            fn -> TestRepo.update_all(from(n in Note, select: n.body), set: [body: "no"]) end,
            fn -> TestRepo.delete_all(from n in Note, select: n) end,
            fn -> TestRepo.insert_all(Note, from(n in Note, select: %{body: n.body}), returning: true) end
          ] do
        assert %{code: :unsupported} =
                 assert_raise(EctoLibSql.Error, ~r/notes is a virtual table.*Repo.all/, write)
      end

      assert TestRepo.all(from n in Note, select: n.body) == ["one", "2", "three"]
    end

    test "ranges" do
      assert {2, [%{id: 1}, %{id: 2}]} =
               TestRepo.insert_all(Box, [%{left: 1.0, right: 2.0}, %{left: 1.0, right: 3.0}], returning: [:id])

      TestRepo.delete_all(Box)
      box = TestRepo.insert!(%Box{left: 1.0, right: 2.0})
      assert [[box.id]] == TestRepo.query!("SELECT id FROM boxes").rows
      assert {:ok, %{left: 0.0}} = box |> Ecto.Changeset.change(left: 0.0) |> TestRepo.update(returning: true)
      assert {:ok, _} = TestRepo.delete(box)
    end
  end
end
