defmodule EctoLibSql.ChangeLogTest do
  use EctoLibSql.RepoCase

  import Ecto.Migration, only: [alter: 2, drop: 1, modify: 2, remove: 1, table: 1]

  alias EctoLibSql.{ChangeLog, Migration, MigrationError}
  alias EctoLibSql.ChangeLog.{Change, Consumer, LeftBehind}

  defmodule City do
    use Ecto.Schema

    schema "cities" do
      field(:name, :string)
      field(:size, :float)
      field(:seal, :binary)
    end
  end

  setup do
    script(
      "CREATE TABLE cities (id INTEGER PRIMARY KEY, name TEXT UNIQUE, size REAL, seal BLOB, up AS (upper(name)))"
    )

    :ok
  end

  defp log(options \\ []), do: Migration.create_change_log(:cities, [repo: TestRepo] ++ options)

  # All changes that are in the log.
  defp changes(log \\ "change_log") do
    name = "reader #{System.unique_integer()}"
    :ok = ChangeLog.create_consumer(TestRepo, name, log: log)
    {:ok, changes} = ChangeLog.read(TestRepo, name, limit: 10_000, log: log)
    ChangeLog.delete_consumer(TestRepo, name, log: log)
    changes
  end

  # In short: operation, key, old and new name.
  defp short, do: for(c <- changes(), do: {c.operation, c.key["id"], c.old["name"], c.new["name"]})

  describe "what is logged" do
    test "each operation, with key, values, changed columns and time" do
      log()
      script("INSERT INTO cities (id, name, size) VALUES (1, 'Ulm', 1.5)")
      script("UPDATE cities SET name = 'Köln', size = 1.5 WHERE id = 1; DELETE FROM cities")
      assert [insert, update, delete] = changes()

      first = %{"id" => 1, "name" => "Ulm", "size" => 1.5, "seal" => nil}
      second = %{first | "name" => "Köln"}
      key = %{"id" => 1}

      assert %Change{sequence: 1, operation: :insert, key: ^key, old: nil, new: ^first, changed: nil} = insert
      assert %Change{operation: :update, key: ^key, old: ^first, new: ^second, changed: ["name"]} = update
      assert %Change{sequence: 3, operation: :delete, key: ^key, old: ^second, new: nil} = delete
      assert Enum.all?([insert, update, delete], &(&1.table == "cities"))
      assert abs(DateTime.diff(insert.at, DateTime.utc_now())) < 3600
    end

    test "every value as it is" do
      log()

      values = [
        [9_223_372_036_854_775_807, -1, 0],
        [0.1 + 0.2, 1.0, 5.0e-324, 1.7976931348623157e308, -1.0e-7, 123_456_789_012_345_680_000.0],
        ["", "ä\"\\\n", "a\0b", "\u{F0080}", <<97, 255, 98>>],
        [{:blob, ""}, {:blob, <<0, 255>>}, {:blob, "text"}, nil]
      ]

      script("CREATE TABLE any (id INTEGER PRIMARY KEY, v)")
      Migration.create_change_log("any", repo: TestRepo)
      values = Enum.concat(values)

      for value <- values,
          do: TestRepo.query!("INSERT INTO \"any\" (v) VALUES (#{cast(value)})", [typed(value)])

      script("INSERT INTO \"any\" (v) VALUES (9e999), (-9e999)")

      # The engine says whether what was read is what is stored.
      read = for change <- changes(), do: change.new
      assert Enum.map(read, & &1["v"]) == values ++ [:infinity, :neg_infinity]

      for %{"id" => id, "v" => v} <- read, v not in [:infinity, :neg_infinity] do
        sql = "SELECT v IS x AND typeof(v) = typeof(x) FROM \"any\", (SELECT #{cast(v)} AS x) WHERE id = ?2"
        assert TestRepo.query!(sql, [typed(v), id]).rows == [[1]], inspect(v)
      end
    end

    test "names that need quotes, and tables of many columns" do
      columns = for n <- 1..300, do: ~s("c'#{n} ""x\\")

      script(
        "CREATE TABLE \"o'dd \"\"t\" (#{Enum.join(columns, ", ")}, \"K%_ \" TEXT, PRIMARY KEY (\"K%_ \"))"
      )

      Migration.create_change_log("o'dd \"t", repo: TestRepo, log: "o'dd \"log")
      script("INSERT INTO \"o'dd \"\"t\" (\"K%_ \", \"c'7 \"\"x\\\") VALUES ('k', 7)")
      script("UPDATE \"o'dd \"\"t\" SET \"c'9 \"\"x\\\" = 9")
      assert [insert, %{changed: [~s(c'9 "x\\)]}] = changes("o'dd \"log")
      assert %{key: %{"K%_ " => "k"}, table: "o'dd \"t"} = insert
      assert insert.new[~s(c'7 "x\\)] == 7
      assert ChangeLog.stale(TestRepo, log: "o'dd \"log") == []
      Migration.drop_change_log("o'dd \"t", repo: TestRepo, log: "o'dd \"log")
    end

    test "a table without a primary key by its rowid, one without a rowid by its key" do
      script(
        "CREATE TABLE plain (rowid, a); CREATE TABLE pairs (a TEXT, b, PRIMARY KEY (b, a)) WITHOUT ROWID"
      )

      for table <- [:plain, :pairs], do: Migration.create_change_log(table, repo: TestRepo)
      script("INSERT INTO plain VALUES ('x', 1); UPDATE plain SET a = 2; INSERT INTO pairs VALUES ('a', 1)")
      script("UPDATE pairs SET a = 'b'; INSERT OR REPLACE INTO pairs VALUES ('b', 1)")

      assert [
               %{key: %{"_rowid_" => 1}},
               %{operation: :update, key: %{"_rowid_" => 1}},
               %{key: %{"a" => "a", "b" => 1}},
               %{operation: :update, key: %{"a" => "a", "b" => 1}, new: %{"a" => "b", "b" => 1}},
               %{operation: :delete, key: %{"a" => "b", "b" => 1}},
               %{operation: :insert}
             ] = changes()
    end

    test "only what was asked for" do
      log(values: :new, columns: [:name], operations: [:insert, :update])
      script("INSERT INTO cities (name, size) VALUES ('Ulm', 1); UPDATE cities SET size = 2")
      script("UPDATE cities SET name = 'Bonn', size = 3; DELETE FROM cities")

      assert [
               %{operation: :insert, old: nil, new: %{"name" => "Ulm"}},
               %{operation: :update, old: nil, new: new, changed: ["name"]}
             ] = changes()

      assert new == %{"name" => "Bonn"}
      log(values: :none)
      script("INSERT INTO cities (name) VALUES ('Jena')")
      assert %{old: nil, new: nil, key: %{"id" => _}} = List.last(changes())
    end

    test "nothing for an update that changes nothing; a change of type is one" do
      script("CREATE TABLE any (id INTEGER PRIMARY KEY, v, t TEXT COLLATE NOCASE)")
      Migration.create_change_log(:any, repo: TestRepo)
      script("INSERT INTO \"any\" VALUES (1, 1, 'a'); UPDATE \"any\" SET v = 1, t = 'a'")
      assert [_] = changes()
      script("UPDATE \"any\" SET v = 1.0; UPDATE \"any\" SET t = 'A'; UPDATE \"any\" SET id = 2")
      assert [_, %{changed: ["v"]}, %{changed: ["t"]}, %{changed: ["id"], key: %{"id" => 1}}] = changes()
    end

    test "nothing of what is rolled back, be it a transaction, a savepoint or a statement" do
      log()
      script("BEGIN; INSERT INTO cities (name) VALUES ('Ulm'); ROLLBACK")

      script(
        "BEGIN; INSERT INTO cities (id, name) VALUES (1, 'Bonn'); SAVEPOINT s; DELETE FROM cities; ROLLBACK TO s; COMMIT"
      )

      assert_raise EctoLibSql.Error, fn -> script("INSERT INTO cities (name) VALUES ('Jena'), ('Bonn')") end
      assert short() == [{:insert, 1, nil, "Bonn"}]
      assert [%{sequence: 1}] = changes()
    end

    test "what a cascade and a trigger do" do
      script("""
      CREATE TABLE streets (id INTEGER PRIMARY KEY, city INTEGER REFERENCES cities ON DELETE CASCADE ON UPDATE CASCADE);
      CREATE TRIGGER sized AFTER INSERT ON cities BEGIN UPDATE cities SET size = 7 WHERE id = new.id; END;
      """)

      log()
      Migration.create_change_log(:streets, repo: TestRepo)
      script("INSERT INTO cities (id, name) VALUES (1, 'Ulm'); INSERT INTO streets VALUES (1, 1), (2, 1)")
      script("UPDATE cities SET id = 2; DELETE FROM cities")

      assert [
               %{operation: :insert, new: %{"size" => nil}},
               %{operation: :update, new: %{"size" => 7.0}},
               %{operation: :insert, table: "streets"},
               %{operation: :insert, table: "streets"} | rest
             ] = changes()

      assert Enum.frequencies_by(rest, &{&1.table, &1.operation}) == %{
               {"cities", :update} => 1,
               {"streets", :update} => 2,
               {"cities", :delete} => 1,
               {"streets", :delete} => 2
             }
    end
  end

  describe "conflicts" do
    setup do
      log()

      script(
        "INSERT INTO cities (id, name) VALUES (1, 'Ulm'), (2, 'Bonn'), (-1, 'Jena'); DELETE FROM change_log"
      )

      :ok
    end

    for recursive <- ["OFF", "ON"] do
      test "INSERT OR REPLACE deletes every row in its way, recursive triggers #{recursive}" do
        script("PRAGMA recursive_triggers = #{unquote(recursive)}")

        TestRepo.checkout(fn ->
          script(
            "PRAGMA recursive_triggers = #{unquote(recursive)}; INSERT OR REPLACE INTO cities (id, name) VALUES (1, 'Bonn')"
          )
        end)

        assert [{:delete, _, _, _}, {:delete, _, _, _}, {:insert, 1, nil, "Bonn"}] = short = short()
        assert Enum.sort(Enum.take(short, 2)) == [{:delete, 1, "Ulm", nil}, {:delete, 2, "Bonn", nil}]
      end
    end

    test "UPDATE OR REPLACE deletes the other row" do
      script("UPDATE OR REPLACE cities SET name = 'Bonn' WHERE id = 1")
      assert short() == [{:delete, 2, "Bonn", nil}, {:update, 1, "Ulm", "Bonn"}]
    end

    test "an upsert is an update, and what is ignored is nothing" do
      script(
        "INSERT INTO cities (id, name) VALUES (2, 'x') ON CONFLICT (id) DO UPDATE SET name = excluded.name"
      )

      script(
        "INSERT INTO cities (name) VALUES ('Ulm') ON CONFLICT DO NOTHING; INSERT OR IGNORE INTO cities (name) VALUES ('Jena')"
      )

      assert short() == [{:update, 2, "Bonn", "x"}]
      # Nothing that was set aside is taken for a deletion later.
      script(
        "INSERT INTO cities (name) VALUES ('Kiel'); DELETE FROM cities WHERE id = -1; INSERT INTO cities (name) VALUES ('Suhl')"
      )

      assert [_, {:insert, 3, nil, "Kiel"}, {:delete, -1, "Jena", nil}, {:insert, 4, nil, "Suhl"}] = short()
    end

    test "a row is not taken for replaced because its key looks like one that is not given" do
      script(
        "INSERT INTO cities (name) VALUES ('Kiel'); INSERT OR REPLACE INTO cities (name) VALUES ('Suhl')"
      )

      assert [{:insert, 3, nil, "Kiel"}, {:insert, 4, nil, "Suhl"}] = short()
    end

    test "without `replace`, only statements that replace are incomplete" do
      log(replace: false)

      script(
        "INSERT OR REPLACE INTO cities (id, name) VALUES (1, 'Trier'); UPDATE cities SET name = 'Worms' WHERE id = 1"
      )

      assert short() == [{:insert, 1, nil, "Trier"}, {:update, 1, "Trier", "Worms"}]
    end
  end

  describe "migrations" do
    test "create and drop, up and down" do
      version = System.unique_integer([:positive])
      EctoLibSql.Step.set(fn -> Migration.create_change_log(:cities, values: :new) end)
      :ok = Ecto.Migrator.up(TestRepo, version, EctoLibSql.Step, log: false)
      script("INSERT INTO cities (name) VALUES ('Ulm')")
      assert [%{operation: :insert}] = changes()
      :ok = Ecto.Migrator.down(TestRepo, version, EctoLibSql.Step, log: false)
      sql = "SELECT name FROM sqlite_schema WHERE name LIKE 'change_log%'"
      assert TestRepo.query!(sql).rows == []

      assert_raise MigrationError, ~r/cities has no change log/, fn ->
        Migration.drop_change_log(:cities, repo: TestRepo)
      end
    end

    test "a table that is copied keeps its triggers, and copying logs nothing" do
      log()
      script("INSERT INTO cities (id, name) VALUES (1, 'Ulm')")

      migrate(fn ->
        alter(table(:cities), do: modify(:size, :string))
      end)

      assert TestRepo.query!("SELECT type FROM pragma_table_info('cities') WHERE name = 'size'").rows == [
               ["TEXT"]
             ]

      assert short() == [{:insert, 1, nil, "Ulm"}]
      script("UPDATE cities SET name = 'Bonn'")
      assert {:update, 1, "Ulm", "Bonn"} in short()
      assert ChangeLog.stale(TestRepo) == []
    end

    test "what a log does not know of is named, and known after it is created again" do
      log()
      assert ChangeLog.stale(TestRepo) == []

      for sql <- [
            "ALTER TABLE cities ADD COLUMN river TEXT",
            "CREATE UNIQUE INDEX sizes ON cities (size)",
            "CREATE TRIGGER later AFTER INSERT ON cities BEGIN SELECT 1; END",
            "ALTER TABLE cities RENAME COLUMN river TO stream",
            "ALTER TABLE cities RENAME TO towns"
          ] do
        script(sql)
        assert [{table, reason}] = ChangeLog.stale(TestRepo), sql
        assert is_binary(reason)
        Migration.create_change_log(table, repo: TestRepo)
        assert ChangeLog.stale(TestRepo) == [], sql
      end

      script("INSERT INTO towns (name, stream) VALUES ('Ulm', 'Donau')")
      assert [%{table: "towns", new: %{"stream" => "Donau"}}] = changes()
    end

    test "triggers of an older version are named, and made anew" do
      log(values: :new)

      [[name, sql]] =
        TestRepo.query!(
          "SELECT name, sql FROM sqlite_schema WHERE name LIKE '%_insert_cities' AND name NOT LIKE '%before%'"
        ).rows

      script("DROP TRIGGER #{name}")
      TestRepo.query!(String.replace(sql, " || '')", ")"))
      script("INSERT INTO cities (name) VALUES (json_object('blob', 'zz'))")
      assert [%{new: nil, undecoded: %{new: _}}] = changes()
      assert [{"cities", reason}] = ChangeLog.stale(TestRepo)
      assert reason =~ "older version"

      log(values: :new)
      assert ChangeLog.stale(TestRepo) == []
      script("INSERT INTO cities (name) VALUES (json_object('blob', 'yy'))")
      assert [%{undecoded: %{new: _}}, %{new: %{"name" => ~s({"blob":"yy"})}}] = changes()
    end

    test "a table may have several logs, and its triggers survive a dump" do
      log()
      log(log: "other", values: :none)
      assert ChangeLog.stale(TestRepo) == []
      assert ChangeLog.stale(TestRepo, log: "other") == []
      script("INSERT INTO cities (name) VALUES ('Ulm')")
      assert [%{new: nil}] = changes("other")
      assert [%{new: %{}}] = changes()

      objects =
        "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%' ORDER BY rowid"

      texts = TestRepo.query!(objects).rows |> List.flatten()
      assert length(texts) == 1 + 2 * (3 + 5)

      script(
        "DROP TABLE cities; DROP TABLE change_log; DROP TABLE change_log_pending; DROP TABLE change_log_consumers"
      )

      script("DROP TABLE other; DROP TABLE other_pending; DROP TABLE other_consumers")
      script(Enum.join(texts, ";\n"))
      assert ChangeLog.stale(TestRepo) == []
      script("INSERT OR REPLACE INTO cities (name) VALUES ('Ulm'), ('Ulm')")
      assert [%{operation: :insert}, %{operation: :delete}, %{operation: :insert}] = changes("other")
    end

    test "a column of the log is not removed, and the mend is named" do
      log()
      remove = fn -> alter(table(:cities), do: remove(:size)) end
      error = assert_raise MigrationError, fn -> migrate(remove) end
      assert error.code == :in_use
      assert error.message =~ "change_log"

      migrate(fn ->
        Migration.drop_change_log(:cities)
        remove.()
        Migration.create_change_log(:cities)
      end)

      script("INSERT INTO cities (name) VALUES ('Ulm')")
      assert [%{new: new}] = changes()
      refute is_map_key(new, "size")
    end

    test "a dropped table leaves its changes" do
      log()
      script("CREATE TABLE other (id INTEGER PRIMARY KEY)")
      Migration.create_change_log(:other, repo: TestRepo)
      script("INSERT INTO cities (name) VALUES ('Ulm')")
      migrate(fn -> drop(table(:cities)) end)
      assert [{:insert, 1, nil, "Ulm"}] = short()
      assert ChangeLog.stale(TestRepo) == []
    end

    test "what cannot be logged is refused" do
      script(
        "CREATE VIEW v AS SELECT 1; CREATE UNIQUE INDEX lower_name ON cities (lower(name)); CREATE VIRTUAL TABLE f USING fts5(a)"
      )

      for {table, options, code} <- [
            {:nothing, [], :no_such_table},
            {:v, [], :unsupported},
            {:f, [], :unsupported},
            {:cities, [], :unsupported},
            {:cities, [columns: [:nothing], replace: false], :no_such_column}
          ] do
        error =
          assert_raise MigrationError, fn ->
            Migration.create_change_log(table, [repo: TestRepo] ++ options)
          end

        assert error.code == code
      end

      assert :ok = log(replace: false)
      assert_raise LibsqlPort.Error, fn -> log(values: :old) end
      assert_raise LibsqlPort.Error, fn -> log(operations: [:truncate]) end
    end
  end

  describe "consumers" do
    setup do
      log()
      :ok = ChangeLog.create_consumer(TestRepo, "a")
    end

    defp insert(names),
      do: for(name <- names, do: TestRepo.query!("INSERT INTO cities (name) VALUES (?1)", [name]))

    test "each reads on from what it has acknowledged" do
      insert(~w(Ulm Bonn Jena))
      :ok = ChangeLog.create_consumer(TestRepo, "late", from: :end)
      assert {:ok, [%{sequence: 1}, %{sequence: 2}]} = ChangeLog.read(TestRepo, "a", limit: 2)
      assert :ok = ChangeLog.ack(TestRepo, "a", 2)
      assert {:ok, [%{sequence: 3}]} = ChangeLog.read(TestRepo, "a")
      assert {:ok, []} = ChangeLog.read(TestRepo, "late")
      # A lower number is no step back; creating it again is none either.
      assert :ok = ChangeLog.ack(TestRepo, "a", 1)
      assert :ok = ChangeLog.create_consumer(TestRepo, "a", from: :end)
      assert {:ok, [%{sequence: 3}]} = ChangeLog.read(TestRepo, "a")

      assert [%{name: "a", acknowledged: 2, behind: 1, left_behind: nil}, %{name: "late", behind: 0}] =
               ChangeLog.consumers(TestRepo)

      assert ChangeLog.last_sequence(TestRepo) == 3
      assert_raise ArgumentError, ~r/no change 4 yet/, fn -> ChangeLog.ack(TestRepo, "a", 4) end
      assert {:error, :no_consumer} = ChangeLog.read(TestRepo, "b")
      assert {:error, :no_consumer} = ChangeLog.ack(TestRepo, "b", 1)
      assert ChangeLog.delete_consumer(TestRepo, "late")
      refute ChangeLog.delete_consumer(TestRepo, "late")
    end

    test "a transaction acknowledges with the work, or neither" do
      insert(~w(Ulm))

      {:error, :no} =
        TestRepo.transaction(fn ->
          {:ok, [change]} = ChangeLog.read(TestRepo, "a")
          :ok = ChangeLog.ack(TestRepo, "a", change.sequence)
          TestRepo.rollback(:no)
        end)

      assert {:ok, [%{sequence: 1}]} = ChangeLog.read(TestRepo, "a")
    end

    test "a stream acknowledges what was processed" do
      insert(for n <- 1..10, do: "city #{n}")
      seen = TestRepo |> ChangeLog.stream("a", limit: 3) |> Enum.take(4)
      assert Enum.map(seen, & &1.sequence) == [1, 2, 3, 4]
      assert {:ok, [%{sequence: 4} | _]} = ChangeLog.read(TestRepo, "a")
      assert TestRepo |> ChangeLog.stream("a", limit: 3) |> Enum.map(& &1.sequence) == Enum.to_list(4..10)
      assert {:ok, []} = ChangeLog.read(TestRepo, "a")
    end

    test "the log goes behind the slowest" do
      insert(for n <- 1..10, do: "city #{n}")
      :ok = ChangeLog.create_consumer(TestRepo, "b")
      ChangeLog.ack(TestRepo, "a", 10)
      ChangeLog.ack(TestRepo, "b", 4)
      assert ChangeLog.trim(TestRepo) == {4, []}
      assert {:ok, [%{sequence: 5} | _]} = ChangeLog.read(TestRepo, "b")
      assert ChangeLog.trim(TestRepo) == {0, []}
      ChangeLog.delete_consumer(TestRepo, "b")
      assert ChangeLog.trim(TestRepo) == {6, []}
      # Numbers go on, and a consumer that comes now has nothing to read.
      insert(~w(Ulm))
      assert {:ok, [%{sequence: 11}]} = ChangeLog.read(TestRepo, "a")
      :ok = ChangeLog.create_consumer(TestRepo, "c")
      assert {:ok, [%{sequence: 11}]} = ChangeLog.read(TestRepo, "c")
    end

    for {limit, kept} <- [[rows_max: 4], [bytes_max: 200], [age_max_ms: 0]] |> Enum.zip([4, nil, 0]) do
      test "who is left behind by #{inspect(limit)} is told, and goes on after that" do
        insert(for n <- 1..10, do: "city #{n}")
        ChangeLog.ack(TestRepo, "a", 2)
        :ok = ChangeLog.create_consumer(TestRepo, "done", from: :end)
        # Changes of this millisecond are not older than it.
        TestRepo.query!("UPDATE change_log SET at = '2020-01-01T00:00:00.000'")

        assert {removed, [%LeftBehind{consumer: "a", first: 3, last: last} = notice]} =
                 ChangeLog.trim(TestRepo, unquote(limit))

        assert removed + remaining() == 10
        if unquote(kept), do: assert(remaining() == unquote(kept)), else: assert(remaining() in 1..5)
        assert last == removed
        assert {:left_behind, ^notice} = ChangeLog.read(TestRepo, "a")
        assert [%{left_behind: ^notice}, %{left_behind: nil}] = ChangeLog.consumers(TestRepo)
        assert_raise LeftBehind, fn -> TestRepo |> ChangeLog.stream("a") |> Enum.to_list() end
        assert Exception.message(notice) =~ "acknowledge #{last}"
        # A number in between does not end it.
        :ok = ChangeLog.ack(TestRepo, "a", 3)
        assert {:left_behind, %{last: ^last}} = ChangeLog.read(TestRepo, "a")
        :ok = ChangeLog.ack(TestRepo, "a", last)
        assert {:ok, rest} = ChangeLog.read(TestRepo, "a")
        assert Enum.map(rest, & &1.sequence) == Enum.to_list((last + 1)..10//1)

        assert {0, []} =
                 ChangeLog.trim(
                   TestRepo,
                   Keyword.put(unquote(limit), :rows_max, 10) |> Keyword.delete(:bytes_max)
                 )
                 |> then(&{0, elem(&1, 1)})
      end
    end

    defp remaining, do: TestRepo.query!("SELECT count(*) FROM change_log").rows |> hd() |> hd()

    test "values are loaded by a schema" do
      TestRepo.insert!(%City{name: "Ulm", size: 2.0, seal: <<1, 255>>})
      assert {:ok, [%{new: new}]} = ChangeLog.read(TestRepo, "a")
      assert new["seal"] == {:blob, <<1, 255>>}
      assert %City{name: "Ulm", size: 2.0, seal: <<1, 255>>} = ChangeLog.load(TestRepo, City, new)
      assert ChangeLog.load(TestRepo, City, nil) == nil
    end

    test "whose columns have another case than the table's" do
      script("CREATE TABLE upper_cities (ID INTEGER PRIMARY KEY, Name TEXT, SIZE REAL)")
      Migration.create_change_log(:upper_cities, repo: TestRepo, columns: [:id, :name, :size], log: "upper")
      :ok = ChangeLog.create_consumer(TestRepo, "a", log: "upper")
      script("INSERT INTO upper_cities VALUES (7, 'Ulm', 2.0)")
      {:ok, [%{new: new, key: key}]} = ChangeLog.read(TestRepo, "a", log: "upper")
      assert new == %{"ID" => 7, "Name" => "Ulm", "SIZE" => 2.0}
      assert %City{id: 7, name: "Ulm", size: 2.0} = ChangeLog.load(TestRepo, City, new)
      assert %City{id: 7, name: nil} = ChangeLog.load(TestRepo, City, key)
    end

    # As the first triggers wrote texts of JSON functions, and what nobody can have written.
    @undecodable [
      new: ~s({"id":1,"name":{"blob":"zz"}}),
      new: ~s({"id":1,"name":{"blob":5}}),
      new: ~s({"id":1,"name":{"blob":"00","x":1}}),
      new: ~s({"id":1,"name":{"a":1}}),
      new: ~s({"id":1,"name":1e999}),
      new: ~s({"id":1,"name":123456789012345678901234567890}),
      new: ~s({"id":1,"name":true}),
      new: ~s({"id":1,"name":[1,"\\ud800"]}),
      new: ~s({"id":1,"name":[1,") <> <<255>> <> ~S(\ud800"]}),
      old: "no JSON",
      old: "[]",
      key: "5",
      changed: ~s([1]),
      changed: ~s({}),
      at: "yesterday",
      operation: "truncate"
    ]

    test "a change that cannot be read comes as what is stored, and those after it come" do
      for {field, text} <- @undecodable do
        columns =
          Map.merge(
            %{
              at: "2026-11-27T10:00:00.000",
              operation: "update",
              key: ~s({"id":1}),
              old: nil,
              new: nil,
              changed: nil
            },
            %{field => text}
          )

        TestRepo.query!(
          ~s[INSERT INTO change_log ("at", "table", operation, "key", old, new, changed) VALUES (?1, 'cities', ?2, ?3, CAST(?4 AS TEXT), CAST(?5 AS TEXT), ?6)],
          [columns.at, columns.operation, columns.key, blob(columns.old), blob(columns.new), columns.changed]
        )
      end

      insert(["Ulm"])
      {:ok, changes} = ChangeLog.read(TestRepo, "a")
      {[last], broken} = {Enum.take(changes, -1), Enum.drop(changes, -1)}
      assert %{new: %{"name" => "Ulm"}, undecoded: undecoded} = last
      assert undecoded == %{}

      for {change, {field, text}} <- Enum.zip(broken, @undecodable) do
        assert change.undecoded == %{field => text}
        assert Map.fetch!(change, field) == nil
      end

      assert length(broken) == length(@undecodable)
    end

    defp blob(text), do: text && {:blob, text}
  end

  describe "a consumer's process" do
    setup do
      log()
      test = self()
      handler = fn changes -> send(test, {:changes, Enum.map(changes, & &1.new["name"])}) && :ok end
      # Only a start, a commit or a wake makes it look.
      {:ok, options: [repo: TestRepo, name: "p", handler: handler, interval_ms: 3_600_000, trim: false]}
    end

    test "hands on what is there, and what is committed while it runs", %{options: options} do
      insert(~w(Ulm Bonn))
      start_supervised!({Consumer, options})
      assert_receive {:changes, ["Ulm", "Bonn"]}, 30_000

      # Neither a rollback nor its own acknowledgements bring anything.
      TestRepo.transaction(fn -> insert(~w(Nowhere)) && TestRepo.rollback(:no) end)

      for name <- ~w(Jena Gera Suhl) do
        insert([name])
        assert_receive {:changes, [^name]}, 30_000
      end

      # It acknowledges what its function has told of.
      [{consumer, _}] = Registry.lookup(ChangeLog.Registry, {{TestRepo, TestRepo}, "change_log", "p"})
      :sys.get_state(consumer)
      assert ChangeLog.consumers(TestRepo) |> Enum.map(& &1.behind) == [0]
    end

    test "is told of commits of all connections of the sidecar, also of one of the driver", context do
      start_supervised!({Consumer, context.options})
      {sidecar, _} = EctoLibSql.Direct.database(Ecto.Adapter.lookup_meta(TestRepo))
      {:ok, conn} = LibsqlPort.connect(sidecar, database: context.path)
      LibsqlPort.query!(conn, "INSERT INTO cities (name) VALUES ('Ulm')")
      assert_receive {:changes, ["Ulm"]}, 30_000
    end

    test "hands on all that was committed while its function ran", %{options: options} do
      test = self()

      handler = fn changes ->
        send(test, {:changes, self(), Enum.map(changes, & &1.new["name"])})
        receive do: (:go -> :ok)
      end

      start_supervised!({Consumer, Keyword.put(options, :handler, handler)})
      insert(~w(first))
      assert_receive {:changes, pid, ["first"]}, 30_000
      names = for n <- 1..50, do: "c#{n}"
      for name <- names, do: insert([name])
      # One message waits, however many commits there were.
      assert {:message_queue_len, waiting} = Process.info(pid, :message_queue_len)
      assert waiting <= 1
      send(pid, :go)
      assert handed_on(pid, []) == names
    end

    # Until the last, in as many batches as it takes.
    defp handed_on(pid, names) do
      assert_receive {:changes, ^pid, more}, 30_000
      send(pid, :go)
      names = names ++ more
      if List.last(names) == "c50", do: names, else: handed_on(pid, names)
    end

    test "listens to the program that is started after a kill", %{options: options} do
      start_supervised!({Consumer, options})
      insert(~w(Ulm))
      assert_receive {:changes, ["Ulm"]}, 30_000
      {sidecar, _} = EctoLibSql.Direct.database(Ecto.Adapter.lookup_meta(TestRepo))
      {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
      {_, 0} = System.cmd("kill", ["-9", Integer.to_string(os_pid)])
      again(fn -> TestRepo.query!("INSERT OR IGNORE INTO cities (name) VALUES ('Bonn')") end)
      # That commit may have come before the subscription: then its own message makes the consumer look.
      assert_receive {:changes, ["Bonn"]}, 30_000
    end

    test "looks when it is told to, though it does not listen", %{options: options} do
      start_supervised!({Consumer, Keyword.put(options, :listen, false)})
      wait_for(fn -> Enum.any?(ChangeLog.consumers(TestRepo), &(&1.name == "p")) end)
      insert(~w(Jena))
      ChangeLog.wake(TestRepo)
      assert_receive {:changes, ["Jena"]}, 30_000
      ChangeLog.wake(TestRepo)
      refute_received {:changes, _}
    end

    test "looks by itself for what other programs have written", %{options: options, path: path} do
      start_supervised!({Consumer, Keyword.put(options, :interval_ms, 10)})
      {:ok, sidecar} = LibsqlPort.start_link([])
      {:ok, conn} = LibsqlPort.connect(sidecar, database: path)
      LibsqlPort.query!(conn, "INSERT INTO cities (name) VALUES ('Ulm')", [])
      assert_receive {:changes, ["Ulm"]}, 30_000
    end

    @tag repo: [pool_size: 3, backoff_min: 10, backoff_max: 100]
    test "outlives a sidecar", %{options: options} do
      pid = start_supervised!({Consumer, Keyword.put(options, :interval_ms, 10)})
      insert(~w(Ulm))
      assert_receive {:changes, ["Ulm"]}, 30_000
      {sidecar, _} = EctoLibSql.Direct.database(Ecto.Adapter.lookup_meta(TestRepo))
      {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
      {_, 0} = System.cmd("kill", ["-9", Integer.to_string(os_pid)])
      again(fn -> TestRepo.query!("INSERT OR IGNORE INTO cities (name) VALUES ('Bonn')") end)
      assert_receive {:changes, ["Bonn"]}, 30_000
      assert Process.alive?(pid)
    end

    defp again(fun) do
      fun.()
    rescue
      DBConnection.ConnectionError -> again(fun)
    end

    test "is alone by its name", %{options: options} do
      pid = start_supervised!({Consumer, options})
      assert {:error, {:already_started, ^pid}} = Consumer.start_link(options)
    end

    test "goes on behind a change that cannot be read", %{options: options} do
      script("""
      INSERT INTO change_log ("at", "table", operation, "key", new)
      VALUES ('2026-11-27T10:00:00.000', 'cities', 'insert', '{"id":1}', '{"id":1,"name":{"blob":"zz"}}')
      """)

      insert(~w(Ulm))

      log =
        ExUnit.CaptureLog.capture_log(fn ->
          start_supervised!({Consumer, options})
          assert_receive {:changes, [nil, "Ulm"]}, 30_000
        end)

      assert log =~ "the change 1 of change_log cannot be read: :new"
    end

    test "trims, and tells of what it misses", %{options: options} do
      test = self()
      :ok = ChangeLog.create_consumer(TestRepo, "p")
      insert(~w(Ulm Bonn Jena))
      assert {2, [_]} = ChangeLog.trim(TestRepo, rows_max: 1)
      left_behind = fn notice -> send(test, {:notice, notice.last}) && :ok end
      start_supervised!({Consumer, Keyword.merge(options, left_behind: left_behind, trim: [rows_max: 1])})
      assert_receive {:notice, 2}, 30_000
      assert_receive {:changes, ["Jena"]}, 30_000
      wait_for(fn -> remaining() == 0 end)
    end

    defp wait_for(fun), do: fun.() || wait_for(fun)
  end

  # Text that is no UTF-8 comes from elsewhere only.
  defp typed(value), do: if(is_binary(value) and not String.valid?(value), do: {:blob, value}, else: value)
  defp cast(value), do: if(typed(value) == value, do: "?1", else: "CAST(?1 AS TEXT)")
end
