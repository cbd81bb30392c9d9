defmodule Ecto.Adapters.LibSql.PrivateViewTest do
  # Structs are written to the views that single connections have: temporary ones and those of attached databases, found by their name as
  # SQLite finds them, whenever they were made.
  use EctoLibSql.RepoCase

  import EctoLibSql.LaneCase

  alias Ecto.Multi

  defmodule Document do
    use Ecto.Schema

    schema "my_documents" do
      field :title, :string
    end
  end

  defmodule Note do
    use Ecto.Schema

    schema "Notes" do
      field :title, :string
    end
  end

  defmodule User do
    @moduledoc false
    # The rules of the guide on policies.
    @statements [
      "CREATE TEMP TABLE session_user AS SELECT 1 AS id",
      "CREATE TEMP VIEW my_documents AS SELECT id, title FROM main.documents " <>
        "WHERE owner_id = (SELECT id FROM temp.session_user)",
      "CREATE TEMP TRIGGER i INSTEAD OF INSERT ON my_documents BEGIN " <>
        "INSERT INTO documents (id, owner_id, title) SELECT new.id, id, new.title FROM temp.session_user; END",
      "CREATE TEMP TRIGGER u INSTEAD OF UPDATE ON my_documents BEGIN " <>
        "UPDATE documents SET title = new.title WHERE id = old.id; END",
      "CREATE TEMP TRIGGER d INSTEAD OF DELETE ON my_documents BEGIN DELETE FROM documents WHERE id = old.id; END"
    ]

    def statements, do: @statements

    def connect(conn) do
      EctoLibSql.query!(
        conn,
        "CREATE TABLE IF NOT EXISTS documents (id INTEGER PRIMARY KEY, owner_id INTEGER, title TEXT)",
        [],
        policy: false
      )

      for sql <- @statements, do: EctoLibSql.query!(conn, sql, [], policy: false)
    end
  end

  defp titles, do: TestRepo.query!("SELECT id, title FROM documents ORDER BY id", [], policy: false).rows
  defp renamed(document, title), do: Ecto.Changeset.change(document, title: title)

  # Every write of a struct, each of which counts its rows.
  defp written do
    document = TestRepo.insert!(%Document{id: 1, title: "a"})
    assert document.id == 1
    document = TestRepo.update!(renamed(document, "b"))
    assert titles() == [[1, "b"]]
    assert {:ok, %{title: "c"}} = TestRepo.update(renamed(document, "c"), returning: true)
    assert {1, nil} = TestRepo.update_all(from(d in Document, where: d.id == 1), set: [title: "d"])

    assert {1, [%{title: "e"}]} = TestRepo.update_all(from(d in Document, select: d), set: [title: "e"])

    assert {2, nil} = TestRepo.insert_all(Document, [%{id: 2, title: "x"}, %{id: 3, title: "y"}])
    assert {1, [%{title: "z"}]} = TestRepo.insert_all(Document, [%{id: 4, title: "z"}], returning: [:title])
    assert {1, nil} = TestRepo.delete_all(from d in Document, where: d.id == 4)
    assert TestRepo.delete!(document)
    assert titles() == [[2, "x"], [3, "y"]]
    assert_raise Ecto.StaleEntryError, fn -> TestRepo.delete!(document) end
    assert_raise Ecto.StaleEntryError, fn -> TestRepo.update!(renamed(document, "f")) end
    # SQLite numbers no rows of a view, so there is no number to tell.
    assert TestRepo.insert!(%Document{title: "n"}).id == nil
    TestRepo.delete_all(Document)
  end

  @tag repo: [pool_size: 3, lane: true, after_connect: &User.connect/1]
  test "a temporary view of each connection, in pool and lane" do
    for _ <- 1..3, do: written()
    warm(fn -> TestRepo.get(Document, 7) end)
    written()
    assert {:ok, {3, nil}} = TestRepo.transaction(fn -> written() end)
    assert {3, nil} = TestRepo.checkout(fn -> written() end)
  end

  @tag repo: [
         pool_size: 2,
         after_connect: &User.connect/1,
         policy: [
           {:allow, :read, table: ["documents", "session_user"], through: ["my_documents", "i", "u", "d"]},
           {:allow, :write, table: "documents", through: ["i", "u", "d"]},
           {:deny, [:read, :write],
            table: ["documents", "session_user", "sqlite_schema", "sqlite_temp_schema"]},
           {:deny, :pragma},
           {:deny, :function, function: "pragma_table_list"},
           {:allow, [:query, :write]}
         ]
       ]
  test "under a policy that allows nothing but the view" do
    assert {:error, %{code: :not_authorized}} = TestRepo.query("SELECT * FROM pragma_table_list")
    written()
    assert {:ok, {3, nil}} = TestRepo.transaction(fn -> written() end)
  end

  @tag repo: [pool_size: 2, after_connect: &User.connect/1]
  test "transactions within transactions, Ecto.Multi, rollbacks, streams" do
    insert = fn id -> TestRepo.insert!(%Document{id: id, title: "t#{id}"}) end

    TestRepo.transaction(fn ->
      insert.(1)
      assert {:error, :no} = TestRepo.transaction(fn -> TestRepo.rollback(insert.(2) && :no) end)
    end)

    assert titles() == []

    assert {:ok, %{update: %{title: "m"}, all: {1, nil}}} =
             Multi.new()
             |> Multi.insert(:insert, %Document{id: 3, title: "t"})
             |> Multi.update(:update, &renamed(&1.insert, "m"))
             |> Multi.insert_all(:all, Document, [%{id: 4, title: "u"}])
             |> Multi.delete(:delete, & &1.update)
             |> TestRepo.transaction()

    assert titles() == [[4, "u"]]

    assert_raise Ecto.StaleEntryError, fn ->
      Multi.new() |> Multi.delete(:delete, %Document{id: 9}) |> TestRepo.transaction()
    end

    {:ok, 1} =
      TestRepo.transaction(fn ->
        TestRepo.stream(Document)
        |> Enum.map(&TestRepo.update!(renamed(&1, "streamed")))
        |> length()
      end)

    assert titles() == [[4, "streamed"]]

    # SQLite has no upsert into views.
    for on_conflict <- [:nothing, [set: [title: "x"]]] do
      assert_raise EctoLibSql.Error, ~r/cannot UPSERT a view/, fn ->
        TestRepo.insert!(%Document{id: 4, title: "v"}, on_conflict: on_conflict, conflict_target: :id)
      end
    end

    assert titles() == [[4, "streamed"]]
  end

  @tag repo: [pool_size: 2, lane: true]
  test "one that is made after the first write, on a connection that is checked out" do
    TestRepo.query!("CREATE TABLE documents (id INTEGER PRIMARY KEY, owner_id INTEGER, title TEXT)")
    TestRepo.query!("CREATE TABLE my_documents (id INTEGER PRIMARY KEY, title TEXT)")
    stored = TestRepo.insert!(%Document{title: "main's"})

    TestRepo.checkout(fn ->
      for sql <- User.statements(), do: TestRepo.query!(sql)
      written()
      {:ok, _} = TestRepo.transaction(fn -> written() end)
    end)

    # The table of that name is written as before, where there is no such view.
    elsewhere = fn -> TestRepo.query!("SELECT count(*) FROM temp.sqlite_schema").rows == [[0]] end

    TestRepo.checkout(fn ->
      unless elsewhere.(), do: for(sql <- ["DROP VIEW temp.my_documents"], do: TestRepo.query!(sql))
      assert TestRepo.update!(renamed(stored, "still main's")).title == "still main's"
      assert %{id: id} = TestRepo.insert!(%Document{title: "another"})
      assert id == stored.id + 1
      TestRepo.delete!(%Document{id: id})
      assert_raise Ecto.StaleEntryError, fn -> TestRepo.delete!(%Document{id: id}) end
    end)
  end

  test "one that is made in a transaction, and one that is rolled back" do
    TestRepo.query!("CREATE TABLE documents (id INTEGER PRIMARY KEY, owner_id INTEGER, title TEXT)")
    TestRepo.insert_all("documents", [%{title: "known before"}])
    TestRepo.query!("DELETE FROM documents")

    assert {:error, :no} =
             TestRepo.transaction(fn ->
               for sql <- User.statements(), do: TestRepo.query!(sql)
               written()
               TestRepo.rollback(:no)
             end)

    assert {:error, %{message: message}} = TestRepo.query("SELECT * FROM my_documents")
    assert message =~ "no such table"

    {:ok, _} =
      TestRepo.transaction(fn ->
        {:ok, _} = Ecto.Adapters.SQL.query_many(TestRepo, Enum.join(User.statements(), ";"))
        written()
      end)

    written()
  end

  test "a view of the database that no migration has made, however its statement is written" do
    for create <- ["CREATE VIEW", "/* a view */ -- of notes\n Create View"] do
      TestRepo.query!("CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT)")
      note = TestRepo.insert!(%Note{title: "table"})
      TestRepo.query!("ALTER TABLE notes RENAME TO all_notes")
      TestRepo.query!(create <> " notes AS SELECT * FROM all_notes")

      TestRepo.query!(
        "CREATE TRIGGER u INSTEAD OF UPDATE ON notes BEGIN UPDATE all_notes SET title = new.title WHERE id = old.id; END"
      )

      # `Notes` and `notes` are one name.
      assert TestRepo.update!(renamed(note, "view")).title == "view"
      assert TestRepo.query!("SELECT title FROM all_notes").rows == [["view"]]
      TestRepo.query!("DROP VIEW notes")
      TestRepo.query!("DROP TABLE all_notes")
    end
  end

  describe "a name that is a virtual table's on one connection and a table's on another" do
    setup %{tmp_dir: dir} do
      search = Path.join(dir, "search.db")
      {:ok, state} = EctoLibSql.connect(database: search)
      LibsqlPort.query!(state.conn, "CREATE VIRTUAL TABLE notes USING fts5(title)")
      :ok = EctoLibSql.disconnect(nil, state)
      TestRepo.query!("CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT)")
      for title <- ~w(a b c), do: TestRepo.insert!(%Note{title: title})
      %{search: search}
    end

    # Those for which SQLite has no RETURNING of a virtual table, or another number.
    defp written_to_table do
      upsert = fn note, on_conflict ->
        TestRepo.insert!(note, on_conflict: on_conflict, conflict_target: :id, returning: true)
      end

      assert %{id: 2, title: "y"} = upsert.(%Note{id: 2, title: "y"}, :replace_all)
      assert %{id: last} = TestRepo.insert!(%Note{title: "new"})
      assert %{id: 3, title: "z"} = upsert.(%Note{id: 3, title: "z"}, set: [title: "z"])

      assert {1, [%{title: "w"}]} =
               TestRepo.update_all(from(n in Note, where: n.id == 1, select: n), set: [title: "w"])

      assert {1, [^last]} = TestRepo.delete_all(from n in Note, where: n.id == ^last, select: n.id)
    end

    defp written_to_virtual(options) do
      assert %{title: "v"} = TestRepo.insert!(%Note{id: nil, title: "v"}, [returning: [:title]] ++ options)

      assert_raise EctoLibSql.Error, ~r/is a virtual table/, fn ->
        TestRepo.delete_all(from(n in Note, select: n.title), options)
      end
    end

    defp beside(fun) do
      test = self()

      holder =
        Task.async(fn ->
          TestRepo.checkout(fn ->
            fun.()
            send(test, :there)
            receive do: (:go_on -> :ok)
          end)
        end)

      assert_receive :there, 60_000
      written_to_table()
      TestRepo.checkout(&written_to_table/0)
      TestRepo.transaction(&written_to_table/0)
      send(holder.pid, :go_on)
      Task.await(holder, :infinity)
    end

    defp entries, do: :ets.tab2list(Ecto.Adapter.lookup_meta(TestRepo).opts[:schema_changes].table)

    @tag :tmp_dir
    @tag repo: [pool_size: 2, lane: true]
    test "is written as what it is on the connection that writes it: temporary" do
      create = fn -> TestRepo.query!("CREATE VIRTUAL TABLE temp.notes USING fts5(id, title)") end

      beside(fn ->
        create.()
        written_to_virtual([])
        written_to_virtual(prefix: "temp")
        assert [_ | _] = entries()
        TestRepo.query!("DROP TABLE temp.notes")
        assert entries() == []
        written_to_table()
        TestRepo.transaction(fn -> create.() && written_to_virtual([]) && TestRepo.rollback(:no) end)
        assert entries() == []
        written_to_table()
        create.()
      end)

      # A connection that is closed takes its own along.
      assert [_ | _] = entries()
      Ecto.Adapters.SQL.disconnect_all(TestRepo, 0)
      for _ <- 1..4, do: TestRepo.checkout(fn -> TestRepo.query!("SELECT 1") end)
      wait_until(fn -> entries() == [] end)
      written_to_table()
    end

    @tag :tmp_dir
    @tag repo: [pool_size: 2, lane: true]
    test "is written as what it is on the connection that writes it: attached", %{search: search} do
      beside(fn ->
        TestRepo.query!("ATTACH ? AS search", [search])
        written_to_table()
        assert [_ | _] = entries()

        assert_raise EctoLibSql.Error, ~r/is a virtual table/, fn ->
          TestRepo.delete_all(from(n in Note, select: n.title), prefix: "search")
        end

        TestRepo.query!("DETACH search")
        assert entries() == []
        written_to_table()
        TestRepo.query!("ATTACH ? AS search", [search])
      end)
    end

    # SQLite takes 32,766 parameters, and the names of all connections are asked about at once.
    @tag :tmp_dir
    @tag repo: [pool_size: 2, lane: true]
    test "is known however many names single connections have", %{search: search} do
      changes = Ecto.Adapter.lookup_meta(TestRepo).opts[:schema_changes]
      # Before the name of the table in their order, and one that is no text in JSON.
      names = [<<97, 255>> | for(i <- 1..40_000, do: "a#{i}")]
      :ets.insert(changes.table, for(name <- names, do: {{:attached, name}, 1}))

      beside(fn ->
        TestRepo.query!("ATTACH ? AS search", [search])
        # Looked up by a connection that does not have it.
        Task.await(Task.async(&written_to_table/0), :infinity)
        written_to_table()

        assert_raise EctoLibSql.Error, ~r/is a virtual table/, fn ->
          TestRepo.delete_all(from(n in Note, select: n.title), prefix: "search")
        end
      end)
    end

    @tag :tmp_dir
    test "nothing is kept of temporary views that are gone, and temporary tables make nobody look again" do
      for i <- 1..20 do
        TestRepo.query!("CREATE TEMP VIEW v#{i} AS SELECT 1")
        TestRepo.query!("DROP VIEW v#{i}")
      end

      assert entries() == []
      TestRepo.insert!(%Note{title: "looked up"})

      {_, requests} =
        requests(fn ->
          for create <- [
                "CREATE TEMP TABLE IF NOT EXISTS tt (x)",
                "-- once more\ncreate temporary table if not exists tt (x)"
              ] do
            TestRepo.query!(create)
            TestRepo.insert!(%Note{title: "as before"})
          end
        end)

      refute Enum.any?(requests, &(to_string(&1.sql) =~ "pragma_table_list"))
    end
  end

  describe "a name that several databases have" do
    @describetag repo: [pool_size: 1, attach: [one: ":memory:", two: ":memory:"]]

    defp view(schema) do
      script("""
      CREATE TABLE #{schema}.stored (id INTEGER PRIMARY KEY, title TEXT);
      CREATE VIEW #{schema}.notes AS SELECT * FROM stored;
      CREATE TRIGGER #{schema}.u INSTEAD OF UPDATE ON notes BEGIN UPDATE stored SET title = new.title WHERE id = old.id; END;
      INSERT INTO #{schema}.stored VALUES (1, '#{schema}');
      """)
    end

    defp table(schema) do
      script("""
      CREATE TABLE #{schema}.notes (id INTEGER PRIMARY KEY, title TEXT); INSERT INTO #{schema}.notes VALUES (1, '#{schema}')
      """)
    end

    defp title(schema), do: TestRepo.query!("SELECT title FROM #{schema}.notes WHERE id = 1").rows

    # Which database an unqualified write goes to, and whether its rows are counted.
    defp reaches(schema) do
      assert TestRepo.update!(renamed(%Note{id: 1}, "new")).title == "new"
      assert title(schema) == [["new"]]
      TestRepo.update_all(Note, set: [title: "counted"])
      assert {1, nil} = TestRepo.update_all(Note, set: [title: "counted"])
    end

    # Compiled before there is another one, a statement goes on with the one it knows: so all are there first.
    for {names, first} <- [
          {[view: "two"], "two"},
          {[view: "two", table: "one"], "one"},
          {[table: "two", view: "one"], "one"},
          {[table: "one", view: "main"], "main"},
          {[view: "one", table: "main"], "main"},
          {[view: "main", table: "temp"], "temp"},
          {[table: "main", view: "temp", view: "two"], "temp"}
        ] do
      test "of #{inspect(names)} is that of #{first}" do
        for name <- unquote(names) do
          case name do
            {:view, schema} -> view(schema)
            {:table, schema} -> table(schema)
          end
        end

        reaches(unquote(first))

        for {_kind, schema} <- unquote(names), prefix <- [schema, String.capitalize(schema)] do
          assert {1, nil} = TestRepo.update_all(Note, [set: [title: "prefixed"]], prefix: prefix)
          assert title(schema) == [["prefixed"]]
          assert TestRepo.update!(renamed(%Note{id: 1}, prefix), prefix: prefix)
        end
      end
    end

    @tag :tmp_dir
    test "is that of a database that a statement attaches", %{tmp_dir: dir} do
      TestRepo.query!("ATTACH ? AS three", [Path.join(dir, "three.db")])
      view("three")
      reaches("three")
    end
  end
end
