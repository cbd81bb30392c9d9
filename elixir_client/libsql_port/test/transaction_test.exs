defmodule LibsqlPort.TransactionTest do
  use LibsqlPort.SidecarCase, async: true

  alias LibsqlPort.Connection

  setup %{conn: conn} do
    {:ok, _} =
      LibsqlPort.script(conn, """
      CREATE TABLE t (a);
      CREATE TABLE parent (id INTEGER PRIMARY KEY);
      CREATE TABLE child (parent REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
      """)

    :ok
  end

  defp insert!(conn, value), do: LibsqlPort.query!(conn, "INSERT INTO t VALUES (?)", [value])
  defp values(conn), do: Enum.map(LibsqlPort.query!(conn, "SELECT a FROM t ORDER BY a").rows, &hd/1)
  defp idle?(conn), do: match?({:ok, %{autocommit: true, tx_status: :none}}, LibsqlPort.status(conn))

  # A deadline that passes before the statement has begun to write leaves the transaction as it was: once more, with
  # twice the time.
  defp stop_in_a_write(conn, timeout) do
    numbers = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"

    assert {:error, %Error{code: :timeout} = error} =
             LibsqlPort.query(conn, "INSERT INTO t " <> numbers, [], timeout: timeout)

    if error.tx_status == :write,
      do: stop_in_a_write(conn, 2 * timeout),
      else: assert(error.tx_status == :none)
  end

  test "commits and answers what the function returned", %{conn: conn} do
    assert {:ok, :done} =
             LibsqlPort.transaction(conn, fn conn ->
               insert!(conn, 1)
               assert {:ok, %{autocommit: false, tx_status: :write}} = LibsqlPort.status(conn)
               :done
             end)

    assert values(conn) == [1]
    assert idle?(conn)
  end

  test "modes", %{conn: conn} do
    for mode <- [:deferred, :immediate, :exclusive, :read_only] do
      assert {:ok, 0} = LibsqlPort.transaction(conn, fn conn -> length(values(conn)) end, mode: mode)
    end

    assert {:error, %Error{code: :read_only}} =
             LibsqlPort.transaction(
               conn,
               fn conn ->
                 {:error, error} = LibsqlPort.query(conn, "INSERT INTO t VALUES (1)")
                 LibsqlPort.rollback(conn, error)
               end,
               mode: :read_only
             )

    assert {:error, %Error{code: :invalid_option}} = LibsqlPort.transaction(conn, & &1, mode: :nonsense)
    # The connection writes again.
    insert!(conn, 1)
    assert values(conn) == [1]
  end

  test "rollback/2 undoes and gives the value", %{conn: conn} do
    assert {:error, :why} =
             LibsqlPort.transaction(conn, fn conn ->
               insert!(conn, 1)
               LibsqlPort.rollback(conn, :why)
             end)

    assert values(conn) == []
    assert idle?(conn)
    assert_raise ArgumentError, fn -> LibsqlPort.rollback(conn, :outside) end
  end

  test "exceptions, throws and exits undo and go on", %{conn: conn} do
    assert_raise RuntimeError, "boom", fn ->
      LibsqlPort.transaction(conn, fn conn ->
        insert!(conn, 1)
        raise "boom"
      end)
    end

    assert catch_throw(LibsqlPort.transaction(conn, fn conn -> insert!(conn, 1) && throw(:ball) end)) == :ball
    assert catch_exit(LibsqlPort.transaction(conn, fn conn -> insert!(conn, 1) && exit(:gone) end)) == :gone
    assert values(conn) == []
    assert idle?(conn)
  end

  test "nested ones are savepoints", %{conn: conn} do
    assert {:ok, :outer} =
             LibsqlPort.transaction(conn, fn conn ->
               assert conn.depth == 1
               insert!(conn, 1)

               assert {:error, :inner} =
                        LibsqlPort.transaction(conn, fn conn ->
                          assert conn.depth == 2
                          insert!(conn, 2)
                          {:ok, _} = LibsqlPort.transaction(conn, fn conn -> insert!(conn, 3) end)
                          assert values(conn) == [1, 2, 3]
                          LibsqlPort.rollback(conn, :inner)
                        end)

               assert values(conn) == [1]
               {:ok, _} = LibsqlPort.transaction(conn, fn conn -> insert!(conn, 4) end)
               :outer
             end)

    assert values(conn) == [1, 4]
    assert idle?(conn)
  end

  test "rollback/2 of the outer connection passes the inner one by", %{conn: conn} do
    assert {:error, :all} =
             LibsqlPort.transaction(conn, fn outer ->
               insert!(outer, 1)

               LibsqlPort.transaction(outer, fn inner ->
                 insert!(inner, 2)
                 LibsqlPort.rollback(outer, :all)
               end)
             end)

    assert values(conn) == []
    assert idle?(conn)
  end

  test "a commit that fails is its error, and undone", %{conn: conn} do
    assert {:error, %Error{code: :constraint_foreign_key}} =
             LibsqlPort.transaction(conn, fn conn ->
               LibsqlPort.query!(conn, "INSERT INTO child VALUES (99)")
             end)

    assert idle?(conn)
    assert {:ok, [0]} = LibsqlPort.query_one(conn, "SELECT count(*) FROM child")
  end

  test "a statement that rolls back everything ends it", %{conn: conn} do
    LibsqlPort.query!(conn, "CREATE UNIQUE INDEX u ON t (a)")
    insert!(conn, 1)

    assert {:error, %Error{code: :no_transaction}} =
             LibsqlPort.transaction(conn, fn conn ->
               insert!(conn, 2)

               {:error, %Error{tx_status: :none}} =
                 LibsqlPort.query(conn, "INSERT OR ROLLBACK INTO t VALUES (1)")
             end)

    assert values(conn) == [1]
    assert idle?(conn)
  end

  test "begin inside a transaction is an error", %{conn: conn} do
    assert {:ok, _} = Connection.begin(conn)
    assert {:error, %Error{code: :transaction_open}} = Connection.begin(conn)
    assert {:error, %Error{code: :transaction_open}} = LibsqlPort.transaction(conn, fn _ -> :never end)
    assert {:ok, :none} = Connection.rollback(conn)
    assert {:error, %Error{code: :no_transaction}} = Connection.commit(conn)
  end

  test "the single steps", %{conn: conn} do
    assert {:ok, _} = Connection.begin(conn, :deferred)
    insert!(conn, 1)
    assert {:ok, :write} = Connection.savepoint(conn, "s")
    insert!(conn, 2)
    assert {:ok, :write} = Connection.rollback_to(conn, "s")
    assert {:ok, :write} = Connection.release(conn, "s")
    assert {:ok, :none} = Connection.commit(conn)
    assert values(conn) == [1]
  end

  test "a statement that overruns leaves a transaction that can be ended", %{conn: conn} do
    assert {:error, %Error{code: :timeout}} =
             LibsqlPort.transaction(conn, fn conn ->
               insert!(conn, 1)
               {:error, error} = LibsqlPort.query(conn, endless(), [], timeout: 50)
               LibsqlPort.rollback(conn, error)
             end)

    assert values(conn) == []
    assert idle?(conn)
  end

  test "a sidecar that dies inside rolls back, and says so", %{
    conn: conn,
    sidecar: sidecar,
    location: location
  } do
    assert {:error, %Error{code: :sidecar_down, message: message}} =
             LibsqlPort.transaction(conn, fn conn ->
               insert!(conn, 1)
               System.cmd("kill", ["-9", Integer.to_string(conn.handle.os_pid)])
               {:error, error} = LibsqlPort.query(conn, endless(), [], timeout: :infinity)
               LibsqlPort.rollback(conn, error)
             end)

    assert message =~ "rolled back"
    {:ok, conn} = LibsqlPort.connect(sidecar, location)
    assert values(conn) == []
  end

  test "two connections write in turns", %{conn: conn, sidecar: sidecar, location: location} do
    tasks =
      for i <- 1..10 do
        Task.async(fn ->
          {:ok, conn} = LibsqlPort.connect(sidecar, location)

          for j <- 1..10 do
            {:ok, _} =
              LibsqlPort.transaction(conn, fn conn ->
                [count] = LibsqlPort.query!(conn, "SELECT count(*) FROM t").rows |> hd()
                insert!(conn, i * 100 + j)
                count
              end)
          end

          LibsqlPort.close(conn)
        end)
      end

    assert Enum.all?(Task.await_many(tasks, 60_000), &(&1 == :ok))
    assert length(values(conn)) == 100
  end

  # The engine itself rolls a transaction back for some errors; what comes after it must not run by itself.
  describe "after the transaction has ended" do
    setup %{conn: conn} do
      {:ok, _} =
        LibsqlPort.script(
          conn,
          "CREATE TABLE u (a TEXT PRIMARY KEY ON CONFLICT ROLLBACK); INSERT INTO u VALUES ('dup'); CREATE TABLE v (a); CREATE TRIGGER w BEFORE INSERT ON v BEGIN SELECT RAISE(ROLLBACK, 'no'); END"
        )

      {:ok, statement} = LibsqlPort.prepare(conn, "INSERT INTO t VALUES (99)")
      %{statement: statement}
    end

    @ends [
      "INSERT INTO u VALUES ('dup')",
      "INSERT OR ROLLBACK INTO u VALUES ('dup')",
      "INSERT INTO v VALUES (1)",
      "ROLLBACK",
      "COMMIT"
    ]

    defp requests(statement) do
      insert = "INSERT INTO t VALUES (99)"

      [
        query: &LibsqlPort.query(&1, insert),
        query_one: &LibsqlPort.query_one(&1, insert <> " RETURNING a"),
        execute: &LibsqlPort.execute(&1, statement),
        batch: &LibsqlPort.batch(&1, [insert]),
        each: &LibsqlPort.batch(&1, [insert], atomic: false),
        script: &LibsqlPort.script(&1, insert),
        prepare: &LibsqlPort.prepare(&1, insert),
        declare: &LibsqlPort.Cursor.declare(&1, insert <> " RETURNING a", []),
        stream: &stream(&1, insert <> " RETURNING a"),
        nested: &LibsqlPort.transaction(&1, fn conn -> insert!(conn, 99) end),
        begin: &Connection.begin/1,
        savepoint: &Connection.savepoint(&1, "s"),
        release: &Connection.release(&1, "s"),
        commit: &Connection.commit/1,
        rollback: &Connection.rollback/1
      ]
    end

    defp stream(conn, sql) do
      {:ok, conn |> LibsqlPort.stream(sql) |> Enum.to_list()}
    rescue
      error in Error -> {:error, error}
    end

    for sql <- @ends do
      test "by #{sql}, nothing that its connection is asked runs", %{conn: conn, statement: statement} do
        for {name, request} <- requests(statement), name != :begin do
          assert {:error, %Error{code: :no_transaction}} =
                   LibsqlPort.transaction(conn, fn inside ->
                     _ = LibsqlPort.query(inside, unquote(sql))
                     assert {:error, %Error{code: :no_transaction}} = request.(inside), "#{name}"
                     # Nor by the connection around it, in this process.
                     assert {:error, %Error{code: code}} = request.(conn), "#{name} outside"
                     assert code == if(name == :nested, do: :transaction_open, else: :no_transaction)
                   end)

          assert values(conn) == [], "#{name}"
          assert idle?(conn)
        end
      end
    end

    test "in the middle of a nested one, neither runs on", %{conn: conn} do
      assert {:error, %Error{code: :no_transaction}} =
               LibsqlPort.transaction(conn, fn outer ->
                 insert!(outer, 1)

                 assert {:error, %Error{code: :no_transaction}} =
                          LibsqlPort.transaction(outer, fn inner ->
                            {:error, _} = LibsqlPort.query(inner, "INSERT INTO u VALUES ('dup')")
                            {:error, %Error{code: :no_transaction}} = LibsqlPort.query(inner, "SELECT 1")
                          end)

                 assert {:error, %Error{code: :no_transaction}} = LibsqlPort.query(outer, "SELECT 1")
               end)

      assert values(conn) == []
    end

    test "a batch and a script go no further than the statement that ended it", %{conn: conn} do
      for sql <- @ends do
        LibsqlPort.transaction(conn, fn conn ->
          insert!(conn, 1)
          {:ok, [_, item]} = LibsqlPort.batch(conn, [sql, "INSERT INTO t VALUES (99)"], atomic: false)
          assert {:error, %Error{code: :no_transaction}} = item
        end)

        LibsqlPort.transaction(conn, fn conn ->
          LibsqlPort.script(conn, sql <> "; INSERT INTO t VALUES (99)")
        end)

        refute 99 in values(conn), sql
      end
    end

    test "by a timeout in the middle of a write, nothing runs on", %{conn: conn} do
      assert {:error, %Error{code: :no_transaction}} =
               LibsqlPort.transaction(conn, fn conn ->
                 insert!(conn, 1)
                 stop_in_a_write(conn, 50)

                 assert {:error, %Error{code: :no_transaction}} =
                          LibsqlPort.query(conn, "INSERT INTO t VALUES (2)")
               end)

      assert values(conn) == []
    end

    test "its connection is of no use outside", %{conn: conn} do
      {:ok, leaked} = LibsqlPort.transaction(conn, & &1)
      assert {:error, %Error{code: :no_transaction}} = LibsqlPort.query(leaked, "INSERT INTO t VALUES (1)")

      LibsqlPort.transaction(conn, fn _next ->
        assert {:error, %Error{code: :no_transaction}} = LibsqlPort.query(leaked, "INSERT INTO t VALUES (1)")
      end)

      assert values(conn) == []
    end

    test "in_transaction: true holds for a transaction that was begun by hand", %{conn: conn} do
      {:ok, _} = Connection.begin(conn)
      assert {:ok, _} = LibsqlPort.query(conn, "INSERT INTO t VALUES (1)", [], in_transaction: true)
      {:error, _} = LibsqlPort.query(conn, "INSERT INTO u VALUES ('dup')")

      assert {:error, %Error{code: :no_transaction}} =
               LibsqlPort.query(conn, "INSERT INTO t VALUES (2)", [], in_transaction: true)

      assert values(conn) == []
    end
  end

  describe "a connection that several processes share" do
    test "runs their transactions one after another", %{conn: conn} do
      tasks =
        for i <- 1..20 do
          Task.async(fn ->
            LibsqlPort.transaction(conn, fn conn ->
              insert!(conn, i)
              if rem(i, 2) == 0, do: LibsqlPort.rollback(conn, i), else: insert!(conn, -i)
            end)
          end)
        end

      for {task, i} <- Enum.with_index(tasks, 1) do
        if rem(i, 2) == 0,
          do: assert({:error, ^i} = Task.await(task, 60_000)),
          else: assert({:ok, _} = Task.await(task, 60_000))
      end

      odd = Enum.take_every(1..20, 2)
      assert values(conn) == Enum.sort(odd ++ Enum.map(odd, &(-&1)))
    end

    test "keeps what others write out of a transaction", %{conn: conn} do
      test = self()

      {:error, :over} =
        LibsqlPort.transaction(conn, fn inside ->
          insert!(inside, 1)
          task = Task.async(fn -> LibsqlPort.query(conn, "INSERT INTO t VALUES (2)") end)
          send(test, {:task, task})
          eventually(fn -> Enum.any?(LibsqlPort.requests(conn), fn {_, pid} -> pid == task.pid end) end)
          # A process that is given the transaction's own connection is inside.
          assert {:ok, _} =
                   Task.await(Task.async(fn -> LibsqlPort.query(inside, "INSERT INTO t VALUES (3)") end))

          LibsqlPort.rollback(inside, :over)
        end)

      assert_receive {:task, task}
      assert {:ok, %Result{tx_status: :none}} = Task.await(task)
      assert values(conn) == [2]
    end

    test "lets the process inside use it by either name", %{conn: conn} do
      assert {:ok, _} =
               LibsqlPort.transaction(conn, fn inside ->
                 insert!(conn, 1)
                 insert!(inside, 2)
                 assert [[1], [2]] = conn |> LibsqlPort.stream("SELECT a FROM t ORDER BY a") |> Enum.to_list()
                 assert {:error, %Error{code: :transaction_open}} = LibsqlPort.transaction(conn, & &1)
                 assert {:error, %Error{code: :transaction_open}} = Connection.begin(conn)
               end)

      assert values(conn) == [1, 2]
    end

    test "who waits too long is told so, and writes nothing", %{conn: conn} do
      LibsqlPort.transaction(conn, fn _inside ->
        task = Task.async(fn -> LibsqlPort.query(conn, "INSERT INTO t VALUES (1)", [], timeout: 20) end)
        assert {:error, %Error{code: :timeout}} = Task.await(task)
      end)

      assert values(conn) == []
    end
  end
end
