defmodule EctoLibSql.FileReplacedTest do
  # A database that is removed or replaced under a running Repo: the writes that meet it fail, none is repeated, and the
  # Repo goes on with the file that is there then.
  use EctoLibSql.RepoCase

  import EctoLibSql.LaneCase, only: [wait_until: 1]
  import ExUnit.CaptureLog

  alias Ecto.Adapters.LibSql
  alias Ecto.Adapters.SQL

  @moduletag repo: [pool_size: 2, backoff_min: 10, backoff_max: 100]

  setup do
    script("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    # One that opens later makes the file anew before another one is put there.
    {sidecar, _conn} = TestRepo |> Ecto.Adapter.lookup_meta() |> EctoLibSql.Direct.connection()
    wait_until(fn -> match?({:ok, %{connections: 2}}, LibsqlPort.status(sidecar)) end)
    :ok
  end

  # Another database in the place of the Repo's, without the files beside it.
  defp replace(path) do
    :ok = LibSql.storage_down(database: path)
    :ok = LibSql.storage_up(database: path)
  end

  # Until each connection of the pool has met the new file.
  defp write_until_ok(sql, refused \\ 0) do
    case TestRepo.query(sql) do
      {:ok, _} -> refused
      {:error, %EctoLibSql.Error{code: :file_replaced}} when refused < 10 -> write_until_ok(sql, refused + 1)
    end
  end

  test "the Repo goes on with the new file", %{path: path} do
    replace(path)

    capture_log(fn ->
      assert {:error, %EctoLibSql.Error{code: :file_replaced} = error} =
               TestRepo.query("INSERT INTO t VALUES (2)")

      assert error.message =~ path
      assert write_until_ok("CREATE TABLE IF NOT EXISTS t (x)") <= 2
      # The other connection is met in its time, and not more often than once.
      refused = for _ <- 1..6, do: write_until_ok("INSERT INTO t VALUES (3)")
      assert Enum.sum(refused) <= 2
    end)

    # The two that failed are not there, and none was written twice.
    assert TestRepo.query!("SELECT x FROM t").rows == List.duplicate([3], 6)
  end

  test "a removed file is made anew", %{path: path} do
    :ok = LibSql.storage_down(database: path)

    capture_log(fn ->
      assert {:error, %{code: :file_replaced}} = TestRepo.query("INSERT INTO t VALUES (2)")
      write_until_ok("CREATE TABLE IF NOT EXISTS u (x)")
    end)

    assert File.exists?(path)
  end

  test "an open transaction is not committed, and its function is not run again", %{path: path} do
    test = self()

    capture_log(fn ->
      error =
        assert_raise EctoLibSql.Error, fn ->
          TestRepo.transaction(fn ->
            send(test, :ran)
            TestRepo.query!("INSERT INTO t VALUES (2)")
            replace(path)
            TestRepo.query!("INSERT INTO t VALUES (3)")
          end)
        end

      assert error.code == :file_replaced
      assert_received :ran
      refute_received :ran
      write_until_ok("CREATE TABLE IF NOT EXISTS t (x)")
    end)

    assert TestRepo.query!("SELECT count(*) FROM t").rows == [[0]]
  end

  test "nor is a stream of rows that an INSERT returns", %{path: path} do
    capture_log(fn ->
      error =
        assert_raise EctoLibSql.Error, fn ->
          TestRepo.transaction(fn ->
            TestRepo
            |> SQL.stream("INSERT INTO t VALUES (2), (3), (4) RETURNING x", [], max_rows: 1)
            |> Enum.each(fn _ -> if File.exists?(path), do: LibSql.storage_down(database: path) end)
          end)
        end

      assert error.code == :file_replaced
    end)
  end

  test "a database that is put beside the log of the former one is not opened", %{path: path} do
    other = path <> ".other"
    :ok = LibSql.storage_up(database: other)
    File.rename!(other, path)
    on_exit(fn -> LibSql.storage_down(database: other) end)

    # The pool's connections empty the log as they leave the former file, and then the new one is opened.
    log =
      capture_log(fn ->
        assert {:error, %{code: :file_replaced}} = TestRepo.query("INSERT INTO t VALUES (2)")
        write_until_ok("CREATE TABLE IF NOT EXISTS u (x)")
      end)

    refute log =~ "corrupt"
    assert TestRepo.query!("PRAGMA integrity_check").rows == [["ok"]]
    assert TestRepo.query!("SELECT name FROM sqlite_schema").rows == [["u"]]
  end
end
