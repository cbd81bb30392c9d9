defmodule EctoLibSql.LanePropertyTest do
  # Nobody can tell whether there is a lane. The same random programs run on a Repo with one and on one without: the same
  # answers, the same events, the same rows in the end. And a process among others sees its own effects in their order.
  use EctoLibSql.RepoCase

  import EctoLibSql.{LaneCase, Properties}

  @moduletag :proper
  @moduletag timeout: 300_000
  @moduletag repo: [pool_size: 2, lane: [size: 2]]

  defmodule Item do
    use Ecto.Schema

    @primary_key {:id, :integer, []}
    schema "items" do
      field(:name, :string)
      field(:amount, :integer)
    end
  end

  @keys 1..4
  @names ~w(a b c d)
  @cases 12

  setup %{path: path} do
    other = path <> "-without"
    on_exit(fn -> Ecto.Adapters.LibSql.storage_down(database: other) end)
    queue = [queue_target: 60_000, queue_interval: 60_000]

    {:ok, without} =
      TestRepo.start_link([name: nil, database: other, pool_size: 2, lane: false, log: false] ++ queue)

    with_lane = TestRepo.get_dynamic_repo()

    for repo <- [with_lane, without] do
      TestRepo.put_dynamic_repo(repo)

      script("""
      CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT UNIQUE, amount INTEGER CHECK (amount < 3));
      CREATE TABLE told (id INTEGER PRIMARY KEY, item INTEGER, what TEXT);
      CREATE TRIGGER items_told AFTER UPDATE ON items BEGIN INSERT INTO told (item, what) VALUES (new.id, new.name); END;
      """)
    end

    TestRepo.put_dynamic_repo(with_lane)
    {:ok, with_lane: with_lane, without: without}
  end

  # --- programs -----------------------------------------------------------------------------------------------------

  defp key, do: range({@keys.first, @keys.last})
  defp name, do: one_of([nil | @names])

  defp step do
    one_of([
      {:insert, key(), name(), range({0, 3})},
      {:upsert, key(), name(), range({0, 3})},
      {:insert_all, list({key(), name(), range({0, 3})})},
      {:update, key(), name()},
      {:update_all, range({0, 3})},
      {:delete, key()},
      {:delete_all, name()},
      {:get, key()},
      {:all},
      {:with, key()},
      {:sql, one_of(sqls())},
      {:transaction, one_of([:commit, :rollback, :raise]), list(inner())},
      {:checkout, list(inner())}
    ])
  end

  defp inner do
    one_of([
      {:insert, key(), name(), range({0, 3})},
      {:update, key(), name()},
      {:delete, key()},
      {:get, key()},
      {:all}
    ])
  end

  # Some of them leave something behind, on a connection that is the caller's or not.
  defp sqls do
    [
      "SELECT count(*), total(amount) FROM items",
      "SELECT count(*), total(amount) FROM items -- of all",
      "WITH i AS (SELECT id FROM items) SELECT max(id) FROM i",
      "WITH i AS (SELECT 1 AS id) DELETE FROM items WHERE id IN (SELECT id FROM i)",
      "VALUES (1), (2)",
      "INSERT INTO items (id, name) SELECT id + 4, NULL FROM items WHERE id < 3 ON CONFLICT DO NOTHING",
      "INSERT OR ROLLBACK INTO items (id) VALUES (1)",
      "UPDATE items SET amount = amount + 1 RETURNING id, amount",
      "DELETE FROM items WHERE id > 4 RETURNING name",
      "SELECT no_column FROM items",
      "SELEC 1",
      "SELECT 1; SELECT 2",
      "BEGIN IMMEDIATE",
      "COMMIT",
      "SAVEPOINT s",
      "PRAGMA user_version = 7",
      "PRAGMA user_version",
      "EXPLAIN QUERY PLAN SELECT * FROM items",
      "CREATE TABLE IF NOT EXISTS more (x)",
      "INSERT INTO more VALUES (1)",
      "SELECT count(*) FROM more",
      "DROP TABLE IF EXISTS more",
      ""
    ]
  end

  defp run(steps), do: Enum.map(steps, &answer/1)

  defp answer(step) do
    {:returned, step |> perform() |> plain()}
  rescue
    error -> {:raised, plain(error)}
  end

  # What differs from run to run: times, and the number of a connection's last row, which is that of other calls too.
  defp plain(%EctoLibSql.Result{} = result), do: %{result | times: nil, last_insert_rowid: nil}
  defp plain(%Item{} = item), do: Map.take(item, [:id, :name, :amount])
  defp plain(%Ecto.Changeset{} = changeset), do: {:invalid, changeset.errors}
  defp plain(error) when is_exception(error), do: {error.__struct__, Exception.message(error)}
  defp plain(list) when is_list(list), do: Enum.map(list, &plain/1)

  defp plain(tuple) when is_tuple(tuple),
    do: tuple |> Tuple.to_list() |> Enum.map(&plain/1) |> List.to_tuple()

  defp plain(other), do: other

  defp changeset(item, changes) do
    item
    |> Ecto.Changeset.change(changes)
    |> Ecto.Changeset.unique_constraint(:name)
    |> Ecto.Changeset.unique_constraint(:id, name: :items_id_index)
    |> Ecto.Changeset.check_constraint(:amount, name: :items_amount)
  end

  defp perform({:insert, id, name, amount}),
    do: TestRepo.insert(changeset(%Item{}, id: id, name: name, amount: amount))

  defp perform({:upsert, id, name, amount}) do
    item = %Item{id: id, name: name, amount: amount}
    TestRepo.insert(item, on_conflict: {:replace, [:amount]}, conflict_target: :id, returning: true)
  end

  defp perform({:insert_all, rows}) do
    rows = for {id, name, amount} <- rows, do: %{id: id, name: name, amount: amount}
    TestRepo.insert_all(Item, Enum.uniq_by(rows, & &1.id), on_conflict: :nothing, returning: [:id])
  end

  defp perform({:update, id, name}),
    do: TestRepo.update(changeset(%Item{id: id, name: "?"}, name: name), stale_error_field: :id)

  defp perform({:update_all, amount}),
    do: TestRepo.update_all(from(i in Item, where: i.amount == ^amount, select: i.id), inc: [amount: 1])

  defp perform({:delete, id}), do: TestRepo.delete(%Item{id: id}, stale_error_field: :id)

  defp perform({:delete_all, name}),
    do: TestRepo.delete_all(from(i in Item, where: i.name == ^(name || "a")))

  defp perform({:get, id}), do: TestRepo.get(Item, id)
  defp perform({:all}), do: TestRepo.all(from(i in Item, order_by: i.id))

  defp perform({:with, id}) do
    some = from(i in Item, where: i.id <= ^id)
    TestRepo.all(from(i in "some", order_by: i.id, select: {i.id, i.name}) |> with_cte("some", as: ^some))
  end

  defp perform({:sql, sql}), do: TestRepo.query(sql)
  defp perform({:checkout, steps}), do: TestRepo.checkout(fn -> run(steps) end)

  defp perform({:transaction, ending, steps}) do
    TestRepo.transaction(fn ->
      answers = run(steps)

      case ending do
        :commit -> answers
        :rollback -> TestRepo.rollback(answers)
        :raise -> raise "#{inspect(answers)}"
      end
    end)
  end

  # The answers, the events that go with them, and what is in the tables afterwards.
  defp trace(repo, steps) do
    TestRepo.put_dynamic_repo(repo)
    TestRepo.query!("DROP TABLE IF EXISTS more", [], lane: false)
    TestRepo.query!("DELETE FROM items", [], lane: false)
    TestRepo.query!("DELETE FROM told", [], lane: false)
    test = self()
    id = {__MODULE__, make_ref()}

    tell = fn _event, measurements, metadata, _ ->
      send(test, {id, Enum.sort(Map.keys(measurements)), metadata.query, metadata.params, metadata.source})
    end

    :ok = :telemetry.attach(id, [:ecto_lib_sql, :test_repo, :query], tell, nil)

    answers =
      try do
        run(steps)
      after
        :telemetry.detach(id)
      end

    rows =
      for sql <- ["SELECT * FROM items ORDER BY id", "SELECT item, what FROM told ORDER BY id"],
          do: TestRepo.query!(sql, [], lane: false).rows

    {answers, events(id), rows}
  end

  defp events(id) do
    receive do
      {^id, measurements, query, params, source} -> [{measurements, query, params, source} | events(id)]
    after
      0 -> []
    end
  end

  test "programs give the same answers, events and rows with the lane and without", context do
    open(2)
    before = lane_requests()

    check!(
      list(step()),
      fn steps ->
        # Twice, so that a statement is known the second time.
        with_lane = for _ <- 1..2, do: trace(context.with_lane, steps)
        without = for _ <- 1..2, do: trace(context.without, steps)
        TestRepo.put_dynamic_repo(context.with_lane)
        assert with_lane == without
        true
      end,
      @cases
    )

    assert lane_requests() - before > @cases
  end

  # --- processes ----------------------------------------------------------------------------------------------------

  @processes 8
  @steps 60

  test "each of many processes sees its own effects, in their order" do
    TestRepo.query!(
      "CREATE TABLE own (process INTEGER, key INTEGER, value INTEGER, PRIMARY KEY (process, key))"
    )

    open(2)

    before = lane_requests()

    1..@processes
    |> Task.async_stream(&own_effects/1, max_concurrency: @processes, timeout: :infinity)
    |> Stream.run()

    assert lane_requests() > before
  end

  defp own_effects(process) do
    :rand.seed(:exsss, {ExUnit.configuration()[:seed], process, 0})
    Enum.reduce(1..@steps, %{}, fn value, model -> own_step(process, value, model) end)
  end

  defp own_step(process, value, model) do
    key = Enum.random(@keys)

    model =
      case :rand.uniform(4) do
        1 ->
          TestRepo.query!("DELETE FROM own WHERE process = ? AND key = ?", [process, key])
          Map.delete(model, key)

        2 ->
          {:ok, _} = TestRepo.transaction(fn -> put_own(process, key, value) end)
          Map.put(model, key, value)

        _ ->
          put_own(process, key, value)
          Map.put(model, key, value)
      end

    sql = "SELECT key, value FROM own WHERE process = ? ORDER BY key"
    rows = for _ <- 1..2, do: TestRepo.query!(sql, [process]).rows
    assert rows == List.duplicate(for({key, value} <- Enum.sort(model), do: [key, value]), 2)
    model
  end

  defp put_own(process, key, value) do
    sql = "INSERT INTO own VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = ?3"
    TestRepo.query!(sql, [process, key, value])
  end
end
