defmodule EctoLibSql.PoolCase do
  @moduledoc false
  # For tests of the pool itself: what it says of itself, and callers that have its connections.

  import EctoLibSql.LaneCase, only: [wait_until: 1]

  alias EctoLibSql.TestRepo

  @doc "What an operator sees of a Repo's pool."
  def status(repo \\ TestRepo) do
    {:ok, status} = EctoLibSql.pool_status(repo)
    status
  end

  @doc "The process of the pool."
  def pool, do: Ecto.Adapter.lookup_meta(TestRepo).pid

  @doc "Waits until no connection is being opened."
  def opened(repo \\ TestRepo), do: wait_until(fn -> status(repo).opening == 0 end)

  @doc "Tasks that have a connection until `let_go/1`."
  def hold(count, checkout \\ &TestRepo.checkout(&1, timeout: :infinity)) do
    test = self()

    tasks =
      for _ <- 1..count do
        Task.async(fn ->
          checkout.(fn ->
            send(test, {:holds, self()})
            receive do: (:go_on -> :went_on)
          end)
        end)
      end

    for %{pid: pid} <- tasks, do: receive(do: ({:holds, ^pid} -> pid))
    tasks
  end

  @doc "Their results, once they have given their connections back."
  def let_go(tasks) do
    for %{pid: pid} <- tasks, do: send(pid, :go_on)
    Task.await_many(tasks, :infinity)
  end
end
