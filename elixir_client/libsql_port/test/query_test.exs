defmodule LibsqlPort.QueryTest do
  use LibsqlPort.SidecarCase, async: true

  describe "values" do
    test "go there and come back", %{conn: conn} do
      for value <- [
            nil,
            0,
            -1,
            255,
            256,
            -129,
            2_147_483_648,
            9_223_372_036_854_775_807,
            -9_223_372_036_854_775_808,
            0.0,
            1.5,
            -1.0e308,
            "",
            "text",
            "grüße 🎈",
            "with\0nul",
            :infinity,
            :neg_infinity
          ] do
        assert {:ok, %Result{rows: [[^value]]}} = LibsqlPort.query(conn, "SELECT ?1", [value])
      end
    end

    test "booleans are 1 and 0", %{conn: conn} do
      assert {:ok, [1, 0]} = LibsqlPort.query_one(conn, "SELECT ?1, ?2", [true, false])
    end

    test "blobs keep every byte, and their type", %{conn: conn} do
      blob = :binary.list_to_bin(Enum.to_list(0..255))
      assert {:ok, [^blob, "blob"]} = LibsqlPort.query_one(conn, "SELECT ?1, typeof(?1)", [{:blob, blob}])
      assert {:ok, ["", "blob"]} = LibsqlPort.query_one(conn, "SELECT ?1, typeof(?1)", [{:blob, ""}])
      assert {:ok, ["a", "text"]} = LibsqlPort.query_one(conn, "SELECT ?1, typeof(?1)", ["a"])
    end

    test "text that is no UTF-8 comes back as it is", %{conn: conn} do
      assert {:ok, [<<255, 0, 254>>]} = LibsqlPort.query_one(conn, "SELECT CAST(x'FF00FE' AS TEXT)")
    end

    test "long ones", %{conn: conn} do
      for size <- [64, 65, 65_532, 65_533, 1_000_000] do
        text = :binary.copy("x", size)
        assert {:ok, [^text]} = LibsqlPort.query_one(conn, "SELECT ?1", [text])
      end
    end

    test "longer than a frame come in parts", %{sidecar: sidecar} do
      small = start_supervised!({LibsqlPort, frame_bytes_max: 65_536, log_level: :error}, id: :small)
      {:ok, conn} = LibsqlPort.connect(small, database: ":memory:")
      assert {:ok, [blob]} = LibsqlPort.query_one(conn, "SELECT zeroblob(1000000)")
      assert blob == :binary.copy(<<0>>, 1_000_000)

      assert {:ok, %Result{rows: [[<<0, _::binary>>], [2]]}} =
               LibsqlPort.query(conn, "SELECT zeroblob(300000) UNION ALL SELECT 2")

      assert {:ok, %Result{rows: rows}} =
               LibsqlPort.query(conn, "SELECT value, zeroblob(100000) FROM json_each('[1,2,3]')")

      assert [[1, _], [2, _], [3, _]] = rows
      assert Enum.all?(rows, fn [_, blob] -> byte_size(blob) == 100_000 end)

      assert {:error, %Error{code: :frame_too_large}} =
               LibsqlPort.query(conn, "SELECT ?", [:binary.copy("x", 70_000)])

      assert LibsqlPort.stream(conn, "SELECT zeroblob(200000)") |> Enum.map(fn [b] -> byte_size(b) end) == [
               200_000
             ]

      :ok = LibsqlPort.close(conn)
      assert :ok = LibsqlPort.ping(sidecar)
    end

    test "beyond 64 bits are an error", %{conn: conn} do
      for value <- [
            9_223_372_036_854_775_808,
            -9_223_372_036_854_775_809,
            Integer.pow(2, 100),
            Integer.pow(2, 3000)
          ] do
        assert {:error, %Error{code: :integer_out_of_range}} = LibsqlPort.query(conn, "SELECT ?1", [value])
      end
    end

    test "that are none are an error, and the sidecar lives", %{conn: conn} do
      for value <- [self(), {1, 2}, :atom, <<255>>, [1], %{}, fn -> 1 end, <<1::3>>] do
        assert {:error, %Error{code: :invalid_parameter}} = LibsqlPort.query(conn, "SELECT ?1", [value])
      end

      assert :ok = LibsqlPort.ping(conn)
    end
  end

  describe "parameters" do
    test "by position, number and name", %{conn: conn} do
      assert {:ok, [1, 2]} = LibsqlPort.query_one(conn, "SELECT ?, ?", [1, 2])
      assert {:ok, [2, 1]} = LibsqlPort.query_one(conn, "SELECT ?2, ?1", [1, 2])
      assert {:ok, [1, 2, 3]} = LibsqlPort.query_one(conn, "SELECT :a, @b, $c", a: 1, b: 2, c: 3)
      assert {:ok, [1, 2]} = LibsqlPort.query_one(conn, "SELECT :a, @a", %{":a" => 1, "@a" => 2})
      assert {:ok, ["x"]} = LibsqlPort.query_one(conn, "SELECT :b", b: {:blob, "x"})
    end

    test "too few, too many, unknown and missing ones are errors", %{conn: conn} do
      for params <- [[], [1], [1, 2, 3]] do
        assert {:error, %Error{code: :parameter_count}} = LibsqlPort.query(conn, "SELECT ?, ?", params)
      end

      assert {:error, %Error{code: :parameter_name}} = LibsqlPort.query(conn, "SELECT :a", b: 1)
      assert {:error, %Error{code: :parameter_name}} = LibsqlPort.query(conn, "SELECT :a, :b", a: 1)
      assert {:error, %Error{code: :parameter_name}} = LibsqlPort.query(conn, "SELECT :a", a: 1, b: 2)
    end
  end

  describe "results" do
    test "tell columns, rows, changes, rowid and transaction", %{conn: conn} do
      assert %Result{columns: [], rows: [], num_rows: 0, changes: 0} =
               LibsqlPort.query!(conn, "CREATE TABLE t (id INTEGER PRIMARY KEY, a)")

      assert %Result{changes: 3, last_insert_rowid: 3, tx_status: :none, num_rows: 0} =
               LibsqlPort.query!(conn, "INSERT INTO t (a) VALUES (1), (2), (3)")

      assert %Result{columns: ["id", "a"], rows: [[1, 1], [2, 2], [3, 3]], num_rows: 3, changes: 0} =
               LibsqlPort.query!(conn, "SELECT * FROM t")

      assert %Result{columns: ["id"], rows: [[4]], changes: 1} =
               LibsqlPort.query!(conn, "INSERT INTO t (a) VALUES (4) RETURNING id")

      assert %{times: %{queue_us: queue, lock_us: lock, run_us: run}} = LibsqlPort.query!(conn, "SELECT 1")
      assert Enum.all?([queue, lock, run], &(is_integer(&1) and &1 >= 0))
    end

    test "of many chunks are whole", %{conn: conn} do
      sql = """
      WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ?1)
      SELECT x, 'text number ' || x, x * 0.5, NULL, printf('%050d', x), randomblob(32) FROM c
      """

      for count <- [1, 700, 20_000] do
        assert {:ok, %Result{rows: rows, num_rows: ^count}} = LibsqlPort.query(conn, sql, [count])
        assert length(rows) == count
        assert [^count, text, _, nil, _, <<_::binary-size(32)>>] = List.last(rows)
        assert text == "text number #{count}"
        assert Enum.map(rows, &hd/1) == Enum.to_list(1..count)
      end
    end

    test "above their ceiling are an error", %{conn: conn} do
      sql = "SELECT value FROM json_each('[1,2,3]')"
      assert {:ok, _} = LibsqlPort.query(conn, sql, [], rows_max: 3)
      assert {:error, %Error{code: :result_too_large}} = LibsqlPort.query(conn, sql, [], rows_max: 2)

      assert {:error, %Error{code: :result_too_large}} =
               LibsqlPort.query(conn, "SELECT zeroblob(1000)", [], bytes_max: 500)
    end
  end

  describe "query_one/4" do
    test "answers the one row", %{conn: conn} do
      assert {:ok, [1, "a"]} = LibsqlPort.query_one(conn, "SELECT 1, 'a'")
      assert {:error, %Error{code: :no_rows}} = LibsqlPort.query_one(conn, "SELECT 1 WHERE 0")

      assert {:error, %Error{code: :too_many_rows}} =
               LibsqlPort.query_one(conn, "SELECT 1 UNION ALL SELECT 2")
    end

    test "stops at the second", %{conn: conn} do
      sql = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"
      assert {:error, %Error{code: :too_many_rows}} = LibsqlPort.query_one(conn, sql)
    end
  end

  describe "errors" do
    setup %{conn: conn} do
      {:ok, _} =
        LibsqlPort.script(conn, """
        CREATE TABLE parent (id INTEGER PRIMARY KEY);
        CREATE TABLE t (
          id INTEGER PRIMARY KEY,
          a TEXT UNIQUE,
          b INTEGER NOT NULL DEFAULT 0,
          c INTEGER CONSTRAINT positive CHECK (c > 0),
          parent INTEGER REFERENCES parent
        );
        INSERT INTO t (id, a) VALUES (1, 'x');
        """)

      :ok
    end

    defp failed(conn, sql, params \\ []) do
      assert {:error, %Error{} = error} = LibsqlPort.query(conn, sql, params)
      error
    end

    test "of constraints name what was broken", %{conn: conn} do
      assert %Error{code: :constraint_unique, sqlite_code: 2067, constraint: constraint} =
               failed(conn, "INSERT INTO t (a) VALUES ('x')")

      assert %{kind: :unique, table: "t", columns: ["a"]} = constraint

      assert %Error{
               code: :constraint_primary_key,
               constraint: %{kind: :primary_key, table: "t", columns: ["id"]}
             } = failed(conn, "INSERT INTO t (id) VALUES (1)")

      assert %Error{code: :constraint_not_null, constraint: %{kind: :not_null, table: "t", columns: ["b"]}} =
               failed(conn, "INSERT INTO t (b) VALUES (NULL)")

      assert %Error{code: :constraint_check, constraint: %{kind: :check, name: "positive"}} =
               failed(conn, "INSERT INTO t (c) VALUES (-1)")

      assert %Error{code: :constraint_foreign_key, constraint: %{kind: :foreign_key}} =
               failed(conn, "INSERT INTO t (parent) VALUES (99)")
    end

    test "of syntax tell where", %{conn: conn} do
      assert %Error{code: :sql_error, offset: 7} = failed(conn, "SELECT FROM t")
      assert %Error{code: :sql_error, message: message} = failed(conn, "SELECT * FROM missing")
      assert message =~ "missing"
    end

    test "of empty text and of two statements", %{conn: conn} do
      assert %Error{code: :empty_statement} = failed(conn, "")
      assert %Error{code: :empty_statement} = failed(conn, "-- nothing")
      assert %Error{code: :multiple_statements} = failed(conn, "SELECT 1; SELECT 2")
      assert {:ok, _} = LibsqlPort.query(conn, "SELECT 1;")
    end

    test "are raised by query!", %{conn: conn} do
      assert_raise Error, ~r/sql_error/, fn -> LibsqlPort.query!(conn, "SELEKT 1") end
    end

    test "leave the connection as it was", %{conn: conn} do
      for _ <- 1..50, do: failed(conn, "INSERT INTO t (a) VALUES ('x')")
      assert {:ok, [1]} = LibsqlPort.query_one(conn, "SELECT count(*) FROM t")
    end
  end

  describe "prepared statements" do
    test "are described, run and closed", %{conn: conn} do
      LibsqlPort.query!(conn, "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)")
      assert {:ok, insert} = LibsqlPort.prepare(conn, "INSERT INTO t (name) VALUES (:name)")
      assert insert.description.parameters == [":name"]
      refute insert.description.read_only

      for name <- ["a", "b"] do
        assert {:ok, %Result{changes: 1}} = LibsqlPort.execute(conn, insert, name: name)
      end

      assert {:ok, select} = LibsqlPort.prepare(conn, "SELECT id, name, id + 1 FROM t WHERE id >= ?")
      assert select.description.read_only

      assert [
               %{name: "id", type: "INTEGER", database: "main", table: "t", origin: "id"},
               %{name: "name", type: "TEXT", origin: "name"},
               %{name: "id + 1", type: nil, table: nil, origin: nil}
             ] = select.description.columns

      assert {:ok, %Result{rows: [[1, "a", 2], [2, "b", 3]]}} = LibsqlPort.execute(conn, select, [0])
      assert {:ok, %Result{rows: [[2, "b", 3]]}} = LibsqlPort.execute(conn, select, [2])
      assert {:error, %Error{code: :parameter_count}} = LibsqlPort.execute(conn, select, [])
      assert LibsqlPort.stream(conn, select, [1]) |> Enum.count() == 2
      assert {:ok, description} = LibsqlPort.describe(conn, select)
      assert description == select.description

      assert :ok = LibsqlPort.close_statement(conn, insert)
      assert :ok = LibsqlPort.close_statement(conn, select)
      assert {:error, %Error{code: :unknown_statement}} = LibsqlPort.execute(conn, insert, name: "c")
    end

    test "belong to their connection", %{conn: conn, sidecar: sidecar, location: location} do
      {:ok, other} = LibsqlPort.connect(sidecar, location)
      {:ok, statement} = LibsqlPort.prepare(other, "SELECT 1")
      assert {:error, %Error{code: :unknown_statement}} = LibsqlPort.execute(conn, statement)
      assert :ok = LibsqlPort.close_statement(other, statement)
    end

    test "follow a change of the schema", %{conn: conn} do
      LibsqlPort.query!(conn, "CREATE TABLE t (a)")
      {:ok, statement} = LibsqlPort.prepare(conn, "SELECT * FROM t")
      LibsqlPort.query!(conn, "ALTER TABLE t ADD COLUMN b DEFAULT 7")
      LibsqlPort.query!(conn, "INSERT INTO t (a) VALUES (1)")
      assert {:ok, %Result{columns: ["a", "b"], rows: [[1, 7]]}} = LibsqlPort.execute(conn, statement)
      assert :ok = LibsqlPort.close_statement(conn, statement)
    end

    test "a plan is told from a query", %{conn: conn} do
      assert {:ok, %{explain: :query_plan}} = LibsqlPort.describe(conn, "EXPLAIN QUERY PLAN SELECT 1")
      assert {:ok, %{explain: nil, parameters: [nil, nil]}} = LibsqlPort.describe(conn, "SELECT ?, ?")
      assert {:error, %Error{code: :sql_error}} = LibsqlPort.describe(conn, "SELEKT")
    end
  end

  describe "batch/3" do
    setup %{conn: conn} do
      LibsqlPort.query!(conn, "CREATE TABLE t (a UNIQUE)")
      :ok
    end

    test "answers the result of each", %{conn: conn} do
      assert {:ok, [%Result{changes: 1}, %Result{changes: 1}, %Result{columns: ["a"], rows: [[1], ["b"]]}]} =
               LibsqlPort.batch(conn, [
                 {"INSERT INTO t VALUES (?)", [1]},
                 {"INSERT INTO t VALUES (:a)", [a: "b"]},
                 "SELECT a FROM t"
               ])

      assert {:ok, []} = LibsqlPort.batch(conn, [])
    end

    test "atomic: the first error undoes all", %{conn: conn} do
      assert {:error, %Error{code: :constraint_unique, index: 2}} =
               LibsqlPort.batch(conn, [
                 {"INSERT INTO t VALUES (?)", [1]},
                 {"INSERT INTO t VALUES (?)", [2]},
                 {"INSERT INTO t VALUES (?)", [1]}
               ])

      assert {:ok, [0]} = LibsqlPort.query_one(conn, "SELECT count(*) FROM t")
    end

    test "not atomic: each by itself", %{conn: conn} do
      assert {:ok, [%Result{}, {:error, %Error{code: :constraint_unique}}, %Result{}]} =
               LibsqlPort.batch(
                 conn,
                 [
                   {"INSERT INTO t VALUES (?)", [1]},
                   {"INSERT INTO t VALUES (?)", [1]},
                   {"INSERT INTO t VALUES (?)", [2]}
                 ],
                 atomic: false
               )

      assert {:ok, [2]} = LibsqlPort.query_one(conn, "SELECT count(*) FROM t")
    end

    test "inside a transaction is a savepoint", %{conn: conn} do
      assert {:ok, :kept} =
               LibsqlPort.transaction(conn, fn conn ->
                 LibsqlPort.query!(conn, "INSERT INTO t VALUES (0)")

                 assert {:error, %Error{index: 1}} =
                          LibsqlPort.batch(conn, ["INSERT INTO t VALUES (1)", "SELEKT"])

                 :kept
               end)

      assert {:ok, [1]} = LibsqlPort.query_one(conn, "SELECT count(*) FROM t")
    end

    test "what cannot be sent names its place", %{conn: conn} do
      assert {:error, %Error{code: :invalid_parameter, index: 1}} =
               LibsqlPort.batch(conn, ["SELECT 1", {"SELECT ?", [self()]}])

      assert {:error, %Error{code: :invalid_request, index: 0}} = LibsqlPort.batch(conn, [:nonsense])
    end
  end

  describe "script/3" do
    test "runs all statements", %{conn: conn} do
      assert {:ok, %{statements: 3, changes: 2, tx_status: :none}} =
               LibsqlPort.script(
                 conn,
                 "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2); SELECT * FROM t; -- end"
               )
    end

    test "stops at the first error and tells where in the text", %{conn: conn} do
      text = "CREATE TABLE t (a); SELEKT 1; CREATE TABLE u (a);"
      assert {:error, %Error{code: :sql_error, offset: 20}} = LibsqlPort.script(conn, text)
      assert {:ok, [["t"]]} = tables(conn)
    end

    defp tables(conn) do
      with {:ok, result} <- LibsqlPort.query(conn, "SELECT name FROM sqlite_master"), do: {:ok, result.rows}
    end
  end
end
