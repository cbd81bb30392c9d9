defmodule LibsqlPort.PragmaTest do
  use LibsqlPort.SidecarCase, async: true

  alias LibsqlPort.Pragma
  alias LibsqlPort.Pragma.{Column, Definition, ForeignKey, ForeignKeyViolation, Index, IndexColumn, Table}

  test "every readable one is read, with a value of its type", %{conn: conn} do
    for {name, {type, access}} <- Definition.all(), access != :write do
      assert {:ok, value} = Pragma.get(conn, name), "#{name}"

      case type do
        :boolean -> assert is_boolean(value), "#{name}: #{inspect(value)}"
        {:integer, _, _} -> assert is_integer(value), "#{name}: #{inspect(value)}"
        {:one_of, values} -> assert Keyword.has_key?(values, value), "#{name}: #{inspect(value)}"
      end
    end
  end

  test "every boolean one that can be set holds what was set", %{conn: conn} do
    for {name, {:boolean, :read_write}} <- Definition.all(),
        name != :defer_foreign_keys,
        value <- [true, false] do
      assert {:ok, ^value} = Pragma.set(conn, name, value), "#{name}"
      assert {:ok, ^value} = Pragma.get(conn, name), "#{name}"
    end

    # This one holds for a transaction only.
    assert {:ok, true} =
             LibsqlPort.transaction(conn, fn conn -> elem(Pragma.set(conn, :defer_foreign_keys, true), 1) end)
  end

  test "words and numbers", %{conn: conn} do
    for {name, value} <- [
          synchronous: :full,
          synchronous: :off,
          temp_store: :file,
          secure_delete: :fast,
          cache_size: -4_000,
          user_version: 7,
          application_id: -5,
          journal_size_limit: 1_000_000,
          analysis_limit: 100
        ] do
      assert {:ok, ^value} = Pragma.set(conn, name, value), "#{name}"
      assert {:ok, ^value} = Pragma.get(conn, name), "#{name}"
    end

    assert {:ok, nil} = Pragma.set(conn, :case_sensitive_like, true)
    assert {:ok, [0]} = LibsqlPort.query_one(conn, "SELECT 'a' LIKE 'A'")
    assert {:ok, :wal} = Pragma.get(conn, :journal_mode)
    assert {:ok, :wal} = Pragma.get(conn, "journal_mode")
  end

  test "unknown names and wrong values are errors", %{conn: conn} do
    for {answer, words} <- [
          {Pragma.get(conn, :nonsense), [":nonsense", ":synchronous"]},
          {Pragma.set(conn, :synchronous, :sometimes), [":synchronous", ":normal", ":sometimes"]},
          {Pragma.set(conn, :foreign_keys, 1), [":foreign_keys", "true or false"]},
          {Pragma.set(conn, :user_version, "1; DROP TABLE t"), [":user_version", "integer"]},
          {Pragma.set(conn, :page_count, 3), [":page_count", "cannot be set"]},
          {Pragma.set(conn, :busy_timeout, 3), [":busy_timeout", "cannot be set"]},
          {Pragma.get(conn, :case_sensitive_like), ["cannot be read"]}
        ] do
      assert {:error, %Error{code: :invalid_option, message: message}} = answer
      for word <- words, do: assert(message =~ word)
    end
  end

  test "of an attached database", %{conn: conn, tmp_dir: directory} do
    LibsqlPort.query!(conn, "ATTACH ? AS \"my other\"", [Path.join(directory, "other.db")])
    assert {:ok, 9} = Pragma.set(conn, :user_version, 9, schema: "my other")
    assert {:ok, 0} = Pragma.get(conn, :user_version)
    assert {:ok, databases} = Pragma.database_list(conn)
    assert [%{name: "main"}, %{name: "my other", file: file}] = Enum.reject(databases, &(&1.name == "temp"))
    assert Path.basename(file) == "other.db"
  end

  test "the schema", %{conn: conn} do
    {:ok, _} =
      LibsqlPort.script(conn, """
      CREATE TABLE parent (id INTEGER PRIMARY KEY);
      CREATE TABLE "it's" (
        a INTEGER NOT NULL DEFAULT 5,
        b TEXT UNIQUE,
        c INTEGER AS (a + 1) STORED,
        d INTEGER REFERENCES parent (id) ON DELETE CASCADE,
        PRIMARY KEY (b, a)
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX i ON "it's" (a DESC, b COLLATE NOCASE) WHERE a > 0;
      CREATE VIEW v AS SELECT 1;
      """)

    assert {:ok, columns} = Pragma.table_xinfo(conn, "it's")

    assert [
             %Column{name: "a", type: "INTEGER", not_null: true, default: "5", primary_key: 2, hidden: :no},
             %Column{name: "b", primary_key: 1},
             %Column{name: "c", hidden: :generated_stored},
             %Column{name: "d"}
           ] = columns

    assert {:ok, [%Column{name: "a"}, %Column{name: "b"}, %Column{name: "d"}]} =
             Pragma.table_info(conn, "it's")

    assert {:ok, tables} = Pragma.table_list(conn)

    assert %Table{type: :table, strict: true, without_rowid: true, columns: 4} =
             Enum.find(tables, &(&1.name == "it's"))

    assert %Table{type: :view} = Enum.find(tables, &(&1.name == "v"))

    assert {:ok, indexes} = Pragma.index_list(conn, "it's")
    assert %Index{unique: false, origin: :create_index, partial: true} = Enum.find(indexes, &(&1.name == "i"))
    assert Enum.any?(indexes, &(&1.origin == :primary_key))

    assert {:ok,
            [%IndexColumn{name: "a", descending: true}, %IndexColumn{name: "b", collation: "NOCASE"} | _]} =
             Pragma.index_xinfo(conn, "i")

    assert {:ok, [%IndexColumn{name: "a", descending: nil}, %IndexColumn{name: "b"}]} =
             Pragma.index_info(conn, "i")

    assert {:ok,
            [%ForeignKey{table: "parent", from: "d", to: "id", on_delete: :cascade, on_update: :no_action}]} =
             Pragma.foreign_key_list(conn, "it's")

    assert {:ok, []} = Pragma.foreign_key_check(conn)
    {:ok, _} = Pragma.set(conn, :foreign_keys, false)
    LibsqlPort.query!(conn, "INSERT INTO \"it's\" (b, d) VALUES ('x', 99)")
    assert {:ok, [%ForeignKeyViolation{table: "it's", parent: "parent"}]} = Pragma.foreign_key_check(conn)
    assert {:ok, []} = Pragma.foreign_key_check(conn, table: "parent")
  end

  test "lists and checks", %{conn: conn} do
    assert {:ok, []} = Pragma.integrity_check(conn)
    assert {:ok, []} = Pragma.quick_check(conn, max: 5)
    assert {:ok, collations} = Pragma.collation_list(conn)
    assert "NOCASE" in collations
    assert {:ok, functions} = Pragma.function_list(conn)
    assert Enum.any?(functions, &match?(%{name: "abs", type: :scalar, builtin: true}, &1))
    assert {:ok, pragmas} = Pragma.pragma_list(conn)
    assert "journal_mode" in pragmas
    assert {:ok, options} = Pragma.compile_options(conn)
    assert Enum.any?(options, &(&1 =~ "THREADSAFE"))
    assert {:ok, modules} = Pragma.module_list(conn)
    assert "fts5" in modules
    assert :ok = Pragma.optimize(conn)
    assert :ok = Pragma.incremental_vacuum(conn, pages: 3)
    assert :ok = Pragma.shrink_memory(conn)
    assert {:error, %Error{code: :invalid_option}} = Pragma.integrity_check(conn, max: "1")
  end

  test "every name is known to the engine", %{conn: conn} do
    {:ok, known} = Pragma.pragma_list(conn)
    for {name, _} <- Definition.all(), do: assert(Atom.to_string(name) in known)
  end
end
