defmodule EctoLibSql.ChangeLogPropertyTest do
  # Whatever happens to the tables, replaying the log gives the same rows: an insert finds no row of its key, an update and a
  # delete find the row that they name as `old`. So no change is missing, twice, or out of order.
  use EctoLibSql.RepoCase

  alias EctoLibSql.{Cases, ChangeLog, Migration}

  @moduletag timeout: 300_000
  @moduletag repo: [pool_size: 4, backoff_min: 10, backoff_max: 100]

  @cases 40
  @steps 60
  @tables %{"items" => ["id"], "parts" => ["id"], "pairs" => ["b", "a"], "plain" => ["rowid"]}

  setup do
    script("""
    CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE UNIQUE, amount INTEGER CHECK (amount < 8), both INTEGER,
      UNIQUE (amount, both));
    CREATE TABLE parts (id INTEGER PRIMARY KEY, item INTEGER REFERENCES items ON DELETE CASCADE ON UPDATE CASCADE, size REAL);
    CREATE TABLE pairs (a INTEGER, b TEXT, c BLOB UNIQUE, PRIMARY KEY (b, a)) WITHOUT ROWID;
    CREATE TABLE plain (v UNIQUE);
    CREATE UNIQUE INDEX some_parts ON parts (size) WHERE item > 2;
    CREATE TRIGGER counted AFTER INSERT ON items WHEN new.both IS NULL BEGIN
      UPDATE items SET both = new.id WHERE id = new.id; INSERT OR IGNORE INTO plain VALUES (new.id); END;
    CREATE TRIGGER refused BEFORE INSERT ON plain WHEN new.v = 3 BEGIN SELECT RAISE(IGNORE); END;
    """)

    for {table, _} <- @tables, do: Migration.create_change_log(table, repo: TestRepo)
    :ok
  end

  # --- programs -------------------------------------------------------------------------------------------------------

  defp one(list), do: Enum.random(list)
  defp key, do: one(1..5)
  defp name, do: one(["'a'", "'A'", "'b'", "'c'", "NULL"])
  defp conflict, do: one(["", "OR REPLACE", "OR IGNORE", "OR FAIL", "OR ROLLBACK", "OR ABORT"])

  defp statement do
    case :rand.uniform(20) do
      n when n <= 4 ->
        "INSERT #{conflict()} INTO items (id, name, amount, both) VALUES (#{one([key(), "NULL"])}, #{name()}, #{key()}, #{one([key(), "NULL"])})"

      5 ->
        "INSERT #{conflict()} INTO items (id, name) SELECT id + #{key()}, name FROM items WHERE id < 4"

      6 ->
        "INSERT INTO items (id, name) VALUES (#{key()}, #{name()}) ON CONFLICT (id) DO UPDATE SET name = excluded.name, amount = 1"

      7 ->
        "INSERT INTO items (id, name) VALUES (#{key()}, #{name()}), (#{key()}, #{name()}) ON CONFLICT DO NOTHING"

      8 ->
        "UPDATE #{conflict()} items SET name = #{name()} WHERE id = #{key()}"

      9 ->
        "UPDATE #{conflict()} items SET id = id + #{one(1..2)}, amount = amount + 1"

      10 ->
        "DELETE FROM items WHERE id = #{key()}"

      11 ->
        one(["DELETE FROM items", "DELETE FROM parts", "DELETE FROM pairs", "DELETE FROM plain"])

      n when n in 12..13 ->
        "INSERT #{conflict()} INTO parts VALUES (#{one([key(), "NULL"])}, #{key()}, #{key()}.5)"

      14 ->
        "UPDATE #{conflict()} parts SET item = #{key()}, size = size + 1 WHERE id > #{key()}"

      15 ->
        "INSERT #{conflict()} INTO pairs VALUES (#{key()}, #{one(["'x'", "'y'"])}, x'0#{key()}')"

      16 ->
        "UPDATE #{conflict()} pairs SET a = #{key()}, c = x'0#{key()}' WHERE b = 'x'"

      17 ->
        "INSERT INTO pairs VALUES (#{key()}, 'x', NULL) ON CONFLICT DO UPDATE SET c = x'#{key()}0'"

      18 ->
        "INSERT #{conflict()} INTO plain VALUES (#{one([key(), "#{key()}.5", "'t'", "x'00'"])})"

      19 ->
        "UPDATE #{conflict()} plain SET v = #{key()}"

      20 ->
        "DELETE FROM plain WHERE rowid = #{key()}"
    end
  end

  defp step do
    case :rand.uniform(12) do
      1 -> one(["BEGIN", "BEGIN IMMEDIATE"])
      2 -> one(["COMMIT", "COMMIT", "ROLLBACK"])
      3 -> "SAVEPOINT #{one(["s", "t"])}"
      4 -> one(["RELEASE s", "RELEASE t", "ROLLBACK TO s", "ROLLBACK TO t"])
      _ -> statement()
    end
  end

  defp program(seed) do
    :rand.seed(:exsss, seed)
    {one(["ON", "OFF"]), for(_ <- 1..@steps, do: step())}
  end

  defp smaller({recursive, steps}) do
    Stream.map(0..(length(steps) - 1)//1, &{recursive, List.delete_at(steps, &1)})
  end

  defp run({recursive, steps}) do
    TestRepo.checkout(fn ->
      TestRepo.query("ROLLBACK")
      TestRepo.query!("PRAGMA recursive_triggers = #{recursive}")
      for step <- steps, do: TestRepo.query(step)
      TestRepo.query("COMMIT")
      TestRepo.query!("PRAGMA recursive_triggers = OFF")
    end)
  end

  # --- replaying ------------------------------------------------------------------------------------------------------

  defp rows(table, key) do
    rowid = if key == ["rowid"], do: "rowid AS rowid, ", else: ""
    %{columns: columns, rows: rows} = TestRepo.query!("SELECT #{rowid}* FROM #{table}")

    for row <- rows, into: %{} do
      values = columns |> Enum.zip(row) |> Map.new()
      {Enum.map(key, &values[&1]), Map.delete(values, "rowid")}
    end
  end

  defp plain(values), do: Map.new(values, fn {column, value} -> {column, untag(value)} end)
  defp untag({:blob, bytes}), do: bytes
  defp untag(value), do: value

  defp replay(changes, tables) do
    Enum.reduce(changes, tables, fn change, tables ->
      columns = @tables[change.table]
      key = for column <- columns, do: untag(change.key[column])
      old = change.old && plain(change.old)
      new = change.new && plain(change.new)
      rows = Map.get(tables, change.table, %{})

      if change.operation == :insert do
        refute is_map_key(rows, key), "there already: #{inspect(change)}"
      else
        assert rows[key] == old, "not there: #{inspect(change)}, but #{inspect(rows[key])}"
      end

      rows = Map.delete(rows, key)

      rows =
        case change.operation do
          :delete -> rows
          :insert -> Map.put(rows, key, new)
          :update -> Map.put(rows, if(columns == ["rowid"], do: key, else: Enum.map(columns, &new[&1])), new)
        end

      Map.put(tables, change.table, rows)
    end)
  end

  defp assert_replayed(changes) do
    replayed = replay(changes, %{})

    for {table, key} <- @tables do
      assert Map.get(replayed, table, %{}) == rows(table, key), table
    end
  end

  defp empty do
    TestRepo.query("ROLLBACK")
    for {table, _} <- @tables, do: TestRepo.query!("DELETE FROM #{table}")
    TestRepo.query!("DELETE FROM change_log")
  end

  defp logged(consumer) do
    ChangeLog.delete_consumer(TestRepo, consumer)
    :ok = ChangeLog.create_consumer(TestRepo, consumer)
    {:ok, changes} = ChangeLog.read(TestRepo, consumer, limit: 1_000_000)
    sequences = Enum.map(changes, & &1.sequence)
    first = List.first(sequences, 1)
    assert sequences == Enum.to_list(first..(first + length(changes) - 1)//1)
    changes
  end

  test "replaying the log gives the tables, after any program" do
    Cases.check!(@cases, &program/1, &smaller/1, fn program ->
      empty()
      run(program)
      assert_replayed(logged("replay"))
    end)

    assert TestRepo.query!("PRAGMA integrity_check").rows == [["ok"]]
  end

  test "and after sidecars were killed under several writers, for a consumer that reads meanwhile" do
    test = self()
    :ok = ChangeLog.create_consumer(TestRepo, "meanwhile")
    writers = for seed <- 1..3, do: Task.async(fn -> write(test, seed) end)
    reader = Task.async(fn -> consume([], false) end)

    for _ <- 1..3 do
      written(40)
      {sidecar, _} = EctoLibSql.Direct.database(Ecto.Adapter.lookup_meta(TestRepo))
      {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
      {_, 0} = System.cmd("kill", ["-9", Integer.to_string(os_pid)])
    end

    written(40)
    for writer <- writers, do: send(writer.pid, :stop)
    Task.await_many(writers, 120_000)
    send(reader.pid, :stop)
    seen = Task.await(reader, 120_000)

    changes = eventually(fn -> logged("at the end") end)
    assert seen == changes
    assert_replayed(changes)
  end

  defp write(test, seed) do
    :rand.seed(:exsss, seed)

    Stream.repeatedly(fn ->
      try do
        TestRepo.transaction(fn -> for _ <- 1..one(1..4), do: TestRepo.query(statement()) end)
        send(test, :written)
      rescue
        # Lost with its sidecar.
        DBConnection.ConnectionError -> :lost
      end
    end)
    |> Enum.find(fn _ ->
      receive do
        :stop -> true
      after
        0 -> false
      end
    end)
  end

  # A batch counts when its acknowledgement does: of an unknown one, the next read tells.
  defp consume(seen, stop?) do
    stop? =
      receive do
        :stop -> true
      after
        0 -> stop?
      end

    case eventually(fn -> ChangeLog.read(TestRepo, "meanwhile", limit: 7) end) do
      {:ok, []} when stop? ->
        Enum.reverse(seen)

      {:ok, changes} ->
        last = List.last(changes)
        new = Enum.reject(changes, &(seen != [] and &1.sequence <= hd(seen).sequence))
        if last, do: eventually(fn -> ChangeLog.ack(TestRepo, "meanwhile", last.sequence) end)
        consume(Enum.reverse(new) ++ seen, stop?)
    end
  end

  defp eventually(fun) do
    fun.()
  rescue
    DBConnection.ConnectionError -> eventually(fun)
  end

  defp written(0), do: :ok

  defp written(n) do
    assert_receive :written, 60_000
    written(n - 1)
  end
end
