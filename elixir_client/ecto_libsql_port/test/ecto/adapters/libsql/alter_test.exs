defmodule Ecto.Adapters.LibSql.AlterTest do
  # What a change of a table must leave alone. Each case creates a schema, runs a migration up, and where it can be
  # reversed, down again.
  use EctoLibSql.RepoCase
  import Ecto.Migration

  alias EctoLibSql.{MigrationError, Step}

  defp up(fun) do
    Step.set(fun)
    version = System.unique_integer([:positive])
    Ecto.Migrator.up(TestRepo, version, Step, log: false)
    version
  end

  defp down(version), do: Ecto.Migrator.down(TestRepo, version, Step, log: false)
  defp rows(sql, params \\ []), do: TestRepo.query!(sql, params).rows
  defp sorted(sql), do: Enum.sort(rows(sql))
  defp text(name), do: rows("SELECT sql FROM sqlite_schema WHERE name = ?", [name]) |> hd() |> hd()

  # Everything in the schema but rowids of sqlite_schema and what belongs to the migrator.
  defp schema(prefix \\ "main") do
    Enum.sort(
      rows(
        "SELECT type, name, tbl_name, sql FROM #{prefix}.sqlite_schema WHERE tbl_name <> 'schema_migrations'"
      )
    )
  end

  defp sound(prefix \\ "main") do
    assert rows("PRAGMA #{prefix}.integrity_check") == [["ok"]]
    assert rows("PRAGMA #{prefix}.foreign_key_check") == []
    for _ <- 1..5, do: assert(rows("PRAGMA foreign_keys") == [[1]])
    for _ <- 1..5, do: assert(rows("SELECT name FROM sqlite_temp_schema") == [])
    assert rows("PRAGMA legacy_alter_table") == [[0]]
    assert rows("PRAGMA writable_schema") == [[0]]
  end

  defp refused(code, fun) do
    before = schema()
    error = assert_raise MigrationError, fn -> up(fun) end
    assert error.code == code
    assert schema() == before
    error
  end

  # --- one column, everything around it ---------------------------------------------------------------------------

  @busy ~S"""
  CREATE TABLE owners (id INTEGER PRIMARY KEY, name TEXT); -- not stored
  CREATE TABLE nodes (
    -- the key, counted up
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- id, first
    owner_id INTEGER REFERENCES owners(id) ON DELETE CASCADE, -- the owner, of course
    parent_id INTEGER CONSTRAINT up REFERENCES nodes ON DELETE CASCADE /* itself */,
    -- between two columns, "quoted
    [odd name] TEXT DEFAULT 'it''s (a, b) -- c' COLLATE NOCASE CHECK ("odd name" <> 'x;y' AND length("odd name") >= 0x1),
    code TEXT UNIQUE,
    amount DECIMAL(10,2) NOT NULL DEFAULT 1.0e-7 /* small, , ) */,
    doubled AS (amount * 2),
    kind TEXT CHECK (kind IN ('owner_id', 'b , c')) -- last column
    , CONSTRAINT "a check" CHECK (id <> -1 OR nodes.amount >= 0)
    , CONSTRAINT pair UNIQUE (owner_id, kind)
    , FOREIGN KEY (owner_id) REFERENCES owners (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED -- twice
  ) /* the end */;
  CREATE UNIQUE INDEX nodes_by_name ON nodes ("odd name" COLLATE BINARY DESC, lower(kind)) WHERE kind IS NOT NULL;
  CREATE TABLE log (what TEXT);
  CREATE TRIGGER nodes_insert AFTER INSERT ON nodes BEGIN INSERT INTO log VALUES ('insert'); END;
  CREATE TRIGGER nodes_delete BEFORE DELETE ON nodes BEGIN INSERT INTO log VALUES ('delete'); END;
  CREATE TRIGGER nodes_update AFTER UPDATE ON nodes BEGIN INSERT INTO log VALUES ('update'); END;
  CREATE VIEW seen AS SELECT id, kind FROM nodes;
  CREATE TRIGGER seen_insert INSTEAD OF INSERT ON seen BEGIN INSERT INTO nodes (kind) VALUES (new.kind); END;
  CREATE TABLE leaves (id INTEGER PRIMARY KEY, node_id INTEGER REFERENCES "nodes" (id) ON DELETE CASCADE /* c */, n TEXT);
  CREATE TABLE tied (a INT, b INT, CONSTRAINT tie FOREIGN KEY (a) REFERENCES Nodes(id) ON DELETE SET NULL ON UPDATE CASCADE -- d
  );
  INSERT INTO owners VALUES (1, 'o');
  INSERT INTO nodes (id, owner_id, parent_id, "odd name", code, kind) VALUES
    (1, 1, NULL, 'a', 'x', 'owner_id'), (2, NULL, 1, 'b', 'y', 'b , c'), (9, NULL, 2, 'c', NULL, NULL);
  DELETE FROM nodes WHERE id = 9;
  INSERT INTO leaves VALUES (1, 1, 'l'), (2, 2, 'm');
  INSERT INTO tied VALUES (1, 1), (NULL, 2);
  DELETE FROM log;
  """

  @nodes ~s|SELECT rowid, id, owner_id, parent_id, "odd name", code, amount, typeof(amount), doubled, kind FROM nodes|
  @others [
    "SELECT * FROM leaves",
    "SELECT * FROM tied",
    "SELECT * FROM owners",
    "SELECT * FROM log",
    "SELECT * FROM seen"
  ]

  @cases [
    {"a default, in place", [:reversible],
     quote do
       alter table(:nodes) do
         modify(:kind, :text, default: "it's -- (", from: {:text, default: nil})
       end
     end},
    {"not null, in place", [:reversible],
     quote do
       alter table(:nodes) do
         modify(:"odd name", :text, null: false, from: {:text, null: true})
       end
     end},
    {"a column behind a decimal", [:reversible],
     quote do
       alter table(:nodes) do
         modify(:amount, :decimal,
           precision: 10,
           scale: 2,
           null: true,
           from: {:decimal, precision: 10, scale: 2, null: false}
         )
       end
     end},
    {"a check of the table", [:reversible],
     quote do
       create(constraint(:nodes, :"no -- zero", check: "amount <> 0 -- or so"))
     end},
    {"a plain column", [:reversible],
     quote do
       alter table(:nodes) do
         add(:extra, :text, default: "e")
       end
     end},
    {"a foreign key column", [:reversible],
     quote do
       alter table(:nodes) do
         add(:second_id, references(:owners, on_delete: :delete_all))
       end
     end},
    {"a computed default, by copy", [:reversible],
     quote do
       alter table(:nodes) do
         add(:at, :text, default: fragment("CURRENT_TIMESTAMP"), null: false)
       end
     end},
    {"a stored column, by copy", [:reversible],
     quote do
       alter table(:nodes) do
         add(:tripled, :integer, generated: "amount * 3", stored: true)
       end
     end},
    {"a type, by copy", [],
     quote do
       alter table(:nodes) do
         modify(:code, :binary)
       end
     end},
    {"a UNIQUE of a column, by copy", [],
     quote do
       drop(constraint(:nodes, "nodes_code_index"))
     end},
    {"a UNIQUE of the table, by copy", [],
     quote do
       drop(constraint(:nodes, :pair))
     end},
    {"a check", [],
     quote do
       drop(constraint(:nodes, :"a check"))
     end},
    {"a foreign key of a column by its name", [],
     quote do
       drop(constraint(:nodes, :up))
     end},
    {"a foreign key by Ecto's name", [],
     quote do
       drop(constraint(:nodes, :nodes_owner_id_fkey))
     end}
  ]

  for {name, options, body} <- @cases do
    test "everything else stays: #{name}" do
      script(@busy)
      [before, rows, others] = [schema(), rows(@nodes), Enum.map(@others, &sorted/1)]

      changed = fn ->
        Enum.reject(schema(), &match?(["table", "nodes" | _], &1))
        |> Enum.reject(&match?([_, "sqlite_auto" <> _ | _], &1))
      end

      rest = changed.()

      check = fn ->
        assert rows(@nodes) == rows
        assert Enum.map(@others, &sorted/1) == others
        assert changed.() == rest
        sound()
      end

      version = up(fn -> unquote(body) end)
      check.()
      assert text("nodes") != Enum.find_value(before, fn [_, name, _, sql] -> name == "nodes" && sql end)

      for comment <- [
            "-- the key, counted up\n",
            "-- id, first\n",
            "-- the owner, of course\n",
            ~s|-- between two columns, "quoted\n|
          ] do
        assert text("nodes") =~ comment
      end

      if :reversible in unquote(options) do
        down(version)
        check.()
        assert schema() == before
      end

      # The counter goes on; deleting still cascades; triggers fire.
      assert rows(
               "INSERT INTO nodes (kind, parent_id, \"odd name\") VALUES ('owner_id', 2, 'new') RETURNING id"
             ) == [[10]]

      rows("DELETE FROM nodes WHERE id = 2")
      assert rows("SELECT id FROM leaves") == [[1]]
      assert ["insert"] in rows("SELECT what FROM log") and ["delete"] in rows("SELECT what FROM log")
    end
  end

  test "removed columns: the parent's rows, the children's and its own stay" do
    script("CREATE TABLE owners (id INTEGER PRIMARY KEY)")

    for {action, i} <- Enum.with_index(["CASCADE", "SET NULL", "RESTRICT", "NO ACTION", "SET DEFAULT"]),
        removed <- ["key", "checked", "code", "plain"] do
      name = "n#{i}_#{removed}"

      script("""
      CREATE TABLE #{name} (id INTEGER PRIMARY KEY, key INTEGER REFERENCES owners(id), code TEXT UNIQUE, plain,
        checked INTEGER CHECK (checked <> 1), parent_id INTEGER REFERENCES #{name}(id) ON DELETE #{action});
      INSERT INTO #{name} (id, parent_id, code) VALUES (1, NULL, 'a'), (2, 1, 'b'), (3, 2, 'c');
      CREATE TABLE #{name}_child (id INTEGER PRIMARY KEY, n INTEGER REFERENCES #{name} ON DELETE #{action});
      INSERT INTO #{name}_child VALUES (1, 1), (2, 3);
      """)

      up(fn -> alter(table(name), do: remove(String.to_atom(removed))) end)
      assert rows("SELECT id, parent_id FROM #{name}") == [[1, nil], [2, 1], [3, 2]]
      assert rows("SELECT * FROM #{name}_child") == [[1, 1], [2, 3]]
      assert text("#{name}_child") =~ "REFERENCES #{name} ON DELETE #{action}"
      assert [removed] not in rows("SELECT name FROM pragma_table_info(?)", [name])
      sound()
    end
  end

  test "a column goes with its constraints, a string of its name does not count" do
    script("""
    CREATE TABLE docs (id INTEGER PRIMARY KEY, status INTEGER, "end" TEXT, kind TEXT,
      CONSTRAINT kind_ok CHECK (kind IN ('status', 'draft')), CONSTRAINT ends CHECK (CASE WHEN kind = 'x' THEN 1 ELSE 1 END),
      CONSTRAINT status_ok CHECK (docs.status > 0), CHECK ("status" < 100), UNIQUE (status, kind));
    CREATE INDEX docs_status ON docs (lower(status));
    CREATE INDEX docs_part ON docs (kind) WHERE status IS NULL;
    CREATE INDEX docs_kind ON docs (kind) WHERE kind <> 'status';
    """)

    up(fn -> alter(table(:docs), do: remove(:status)) end)
    up(fn -> alter(table(:docs), do: remove(:end)) end)

    assert text("docs") ==
             """
             CREATE TABLE docs (id INTEGER PRIMARY KEY, kind TEXT,
               CONSTRAINT kind_ok CHECK (kind IN ('status', 'draft')), CONSTRAINT ends CHECK (CASE WHEN kind = 'x' THEN 1 ELSE 1 END))
             """
             |> String.trim()

    assert rows("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL") == [["docs_kind"]]

    assert {:error, %{code: :constraint_check}} =
             TestRepo.query("INSERT INTO docs (kind) VALUES ('nonsense')")
  end

  # --- modify, up and down ------------------------------------------------------------------------------------------

  @modified [
    {:integer, [], :integer, [null: false], [null: true]},
    {:string, [null: false], :string, [null: true], []},
    {:string, [default: "a 'b' -- c"], :string, [default: "d"], []},
    {:string, [], :string, [default: fragment("'x' || 'y'")], [default: nil]},
    {:string, [collate: :nocase], :string, [collate: :binary], []},
    {:string, [], :string, [collate: :rtrim], [collate: nil]},
    {:integer, [check: "a >= 0"], :integer, [check: "a <> 77"], []},
    {:integer, [], :integer, [check: %{name: "a's", expr: "a < 77"}], [check: nil]},
    {:integer, [null: false, default: 1, check: "a > 0"], :string, [], []},
    {:string, [null: false, default: "1", collate: :nocase], :integer, [], []},
    {:decimal, [precision: 10, scale: 2], :decimal, [precision: 12, scale: 4], []},
    {:float, [], :integer, [null: false, default: 3], [null: true, default: nil]},
    {:integer, [], {:references, []}, [], []},
    {:integer, [null: false], {:references, [on_delete: :delete_all]}, [], []},
    {{:references, [on_delete: :delete_all]}, [],
     {:references, [on_delete: :nilify_all, on_update: :update_all]}, [], []},
    {{:references, [name: "its key"]}, [null: false], :integer, [null: true], []},
    {{:references, []}, [], :integer, [], []}
  ]

  for {{from, from_options, to, to_options, back}, i} <- Enum.with_index(@modified) do
    test "modify #{i}, up and down: #{inspect({from, from_options})} to #{inspect({to, to_options})}" do
      type = fn
        {:references, options} -> references(:parents, options)
        type -> type
      end

      up(fn ->
        create(table(:parents))

        create table(:t) do
          add(:a, type.(unquote(from)), unquote(Macro.escape(from_options)))
          add(:b, :string, default: "b")
        end

        create(index(:t, [:a]))
        create(table(:children), do: add(:t_id, references(:t, on_delete: :delete_all)))
      end)

      script(
        "INSERT INTO parents (id) VALUES (1), (2); INSERT INTO t (a) VALUES (1), (2); INSERT INTO children (t_id) VALUES (1), (2)"
      )

      before = {schema(), rows("SELECT *, typeof(a) FROM t"), rows("SELECT * FROM children")}

      version =
        up(fn ->
          alter table(:t) do
            from = {type.(unquote(from)), unquote(Macro.escape(from_options ++ back))}
            modify(:a, type.(unquote(to)), unquote(Macro.escape(to_options)) ++ [from: from])
          end
        end)

      assert text("t") != Enum.find_value(elem(before, 0), fn [_, name, _, sql] -> name == "t" && sql end)

      assert rows("SELECT id, CAST(a AS INTEGER), b FROM t INDEXED BY t_a_index WHERE a IN (1, 2, '1', '2')") ==
               [[1, 1, "b"], [2, 2, "b"]]

      sound()

      down(version)
      assert {schema(), rows("SELECT *, typeof(a) FROM t"), rows("SELECT * FROM children")} == before
      sound()
    end
  end

  # --- refusals -----------------------------------------------------------------------------------------------------

  test "what uses a column keeps it" do
    script(
      """
      CREATE TABLE p (id INTEGER PRIMARY KEY, code TEXT UNIQUE, a INT, b INT, c INT, g AS (a + 1), z INT, PRIMARY KEY (b)) WITHOUT ROWID;
      """
      |> String.replace(", PRIMARY KEY (b)) WITHOUT ROWID", ")")
    )

    script("""
    CREATE TABLE kids (id INTEGER PRIMARY KEY, p_code TEXT CONSTRAINT kid_key REFERENCES p(code), p_id INTEGER REFERENCES p);
    CREATE TABLE two (a INT, b INT, PRIMARY KEY (a, b));
    CREATE TABLE w (a INT PRIMARY KEY, b INT) WITHOUT ROWID;
    CREATE TABLE one (a INT);
    CREATE VIEW v AS SELECT b FROM p;
    CREATE VIEW over_v AS SELECT b FROM v;
    CREATE TRIGGER t AFTER INSERT ON p BEGIN UPDATE kids SET p_code = new.c; END;
    """)

    for {table, column, code, what} <- [
          {"p", :code, :in_use, "kid_key of kids"},
          {"p", :id, :in_use, "kids_p_id_fkey of kids"},
          {"p", :a, :in_use, "generated column p.g"},
          {"p", :b, :in_use, "view v"},
          {"p", :c, :in_use, "trigger t"},
          {"two", :a, :in_use, "two_pkey"},
          {"w", :a, :in_use, "WITHOUT ROWID"},
          {"one", :a, :unsupported, "only column"},
          {"p", :nope, :no_such_column, "nope"},
          {"v", :b, :unsupported, "is a view"},
          {"absent", :b, :no_such_table, "absent"}
        ] do
      error = refused(code, fn -> alter(table(table), do: remove(column)) end)
      assert Exception.message(error) =~ what
    end

    # What the messages advise.
    up(fn ->
      drop(constraint(:kids, :kid_key))
      alter(table(:p), do: remove(:code))
      drop(constraint(:kids, :kids_p_id_fkey))
      alter(table(:p), do: remove(:g))
      alter(table(:p), do: remove(:a))
      drop(constraint(:two, :two_pkey))
      alter(table(:two), do: remove(:a))
      execute("DROP VIEW v")
      execute("DROP VIEW over_v")
      execute("DROP TRIGGER t")
      alter(table(:p), do: remove(:b))
      execute("CREATE VIEW v AS SELECT z FROM p")
    end)

    sound()
  end

  test "rows that are in the way are counted and named" do
    script("""
    CREATE TABLE p (id INTEGER PRIMARY KEY);
    CREATE TABLE t (k TEXT PRIMARY KEY, a TEXT, b INTEGER, c INTEGER) WITHOUT ROWID;
    INSERT INTO t VALUES ('x', 'one', NULL, 7), ('y', '2', 1, 8), ('z', '3.5', 2, 9);
    CREATE TABLE r (a TEXT);
    INSERT INTO r VALUES ('q'), (NULL), (NULL), (NULL), (NULL), (NULL), (NULL);
    """)

    given = fn type -> if is_function(type), do: type.(), else: type end

    modify = fn column, type, options ->
      fn -> alter(table(:t), do: modify(column, given.(type), options)) end
    end

    for {fun, count, sample, what} <- [
          {modify.(:b, :integer, null: false), 1, [[{"k", "x"}]], "no b, which is to be NOT NULL"},
          {modify.(:b, :integer, check: "b < 2"), 1, [[{"k", "z"}]], "does not meet the check of b"},
          {modify.(:c, fn -> references(:p) end, []), 3, [[{"k", "x"}], [{"k", "y"}], [{"k", "z"}]],
           "refer by c to rows of p"},
          {modify.(:c, fn -> references(:nowhere) end, []), 3, [[{"k", "x"}], [{"k", "y"}], [{"k", "z"}]],
           "rows of nowhere"},
          {modify.(:a, :integer, []), 2, [[{"k", "x"}], [{"k", "z"}]], "a that INTEGER does not take"},
          {fn -> create(constraint(:t, :low, check: "c < 9")) end, 1, [[{"k", "z"}]], "the constraint low"},
          {fn -> alter(table(:t), do: add(:d, :text, null: false)) end, 3,
           [[{"k", "x"}], [{"k", "y"}], [{"k", "z"}]], "give it a :default"}
        ] do
      error = refused(:rows, fun)
      assert {error.count, error.sample} == {count, sample}
      assert error.message =~ what
    end

    error = refused(:rows, fn -> alter(table(:r), do: modify(:a, :text, null: false)) end)
    assert error.message =~ "6 rows of r have no a"
    assert error.message =~ "rowid = 2; rowid = 3; rowid = 4; rowid = 5; rowid = 6 and 1 more"
  end

  test "constraints that are not there" do
    script("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); CREATE UNIQUE INDEX t_a_index ON t (a)")
    assert refused(:no_such_constraint, fn -> drop(constraint(:t, :nope)) end)
    error = refused(:no_such_constraint, fn -> drop(constraint(:t, :t_a_index)) end)
    assert error.message =~ "drop index"
    up(fn -> drop_if_exists(constraint(:t, :nope)) end)
    refused(:unsupported, fn -> create(constraint(:t, :ex, exclude: "gist")) end)
  end

  test "drop_if_exists drops what exists, and create after it changes an on_delete" do
    script("""
    CREATE TABLE par (id INTEGER PRIMARY KEY);
    CREATE TABLE kid (id INTEGER PRIMARY KEY, par_id INTEGER CONSTRAINT kid_par_id_fkey REFERENCES par(id));
    INSERT INTO par VALUES (1); INSERT INTO kid VALUES (1, 1);
    """)

    up(fn -> drop_if_exists(constraint(:kid, :kid_par_id_fkey)) end)
    assert text("kid") == "CREATE TABLE kid (id INTEGER PRIMARY KEY, par_id INTEGER)"

    version =
      up(fn ->
        alter table(:kid) do
          modify(:par_id, references(:par, on_delete: :delete_all), from: references(:par))
        end
      end)

    assert text("kid") =~
             ~s|par_id INTEGER CONSTRAINT "kid_par_id_fkey" REFERENCES "par"("id") ON DELETE CASCADE|

    down(version)
    assert text("kid") =~ ~s|par_id INTEGER CONSTRAINT "kid_par_id_fkey" REFERENCES "par"("id"))|
    assert {:error, %{code: :constraint_foreign_key}} = TestRepo.query("DELETE FROM par")
  end

  # --- attached databases -------------------------------------------------------------------------------------------

  @tag :attached
  test "with a prefix, everything happens in that database", %{path: path} do
    other = path <> "-other"
    on_exit(fn -> Ecto.Adapters.LibSql.storage_down(database: other) end)
    stop_supervised!(TestRepo)
    start_supervised!({TestRepo, database: path, pool_size: 2, log: false, attach: [other: other]})

    script(
      "CREATE TABLE nodes (id INTEGER PRIMARY KEY, owner_id INTEGER); INSERT INTO nodes VALUES (1, 1); CREATE TABLE kids (x)"
    )

    main = schema()

    script("""
    CREATE TABLE other.owners (id INTEGER PRIMARY KEY);
    CREATE TABLE other.nodes (id INTEGER PRIMARY KEY AUTOINCREMENT, owner_id INTEGER REFERENCES owners(id), code TEXT UNIQUE,
      parent_id INTEGER REFERENCES nodes(id) ON DELETE CASCADE);
    CREATE INDEX other.nodes_code ON nodes (code DESC);
    CREATE TRIGGER other.nodes_gone AFTER DELETE ON nodes BEGIN DELETE FROM kids; END;
    CREATE TABLE other.kids (id INTEGER PRIMARY KEY, node_id INTEGER REFERENCES nodes(id) ON DELETE CASCADE);
    CREATE VIEW other.seen AS SELECT id, code FROM nodes;
    INSERT INTO other.nodes (id, code) VALUES (1, 'a'), (2, 'b'), (7, 'c');
    DELETE FROM other.nodes WHERE id = 7;
    INSERT INTO other.kids VALUES (1, 1), (2, 2);
    """)

    script("INSERT INTO other.kids VALUES (3, 1), (4, 2)")
    others = Enum.reject(schema("other"), &match?([_, _, "nodes", _], &1))

    up(fn ->
      alter table(:nodes, prefix: "other") do
        remove(:owner_id)
        add(:at, :text, default: fragment("lower('X')"))
        modify(:code, :binary)
        modify(:at, :text, null: false)
      end

      create(constraint(:nodes, :coded, check: "code <> ''", prefix: "other"))
      rename(index(:nodes, [:code], name: :nodes_code, prefix: "other"), to: "by_code")
    end)

    assert rows("SELECT id, code, parent_id, at FROM other.nodes") == [[1, "a", nil, "x"], [2, "b", nil, "x"]]
    assert rows("SELECT * FROM other.kids") == [[1, 1], [2, 2], [3, 1], [4, 2]]
    assert rows("SELECT * FROM main.nodes") == [[1, 1]]
    assert schema() == main
    assert Enum.reject(schema("other"), &match?([_, _, "nodes", _], &1)) == others

    assert [["CREATE INDEX \"by_code\" ON nodes (code DESC)"]] =
             rows("SELECT sql FROM other.sqlite_schema WHERE name = 'by_code'")

    assert rows("INSERT INTO other.nodes (code) VALUES ('d') RETURNING id") == [[8]]

    error =
      assert_raise MigrationError, fn ->
        up(fn -> alter(table(:nodes, prefix: "other"), do: remove(:code)) end)
      end

    assert error.message =~ "view seen"
    sound("other")
  end

  # --- endings ------------------------------------------------------------------------------------------------------

  test "a pragma for foreign keys in a migration is refused and taken back" do
    script("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)")

    defmodule Pragma do
      use Ecto.Migration
      @disable_ddl_transaction true
      def up, do: execute("PRAGMA foreign_keys = OFF")
      def down, do: :ok
    end

    error = assert_raise MigrationError, fn -> Ecto.Migrator.up(TestRepo, 1, Pragma, log: false) end
    assert error.code == :unsupported
    sound()
  end

  test "without a transaction of the migrator each command is one" do
    script(@busy)

    defmodule Plain do
      use Ecto.Migration
      @disable_ddl_transaction true

      def up do
        alter table(:nodes) do
          modify(:code, :binary)
          modify(:nope, :binary)
        end
      end

      def down, do: :ok
    end

    before = schema()

    assert_raise MigrationError, ~r/no column nope/, fn ->
      Ecto.Migrator.up(TestRepo, 1, Plain, log: false)
    end

    assert schema() == before
    sound()
  end
end
