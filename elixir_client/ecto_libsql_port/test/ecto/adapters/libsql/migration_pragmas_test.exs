defmodule Ecto.Adapters.LibSql.MigrationPragmasTest do
  # A command that is stopped in its middle leaves the pragmas of its connection as they were, and its own error is told.
  use EctoLibSql.RepoCase

  alias Ecto.Migration.{Constraint, Table}

  @moduletag repo: [pool_size: 1]
  @pragmas ~w(writable_schema legacy_alter_table foreign_keys)

  defp pragmas, do: for(name <- @pragmas, into: %{}, do: {name, value("PRAGMA #{name}")})

  defp value(sql) do
    [[value]] = TestRepo.query!(sql).rows
    value
  end

  defp run(command), do: Ecto.Adapters.LibSql.execute_ddl(Ecto.Adapter.lookup_meta(TestRepo), command, [])

  # A full disk makes the engine roll back the whole transaction, wherever it is met.
  for free <- 0..6 do
    test "a disk that is full after #{free} pages" do
      script("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE); INSERT INTO t VALUES (1, 'a')")
      before = pragmas()
      long = "id > 0" <> String.duplicate(" AND a <> 'xyzxyzxyzxyz'", 400)

      commands = [
        {:create, %Constraint{name: :c, table: "t", check: long}},
        {:alter, %Table{name: "t"}, [{:remove, :a}]},
        {:drop, %Table{name: "t"}, :restrict}
      ]

      for command <- commands do
        TestRepo.query!("PRAGMA max_page_count = #{value("PRAGMA page_count") + unquote(free)}")

        try do
          run(command)
        rescue
          error in EctoLibSql.Error -> assert error.code == :disk_full
          # The table has no column, or is gone, when the command before has succeeded.
          error in EctoLibSql.MigrationError -> assert error.code in [:no_such_column, :unsupported]
        end

        assert pragmas() == before
        assert value("PRAGMA integrity_check") == "ok"
      end
    end
  end

  defmodule Outside do
    use Ecto.Migration
    @disable_ddl_transaction true
    def change, do: EctoLibSql.Step.change()
  end

  # A value that each of them does not have.
  @kept [
    "recursive_triggers = 1",
    "legacy_alter_table = 1",
    "ignore_check_constraints = 1",
    "case_sensitive_like = 1",
    "writable_schema = 1",
    "synchronous = 0",
    "main.cache_size = 77",
    "arch.cache_size = 78",
    "query_only = 1",
    "busy_timeout = 1",
    "journal_mode = delete",
    "temp_store = 2",
    "foreign_keys = 0",
    "max_page_count = 1000000",
    "read_uncommitted(1)"
  ]

  # Refused in a transaction by the engine, or without effect there.
  @outside [
    "synchronous = 0",
    "journal_mode = delete",
    "temp_store = 2",
    "foreign_keys = 0"
  ]

  for pragma <- @kept,
      {how, run} <- [
        {"execute", quote(do: &Ecto.Migration.execute/1)},
        {"query!", quote(do: &TestRepo.query!/1)},
        {"query_many!", quote(do: &TestRepo.query_many!/1)}
      ],
      outside? <- [true, false],
      outside? or pragma not in @outside do
    @tag repo: [pool_size: 1, attach: [arch: ":memory:"], defensive: false]
    test "PRAGMA #{pragma} by #{how} #{if outside?, do: "outside of", else: "in"} a transaction is refused and put back" do
      before = every()
      sql = "/* so */ PRAGMA #{unquote(pragma)}"
      EctoLibSql.Step.set(fn -> unquote(run).(sql) end)
      module = if unquote(outside?), do: Outside, else: EctoLibSql.Step
      error = assert_raise EctoLibSql.MigrationError, fn -> migrate(module) end
      assert error.code == :unsupported
      [name | _] = Regex.run(~r/\w+(?=[ (])/, unquote(pragma))
      assert error.message =~ name
      assert every() == before
    end
  end

  @tag repo: [pool_size: 1, attach: [arch: ":memory:"]]
  test "PRAGMA writable_schema has no effect on a defensive connection" do
    before = every()
    assert :ok = migrate(fn -> Ecto.Migration.execute("PRAGMA writable_schema = 1") end)
    assert every() == before
  end

  @children """
  CREATE TABLE parents (id INTEGER PRIMARY KEY);
  CREATE TABLE children (parent_id INTEGER REFERENCES parents ON DELETE CASCADE);
  INSERT INTO parents VALUES (1);
  INSERT INTO children VALUES (1);
  """

  # SQLite passes it over in a transaction.
  for off <- ["= OFF", "= 0", "(false)", "= 'no'", "= -1", "/* so */ = off -- there"],
      name <- ["foreign_keys", "main.foreign_keys", ~s("FOREIGN_KEYS"), "main . Foreign_Keys"],
      {how, run} <- [
        {"execute", quote(do: &Ecto.Migration.execute/1)},
        {"query!", quote(do: &TestRepo.query!/1)},
        {"query_many!", quote(do: &TestRepo.query_many!(&1 <> "\n; DROP TABLE parents"))}
      ] do
    test "PRAGMA #{name} #{off} by #{how} in a transaction, and rows that would go with their parents" do
      script(@children)

      error =
        assert_raise EctoLibSql.MigrationError, fn ->
          migrate(fn ->
            unquote(run).("PRAGMA #{unquote(name)} #{unquote(off)}")
            Ecto.Migration.execute("DROP TABLE parents")
          end)
        end

      assert error.code == :unsupported
      assert error.message =~ "foreign_keys has no effect in a transaction"
      assert value("SELECT count(*) FROM children") == 1
    end
  end

  test "foreign keys may be switched on where they are, and off in a text outside of a transaction" do
    script(@children)

    migrate(fn ->
      Ecto.Migration.execute("PRAGMA foreign_keys = ON")
      Ecto.Migration.execute("PRAGMA foreign_keys = 1")
      Ecto.Migration.execute("PRAGMA foreign_keys")
      Ecto.Migration.execute("INSERT INTO parents VALUES (2) /* PRAGMA foreign_keys = OFF */")
    end)

    EctoLibSql.Step.set(fn ->
      TestRepo.query_many!("PRAGMA foreign_keys = OFF; DROP TABLE parents; PRAGMA foreign_keys = ON")
    end)

    migrate(Outside)
    assert value("SELECT count(*) FROM children") == 1
    assert value("PRAGMA foreign_keys") == 1
  end

  @names ~w(recursive_triggers legacy_alter_table ignore_check_constraints writable_schema synchronous cache_size
    arch.cache_size query_only busy_timeout journal_mode temp_store foreign_keys defer_foreign_keys max_page_count
    read_uncommitted)

  defp every, do: [value("SELECT 'a' LIKE 'A'") | for(name <- @names, do: {name, value("PRAGMA #{name}")})]

  test "what a database keeps, what ends with the transaction and what is put back may be set; the Repo's own pragmas too" do
    script("CREATE TABLE t (a)")

    migrate(fn ->
      Ecto.Migration.execute("PRAGMA user_version = 7")
      Ecto.Migration.execute("PRAGMA defer_foreign_keys = 1")
      Ecto.Migration.execute("PRAGMA table_info(t)")

      TestRepo.query_many!(
        "PRAGMA recursive_triggers = 1; INSERT INTO t VALUES (1); PRAGMA recursive_triggers = 0"
      )
    end)

    assert value("PRAGMA user_version") == 7
    assert value("PRAGMA defer_foreign_keys") == 0
    # Not in a migration.
    TestRepo.query!("PRAGMA recursive_triggers = 1")
    assert value("PRAGMA recursive_triggers") == 1
  end

  test "a text that is no SQL is told by the engine" do
    for sql <- [
          "PRAGMA foreign_keys = '",
          "PRAGMA foreign_keys =",
          "PRAGMA",
          "PRAGMA foreign_keys = \"",
          "PRAGMA ."
        ] do
      assert_raise EctoLibSql.Error, fn -> migrate(fn -> Ecto.Migration.execute(sql) end) end
    end
  end

  test "a statement that fails after it has switched foreign keys" do
    assert_raise EctoLibSql.Error, fn -> run("PRAGMA foreign_keys = OFF; SELECT 1") end
    assert value("PRAGMA foreign_keys") == 1
  end
end
