defmodule EctoLibSql.MixTasksTest do
  # Not async: Mix has one shell, and the application one environment.
  use ExUnit.Case

  import ExUnit.CaptureIO

  defmodule Repo do
    use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
  end

  @migration """
  defmodule EctoLibSql.MixTasksTest.CreateNotes do
    use Ecto.Migration

    def change do
      create table(:notes) do
        add :text, :string, null: false
      end

      create unique_index(:notes, [:text])
    end
  end
  """

  setup do
    folder = Path.join(System.tmp_dir!(), "ecto_libsql_port-tasks-#{System.unique_integer([:positive])}")
    File.mkdir_p!(Path.join(folder, "migrations"))
    File.write!(Path.join(folder, "migrations/20260101000000_create_notes.exs"), @migration)
    database = Path.join(folder, "tasks.db")
    Application.put_env(:ecto_libsql_port, Repo, database: database, pool_size: 2, log: false)
    shell = Mix.shell()
    Mix.shell(Mix.Shell.Process)

    on_exit(fn ->
      Mix.shell(shell)
      Application.delete_env(:ecto_libsql_port, Repo)
      File.rm_rf!(folder)
      forget()
    end)

    {:ok, folder: folder, database: database}
  end

  # Each task reads the migration's file anew.
  defp task(name, arguments \\ []) do
    forget()
    Mix.Task.rerun("ecto.#{name}", ["-r", inspect(Repo) | arguments])
  end

  defp forget do
    :code.purge(EctoLibSql.MixTasksTest.CreateNotes)
    :code.delete(EctoLibSql.MixTasksTest.CreateNotes)
  end

  # What stands in the file, seen through a connection of its own.
  defp tables(database) do
    {:ok, sidecar} = LibsqlPort.start_link(log_level: :error)
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database, mode: :read_only)
    own = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    {:ok, %{rows: rows}} = LibsqlPort.query(conn, own)
    Supervisor.stop(sidecar)
    List.flatten(rows)
  end

  test "from create to drop", %{folder: folder, database: database} do
    migrations = ["--migrations-path", Path.join(folder, "migrations"), "--quiet"]
    structure = Path.join(folder, "structure.sql")

    task("create")
    assert_received {:mix_shell, :info, ["The database for EctoLibSql.MixTasksTest.Repo has been created"]}
    task("create")

    assert_received {:mix_shell, :info,
                     ["The database for EctoLibSql.MixTasksTest.Repo has already been created"]}

    task("migrate", migrations)
    assert tables(database) == ["notes", "schema_migrations"]

    task("dump", ["--dump-path", structure, "--quiet"])
    assert File.read!(structure) =~ ~r/CREATE TABLE "notes".*INSERT INTO "?schema_migrations/s

    task("rollback", migrations)
    assert tables(database) == ["schema_migrations"]

    task("drop", ["--quiet"])
    assert Path.wildcard(database <> "*") == []

    task("create", ["--quiet"])
    task("load", ["--dump-path", structure, "--quiet", "--force"])
    assert tables(database) == ["notes", "schema_migrations"]

    # The loaded structure bears the versions too: nothing is left to migrate.
    assert capture_io(fn -> task("migrations", Enum.take(migrations, 2)) end) =~
             ~r/up +20260101000000 +create_notes/

    task("migrate", migrations)
    assert tables(database) == ["notes", "schema_migrations"]
  end
end
