defmodule EctoLibSql.PoolDefaultsTest do
  # What a pool without a Repo is started with holds for its calls.
  use ExUnit.Case, async: true

  alias EctoLibSql.{Error, PoolDefaults}

  @endless "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT count(*) FROM t"

  defp pool(options), do: start_supervised!({EctoLibSql, [database: ":memory:", pool_size: 1] ++ options})

  test "its :timeout is that of each call, transaction and checkout" do
    db = pool(timeout: 300, name: :pool_defaults)
    late = {:error, %Error{code: :timeout}}

    for run <- [
          fn -> EctoLibSql.query(db, @endless) end,
          fn -> EctoLibSql.query(:pool_defaults, @endless) end,
          fn -> EctoLibSql.query_many(db, @endless) end,
          fn -> EctoLibSql.execute(db, EctoLibSql.prepare(@endless), []) end,
          fn -> EctoLibSql.checkout(db, &EctoLibSql.query(&1, @endless)) end
        ] do
      # Without it, each would take fifteen seconds.
      {took, told} = :timer.tc(run)
      assert {:error, %Error{code: :timeout}} = told, inspect({late, told})
      assert took < 10_000_000
    end

    {took, _raised} =
      :timer.tc(fn ->
        catch_error(EctoLibSql.transaction(db, &EctoLibSql.query!(&1, @endless)))
      end)

    assert took < 10_000_000
    assert {:ok, %{rows: [[1]]}} = EctoLibSql.query(db, "SELECT 1", [], timeout: 60_000)
  end

  test "its :ignored_options are names that its calls pass over" do
    db = pool(ignored_options: [:polcy])
    assert {:ok, _} = EctoLibSql.query(db, "SELECT 1", [], polcy: 1)
    assert {:ok, 1} = EctoLibSql.transaction(db, fn _conn -> 1 end, polcy: 1)
    assert EctoLibSql.checkout(db, fn _conn -> 1 end, polcy: 1) == 1
    assert {:error, %Error{code: :invalid_option}} = EctoLibSql.query(db, "SELECT 1", [], tiemout: 1)
  end

  test "one that was not started here has none, and repeats transactions" do
    {:ok, foreign} = start_supervised({Agent, fn -> 1 end})
    assert PoolDefaults.of(foreign) == []
    assert PoolDefaults.of(:nobody) == []
    assert [retries: retries] = PoolDefaults.complete(foreign)
    # They have one budget.
    assert [retries: ^retries] = PoolDefaults.complete(foreign)
    assert [retries: _] = PoolDefaults.complete(:nobody)
  end
end
