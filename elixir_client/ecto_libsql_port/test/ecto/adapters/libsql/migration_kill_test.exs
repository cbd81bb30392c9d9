defmodule Ecto.Adapters.LibSql.MigrationKillTest do
  # The sidecar is killed before the first request of a migration, before the second, and so on, until a migration ends
  # without having come so far. Whenever it is: the database is as before or as after, and so is the next connection.
  use EctoLibSql.RepoCase
  import Ecto.Migration

  @moduletag repo: [pool_size: 1, sidecar_options: [backoff_min: 1, backoff_max: 1]]
  @moduletag :capture_log
  @moduletag timeout: 600_000

  @schema """
  DROP TABLE IF EXISTS c; DROP TABLE IF EXISTS p; DELETE FROM schema_migrations;
  CREATE TABLE p (id INTEGER PRIMARY KEY AUTOINCREMENT, u TEXT UNIQUE, x TEXT, p_id INTEGER REFERENCES p ON DELETE CASCADE);
  CREATE TABLE c (id INTEGER PRIMARY KEY, p_id INTEGER REFERENCES p ON DELETE CASCADE);
  CREATE INDEX i ON p (x); CREATE VIEW IF NOT EXISTS v AS SELECT u FROM p;
  CREATE TRIGGER t AFTER INSERT ON c BEGIN UPDATE p SET u = u; END;
  INSERT INTO p VALUES (1, '1', 'a', NULL), (2, '2', 'b', 1), (9, '9', 'c', 2); DELETE FROM p WHERE id = 9;
  INSERT INTO c VALUES (1, 1), (2, 2)
  """

  @migrations [
    {"copies a table", quote(do: alter(table(:p), do: modify(:u, :integer, null: false)))},
    {"edits a text, and uses DROP COLUMN",
     quote do
       create(constraint(:p, :checked, check: "u <> ''"))
       alter(table(:p), do: remove(:x))
     end},
    {"renames, and drops a table",
     quote do
       rename(table(:p), :x, to: :y)
       drop(table(:c))
     end}
  ]

  for {what, migration} <- @migrations do
    test "a migration that #{what} is killed at each of its requests", %{path: path} do
      migrate(fn -> :ok end)
      fun = fn -> unquote(migration) end
      killed = Enum.count(Stream.take_while(Stream.iterate(1, &(&1 + 1)), &killed?(&1, path, fun)))
      # More than the migrator's own.
      assert killed > 40
    end
  end

  defp killed?(n, path, fun) do
    script(@schema)
    before = contents()
    kill_at(n, path)

    result =
      try do
        migrate(fun)
      rescue
        error -> error
      end

    killed? = killed?()
    now = contents()

    if result == :ok, do: assert(now != before)
    # Without a reply nobody knows whether it was done. The version says the same as the tables.
    assert now == before == (TestRepo.query!("SELECT * FROM schema_migrations").rows == [])
    if now != before, do: assert(now == after!(fun))
    killed?
  end

  # As it is after the migration when nothing is killed.
  defp after!(fun) do
    script(@schema)
    migrate(fun)
    contents()
  end

  defp kill_at(n, path) do
    {sidecar, _} = EctoLibSql.Direct.connection(Ecto.Adapter.lookup_meta(TestRepo))
    {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
    count = :counters.new(1, [])
    :persistent_term.put(__MODULE__, count)

    :telemetry.attach(
      __MODULE__,
      [:libsql_port, :query, :start],
      fn _, _, metadata, _ ->
        if metadata.database == path do
          :counters.add(count, 1, 1)

          if :counters.get(count, 1) == n do
            {_, 0} = System.cmd("kill", ["-KILL", to_string(os_pid)])
            :counters.put(count, 1, 1_000_000)
          end
        end
      end,
      nil
    )
  end

  defp killed? do
    :telemetry.detach(__MODULE__)
    :counters.get(:persistent_term.get(__MODULE__), 1) >= 1_000_000
  end

  # What the next connection sees; what it must be in any case is asserted.
  defp contents do
    for {pragma, value} <- [foreign_keys: 1, writable_schema: 0, legacy_alter_table: 0, defer_foreign_keys: 0],
        do: assert({pragma, TestRepo.query!("PRAGMA #{pragma}").rows} == {pragma, [[value]]})

    assert TestRepo.query!("PRAGMA integrity_check").rows == [["ok"]]
    assert TestRepo.query!("PRAGMA foreign_key_check").rows == []
    schema = TestRepo.query!("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2").rows
    tables = for ["table", name, _, _] <- schema, name != "schema_migrations", do: name
    {schema, for(table <- tables, do: TestRepo.query!("SELECT * FROM \"#{table}\"").rows)}
  end
end
