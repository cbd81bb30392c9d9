defmodule Ecto.Adapters.LibSql.NameCaseTest do
  # Names of tables and columns in another case than the one in which they were created: SQLite takes them for the same.
  use EctoLibSql.RepoCase

  alias EctoLibSql.MigrationError

  setup do
    script("""
    CREATE TABLE People (Id INTEGER PRIMARY KEY, Name TEXT UNIQUE, Age INT);
    CREATE TABLE log (what TEXT);
    CREATE INDEX people_age ON PEOPLE (AGE);
    CREATE TRIGGER renamed AFTER UPDATE OF name ON pEOPLE BEGIN INSERT INTO log VALUES (old.NAME || '>' || new.name); END;
    CREATE TRIGGER logged AFTER INSERT ON log WHEN new.what = 'clear' BEGIN DELETE FROM "people"; END;
    INSERT INTO people VALUES (1, 'a', 10)
    """)

    :ok
  end

  defp schema(type) do
    TestRepo.query!("SELECT name, sql FROM sqlite_schema WHERE type = ? AND sql IS NOT NULL ORDER BY 1", [
      type
    ]).rows
  end

  defmodule Add do
    use Ecto.Migration

    def change do
      alter(table(:people),
        do: add(:code, :string, null: false, default: fragment("lower('X' || hex(x'ab'))"))
      )
    end
  end

  test "triggers and indexes stay when the table is copied" do
    before = {schema("trigger"), schema("index")}
    assert :ok = migrate(Add)
    assert {schema("trigger"), schema("index")} == before

    TestRepo.query!("UPDATE people SET name = 'b'")
    assert TestRepo.query!("SELECT * FROM log").rows == [["a>b"]]
    assert TestRepo.query!("SELECT * FROM people").rows == [[1, "b", 10, "xab"]]
  end

  defmodule RemoveTriggering do
    use Ecto.Migration
    def change, do: alter(table(:people), do: remove(:age, :integer))
  end

  test "a column for whose updates a trigger fires is not removed" do
    script("CREATE TRIGGER aged AFTER UPDATE OF aGe ON people BEGIN INSERT INTO log VALUES ('aged'); END")
    error = assert_raise MigrationError, fn -> migrate(RemoveTriggering) end
    assert {error.code, error.message =~ "aged"} == {:in_use, true}

    TestRepo.query!("UPDATE people SET age = 11")
    assert TestRepo.query!("SELECT * FROM log").rows == [["aged"]]
  end
end
