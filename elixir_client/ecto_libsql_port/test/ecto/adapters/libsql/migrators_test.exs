defmodule Ecto.Adapters.LibSql.MigratorsTest do
  # Two Repos with sidecars of their own, as two VMs have them, migrate one database, whatever they call its file.
  use ExUnit.Case

  alias EctoLibSql.TestRepo

  @moduletag :tmp_dir

  defmodule Counts do
    use Ecto.Migration

    def up do
      execute("CREATE TABLE counted (x)")
      # Long enough for the other one to come; it runs after this in any case.
      execute(fn -> repo().query!("INSERT INTO runs DEFAULT VALUES") end)
    end
  end

  defp start!(path) do
    options = [name: nil, database: path, pool_size: 2, log: false]
    start_supervised!(Supervisor.child_spec({TestRepo, options}, id: path))
  end

  defp query!(repo, sql), do: Ecto.Adapters.SQL.query!(repo, sql, []).rows

  test "through links of the file and of its directory, at once", %{tmp_dir: dir} do
    real = Path.join(dir, "real")
    File.mkdir_p!(real)
    File.ln_s!(real, Path.join(dir, "linked"))
    paths = [Path.join(real, "app.db"), Path.join([dir, "linked", "app.db"]), Path.join(dir, "link.db")]
    first = start!(hd(paths))
    query!(first, "CREATE TABLE runs (id INTEGER PRIMARY KEY)")
    File.ln_s!(Path.join(real, "app.db"), List.last(paths))
    repos = [first | Enum.map(tl(paths), &start!/1)]

    results =
      repos
      |> Enum.map(fn repo ->
        Task.async(fn -> Ecto.Migrator.up(TestRepo, 1, Counts, dynamic_repo: repo, log: false) end)
      end)
      |> Task.await_many(60_000)

    assert Enum.sort(results) == [:already_up, :already_up, :ok]
    assert query!(first, "SELECT count(*) FROM runs") == [[1]]
    assert query!(first, "SELECT version FROM schema_migrations") == [[1]]
    # One lock for all of them.
    assert Path.wildcard(Path.join(dir, "**/*-migrations")) |> Enum.uniq_by(&Path.basename/1) |> length() == 1
  end
end
