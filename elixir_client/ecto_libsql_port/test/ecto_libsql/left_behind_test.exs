defmodule EctoLibSql.LeftBehindTest do
  use ExUnit.Case, async: true

  @moduletag :tmp_dir

  defp tables, do: for(table <- :ets.all(), :ets.info(table, :owner) == self(), do: table)

  test "a process that starts and stops pools keeps no table of theirs", %{tmp_dir: dir} do
    Process.flag(:trap_exit, true)
    before = tables()

    for _ <- 1..3 do
      {:ok, pool} = EctoLibSql.start_link(database: Path.join(dir, "a.db"), pool_size: 1)
      assert %{rows: [[1]]} = EctoLibSql.query!(pool, "SELECT 1", [])
      Supervisor.stop(pool)
      assert {:error, _} = EctoLibSql.start_link(database: Path.join(dir, "none/a.db"))
    end

    assert tables() == before
  end
end
