defmodule Ecto.Adapters.LibSql.StorageTest do
  use ExUnit.Case, async: true

  alias Ecto.Adapters.LibSql

  @moduletag :tmp_dir

  test "up, status, down", %{tmp_dir: dir} do
    options = [database: Path.join([dir, "deep", "app.db"])]
    assert LibSql.storage_status(options) == :down
    assert LibSql.storage_up(options) == :ok
    assert LibSql.storage_up(options) == {:error, :already_up}
    assert LibSql.storage_status(options) == :up
    assert LibSql.storage_down(options) == :ok
    assert File.ls!(Path.join(dir, "deep")) == []
    assert LibSql.storage_down(options) == {:error, :already_down}
  end

  test "a database in memory is always there" do
    assert LibSql.storage_up(database: ":memory:") == :ok
    assert LibSql.storage_status(database: ":memory:") == :up
    assert LibSql.storage_down(database: ":memory:") == :ok
  end

  test "without a database it says what to write" do
    assert_raise ArgumentError, ~r/config :my_app, MyApp.Repo/, fn -> LibSql.storage_up([]) end
  end

  test "the structure is dumped and loaded", %{tmp_dir: dir} do
    options = [database: Path.join(dir, "a.db")]
    {:ok, state} = EctoLibSql.connect(options)

    {:ok, _} =
      LibsqlPort.script(state.conn, """
      CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, inserted_at TEXT);
      CREATE TABLE a (x INTEGER PRIMARY KEY AUTOINCREMENT, y TEXT);
      CREATE INDEX a_y ON a (y);
      CREATE VIRTUAL TABLE f USING fts5(t);
      CREATE VIEW v AS SELECT x FROM a;
      CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM a; END;
      INSERT INTO schema_migrations VALUES (7, 'it''s');
      """)

    EctoLibSql.disconnect(nil, state)
    assert {:ok, path} = LibSql.structure_dump(dir, options)
    assert {text, 0} = LibSql.dump_cmd([], [], options)
    assert text == File.read!(path)
    refute text =~ "f_data"

    copy = [database: Path.join(dir, "b.db"), dump_path: path]
    assert {:ok, ^path} = LibSql.structure_load(dir, copy)
    assert {^text, 0} = LibSql.dump_cmd([], [], copy)
    assert {:error, message} = LibSql.structure_load(dir, copy)
    assert message =~ "already exists"
  end

  test "a structure is loaded as a whole or not at all", %{tmp_dir: dir} do
    path = Path.join(dir, "structure.sql")
    options = [database: Path.join(dir, "a.db"), dump_path: path]
    run!(options, "CREATE TABLE c (x); INSERT INTO c VALUES (1)")

    for wrong <- [
          "CREATE TABLE c (y)",
          "CREATE WHAT",
          "INSERT INTO a VALUES (1, 2, 3)",
          "COMMIT; SELECT raise"
        ] do
      File.write!(path, "CREATE TABLE a (x); CREATE TABLE b (x); #{wrong}; CREATE TABLE d (x);")
      assert {:error, message} = LibSql.structure_load(dir, options)
      assert is_binary(message)
      assert names(options) == ["c"]
    end

    # As it is after a load that was not whole, and has been mended by hand.
    File.write!(path, "CREATE TABLE a (x); CREATE TABLE d (x);")
    assert LibSql.structure_load(dir, options) == {:ok, path}
    assert names(options) == ["a", "c", "d"]
  end

  test "a dump with rows is loaded, which begins a transaction by itself", %{tmp_dir: dir} do
    path = Path.join(dir, "structure.sql")
    options = [database: Path.join(dir, "a.db"), dump_path: path]

    File.write!(path, """
    PRAGMA foreign_keys=OFF;
    BEGIN TRANSACTION;
    CREATE TABLE child (p REFERENCES parent);
    INSERT INTO child VALUES(1);
    CREATE TABLE parent (id INTEGER PRIMARY KEY AUTOINCREMENT);
    INSERT INTO parent VALUES(1);
    DELETE FROM sqlite_sequence;
    INSERT INTO sqlite_sequence VALUES('parent',41);
    CREATE TRIGGER r AFTER INSERT ON child BEGIN SELECT 1; END;
    COMMIT;
    """)

    assert LibSql.structure_load(dir, options) == {:ok, path}

    run!(
      options,
      "INSERT INTO parent DEFAULT VALUES; CREATE TABLE found AS SELECT 1 FROM parent WHERE id = 42"
    )

    assert names(options) == ~w(child found parent r sqlite_sequence)
  end

  test "tables of an index of vectors are left out, and those of a user that are called alike are not", %{
    tmp_dir: dir
  } do
    options = [database: Path.join(dir, "a.db")]

    run!(options, """
    CREATE TABLE places (id INTEGER PRIMARY KEY, v F32_BLOB(3));
    CREATE INDEX places_v ON places (libsql_vector_idx(v));
    CREATE TABLE places_v_shadows (a); CREATE TABLE other_shadow (a); CREATE TABLE libsql_notes (a); CREATE TABLE f_data (a);
    """)

    assert {:ok, path} = LibSql.structure_dump(dir, options)
    copy = [database: Path.join(dir, "b.db"), dump_path: path]
    assert {:ok, ^path} = LibSql.structure_load(dir, copy)
    assert names(copy) == names(options)
    assert "places_v_shadow" in names(copy)
    assert "libsql_notes" in names(copy)
    run!(copy, "INSERT INTO places VALUES (1, vector32('[1,2,3]'))")
  end

  test "a comment at a statement's end does not take the next statement along", %{tmp_dir: dir} do
    options = [database: Path.join(dir, "a.db")]

    for sql <- [
          "CREATE VIEW v AS SELECT '--' AS a -- the end",
          "CREATE TABLE t (a TEXT DEFAULT '--') STRICT -- the end",
          "CREATE INDEX i ON t (a) WHERE a <> '-- /*' -- the end",
          "CREATE TABLE u (a CHECK (a <> ' --'))",
          "CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; /* END; */ SELECT CASE WHEN 1 THEN ';' END; END"
        ],
        do: run!(options, sql)

    assert {:ok, path} = LibSql.structure_dump(dir, options)
    copy = [database: Path.join(dir, "b.db"), dump_path: path]
    assert {:ok, ^path} = LibSql.structure_load(dir, copy)
    assert names(copy) == ~w(i r t u v)
  end

  defp run!(options, sql) do
    {:ok, state} = EctoLibSql.connect(options)
    assert {:ok, _} = LibsqlPort.script(state.conn, sql)
    EctoLibSql.disconnect(nil, state)
  end

  defp names(options) do
    {:ok, state} = EctoLibSql.connect(options)
    {:ok, %{rows: rows}} = LibsqlPort.query(state.conn, "SELECT name FROM sqlite_schema ORDER BY name")
    EctoLibSql.disconnect(nil, state)
    List.flatten(rows)
  end

  test "a structure is loaded that the sqlite3 program has dumped", %{tmp_dir: dir} do
    path = Path.join(dir, "structure.sql")

    File.write!(path, """
    CREATE TABLE IF NOT EXISTS "schema_migrations" ("version" INTEGER PRIMARY KEY, "inserted_at" TEXT);
    CREATE TABLE IF NOT EXISTS "a" ("id" INTEGER PRIMARY KEY AUTOINCREMENT, "y" TEXT); -- the first
    CREATE TABLE sqlite_sequence(name,seq);
    CREATE INDEX "a_y" ON "a" ("y") -- the only one
    ;
    CREATE TABLE IF NOT EXISTS "sqlite_stat1"(tbl,idx,stat);
    CREATE VIEW v AS SELECT id FROM a
    /* v(id) */;
    CREATE VIRTUAL TABLE f USING fts5(t)
    /* f(t) */;
    CREATE TABLE IF NOT EXISTS 'f_data'(id INTEGER PRIMARY KEY, block BLOB);
    CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE a SET y = 'x;'; DELETE FROM f; END;
    INSERT INTO schema_migrations VALUES(7,'2026-01-02T03:04:05');
    """)

    options = [database: Path.join(dir, "a.db"), dump_path: path]
    assert LibSql.structure_load(dir, options) == {:ok, path}
    {:ok, state} = EctoLibSql.connect(options)

    assert {:ok, %{rows: [["a"], ["a_y"], ["f"], ["schema_migrations"], ["t"], ["v"]]}} =
             LibsqlPort.query(state.conn, """
             SELECT name FROM sqlite_schema WHERE name NOT LIKE 'f\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite%' ORDER BY 1
             """)

    assert {:ok, %{rows: [[7]]}} = LibsqlPort.query(state.conn, "SELECT version FROM schema_migrations")
    EctoLibSql.disconnect(nil, state)
  end

  test "a file that is something else is neither taken for a database nor removed", %{tmp_dir: directory} do
    for content <- ["defmodule A do", "S", "SQLite format 4\0 and so on"] do
      path = Path.join(directory, "mix.exs")
      File.write!(path, content)

      assert {:error, message} = LibSql.storage_up(database: path)
      assert message == "#{path} is not a database. Correct the path"
      assert {:error, message} = LibSql.storage_down(database: path)
      assert message == "#{path} is not a database. Correct the path, or remove the file by hand"
      assert File.read!(path) == content
      assert File.ls!(directory) == ["mix.exs"]
    end

    for storage <- [&LibSql.storage_up/1, &LibSql.storage_down/1] do
      assert {:error, message} = storage.(database: directory)
      assert message =~ "is not a database"
    end

    empty = Path.join(directory, "empty.db")
    File.touch!(empty)
    assert LibSql.storage_up(database: empty) == {:error, :already_up}
    assert LibSql.storage_down(database: empty) == :ok
    refute File.exists?(empty)
  end
end
