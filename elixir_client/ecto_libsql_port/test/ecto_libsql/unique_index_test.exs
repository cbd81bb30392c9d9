defmodule EctoLibSql.UniqueIndexTest do
  # The name of the index, where the columns alone do not tell it.
  use EctoLibSql.RepoCase

  defp constraint(sql, params \\ []) do
    assert {:error, error} = TestRepo.query(sql, params)
    assert to_string(error.code) =~ "constraint", inspect(error)
    Ecto.Adapters.LibSql.Connection.to_constraints(error, [])
  end

  describe "partial indexes on the same columns" do
    setup do
      script("""
      CREATE TABLE u (id INTEGER PRIMARY KEY, a INTEGER, b TEXT, gone INTEGER, "where" TEXT DEFAULT 'x');
      CREATE UNIQUE INDEX u_live ON u (a) WHERE gone = 0 AND "where" <> 'where';
      CREATE UNIQUE INDEX u_gone ON u (a) /* where? */ WHERE gone = 1 -- the others
      ;
      CREATE UNIQUE INDEX u_pair ON u (a, b) WHERE gone = 2;
      CREATE UNIQUE INDEX u_other ON u (a, b) WHERE gone = 3;
      INSERT INTO u VALUES (1, 1, 'b', 0, 'x'), (2, 2, 'b', 1, 'x'), (3, 3, 'b', 2, 'x'), (4, 3, 'b', 3, 'x');
      CREATE TABLE log (a INTEGER);
      CREATE TRIGGER logged AFTER INSERT ON log BEGIN INSERT INTO u (a, gone) VALUES (new.a, 1); END;
      """)

      :ok
    end

    test "inserts, of one row or many, updates, and triggers" do
      assert constraint("INSERT INTO u (a, gone) VALUES (1, 0)") == [unique: "u_live"]
      assert constraint("INSERT INTO u (a, gone) VALUES (?, ?)", [2, 1]) == [unique: "u_gone"]
      assert constraint("INSERT INTO u (a, gone) VALUES (7, 0), (8, 1), (8, 1)") == [unique: "u_gone"]
      assert constraint("INSERT INTO u (a, b, gone) VALUES (3, 'b', 2)") == [unique: "u_pair"]
      assert constraint("INSERT INTO u (a, b, gone) SELECT 3, 'b', 3") == [unique: "u_other"]
      assert constraint("UPDATE u SET a = 2, gone = 1 WHERE id = 1") == [unique: "u_gone"]
      assert constraint("UPDATE u SET a = 1, gone = 0 WHERE id = 2") == [unique: "u_live"]
      assert constraint("INSERT INTO log VALUES (2)") == [unique: "u_gone"]
    end

    test "in a transaction, which goes on, and nothing is left behind" do
      TestRepo.transaction(fn ->
        TestRepo.query!("INSERT INTO u (id, a, gone) VALUES (9, 9, 1)")
        assert constraint("INSERT INTO u (a, gone) VALUES (9, 1)") == [unique: "u_gone"]
      end)

      assert TestRepo.query!("SELECT count(*) FROM u").rows == [[5]]
      assert TestRepo.query!("SELECT count(*) FROM temp.sqlite_schema").rows == [[0]]
    end

    test "changesets by name" do
      defmodule U do
        use Ecto.Schema

        schema "u" do
          field :a, :integer
          field :gone, :integer
        end
      end

      changeset =
        struct(U)
        |> Ecto.Changeset.change(a: 2, gone: 1)
        |> Ecto.Changeset.unique_constraint(:a, name: :u_live, message: "is live")
        |> Ecto.Changeset.unique_constraint(:a, name: :u_gone, message: "is gone")

      assert {:error, %{errors: [a: {"is gone", _}]}} = TestRepo.insert(changeset)
    end
  end

  @tag repo: [attach: [ten: ":memory:"], pool_size: 1]
  test "tables of the same name in an attached database" do
    script("""
    CREATE TABLE owners (id INTEGER PRIMARY KEY, name TEXT); CREATE UNIQUE INDEX main_owner ON owners (name);
    CREATE TABLE ten.owners (id INTEGER PRIMARY KEY, name TEXT); CREATE UNIQUE INDEX ten.one_owner ON owners (name);
    INSERT INTO ten.owners (name) VALUES ('a'); INSERT INTO main.owners (name) VALUES ('a');
    """)

    assert constraint("INSERT INTO ten.owners (name) VALUES ('a')") == [unique: "one_owner"]
    assert constraint("INSERT INTO owners (name) VALUES ('a')") == [unique: "main_owner"]
  end

  test "names with dots and commas, and WITHOUT ROWID" do
    script("""
    CREATE TABLE "v.w" (id INTEGER PRIMARY KEY, "a.b" TEXT NOT NULL, "c, v.w.d" TEXT);
    CREATE UNIQUE INDEX v_ab ON "v.w" ("a.b"); CREATE UNIQUE INDEX v_both ON "v.w" ("a.b", "c, v.w.d");
    CREATE UNIQUE INDEX v_c ON "v.w" ("c, v.w.d");
    INSERT INTO "v.w" VALUES (1, 'x', 'y');
    CREATE TABLE k (a TEXT, b TEXT, c TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
    CREATE UNIQUE INDEX k_c ON k (c) WHERE c > 'm'; CREATE UNIQUE INDEX k_d ON k (c) WHERE c < 'd';
    INSERT INTO k VALUES ('a', 'b', 'z'), ('b', 'b', 'a');
    """)

    assert constraint(~S|INSERT INTO "v.w" VALUES (2, 'x', 'z')|) == [unique: "v_ab"]
    assert constraint(~S|INSERT INTO "v.w" VALUES (2, 'z', 'y')|) == [unique: "v_c"]
    assert constraint(~S|INSERT INTO "v.w" VALUES (1, 'z', 'z')|) == [unique: "v.w_id_index"]
    {:error, error} = TestRepo.query(~S|INSERT INTO "v.w" VALUES (2, NULL, 'z')|)
    assert %{kind: :not_null, table: "v.w", columns: ["a.b"]} = error.constraint
    assert constraint("INSERT INTO k VALUES ('a', 'b', 'x')") == [unique: "k_a_b_index"]
    assert constraint("INSERT INTO k VALUES ('x', 'b', 'z')") == [unique: "k_c"]
    assert constraint("UPDATE k SET c = 'a' WHERE a = 'a'") == [unique: "k_d"]
  end

  describe "the statement's program tells" do
    # The requests that are sent after the one that fails.
    defp asked(sql, params \\ []) do
      {constraints, requests} = requests(fn -> constraint(sql, params) end)

      {constraints,
       for(about <- requests, do: if(about.request == :execute, do: about.sql, else: about.request))}
    end

    @tag repo: [attach: [ten: ":memory:"], pool_size: 1]
    test "twins in an attached database apart, and nothing is run again" do
      script("""
      CREATE TABLE owners (name TEXT, gone INTEGER); CREATE UNIQUE INDEX here ON owners (name) WHERE gone = 0;
      CREATE TABLE ten.owners (name TEXT, gone INTEGER); CREATE UNIQUE INDEX ten.there ON owners (name) WHERE gone = 0;
      INSERT INTO ten.owners VALUES ('a', 0); INSERT INTO main.owners VALUES ('a', 0);
      CREATE TABLE ten.log (name TEXT);
      CREATE TRIGGER ten.logged AFTER INSERT ON log BEGIN INSERT INTO owners VALUES (new.name, 0); END;
      """)

      for {sql, index} <- [
            {"INSERT INTO ten.owners VALUES ('a', 0)", "there"},
            {"INSERT INTO owners VALUES ('a', 0)", "here"},
            {"INSERT INTO owners SELECT name, 0 FROM ten.owners", "here"},
            {"INSERT INTO log VALUES ('a')", "there"}
          ] do
        assert {[unique: ^index], [^sql, _, _, "EXPLAIN " <> ^sql]} = asked(sql)
      end
    end

    test "which index the ON CONFLICT of an upsert leaves" do
      script("""
      CREATE TABLE u (id INTEGER PRIMARY KEY, a INTEGER, gone INTEGER, n INTEGER DEFAULT 0);
      CREATE UNIQUE INDEX u_live ON u (a) WHERE gone = 0; CREATE UNIQUE INDEX u_gone ON u (a) WHERE gone = 1;
      CREATE UNIQUE INDEX u_last ON u (a) WHERE gone = 2;
      INSERT INTO u VALUES (1, 1, 0, 0), (2, 2, 1, 0), (3, 3, 2, 0);
      """)

      for conflict <- ["DO NOTHING", "DO UPDATE SET n = n + 1"] do
        # The first row is a conflict that is handled.
        upsert = "INSERT INTO u (a, gone) VALUES (1, 0), (?, ?) ON CONFLICT (a) WHERE gone = 0 #{conflict}"
        assert {[unique: "u_gone"], _} = asked(upsert, [2, 1])
        assert {[unique: "u_last"], _} = asked(upsert, [3, 2])

        both =
          "INSERT INTO u (a, gone) VALUES (1, 0), (2, 1), (?, ?) ON CONFLICT (a) WHERE gone = 0 #{conflict} " <>
            "ON CONFLICT (a) WHERE gone = 1 #{conflict}"

        assert {[unique: "u_last"], [^both | asked]} = asked(both, [3, 2])
        assert "EXPLAIN " <> _ = List.last(asked)
      end

      # One row breaks both: the handled one counts, and a later row is the one that fails.
      script(
        "CREATE UNIQUE INDEX u_all ON u (a) WHERE gone >= 0 AND n = 7; INSERT INTO u VALUES (4, 9, 0, 7)"
      )

      upsert =
        "INSERT INTO u (a, gone, n) VALUES (9, 0, 7), (2, 1, 0) ON CONFLICT (a) WHERE gone = 0 DO NOTHING"

      assert {[unique: "u_gone"], _} = asked(upsert)
      script("DROP INDEX u_all; DELETE FROM u WHERE id = 4")

      # The rows that OR FAIL leaves are no conflict of their own.
      keeping = "INSERT OR FAIL INTO u (a, gone) VALUES (20, 2), (2, 1)"
      assert {[unique: "u_a_index"], [_, _, _, "EXPLAIN " <> ^keeping]} = asked(keeping)
      script("DELETE FROM u WHERE a = 20")

      # The update of an upsert may break another one.
      moved =
        "INSERT INTO u (a, gone) VALUES (1, 0) ON CONFLICT (a) WHERE gone = 0 DO UPDATE SET a = 2, gone = 1"

      assert {[unique: "u_gone"], _} = asked(moved)
      assert TestRepo.query!("SELECT id, n FROM u").rows == [[1, 0], [2, 0], [3, 0]]
    end
  end

  test "an index of another collation than its column's" do
    script("""
    CREATE TABLE u (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE, kind TEXT, gone INTEGER);
    CREATE UNIQUE INDEX u_exact ON u (name COLLATE BINARY) WHERE gone < 2; CREATE UNIQUE INDEX u_any ON u (name) WHERE gone > 0;
    CREATE UNIQUE INDEX k_exact ON u (kind) WHERE gone < 2; CREATE UNIQUE INDEX k_any ON u (kind COLLATE NOCASE) WHERE gone > 0;
    INSERT INTO u VALUES (1, 'ann', 'x', 1), (2, 'bob', 'y', 0);
    """)

    assert constraint("INSERT INTO u (name, gone) VALUES ('ANN', 1)") == [unique: "u_any"]
    assert constraint("INSERT INTO u (name, gone) VALUES ('bob', 0)") == [unique: "u_exact"]
    assert constraint("INSERT INTO u (name, gone) VALUES ('BOB', 1), ('Bob', 3)") == [unique: "u_any"]
    assert constraint("INSERT INTO u (kind, gone) VALUES ('X', 1)") == [unique: "k_any"]
    assert constraint("UPDATE u SET kind = 'y', gone = 0 WHERE id = 1") == [unique: "k_exact"]
  end
end
