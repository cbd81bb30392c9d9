defmodule EctoLibSql.NativeTest do
  use EctoLibSql.ByHandCase, async: true

  alias EctoLibSql.{Native, Query, Result}

  doctest EctoLibSql.Native
  doctest EctoLibSql.Arguments
  doctest EctoLibSql.Result
  doctest EctoLibSql.State

  @endless "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"

  setup %{state: state} do
    rows(state, "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE, photo BLOB)")
    :ok
  end

  describe "calling the callbacks by hand" do
    test "with a text, and with parameters by name whose surplus is ignored", %{state: state} do
      assert nil ==
               rows(state, "INSERT INTO users (id, name) VALUES (:id, @name)", %{
                 "name" => "Ada",
                 id: 1,
                 more: 2
               })

      assert [["Ada"]] = rows(state, "SELECT name FROM users WHERE id = $id", %{id: 1})
    end

    test "raises for a name that is missing, and for names where there are none", %{state: state} do
      assert_raise ArgumentError, ~r/Missing required parameters: :name\./, fn ->
        rows(state, "INSERT INTO users (id, name) VALUES (:id, :name)", %{id: 1})
      end

      assert_raise ArgumentError, ~r/positional parameters: give a list of 2/, fn ->
        rows(state, "SELECT ?, ?", %{id: 1})
      end

      assert [] = rows(state, "SELECT * FROM users")
    end

    # By their content, where that is asked for: settings_test.exs.
    test "bytes are blobs if they say so", %{state: state} do
      assert {:error, %{code: :invalid_parameter}, _} =
               EctoLibSql.handle_execute("SELECT ?", [<<0, 255>>], [], state)

      assert [["blob"]] = rows(state, "SELECT typeof(?)", [{:blob, "a"}])
    end

    test "with a state that was made of an id", %{state: state} do
      assert [[1]] = rows(bare(state), "SELECT 1")
      assert :ok = EctoLibSql.disconnect([], bare(state))

      assert {:error, %EctoLibSql.Error{code: :unknown_connection}, _} =
               EctoLibSql.handle_execute("SELECT 1", [], [], bare(state))
    end

    test "a transaction's name is of use on its own connection, and until its end", %{
      state: state,
      path: path
    } do
      {:ok, inside} = Native.begin(state)
      other = open(path)

      assert {:error, %EctoLibSql.Error{code: :no_transaction}, _} =
               EctoLibSql.handle_execute("SELECT 1", [], [], %{other | trx_id: inside.trx_id})

      assert {:ok, "commit"} = Native.commit(inside)

      assert {:error, %EctoLibSql.Error{code: :no_transaction}, _} =
               EctoLibSql.handle_execute("INSERT INTO users (id) VALUES (9)", [], [], inside)

      assert [[0]] = rows(state, "SELECT count(*) FROM users")
    end
  end

  describe "prepared statements" do
    test "are told about, run and closed by name", %{state: state} do
      {:ok, insert} = Native.prepare(state, "INSERT INTO users (id, name) VALUES (:id, :name)")
      assert {:ok, 1} = Native.execute_stmt(state, insert, "", %{id: 1, name: "Ada"})
      assert {:ok, 1} = Native.execute_stmt(state, insert, "", [2, "Bob"])
      assert {:ok, 0} = Native.stmt_column_count(state, insert)
      assert {:ok, 2} = Native.stmt_parameter_count(state, insert)
      assert {:ok, ":name"} = Native.stmt_parameter_name(state, insert, 2)
      assert {:error, out} = Native.stmt_parameter_name(state, insert, 3)
      assert out =~ "out of bounds"

      {:ok, select} = Native.prepare(state, "SELECT id, name AS called FROM users WHERE id = ?")
      assert {:ok, nil} = Native.stmt_parameter_name(state, select, 1)
      assert {:ok, "called"} = Native.stmt_column_name(state, select, 1)
      assert {:error, "Column index 2 out of bounds" <> _} = Native.stmt_column_name(state, select, 2)

      assert {:ok, [{"id", "id", "INTEGER"}, {"called", "name", "TEXT"}]} =
               Native.get_stmt_columns(state, select)

      assert {:ok, %Result{rows: [[2, "Bob"]], num_rows: 1}} = Native.query_stmt(state, select, [2])
      assert {:ok, %Result{rows: [[1, "Ada"]]}} = Native.execute_stmt(state, select, "", [1])
      assert :ok = Native.reset_stmt(state, select)
      assert :ok = Native.close_stmt(select)
      assert {:error, "Statement not found"} = Native.query_stmt(state, select, [1])
      assert {:error, "Statement not found"} = Native.close_stmt(select)
    end

    test "see a column that came later", %{state: state} do
      {:ok, statement} = Native.prepare(state, "SELECT * FROM users")
      rows(state, "ALTER TABLE users ADD COLUMN email")
      assert {:ok, 4} = Native.stmt_column_count(state, statement)
    end

    test "are no other connection's, and end with their own", %{state: state, path: path} do
      {:ok, statement} = Native.prepare(state, "SELECT 1")

      assert {:error, "Statement does not belong to connection"} =
               Native.query_stmt(open(path), statement, [])

      assert :ok = EctoLibSql.disconnect([], state)
      assert {:error, "Statement not found"} = Native.query_stmt(state, statement, [])
    end

    test "outlive a reset of the connection", %{state: state} do
      {:ok, statement} = Native.prepare(state, "SELECT 1")
      assert :ok = Native.reset(state)
      assert {:ok, %Result{rows: [[1]]}} = Native.query_stmt(state, statement, [])
    end

    test "are refused with the reason", %{state: state} do
      assert {:error, "Prepare failed: " <> _} = Native.prepare(state, "SELEC 1")
      {:ok, statement} = Native.prepare(state, "SELECT :a, :b")
      assert {:error, "Missing required parameters: :b" <> _} = Native.query_stmt(state, statement, %{a: 1})
      assert {:error, _} = Native.query_stmt(state, statement, [1])
    end
  end

  describe "batches" do
    test "one by one end at the first error, and keep what came before", %{state: state} do
      assert {:error, message} =
               Native.batch(state, [
                 {"INSERT INTO users (id, name) VALUES (?, ?)", [1, "Ada"]},
                 {"INSERT INTO users (id, name) VALUES (?, ?)", [2, "Ada"]},
                 {"INSERT INTO users (id, name) VALUES (?, ?)", [3, "Cleo"]}
               ])

      assert message =~ "UNIQUE"
      assert [[1]] = rows(state, "SELECT id FROM users")
    end

    test "all or nothing keep nothing", %{state: state} do
      statements = for name <- ["Ada", "Ada"], do: {"INSERT INTO users (name) VALUES (?)", [name]}
      assert {:error, _} = Native.batch_transactional(state, statements)
      assert [] = rows(state, "SELECT id FROM users")

      assert {:ok, [%Result{num_rows: 1, rows: []}, %Result{rows: [["Ada"]], command: :batch}]} =
               Native.batch_transactional(state, [hd(statements), {"SELECT name FROM users", []}])
    end

    test "out of a text", %{state: state} do
      text = "INSERT INTO users (name) VALUES ('a;b'); SELECT name FROM users; -- over"

      assert {:ok, [nil, %{"columns" => ["name"], "rows" => [["a;b"]], "num_rows" => 1}]} =
               Native.execute_batch_sql(state, text)

      assert {:error, _} =
               Native.execute_transactional_batch_sql(
                 state,
                 "DELETE FROM users; INSERT INTO nowhere VALUES (1)"
               )

      assert [[1]] = rows(state, "SELECT count(*) FROM users")
    end
  end

  describe "transactions" do
    test "with savepoints", %{state: state} do
      insert = %Query{statement: "INSERT INTO users (name) VALUES (?)"}
      {:ok, inside} = Native.begin(state, behavior: :immediate)
      refute Native.get_is_autocommit(state)
      assert :ok = Native.handle_status_transaction(inside.trx_id)

      {:ok, _, _, inside} = Native.execute_with_trx(inside, insert, ["Ada"])
      assert :ok = Native.create_savepoint(inside, "one")
      {:ok, _, _, inside} = Native.execute_with_trx(inside, insert, ["Bob"])
      assert {:error, %EctoLibSql.Error{}, inside} = Native.execute_with_trx(inside, insert, ["Ada"])
      assert :ok = Native.rollback_to_savepoint_by_name(inside, "one")
      assert :ok = Native.release_savepoint_by_name(inside, "one")
      assert {:error, _} = Native.release_savepoint_by_name(inside, "one")

      assert {:ok, "commit"} = Native.commit(inside)
      assert {:error, "Transaction not found"} = Native.commit(inside)
      assert Native.get_is_autocommit(state)
      assert [["Ada"]] = rows(state, "SELECT name FROM users")
    end

    test "are rolled back, also by closing their name", %{state: state} do
      for finish <- [&Native.rollback/1, &Native.close(&1.trx_id, :trx_id)] do
        {:ok, inside} = Native.begin(state)
        rows(inside, "INSERT INTO users (name) VALUES ('Ada')")
        assert finish.(inside) in [:ok, {:ok, "rollback"}]
        assert [] = rows(state, "SELECT * FROM users")
      end
    end

    test "begun by the callback take savepoints too", %{state: state} do
      {:ok, :begin, inside} = EctoLibSql.handle_begin([], state)
      assert :ok = Native.create_savepoint(inside, "one")
      assert {:ok, _result, _state} = EctoLibSql.handle_rollback([], inside)
    end

    test "keep savepoints to identifiers and to themselves", %{state: state} do
      assert {:error, "No active transaction"} = Native.create_savepoint(state, "one")
      {:ok, inside} = Native.begin(state)

      for name <- ["", "1a", "a b", "a;--", "ä", "a\n"] do
        assert {:error, "Invalid savepoint name" <> _} = Native.create_savepoint(inside, name)
      end
    end
  end

  describe "the connection" do
    test "counts", %{state: state} do
      rows(state, "INSERT INTO users (id, name) VALUES (7, 'a'), (8, 'b')")
      rows(state, "DELETE FROM users WHERE id = 7")
      assert 8 = Native.get_last_insert_rowid(state)
      assert 1 = Native.get_changes(state)
      assert 3 = Native.get_total_changes(state)
    end

    test "takes another busy timeout", %{state: state} do
      assert :ok = Native.busy_timeout(state, 1234)
      assert {:ok, %Result{rows: [[1234]]}} = EctoLibSql.Pragma.query(state, "PRAGMA busy_timeout")
    end

    test "is interrupted, and goes on", %{state: state} do
      endless = Task.async(fn -> Native.query_args(state.conn_id, :local, :disable_sync, @endless, []) end)

      # The first may come before the query has started.
      answer =
        Enum.find_value(Stream.cycle([nil]), fn _ ->
          :ok = Native.interrupt(state)
          Task.yield(endless, 20)
        end)

      assert {:ok, {:error, _}} = answer
      assert [[1]] = rows(state, "SELECT 1")
    end

    test "an update hook tells of the rows that this connection changes, once they are committed", %{
      state: state,
      path: path
    } do
      {:ok, other} = EctoLibSql.connect(database: path)
      assert :ok = Native.add_update_hook(state)
      assert :ok = Native.add_update_hook(state)
      rows(state, "BEGIN")
      rows(state, "INSERT INTO users (id, name) VALUES (7, 'Ada')")
      refute_received {:insert, _, _, _}
      rows(state, "COMMIT")
      assert_receive {:insert, "main", "users", 7}, 5_000
      rows(state, "BEGIN")
      rows(state, "DELETE FROM users")
      rows(state, "ROLLBACK")
      rows(other, "UPDATE users SET name = 'Grace'")
      rows(state, "UPDATE users SET id = 8")
      assert_receive {:update, "main", "users", 8}, 5_000
      rows(state, "DELETE FROM users")
      assert_receive {:delete, "main", "users", 8}, 5_000
      assert :ok = Native.remove_update_hook(state)
      assert :ok = Native.remove_update_hook(state)
      rows(state, "INSERT INTO users (id, name) VALUES (9, 'Joan')")
      # What the other connection has done, what was rolled back, and what came twice.
      refute_received {_, "main", "users", _}
      assert {:error, text} = Native.set_update_hook("unknown", self())
      assert is_binary(text)
      :ok = EctoLibSql.disconnect([], other)
    end

    test "an update hook is a function as well, which is gone when it raises", %{state: state} do
      test = self()
      assert :ok = Native.add_update_hook(state, &send(test, {:row, &1, self()}))
      rows(state, "INSERT INTO users (id, name) VALUES (7, 'Ada')")
      assert_receive {:row, {:insert, "main", "users", 7}, process}, 5_000
      assert process != test
      # In place of the first.
      assert :ok = Native.add_update_hook(state, fn {:update, _, _, id} -> send(test, {:updated, id}) end)
      rows(state, "UPDATE users SET id = 8")
      assert_receive {:updated, 8}, 5_000
      refute_received {:row, _, _}
      rows(state, "DELETE FROM users")
      assert_receive %LibsqlPort.Changes.Ended{error: %{message: message}}, 5_000
      assert message =~ "function clause"
      rows(state, "INSERT INTO users (id, name) VALUES (9, 'Joan')")
      assert :ok = Native.add_update_hook(state)
      rows(state, "DELETE FROM users")
      assert_receive {:delete, "main", "users", 9}, 5_000
      assert :ok = Native.remove_update_hook(state)
      assert_raise FunctionClauseError, fn -> Native.add_update_hook(state, fn -> :ok end) end
    end

    test "an authorizer is a function, or a process that answers", %{state: state} do
      decide = fn %{action: action} -> if action == :delete, do: :deny, else: :ok end
      assert :ok = Native.add_authorizer(state, decide)

      assert {:error, %{code: :not_authorized}, _} =
               EctoLibSql.handle_execute("DELETE FROM users", [], [], state)

      rows(state, "SELECT name FROM users")

      asked =
        spawn_link(fn ->
          for _ <- Stream.cycle([1]) do
            receive do
              {:authorize, from, authorization} -> Native.authorize(from, decide.(authorization))
              :stop -> exit(:normal)
            end
          end
        end)

      assert :ok = Native.add_authorizer(state, asked)
      rows(state, "SELECT id FROM users")

      assert {:error, %{code: :not_authorized}, _} =
               EctoLibSql.handle_execute("DELETE FROM users", [], [], state)

      monitor = Process.monitor(asked)
      send(asked, :stop)
      assert_receive {:DOWN, ^monitor, _, _, _}, 5_000
      # A process that has ended denies what it was not asked about before.
      assert {:error, %{code: :not_authorized}, _} =
               EctoLibSql.handle_execute("UPDATE users SET name = 'x'", [], [], state)

      assert :ok = Native.remove_authorizer(state)
      rows(state, "UPDATE users SET name = 'x'")
    end

    test "answers :unsupported for what is not built", %{state: state} do
      for answer <- [
            Native.enable_extensions(state, true),
            Native.load_ext(state, "x.so"),
            Native.freeze_replica(state),
            Native.sync_until_frame(state, 1),
            Native.sync(%{state | mode: :remote_replica}),
            Native.load_extension(state.conn_id, "x.so", nil)
          ] do
        assert {:error, :unsupported} = answer
      end

      assert {:ok, 0} = Native.get_max_write_frame(state)
      assert {:ok, 0} = Native.get_frame_number_for_replica(state.conn_id)
      assert {:ok, _} = Native.sync(state)
    end

    test "refuses what a local database would pass over" do
      for {options, word} <- [
            {[uri: "libsql://x"], "replica"},
            {[encryption_key: "secret"], "not supported yet"},
            {[uri: "libsql://x", remote_encryption_key: "secret"], "not supported yet"}
          ] do
        assert {:error, %EctoLibSql.Error{code: :invalid_option, message: message}} =
                 EctoLibSql.connect([database: ":memory:"] ++ options)

        assert message =~ word
        refute message =~ "secret"
      end
    end
  end

  describe "by ids" do
    test "a connection", %{path: path} do
      conn_id = Native.connect([database: path], :local)
      assert true == Native.ping(conn_id)

      assert %{"rows" => [[1]], "num_rows" => 1} =
               Native.query_args(conn_id, :local, :disable_sync, "SELECT 1", [])

      assert :ok = Native.close(conn_id, :conn_id)
      assert {:error, "Connection" <> _} = Native.ping(conn_id)
      assert {:error, "Connection not found"} = Native.close(conn_id, :conn_id)
      assert {:error, _} = Native.connect([database: "/nowhere/at/all.db"], :local)
    end

    test "a statement", %{state: %{conn_id: conn_id}} do
      id = Native.prepare_statement(conn_id, "INSERT INTO users (name) VALUES (?)")
      assert 1 = Native.execute_prepared(conn_id, id, :local, :disable_sync, "", ["Ada"])
      assert 1 = Native.statement_parameter_count(conn_id, id)
      assert nil == Native.statement_parameter_name(conn_id, id, 1)

      id = Native.prepare_statement(conn_id, "SELECT name FROM users")
      assert %{"rows" => [["Ada"]]} = Native.query_prepared(conn_id, id, :local, :disable_sync, [])
      assert "name" = Native.statement_column_name(conn_id, id, 0)
      assert [1, "x"] = Native.normalise_arguments(conn_id, "SELECT :a, :b", %{b: "x", a: 1})
    end

    test "a transaction", %{state: %{conn_id: conn_id}, path: path} do
      trx_id = Native.begin_transaction(conn_id)
      insert = "INSERT INTO users (name) VALUES (?)"
      assert 1 = Native.execute_with_transaction(trx_id, conn_id, insert, ["Ada"])

      assert {:error, "Transaction does not belong to this connection"} =
               Native.execute_with_transaction(trx_id, open(path).conn_id, insert, ["Bob"])

      assert %{"rows" => [["Ada"]]} =
               Native.query_with_trx_args(trx_id, conn_id, "SELECT name FROM users", [])

      assert {:ok, _} =
               Native.commit_or_rollback_transaction(trx_id, conn_id, :local, :disable_sync, "commit")

      assert {:error, "Transaction not found"} =
               Native.execute_with_transaction(trx_id, conn_id, insert, ["Bob"])

      assert {:error, "Transaction not found"} = Native.handle_status_transaction(trx_id)
    end

    test "a cursor", %{state: %{conn_id: conn_id} = state, path: path} do
      rows(state, "INSERT INTO users (name) VALUES ('a'), ('b'), ('c')")
      select = "SELECT name FROM users ORDER BY name"
      cursor = Native.declare_cursor(conn_id, select, [])

      assert {:error, "Cursor does not belong to connection"} =
               Native.fetch_cursor(open(path).conn_id, cursor, 2)

      assert {["name"], [["a"], ["b"]], 2} = Native.fetch_cursor(conn_id, cursor, 2)
      assert {["name"], [["c"]], 1} = Native.fetch_cursor(conn_id, cursor, 2)
      assert {["name"], [], 0} = Native.fetch_cursor(conn_id, cursor, 2)
      assert :ok = Native.close(cursor, :cursor_id)
      assert {:error, "Cursor not found"} = Native.fetch_cursor(conn_id, cursor, 2)

      assert {:error, "Connection ID mismatch"} =
               Native.declare_cursor_with_context(conn_id, "other", :connection, select, [])
    end
  end

  test "the kind of a statement" do
    for {sql, kind} <- [
          {" \n select 1", :select},
          {"WITH a AS (SELECT 1) SELECT * FROM a", :select},
          {"/* a\n */ -- b\nINSERT INTO t", :insert},
          {"DROP TABLE t", :create},
          {"PRAGMA user_version", :pragma},
          {"selected", :unknown},
          {"-- select 1", :unknown},
          {<<255, 254>>, :unknown},
          {nil, :unknown}
        ] do
      assert Native.detect_command(sql) == kind, inspect(sql)
    end
  end
end
