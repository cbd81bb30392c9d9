defmodule EctoLibSql.MemoryTest do
  # A database in memory has no log: who reads beside a writer waits, and is told the truth if that takes too long.
  use EctoLibSql.RepoCase

  @moduletag repo: [database: ":memory:", pool_size: 3]

  # Runs a function while another process has written and not yet committed.
  defp beside_a_writer(write, fun) do
    test = self()

    writer =
      Task.async(fn ->
        TestRepo.transaction(fn ->
          write.()
          send(test, :written)
          receive do: (:commit -> :ok)
        end)
      end)

    assert_receive :written, 10_000
    fun.(fn -> send(writer.pid, :commit) end)
    send(writer.pid, :commit)
    Task.await(writer)
  end

  # Every connection but the first has a schema from before this table. All are open: to open one is to read, and would
  # wait for the writer as well.
  setup do
    test = self()

    holders =
      for _ <- 1..3 do
        Task.async(fn ->
          hold = fn ->
            TestRepo.query!("SELECT 1")
            send(test, :held)
            receive do: (:go -> :ok)
          end

          TestRepo.checkout(hold, timeout: 60_000)
        end)
      end

    for _ <- holders, do: assert_receive(:held, 60_000)
    for holder <- holders, do: send(holder.pid, :go)
    Task.await_many(holders)
    TestRepo.query!("CREATE TABLE t (x)")
    :ok
  end

  for {what, sql} <- [
        {"a read", "SELECT count(*) FROM t"},
        {"a subquery", "SELECT (SELECT count(*) FROM t)"},
        {"a write", "INSERT INTO t VALUES (2)"}
      ] do
    test "#{what} beside a writer times out" do
      beside_a_writer(fn -> TestRepo.query!("INSERT INTO t VALUES (1)") end, fn _commit ->
        assert {:error, %{code: :timeout}} = TestRepo.query(unquote(sql), [], timeout: 300)
      end)
    end
  end

  test "a read waits for the writer" do
    beside_a_writer(fn -> TestRepo.query!("INSERT INTO t VALUES (1)") end, fn commit ->
      reader = Task.async(fn -> TestRepo.query!("SELECT count(*) FROM t").rows end)
      refute Task.yield(reader, 100)
      commit.()
      assert Task.await(reader, 20_000) == [[1]]
    end)
  end

  test "a table that the writer makes is not there before, and is after" do
    beside_a_writer(fn -> TestRepo.query!("CREATE TABLE u (x)") end, fn commit ->
      assert {:error, %{code: :timeout}} = TestRepo.query("SELECT * FROM u", [], timeout: 300)
      commit.()
      assert TestRepo.query!("SELECT * FROM u", [], timeout: 20_000).rows == []
    end)
  end

  test "what is wrong is told" do
    assert {:error, %{code: :sql_error}} = TestRepo.query("SELECT * FROM nowhere")
    assert {:error, %{code: :sql_error}} = TestRepo.query("SELEC 1")
  end
end
