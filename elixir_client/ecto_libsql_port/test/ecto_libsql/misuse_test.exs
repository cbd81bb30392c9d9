defmodule EctoLibSql.MisuseTest do
  # What a newcomer gets wrong is answered with what to do instead.
  use ExUnit.Case, async: true

  alias EctoLibSql.Error

  defmodule Repo do
    use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
  end

  @moduletag :tmp_dir

  test "a Repo in the place of a pool", %{tmp_dir: directory} do
    start_supervised!({Repo, database: Path.join(directory, "a.db"), pool_size: 1, log: false})
    query = EctoLibSql.prepare("SELECT 1")

    for call <- [
          &EctoLibSql.query(&1, "SELECT 1"),
          &EctoLibSql.query!(&1, "SELECT 1"),
          &EctoLibSql.query_many(&1, "SELECT 1"),
          &EctoLibSql.execute(&1, query, []),
          &EctoLibSql.prepare_execute(&1, nil, "SELECT 1", []),
          &EctoLibSql.transaction(&1, fn _conn -> flunk("ran") end),
          &EctoLibSql.checkout(&1, fn _conn -> flunk("ran") end)
        ] do
      error = assert_raise ArgumentError, fn -> call.(Repo) end
      assert error.message =~ "is a Repo"
      assert error.message =~ "#{inspect(Repo)}.query/3"
    end

    assert {:ok, %{rows: [[1]]}} = Repo.query("SELECT 1")
  end

  test "parameters that are no list", %{tmp_dir: directory} do
    start_supervised!({Repo, database: Path.join(directory, "a.db"), pool_size: 1, log: false})

    # The lane takes the later runs.
    for params <- [1, "a", {1, 2}, 1, 1, 1] do
      assert {:error, %Error{code: :invalid_parameter, message: message}} = Repo.query("SELECT ?", params)
      assert message =~ "parameters are a list, a keyword list or a map, not a"
    end

    assert {:ok, %{rows: [[1]]}} = Repo.query("SELECT ?", [1])

    for _ <- 1..3 do
      assert {:error, %Error{code: :invalid_parameter, message: message}} = Repo.query("SELECT ?, ?", [1 | 2])
      assert message =~ "the list of parameters is improper"
    end
  end

  test "an option of the sidecar among those of a Repo", %{tmp_dir: directory} do
    of_both = [:name, :backoff_min, :backoff_max, :max_restarts, :max_seconds, :functions, :commit_hook]

    for name <- LibsqlPort.Options.sidecar_names() -- of_both do
      assert {:error, %Error{code: :invalid_option, message: message}} =
               EctoLibSql.start_link([{:database, Path.join(directory, "a.db")}, {name, 7}])

      assert message ==
               "the option #{inspect(name)} is one of the sidecar, not of a Repo: write sidecar_options: [#{name}: 7]"
    end
  end
end
