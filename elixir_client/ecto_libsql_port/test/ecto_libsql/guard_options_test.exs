defmodule EctoLibSql.GuardOptionsTest do
  # What SQL may do on the connections of a Repo: its options, and what a single query may have.
  use ExUnit.Case, async: true

  defmodule Repo do
    use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
  end

  @moduletag :tmp_dir

  defp start(%{tmp_dir: dir}, options) do
    name = :"guard_options_#{System.unique_integer([:positive])}"
    database = Path.join(dir, "app.db")
    start_supervised!({Repo, [database: database, name: name, pool_size: 1, log: false] ++ options}, id: name)
    Repo.put_dynamic_repo(name)
    database
  end

  @edit "UPDATE sqlite_schema SET sql = 'CREATE TABLE t (a)' WHERE name = 't'"

  test "SQL writes the text of the schema where it is told that it may", context do
    start(context, [])
    Repo.query!("CREATE TABLE t (a CHECK (a > 0))")
    Repo.query!("PRAGMA writable_schema = 1")
    assert {:error, %EctoLibSql.Error{code: :sql_error}} = Repo.query(@edit)
    Repo.query!("PRAGMA writable_schema = 1", [], defensive: false)
    assert %{num_rows: 1} = Repo.query!(@edit, [], defensive: false)
    assert {:error, %EctoLibSql.Error{code: :sql_error}} = Repo.query(@edit)
    start(context, defensive: false)
    Repo.query!("PRAGMA writable_schema = 1")
    assert %{num_rows: 1} = Repo.query!(@edit)
  end

  test "untrusted SQL opens no files, nor does the Repo", context do
    database = start(context, untrusted_sql: true)

    for sql <- ["ATTACH '#{database}2' AS o", "VACUUM INTO '#{database}2'"] do
      assert {:error, %EctoLibSql.Error{code: :not_authorized}} = Repo.query(sql)
    end

    refute File.exists?(database <> "2")
  end

  test "a Repo of untrusted SQL attaches no files" do
    options = [database: "app.db", untrusted_sql: true]
    assert {:ok, _, _} = EctoLibSql.Options.check([attach: [other: :memory]] ++ options)
    assert {:error, error} = EctoLibSql.Options.check([attach: [other: "other.db"]] ++ options)
    assert %EctoLibSql.Error{code: :invalid_option} = error
    assert error.message =~ ":attach"
    allowed = [attach: [other: "/data/other.db"], allowed_directories: ["/data"]]
    assert {:ok, _, _} = EctoLibSql.Options.check(allowed ++ options)
  end

  test "limits of the engine", context do
    start(context, limits: [length: 1000])
    assert {:error, %EctoLibSql.Error{code: :too_big}} = Repo.query("SELECT zeroblob(1001)")
  end
end
