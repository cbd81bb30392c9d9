defmodule EctoLibSql.SandboxTest do
  use EctoLibSql.RepoCase

  alias Ecto.Adapters.SQL.Sandbox

  @moduletag repo: [pool: Ecto.Adapters.SQL.Sandbox, pool_size: 4]

  setup do
    script("CREATE TABLE t (x INTEGER PRIMARY KEY AUTOINCREMENT, y); INSERT INTO t (y) VALUES ('seed')")
    :ok
  end

  defp values, do: TestRepo.all(from(t in "t", order_by: t.x, select: t.y))

  defp meet(others) do
    for other <- others, do: send(other, {:here, self()})
    for other <- others, do: assert_receive({:here, ^other}, 10_000)
  end

  # A test that writes, meets the others while its transaction is open, and looks at what it sees.
  defp owner(number) do
    Task.async(fn ->
      receive do
        {:others, others} ->
          Sandbox.checkout(TestRepo)
          TestRepo.insert_all("t", [[y: "mine #{number}"]])
          meet(others)

          {:error, :undone} =
            TestRepo.transaction(fn ->
              TestRepo.insert_all("t", [[y: "gone"]]) && TestRepo.rollback(:undone)
            end)

          seen = values()
          meet(others)
          Sandbox.checkin(TestRepo)
          seen
      end
    end)
  end

  defp owners(numbers) do
    tasks = Enum.map(numbers, &owner/1)
    for task <- tasks, do: send(task.pid, {:others, for(other <- tasks, other != task, do: other.pid)})
    Task.await_many(tasks, 30_000)
  end

  test "owners write side by side, each in its own copy, and leave nothing" do
    :ok = EctoLibSql.Sandbox.private_copies(TestRepo)
    Sandbox.mode(TestRepo, :manual)
    for _round <- 1..2, do: assert(owners(1..4) == for(n <- 1..4, do: ["seed", "mine #{n}"]))

    Sandbox.mode(TestRepo, :auto)
    :ok = EctoLibSql.Sandbox.private_copies(TestRepo, false)
    Sandbox.mode(TestRepo, :manual)
    Sandbox.checkout(TestRepo)
    assert values() == ["seed"]
  end

  @tag repo: [pool: Sandbox, pool_size: 4, database: ":memory:"]
  test "copies are made of a database in memory too, and making them twice changes nothing" do
    :ok = EctoLibSql.Sandbox.private_copies(TestRepo)
    :ok = EctoLibSql.Sandbox.private_copies(TestRepo)
    Sandbox.mode(TestRepo, :manual)
    for _round <- 1..2, do: assert(owners(1..4) == for(n <- 1..4, do: ["seed", "mine #{n}"]))
  end

  test "an allowed process sees its owner's copy" do
    :ok = EctoLibSql.Sandbox.private_copies(TestRepo)
    Sandbox.mode(TestRepo, :manual)
    owner = Sandbox.start_owner!(TestRepo)
    TestRepo.insert_all("t", [[y: "mine"]])
    parent = self()

    allowed =
      Task.async(fn ->
        Sandbox.allow(TestRepo, parent, self())
        values()
      end)

    assert Task.await(allowed) == ["seed", "mine"]
    Sandbox.stop_owner(owner)
  end

  test "without copies one owner after the other, with nested transactions" do
    Sandbox.mode(TestRepo, :manual)

    for _ <- 1..2 do
      Sandbox.checkout(TestRepo)

      assert {:ok, {:error, :inner}} =
               TestRepo.transaction(fn ->
                 TestRepo.insert_all("t", [[y: "a"]])
                 TestRepo.transaction(fn -> TestRepo.rollback(:inner) end)
               end)
               |> then(fn
                 # Ecto ends the outer one with the inner one.
                 {:error, :rollback} -> {:ok, {:error, :inner}}
                 other -> other
               end)

      assert values() == ["seed"]
      TestRepo.insert_all("t", [[y: "b"]])
      Sandbox.checkin(TestRepo)
    end
  end
end
