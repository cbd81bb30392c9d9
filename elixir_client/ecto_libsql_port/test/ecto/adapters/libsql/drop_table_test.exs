defmodule Ecto.Adapters.LibSql.DropTableTest do
  use EctoLibSql.RepoCase
  import Ecto.Migration

  alias EctoLibSql.{MigrationError, Step}

  defmodule StepOutside do
    use Ecto.Migration
    @disable_ddl_transaction true

    defdelegate change, to: Step
  end

  defp change(fun, module \\ Step) do
    Step.set(fun)
    migrate(module)
  end

  defp rows(sql), do: TestRepo.query!(sql).rows

  # Children of each action, in `main` and in the attached database.
  @actions [
    "",
    " ON DELETE CASCADE",
    " ON DELETE SET NULL",
    " ON DELETE SET DEFAULT",
    " ON DELETE RESTRICT",
    " DEFERRABLE INITIALLY DEFERRED"
  ]

  setup context do
    for schema <- ["main", "ten"], schema == "main" or Keyword.has_key?(context[:repo] || [], :attach) do
      script(
        "CREATE TABLE #{schema}.parents (id INTEGER PRIMARY KEY); INSERT INTO #{schema}.parents VALUES (1), (2);"
      )

      for {action, n} <- Enum.with_index(@actions) do
        script("""
        CREATE TABLE #{schema}."kid's #{n}" (id INTEGER PRIMARY KEY, parent_id INTEGER DEFAULT 7 /* the, parent */ REFERENCES parents (id)#{action}, x TEXT);
        INSERT INTO #{schema}."kid's #{n}" VALUES (1, 1, 'a'), (2, 2, 'b'), (3, NULL, 'c');
        """)
      end
    end

    :ok
  end

  defp everything(schema) do
    for [name, sql] <-
          rows("SELECT name, sql FROM #{schema}.sqlite_schema WHERE type = 'table' ORDER BY name"),
        name != "schema_migrations",
        do: {name, sql, rows("SELECT * FROM #{schema}.\"#{name}\"")}
  end

  for {schema, options} <- [{"main", []}, {"ten", [prefix: "ten"]}],
      module <- [Step, StepOutside],
      drop <- [:drop, :drop_if_exists] do
    @tag repo: [attach: [ten: ":memory:"], pool_size: 1]
    test "#{drop} in #{schema} by #{inspect(module)} is refused while rows of other tables refer to it" do
      [schema, options, module, drop] = unquote([schema, options, module, drop])
      before = everything(schema)

      error =
        assert_raise MigrationError,
                     ~r/rows refer to it: 2 rows of kid's 0, .*2 rows of kid's 5\..*mode: :cascade/,
                     fn ->
                       change(fn -> apply(Ecto.Migration, drop, [table(:parents, options)]) end, module)
                     end

      assert %{code: :referenced, table: "parents", count: 12} = error
      assert everything(schema) == before
    end

    @tag repo: [attach: [ten: ":memory:"], pool_size: 1]
    test "#{drop} in #{schema} by #{inspect(module)} with mode: :cascade drops the foreign keys and keeps the rows" do
      [schema, options, module, drop] = unquote([schema, options, module, drop])
      before = everything(schema)
      change(fn -> apply(Ecto.Migration, drop, [table(:parents, options), [mode: :cascade]]) end, module)

      expected =
        for {name, sql, rows} <- before, name != "parents" do
          {name, String.replace(sql, ~r/ REFERENCES[^,]*/, ""), rows}
        end

      assert everything(schema) == expected
      assert rows("PRAGMA foreign_keys") == [[1]]
      TestRepo.query!("INSERT INTO #{schema}.\"kid's 1\" (parent_id) VALUES (99)")
    end
  end

  test "rows without a reference do not prevent it, and their table stays as it is written" do
    for n <- 0..5, do: script("UPDATE \"kid's #{n}\" SET parent_id = NULL")
    before = everything("main")
    change(fn -> drop(table(:parents)) end)
    assert everything("main") == Enum.reject(before, &(elem(&1, 0) == "parents"))
  end

  test "a key of several columns refers to a row if none of them is NULL" do
    script("""
    CREATE TABLE pairs (a, b, PRIMARY KEY (a, b)); INSERT INTO pairs VALUES (1, 1);
    CREATE TABLE of_pairs (a, b, FOREIGN KEY (a, b) REFERENCES pairs ON DELETE CASCADE);
    INSERT INTO of_pairs VALUES (1, NULL), (NULL, 1);
    """)

    change(fn -> drop(table(:pairs)) end)
    assert rows("SELECT * FROM of_pairs") == [[1, nil], [nil, 1]]
  end

  for {action, n} <- Enum.with_index(@actions) do
    test "a table that refers to itself #{action} is dropped" do
      script("""
      CREATE TABLE nodes (id INTEGER PRIMARY KEY AUTOINCREMENT, node_id INTEGER REFERENCES nodes#{unquote(action)});
      INSERT INTO nodes VALUES (1, NULL), (2, 1), (3, 3);
      """)

      change(fn -> drop(table(:nodes), mode: unquote(if(rem(n, 2) == 0, do: :cascade, else: :restrict))) end)
      assert rows("SELECT 1 FROM sqlite_schema WHERE name = 'nodes'") == []
      assert rows("SELECT * FROM sqlite_sequence WHERE name = 'nodes'") == []
    end
  end

  test "a table that refers to others is dropped, and nothing happens to those" do
    parents = rows("SELECT * FROM parents")
    change(fn -> for n <- 0..5, do: drop(table(:"kid's #{n}")) end)
    change(fn -> drop(table(:parents)) end)
    assert parents == [[1], [2]]
    assert rows("SELECT name FROM sqlite_schema WHERE name LIKE '%s %' OR name = 'parents'") == []
  end

  test "triggers do not fire" do
    script("""
    CREATE TABLE log (what); CREATE TABLE logged (id INTEGER PRIMARY KEY); INSERT INTO logged VALUES (1);
    CREATE TRIGGER gone AFTER DELETE ON logged BEGIN INSERT INTO log VALUES (old.id); END;
    """)

    change(fn -> drop(table(:logged)) end)
    assert rows("SELECT * FROM log") == []
  end

  describe "views and triggers" do
    setup do
      script("""
      CREATE TABLE shown (id INTEGER PRIMARY KEY); INSERT INTO shown VALUES (1);
      CREATE VIEW one AS SELECT id FROM shown; CREATE VIEW two AS SELECT * FROM one; CREATE VIEW others AS SELECT * FROM parents;
      CREATE TABLE writes (x);
      """)

      :ok
    end

    test "a view that would be left behind refuses it; with mode: :cascade it goes as well" do
      before = everything("main")
      error = assert_raise MigrationError, ~r/one/, fn -> change(fn -> drop(table(:shown)) end) end
      assert error.code == :in_use
      assert everything("main") == before
      change(fn -> drop(table(:shown), mode: :cascade) end)
      assert rows("SELECT name FROM sqlite_schema WHERE type = 'view'") == [["others"]]
    end

    test "a trigger of another table that would no longer compile refuses it in both modes" do
      script(
        "CREATE TRIGGER copied AFTER INSERT ON writes BEGIN INSERT INTO shown VALUES (new.x); END; DROP VIEW two; DROP VIEW one"
      )

      before = everything("main")

      for mode <- [:restrict, :cascade] do
        error =
          assert_raise MigrationError, ~r/copied/, fn -> change(fn -> drop(table(:shown), mode: mode) end) end

        assert error.code == :in_use
        assert everything("main") == before
      end
    end

    test "a view that did not compile before is no reason" do
      script("CREATE VIEW broken AS SELECT * FROM nowhere; DROP VIEW two; DROP VIEW one")
      change(fn -> drop(table(:shown)) end)
      assert rows("SELECT name FROM sqlite_schema WHERE type = 'view'") == [["others"], ["broken"]]
    end
  end

  test "drop_if_exists does nothing without a table; drop says that there is none" do
    change(fn -> drop_if_exists(table(:nowhere)) end)
    change(fn -> drop_if_exists(table(:nowhere), mode: :cascade) end)
    error = assert_raise MigrationError, fn -> change(fn -> drop(table(:nowhere)) end) end
    assert {error.code, error.table} == {:no_such_table, "nowhere"}
  end

  test "a virtual table is dropped with its own tables" do
    script("CREATE VIRTUAL TABLE notes USING fts5(body); INSERT INTO notes VALUES ('a')")
    change(fn -> drop(table(:notes)) end)
    assert rows("SELECT name FROM sqlite_schema WHERE name LIKE 'notes%'") == []
  end

  @tag repo: [foreign_keys: :off]
  test "without foreign keys, rows are still no reason to leave references behind" do
    assert rows("PRAGMA foreign_keys") == [[0]]
    assert_raise MigrationError, fn -> change(fn -> drop(table(:parents)) end) end
  end

  test "a table is dropped and created again in one migration" do
    change(fn ->
      drop(table(:parents), mode: :cascade)
      create(table(:parents))
    end)

    assert rows("SELECT * FROM parents") == []
    assert rows("SELECT count(*) FROM \"kid's 1\"") == [[3]]
  end

  # The engine names the first view or trigger that does not compile, and stops.
  for {kind, old} <- [
        {"view", "CREATE VIEW a_view AS SELECT * FROM gone"},
        {"trigger", "CREATE TRIGGER a_trigger AFTER INSERT ON v BEGIN DELETE FROM gone; END"}
      ],
      {other, new} <- [
        {"b_view", "CREATE VIEW b_view AS SELECT email FROM u"},
        {"b_trigger", "CREATE TRIGGER b_trigger AFTER INSERT ON v BEGIN SELECT email FROM u; END"},
        {"b_temp", "CREATE TEMP TRIGGER b_temp AFTER INSERT ON v BEGIN SELECT email FROM u; END"}
      ] do
    @tag repo: [pool_size: 1]
    test "a #{kind} that did not compile before does not hide #{other}, which no longer would" do
      script(
        "CREATE TABLE u (id INTEGER PRIMARY KEY, email TEXT UNIQUE); CREATE TABLE v (a); CREATE TABLE gone (a)"
      )

      script(unquote(old))
      script(unquote(new))
      TestRepo.query!("DROP TABLE gone")
      before = Enum.sort(rows("SELECT type, name, sql FROM sqlite_schema"))

      for command <- [fn -> drop(table(:u)) end, fn -> alter(table(:u), do: remove(:email)) end] do
        error = assert_raise MigrationError, fn -> change(command) end
        assert error.code == :in_use and error.message =~ unquote(other)
        assert rows("SELECT count(*) FROM u") == [[0]]
        now = rows("SELECT type, name, sql FROM sqlite_schema WHERE tbl_name <> 'schema_migrations'")
        assert Enum.sort(now) == before
      end

      # What does not compile before is no reason by itself.
      TestRepo.query!("DROP #{if unquote(other) =~ "view", do: "VIEW", else: "TRIGGER"} #{unquote(other)}")
      assert change(fn -> alter(table(:u), do: remove(:email)) end) == :ok
      assert change(fn -> drop(table(:u)) end) == :ok
    end
  end
end
