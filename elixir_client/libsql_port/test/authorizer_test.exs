defmodule LibsqlPort.AuthorizerTest do
  # Functions in Elixir that decide what statements may do. What the program asks, and when, is in tests/sidecar/authorizer.rs.
  use LibsqlPort.SidecarCase, async: true

  import ExUnit.CaptureLog

  alias LibsqlPort.Authorization

  setup %{conn: conn} do
    LibsqlPort.script!(
      conn,
      "CREATE TABLE users (id INTEGER PRIMARY KEY, name, password); INSERT INTO users VALUES (1, 'a', 's')"
    )

    :ok
  end

  defp decide(%{action: :read, object: "users", column: "password"}), do: :ignore
  defp decide(%{action: :delete, object: "users"}), do: :deny
  defp decide(_other), do: :ok

  test "allows, denies and ignores, also what is prepared and cached", %{conn: conn} do
    {:ok, statement} = LibsqlPort.prepare(conn, "SELECT password FROM users")
    assert [["s"]] = LibsqlPort.execute!(conn, statement).rows
    assert [["s"]] = LibsqlPort.query!(conn, "SELECT password FROM users").rows
    :ok = LibsqlPort.set_authorizer(conn, &decide/1)
    assert [[nil]] = LibsqlPort.execute!(conn, statement).rows
    assert [[nil]] = LibsqlPort.query!(conn, "SELECT password FROM users").rows
    assert [["a"]] = LibsqlPort.query!(conn, "SELECT name FROM users").rows

    assert {:error, %Error{code: :not_authorized, denial: denial, message: message}} =
             LibsqlPort.query(conn, "DELETE FROM users")

    assert denial == %{
             action: :delete,
             object: "users",
             column: nil,
             database: "main",
             through: nil,
             rule: :authorizer
           }

    assert message =~ "delete users"
    # What it must not show it must not store either.
    assert {:error, %Error{code: :not_authorized}} =
             LibsqlPort.query(conn, "UPDATE users SET name = password")

    assert {:ok, true} = LibsqlPort.remove_authorizer(conn)
    assert {:ok, false} = LibsqlPort.remove_authorizer(conn)
    assert [["s"]] = LibsqlPort.execute!(conn, statement).rows
    assert [["a", "s"]] = LibsqlPort.query!(conn, "SELECT name, password FROM users").rows
    :ok = LibsqlPort.close_statement(conn, statement)
  end

  test "is told what is about to be done", %{conn: conn} do
    test = self()
    :ok = LibsqlPort.set_authorizer(conn, fn authorization -> send(test, authorization) && :ok end)
    LibsqlPort.query!(conn, "UPDATE users SET name = upper(name)")
    id = conn.id

    for {action, object, column, database} <- [
          {:update, "users", "name", "main"},
          {:read, "users", "name", "main"},
          {:function, "upper", nil, nil}
        ] do
      assert_received %Authorization{
        connection: ^id,
        action: ^action,
        object: ^object,
        column: ^column,
        database: ^database,
        through: nil
      }
    end

    LibsqlPort.query!(conn, "SELECT upper(name) FROM users")
    assert_received %Authorization{action: :select}
    refute_received %Authorization{}
  end

  test "what raises, throws, exits, is killed, hangs or says something else denies", %{conn: conn} do
    for {fun, words} <- [
          {fn _ -> raise "broken" end, "broken"},
          {fn _ -> throw(:ball) end, "threw :ball"},
          {fn _ -> exit(:gone) end, "exited: :gone"},
          {fn _ -> Process.exit(self(), :kill) end, "has ended: killed"},
          {fn _ -> Process.sleep(:infinity) end, "no answer within 200 ms"},
          {fn _ -> true end, "returned true"},
          {fn %{action: action} -> if(action == :delete, do: :ignore, else: :ok) end, "left undone"}
        ] do
      capture_log(fn ->
        # On a busy machine an answer may take as long as that.
        timeout = if words =~ "no answer", do: 200, else: :infinity
        :ok = LibsqlPort.set_authorizer(conn, fun, timeout: timeout)

        assert {:error, %Error{code: :not_authorized, message: message}} =
                 LibsqlPort.query(conn, "DELETE FROM users", [], timeout: :infinity)

        assert message =~ words
      end)
    end

    assert {:ok, true} = LibsqlPort.remove_authorizer(conn)
    assert [[1]] = LibsqlPort.query!(conn, "SELECT count(*) FROM users").rows
  end

  test "a cancellation, a timeout and a sidecar that is killed end the question", %{
    conn: conn,
    sidecar: sidecar
  } do
    test = self()
    hang = fn _authorization -> send(test, {:asked, self()}) && Process.sleep(:infinity) end
    :ok = LibsqlPort.set_authorizer(conn, hang, timeout: :infinity)
    assert {:error, %Error{code: :timeout}} = LibsqlPort.query(conn, "SELECT 1", [], timeout: 100)
    assert_received {:asked, _runner}
    task = Task.async(fn -> LibsqlPort.query(conn, "SELECT 1") end)
    assert_receive {:asked, runner}, 5_000
    monitor = Process.monitor(runner)
    assert {:ok, 1} = LibsqlPort.cancel(conn)
    assert {:error, %Error{code: :cancelled}} = Task.await(task)
    assert_receive {:DOWN, ^monitor, _, _, _}, 5_000

    capture_log(fn ->
      task = Task.async(fn -> LibsqlPort.query(conn, "SELECT 1") end)
      assert_receive {:asked, runner}, 5_000
      monitor = Process.monitor(runner)
      System.cmd("kill", ["-9", Integer.to_string(conn.handle.os_pid)])
      assert {:error, %Error{code: :sidecar_down}} = Task.await(task)
      assert_receive {:DOWN, ^monitor, _, _, _}, 5_000
    end)

    {:ok, again} = LibsqlPort.connect(sidecar, database: ":memory:")
    assert {:ok, _} = LibsqlPort.query(again, "SELECT 1")
  end

  test "may use another connection, and not its own", %{conn: conn, sidecar: sidecar, database: database} do
    {:ok, other} = LibsqlPort.connect(sidecar, database: database)
    test = self()

    :ok =
      LibsqlPort.set_authorizer(conn, fn _authorization ->
        send(test, {:own, LibsqlPort.query(conn, "SELECT 1")})
        send(test, {:replaced, LibsqlPort.set_authorizer(conn, fn _ -> :ok end)})
        [count] = LibsqlPort.query_one!(other, "SELECT count(*) FROM users")
        if count == 1, do: :ok, else: :deny
      end)

    assert {:ok, _} = LibsqlPort.query(conn, "SELECT name FROM users")
    for what <- [:own, :replaced], do: assert_received({^what, {:error, %Error{code: :callback_reentered}}})
  end

  test "32 connections ask at once", %{sidecar: sidecar} do
    tasks =
      for number <- 1..32 do
        Task.async(fn ->
          decide = fn %{action: action} ->
            if action == :create_table and rem(number, 2) == 0, do: :deny, else: :ok
          end

          {:ok, conn} =
            LibsqlPort.connect(sidecar, database: ":memory:", authorizer: {decide, timeout: :infinity})

          allowed? = match?({:ok, _}, LibsqlPort.query(conn, "CREATE TABLE t (a)"))
          :ok = LibsqlPort.close(conn)
          allowed? == (rem(number, 2) == 1)
        end)
      end

    assert Enum.all?(Task.await_many(tasks, 60_000))
  end

  test "stands behind a policy, and passes over the application's own statements", %{
    sidecar: sidecar,
    database: database
  } do
    test = self()
    tell = fn authorization -> send(test, authorization) && :ok end
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database, policy: :read_only, authorizer: tell)
    assert {:error, %Error{denial: %{rule: :read_only}}} = LibsqlPort.query(conn, "DELETE FROM users")
    refute_received %Authorization{}
    assert {:ok, _} = LibsqlPort.query(conn, "UPDATE users SET name = 'b'", [], policy: false)
    refute_received %Authorization{}
    assert {:ok, _} = LibsqlPort.query(conn, "SELECT name FROM users")
    assert_received %Authorization{action: :read, object: "users"}
  end

  test "wrong authorizers and options name what is wrong", %{conn: conn, sidecar: sidecar, database: database} do
    for {fun, options, words} <- [
          {fn -> :ok end, [], "a function of one argument"},
          {nil, [], "a function of one argument"},
          {fn _ -> :ok end, [:a], "keyword list"},
          {fn _ -> :ok end, [timeout: 0], ":timeout"},
          {fn _ -> :ok end, [tables: ["t"]], "has no option :tables"}
        ] do
      assert {:error, %Error{code: :invalid_option, message: message}} =
               LibsqlPort.set_authorizer(conn, fun, options)

      assert message =~ words
    end

    assert {:error, %Error{code: :invalid_option}} =
             LibsqlPort.connect(sidecar, database: database, defensive: false, authorizer: fn _ -> :ok end)
  end
end
