defmodule Ecto.Adapters.LibSql.DefinitionTest do
  # What a migration writes and SQLite cannot compile is told of the migration, not of the statements that ask about it.
  use EctoLibSql.RepoCase

  import Ecto.Migration

  alias EctoLibSql.MigrationError

  setup do
    script("""
    CREATE TABLE p (code TEXT PRIMARY KEY);
    CREATE TABLE t (a INTEGER, b TEXT);
    INSERT INTO t VALUES (1, 'x');
    """)

    :ok
  end

  for {what, change} <- [
        {"a check of a column that is not there", quote(do: modify(:a, :integer, check: "nope > 1"))},
        {"a check that is no SQL", quote(do: modify(:a, :integer, check: "a >"))},
        {"a default that is no SQL", quote(do: modify(:a, :integer, default: fragment("nope(")))},
        {"a collation that is not there", quote(do: modify(:b, :text, collate: :nope))},
        {"a generated column of one that is not there",
         quote(do: modify(:c, :integer, generated: "ALWAYS AS (nope + 1) VIRTUAL"))},
        {"a generated column that is no SQL", quote(do: modify(:c, :integer, generated: "ALWAYS AS ("))}
      ] do
    test what do
      script("ALTER TABLE t ADD COLUMN c INTEGER")
      before = TestRepo.query!("SELECT * FROM sqlite_schema").rows
      change = fn -> unquote(change) end
      error = assert_raise MigrationError, fn -> migrate(fn -> alter(table(:t), do: change.()) end) end
      assert %{code: :definition, table: "t"} = error
      assert error.message =~ "SQLite does not take the new definition of t."
      refute error.message =~ "SELECT count"

      assert TestRepo.query!("SELECT * FROM sqlite_schema WHERE name <> 'schema_migrations'").rows -- before ==
               []
    end
  end

  for check <- ["nope > 1", "a >"] do
    test "a constraint that does not compile: #{check}" do
      for validate <- [true, false] do
        error =
          assert_raise MigrationError, fn ->
            migrate(fn -> create(constraint(:t, :c, check: unquote(check), validate: validate)) end)
          end

        assert %{code: :definition, table: "t"} = error
        assert error.message =~ "SQLite does not take the constraint c"
      end
    end
  end

  test "a foreign key to a column that is not there" do
    for reference <- [
          fn -> references(:p) end,
          fn -> references(:p, validate: false) end,
          fn -> references(:p, column: :nope, type: :text) end,
          fn -> references("p", on_delete: :delete_all) end,
          fn -> references(:p, column: :code, type: :text, with: [b: :nope]) end
        ] do
      error =
        assert_raise MigrationError, fn ->
          migrate(fn -> alter(table(:t), do: modify(:a, reference.())) end)
        end

      assert %{code: :no_such_column, table: "p"} = error
      assert error.message =~ ~s|references("p", column: …)|
    end

    # Without rows that could break, too.
    script("DELETE FROM t")

    assert %{code: :no_such_column} =
             assert_raise(MigrationError, fn ->
               migrate(fn -> alter(table(:t), do: modify(:a, references(:p))) end)
             end)
  end

  test "a foreign key to a column in other letters, and to a table that is not there yet" do
    script("DELETE FROM t")

    migrate(fn ->
      alter table(:t) do
        modify(:b, references(:p, column: :CODE, type: :text))
        modify(:a, references(:later))
      end

      create(table(:later))
    end)

    assert {:ok, _} = TestRepo.query("INSERT INTO t VALUES (NULL, NULL)")
  end
end
