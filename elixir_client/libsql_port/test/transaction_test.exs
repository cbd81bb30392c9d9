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
    database: database
  } do
    assert {:error, %Error{code: :sidecar_down, message: message}} =
             LibsqlPort.transaction(conn, fn conn ->
               insert!(conn, 1)
               System.cmd("kill", ["-9", Integer.to_string(conn.handle.os_pid)])
               {:error, error} = LibsqlPort.query(conn, endless(), [], timeout: :infinity)
               LibsqlPort.rollback(conn, error)
             end)

    assert message =~ "rolled back"
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database)
    assert values(conn) == []
  end

  test "two connections write in turns", %{conn: conn, sidecar: sidecar, database: database} do
    tasks =
      for i <- 1..10 do
        Task.async(fn ->
          {:ok, conn} = LibsqlPort.connect(sidecar, database: database)

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
end
