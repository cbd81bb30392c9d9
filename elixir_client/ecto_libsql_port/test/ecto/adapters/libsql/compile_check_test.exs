defmodule Ecto.Adapters.LibSql.CompileCheckTest do
  # A command that would leave a view or a trigger behind that no longer compiles is refused, whichever command it is and
  # wherever the view or the trigger is. Each case is a schema, a command, and what the error names.
  use EctoLibSql.RepoCase
  import Ecto.Migration

  alias EctoLibSql.MigrationError

  defp rows(sql), do: TestRepo.query!(sql).rows

  @writes "CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT, more TEXT UNIQUE); CREATE TABLE t (a TEXT, b TEXT);"
  @log "CREATE TRIGGER logs AFTER INSERT ON t BEGIN"

  @refused [
    {"a column that a trigger of another table writes", "#{@log} INSERT INTO log (what) VALUES (new.a); END",
     quote(do: alter(table(:log), do: remove(:what))), "trigger logs"},
    {"one that it sets", "#{@log} UPDATE log SET what = new.a; END",
     quote(do: alter(table(:log), do: remove(:what))), "trigger logs"},
    {"one that it reads", "#{@log} INSERT INTO log (what) SELECT more FROM log; END",
     quote(do: alter(table(:log), do: remove(:more))), "trigger logs"},
    {"one in its WHERE", "#{@log} DELETE FROM log WHERE what = new.a; END",
     quote(do: alter(table(:log), do: remove(:what))), "trigger logs"},
    {"one in its WHEN", "CREATE TRIGGER logs AFTER UPDATE ON t WHEN new.b > 1 BEGIN DELETE FROM log; END",
     quote(do: alter(table(:t), do: remove(:b))), "trigger logs"},
    {"a new column, where a trigger gives all values",
     "#{@log} INSERT INTO log VALUES (NULL, new.a, new.b); END",
     quote(do: alter(table(:log), do: add(:new, :text))), "trigger logs"},
    {"a new column, where a trigger copies all",
     "CREATE TRIGGER copies AFTER DELETE ON log BEGIN INSERT INTO log SELECT 1, * FROM t; END",
     quote(do: alter(table(:t), do: add(:new, :text, default: fragment("hex(1)")))), "trigger copies"},
    {"a new column, whose name a view finds twice",
     "CREATE VIEW v AS SELECT what FROM t JOIN log ON log.more = t.a",
     quote(do: alter(table(:t), do: add(:what, :text))), "view v"},
    {"a UNIQUE that is the target of ON CONFLICT",
     "#{@log} INSERT INTO log (more) VALUES (new.a) ON CONFLICT (more) DO UPDATE SET what = 'x'; END",
     quote(do: drop(constraint(:log, :log_more_index))), "trigger logs"},
    {"the column of such a UNIQUE",
     "#{@log} INSERT INTO log (what) VALUES (new.a) ON CONFLICT (more) DO NOTHING; END",
     quote(do: alter(table(:log), do: remove(:more))), "trigger logs"},
    {"a unique index that is the target of ON CONFLICT",
     "CREATE UNIQUE INDEX i ON log (what); #{@log} INSERT INTO log (what) VALUES (new.a) ON CONFLICT (what) DO NOTHING; END",
     quote(do: drop(index(:log, [:what], name: :i))), "trigger logs"},
    {"an index of INDEXED BY in a trigger",
     "CREATE INDEX i ON log (what); #{@log} INSERT INTO log (what) SELECT id FROM log INDEXED BY i WHERE what = new.a; END",
     quote(do: drop(index(:log, [:what], name: :i))), "trigger logs"},
    {"an index of INDEXED BY in a view, renamed",
     "CREATE INDEX i ON log (what); CREATE VIEW v AS SELECT * FROM log INDEXED BY i WHERE what = '1'",
     quote(do: rename(index(:log, [:what], name: :i), to: :j)), "view v"},
    {"an index whose column is removed",
     "CREATE INDEX i ON log (more, what); CREATE VIEW v AS SELECT id FROM log INDEXED BY i WHERE more = '1'",
     quote(do: alter(table(:log), do: remove(:what))), "view v"},
    {"a table that a trigger writes", "#{@log} INSERT INTO log (what) VALUES (new.a); END",
     quote(do: drop(table(:log))), "trigger logs"},
    {"a table renamed to what a common table of a view is called",
     "CREATE VIEW v AS SELECT a, what FROM t, log", quote(do: rename(table(:log), :what, to: :a)), "view v"},
    {"a trigger on a view", "CREATE VIEW v AS SELECT a FROM t; CREATE TRIGGER io INSTEAD OF DELETE ON v BEGIN
       INSERT INTO log (what) VALUES (old.a); END", quote(do: alter(table(:log), do: remove(:what))),
     "trigger io"},
    {"a trigger that another one fires",
     "#{@log} INSERT INTO log (what) VALUES (1); END; CREATE TRIGGER second AFTER INSERT ON log BEGIN UPDATE t SET b = 1; END",
     quote(do: alter(table(:t), do: remove(:b))), "trigger second would"},
    {"a temporary trigger",
     "CREATE TEMP TRIGGER logs AFTER INSERT ON main.t BEGIN UPDATE log SET what = 1; END",
     quote(do: alter(table(:log), do: remove(:what))), "trigger logs"},
    {"a view that would show a string for the column, by a copy", "CREATE VIEW v AS SELECT \"more\" FROM log",
     quote(do: alter(table(:log), do: remove(:more))), "view v"},
    {"a view that would show a string for the column", "CREATE VIEW v AS SELECT \"what\" FROM log",
     quote(do: alter(table(:log), do: remove(:what))), "view v"},
    {"a view that would show the column for a string", "CREATE VIEW v AS SELECT \"new\" FROM log",
     quote(do: alter(table(:log), do: add(:new, :text))), "view v"}
  ]

  # Something of each kind that does not compile is there in half of the cases.
  @broken "CREATE VIEW a_broken AS SELECT * FROM nowhere; CREATE TABLE gone (x); " <>
            "CREATE TRIGGER b_broken AFTER INSERT ON t BEGIN INSERT INTO gone VALUES (1); END;"

  for {{what, sql, command, named}, n} <- Enum.with_index(@refused), broken? <- [false, true] do
    @tag repo: [pool_size: 1]
    test "#{n}. #{what}#{if broken?, do: ", with others that did not compile before"}" do
      script(
        @writes <> "INSERT INTO log VALUES (1, '1', '2'); INSERT INTO t VALUES ('3', '4');" <> unquote(sql)
      )

      if unquote(broken?) do
        script(@broken)
        TestRepo.query!("DROP TABLE gone")
      end

      before = everything()
      error = assert_raise MigrationError, fn -> migrate(fn -> unquote(command) end) end
      assert error.code == :in_use
      assert error.message =~ unquote(named)
      assert error.message =~ "create it again afterwards"
      refute error.message =~ "broken"
      assert everything() == before
    end
  end

  @tag repo: [pool_size: 1]
  test "the way that the message names" do
    script(@writes <> "#{@log} INSERT INTO log (what) VALUES (new.a); END")

    migrate(fn ->
      execute("DROP TRIGGER logs")
      alter(table(:log), do: remove(:what))
      execute("#{@log} INSERT INTO log (more) VALUES (new.a); END")
    end)

    TestRepo.query!("INSERT INTO t (a) VALUES ('1')")
    assert rows("SELECT more FROM log") == [["1"]]
  end

  @tag repo: [pool_size: 1]
  test "what did not compile before refuses nothing" do
    script(@writes <> @broken <> "CREATE VIEW strings AS SELECT \"text\" AS x FROM log")
    TestRepo.query!("DROP TABLE gone")

    others = fn ->
      rows("SELECT name, sql FROM sqlite_schema WHERE name IN ('a_broken', 'b_broken', 'strings') ORDER BY 1")
    end

    before = others.()

    for command <- [
          fn -> alter(table(:log), do: remove(:what)) end,
          fn -> alter(table(:log), do: remove(:more)) end,
          fn -> alter(table(:log), do: add(:new, :text)) end,
          fn -> rename(table(:log), :new, to: :newer) end,
          fn -> rename(table(:log), to: table(:logs)) end,
          fn -> create(index(:logs, [:newer])) end,
          fn -> drop(table(:logs), mode: :cascade) end
        ] do
      assert migrate(command) == :ok
    end

    assert Enum.take(others.(), 2) == Enum.take(before, 2)
    assert rows("PRAGMA integrity_check") == [["ok"]]
    assert rows("PRAGMA writable_schema") == [[0]]
  end

  @tag repo: [pool_size: 1]
  test "a removed column leaves strings in double quotes of other objects as they are" do
    script(
      @writes <> "CREATE VIEW strings AS SELECT \"text\" AS x FROM log; CREATE TABLE other (a DEFAULT \"x\")"
    )

    sql = "SELECT name, sql FROM sqlite_schema WHERE name IN ('strings', 'other')"
    before = rows(sql)
    migrate(fn -> alter(table(:log), do: remove(:what)) end)
    assert rows(sql) == before
  end

  @tag repo: [pool_size: 1, attach: [arch: ":memory:"]]
  test "in an attached database" do
    script("CREATE TABLE arch.log (id INTEGER PRIMARY KEY, what TEXT); CREATE TABLE arch.t (a);
      CREATE TRIGGER arch.logs AFTER INSERT ON t BEGIN INSERT INTO log (what) VALUES (new.a); END;
      CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT)")
    migrate(fn -> alter(table(:log), do: remove(:what)) end)

    error =
      assert_raise MigrationError, ~r/trigger logs/, fn ->
        migrate(fn -> alter(table(:log, prefix: :arch), do: remove(:what)) end)
      end

    assert error.code == :in_use
  end

  defp everything do
    for schema <- ["sqlite_schema", "sqlite_temp_schema"],
        do: Enum.sort(rows("SELECT type, name, sql FROM #{schema} WHERE tbl_name <> 'schema_migrations'"))
  end

  @tag repo: [pool_size: 1]
  test "a command asks as often however many views and triggers there are" do
    {_sidecar, conn} = EctoLibSql.Direct.connection(Ecto.Adapter.lookup_meta(TestRepo))
    requests = fn -> elem(LibsqlPort.status(conn), 1).requests end

    asked = fn ->
      before = requests.()
      migrate(fn -> alter(table(:log), do: modify(:what, :string, null: false)) end)
      migrate(fn -> alter(table(:log), do: modify(:what, :string, null: true)) end)
      requests.() - before
    end

    script("CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT)")

    objects = fn number ->
      """
      CREATE TABLE t#{number} (a TEXT);
      CREATE VIEW v#{number} AS SELECT what, a FROM log, t#{number};
      CREATE TRIGGER r#{number} AFTER INSERT ON t#{number} BEGIN INSERT INTO log (what) VALUES (new.a); END;
      CREATE TEMP TRIGGER s#{number} AFTER DELETE ON t#{number} BEGIN DELETE FROM log; END;
      """
    end

    script(objects.(0))
    # The first migration creates the table of versions.
    asked.()
    few = asked.()
    for number <- 1..40, do: script(objects.(number))
    assert asked.() == few
  end
end
