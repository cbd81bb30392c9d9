defmodule LibsqlPort.CommitHookTest do
  # Functions in Elixir that decide about commits. What the program asks, and when, is in tests/sidecar/commit_hook.rs.
  use LibsqlPort.SidecarCase, async: true

  import ExUnit.CaptureLog

  alias LibsqlPort.{Changes, Commit}
  alias LibsqlPort.Changes.{Busy, Progress}

  setup %{conn: conn} do
    LibsqlPort.script!(conn, "CREATE TABLE t (id INTEGER PRIMARY KEY, a); CREATE TABLE u (a)")
    :ok
  end

  # A time that no test waits for: what is to be late says so.
  @long [timeout: 60_000]

  defp count(conn), do: conn |> LibsqlPort.query_one!("SELECT count(*) FROM t") |> hd()
  defp insert(conn, options \\ []), do: LibsqlPort.query(conn, "INSERT INTO t (a) VALUES ('x')", [], options)

  defp open(%{sidecar: sidecar, database: database}) do
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database)
    conn
  end

  # Nothing is left of a transaction that was refused, for anybody.
  defp assert_nothing_left(conn, other) do
    assert count(conn) == 0
    assert count(other) == 0
    assert {:ok, %{autocommit: true, tx_status: :none}} = LibsqlPort.status(conn)
    assert {:ok, _} = LibsqlPort.query(other, "INSERT INTO u VALUES (1)", [], lock_timeout: 1_000)
  end

  test "is told what a transaction has changed, and may allow it", %{conn: conn, database: database} do
    test = self()

    :ok =
      LibsqlPort.set_commit_hook(
        conn,
        fn commit -> send(test, commit) && true end,
        [values: :old_and_new] ++ @long
      )

    {:ok, _} =
      LibsqlPort.transaction(conn, fn conn ->
        LibsqlPort.query!(conn, "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
        LibsqlPort.query!(conn, "UPDATE t SET a = 'c' WHERE id = 2")
        LibsqlPort.query!(conn, "DELETE FROM t WHERE id = 1")
      end)

    assert_received %Commit{changes: [one, two, update, delete]} = commit
    assert commit.connection == conn.id
    assert Enum.all?(commit.changes, &(Path.basename(&1.database) == Path.basename(database)))
    assert Commit.complete?(commit)
    assert %{operation: :insert, schema: "main", table: "t", new: %{"id" => 1, "a" => "a"}} = one
    assert %{operation: :insert, key: %{"id" => 2}} = two
    assert %{operation: :update, old: %{"a" => "b"}, new: %{"a" => "c"}} = update
    assert %{operation: :delete, old: %{"id" => 1, "a" => "a"}, new: nil} = delete
    assert count(conn) == 1
    LibsqlPort.query!(conn, "SELECT * FROM t")
    refute_received %Commit{}
  end

  test "is told of megabytes within its time", %{conn: conn} do
    hook = fn commit -> length(commit.changes) == 20_000 end
    :ok = LibsqlPort.set_commit_hook(conn, hook, values: :new, timeout: 20_000)
    sql = "INSERT INTO t(a) SELECT printf('%.100c', 'x') FROM generate_series(1, 20000)"
    assert LibsqlPort.query!(conn, sql).changes == 20_000
  end

  test "a refusal rolls back, says why, and leaves nothing open", %{conn: conn} = context do
    other = open(context)

    for {answer, code, words} <- [
          {false, :commit_vetoed, "refused"},
          {:error, :commit_vetoed, "refused"},
          {{:error, "not on a Sunday"}, :commit_vetoed, "not on a Sunday"},
          {{:error, :closed}, :commit_vetoed, ":closed"},
          {{:error, %ArgumentError{message: "too many"}}, :commit_vetoed, "too many"},
          {{:error, <<255>>}, :commit_vetoed, "<<255>>"},
          {{:error, String.duplicate("é", 5_000)}, :commit_vetoed, "é"},
          {{:error, ""}, :commit_vetoed, "refused"},
          {nil, :commit_hook_failed, "returned nil"},
          {{:ok, 1}, :commit_hook_failed, "returned {:ok, 1}"}
        ] do
      :ok = LibsqlPort.set_commit_hook(conn, fn _commit -> answer end, @long)
      assert {:error, %Error{code: ^code, message: message, tx_status: :none}} = insert(conn)
      assert message =~ words and String.valid?(message)
      assert_nothing_left(conn, other)
    end
  end

  test "what raises, throws, exits or is killed refuses", %{conn: conn} = context do
    other = open(context)

    for {fun, words} <- [
          {fn _ -> raise "broken" end, "broken"},
          {fn _ -> throw(:ball) end, "threw :ball"},
          {fn _ -> exit(:gone) end, "exited: :gone"},
          {fn _ -> Process.exit(self(), :kill) end, "has ended: killed"},
          {fn _ -> spawn_link(fn -> exit(:crash) end) && Process.sleep(:infinity) end, "has ended: :crash"}
        ] do
      capture_log(fn ->
        :ok = LibsqlPort.set_commit_hook(conn, fun, timeout: :infinity)

        assert {:error, %Error{code: :commit_hook_failed, message: message}} =
                 insert(conn, timeout: :infinity)

        assert message =~ words
      end)

      assert_nothing_left(conn, other)
    end
  end

  test "one that hangs is killed, and refuses", %{conn: conn} = context do
    other = open(context)
    test = self()
    hang = fn _commit -> send(test, self()) && Process.sleep(:infinity) end
    :ok = LibsqlPort.set_commit_hook(conn, hang, timeout: 50)
    assert {:error, %Error{code: :commit_hook_failed, message: message}} = insert(conn)
    assert message =~ "no answer within 50 ms"
    assert_received runner
    monitor = Process.monitor(runner)
    assert_receive {:DOWN, ^monitor, _, _, _}, 5_000
    assert_nothing_left(conn, other)

    :ok = LibsqlPort.set_commit_hook(conn, hang, timeout: :infinity)
    assert {:error, %Error{code: :timeout}} = insert(conn, timeout: 100)
    assert_nothing_left(conn, other)

    task = Task.async(fn -> insert(conn) end)
    assert_receive runner when is_pid(runner) and runner != self(), 5_000
    # The first was that of the timeout.
    assert_receive runner when is_pid(runner), 5_000
    monitor = Process.monitor(runner)
    assert {:ok, 1} = LibsqlPort.cancel(conn)
    assert {:error, %Error{code: :cancelled}} = Task.await(task)
    assert_receive {:DOWN, ^monitor, _, _, _}, 5_000
    assert_nothing_left(conn, other)
  end

  test "a caller, or a sidecar, that is killed meanwhile has committed nothing", %{conn: conn} = context do
    other = open(context)
    test = self()
    hang = fn _commit -> send(test, {:asked, self()}) && Process.sleep(:infinity) end
    :ok = LibsqlPort.set_commit_hook(conn, hang, timeout: :infinity)

    caller =
      spawn(fn ->
        LibsqlPort.transaction(conn, fn conn -> LibsqlPort.query!(conn, "INSERT INTO t (a) VALUES (1)") end)
      end)

    assert_receive {:asked, _runner}, 5_000
    Process.exit(caller, :kill)
    eventually(fn -> match?({:ok, %{autocommit: true}}, LibsqlPort.status(conn)) end)
    assert_nothing_left(conn, other)

    :ok = LibsqlPort.set_commit_hook(context.sidecar, hang, timeout: :infinity)

    capture_log(fn ->
      task = Task.async(fn -> insert(conn) end)
      assert_receive {:asked, runner}, 5_000
      monitor = Process.monitor(runner)
      System.cmd("kill", ["-9", Integer.to_string(conn.handle.os_pid)])
      assert {:error, %Error{code: code}} = Task.await(task)
      assert code in [:sidecar_down, :outcome_unknown]
      assert_receive {:DOWN, ^monitor, _, _, _}, 5_000
    end)

    # The sidecar's hook decides in its next program too.
    again = open(context)
    assert count(again) == 0
    task = Task.async(fn -> insert(again) end)
    assert_receive {:asked, _runner}, 5_000
    assert {:ok, 1} = LibsqlPort.cancel(again)
    assert {:error, %Error{code: :cancelled}} = Task.await(task)
    assert {:ok, true} = LibsqlPort.remove_commit_hook(context.sidecar)
    assert {:ok, _} = insert(again)
  end

  test "may use another connection, but neither its own nor its turn", %{conn: conn} = context do
    other = open(context)
    test = self()

    :ok =
      LibsqlPort.set_commit_hook(
        conn,
        fn _commit ->
          send(test, {:own, LibsqlPort.query(conn, "SELECT 1")})

          send(
            test,
            {:task, Task.await(Task.async(fn -> LibsqlPort.set_commit_hook(conn, fn _ -> true end) end))}
          )

          send(test, {:closed, LibsqlPort.close(conn)})
          send(test, {:read, count(other)})
          send(test, {:written, LibsqlPort.query(other, "DELETE FROM t", [], timeout: 100)})
          :ok
        end,
        @long
      )

    assert {:ok, _} = insert(conn)

    for what <- [:own, :task, :closed],
        do: assert_received({^what, {:error, %Error{code: :callback_reentered}}})

    assert_received {:read, 0}
    assert_received {:written, {:error, %Error{code: :timeout, message: message}}}
    assert message =~ "connection #{conn.id}"
    assert count(other) == 1
  end

  test "three deep over three connections, and back", %{conn: a, tmp_dir: dir} = context do
    [b, c] =
      for name <- ["b", "c"] do
        {:ok, conn} = LibsqlPort.connect(context.sidecar, database: Path.join(dir, name <> ".db"))
        LibsqlPort.query!(conn, "CREATE TABLE t (id INTEGER PRIMARY KEY, a)")
        conn
      end

    test = self()
    into = fn conn -> fn _commit -> insert(conn) |> elem(0) == :ok end end
    :ok = LibsqlPort.set_commit_hook(a, into.(b), @long)
    :ok = LibsqlPort.set_commit_hook(b, into.(c), @long)

    :ok =
      LibsqlPort.set_commit_hook(c, fn _ -> send(test, LibsqlPort.query(a, "SELECT 1")) && true end, @long)

    assert {:ok, _} = insert(a)
    assert_received {:error, %Error{code: :callback_reentered}}
    assert Enum.map([a, b, c], &count/1) == [1, 1, 1]
    :ok = LibsqlPort.set_commit_hook(c, fn _ -> false end, @long)
    assert {:error, %Error{code: :commit_vetoed}} = insert(a)
    assert Enum.map([a, b, c], &count/1) == [1, 1, 1]
  end

  test "32 connections ask at once", %{sidecar: sidecar} do
    :ok =
      LibsqlPort.set_commit_hook(sidecar, fn commit -> rem(commit.connection, 2) == 0 end, timeout: :infinity)

    tasks =
      for _ <- 1..32 do
        Task.async(fn ->
          {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:")
          allowed? = match?({:ok, _}, LibsqlPort.query(conn, "CREATE TABLE t (a)"))
          :ok = LibsqlPort.close(conn)
          allowed? == (rem(conn.id, 2) == 0)
        end)
      end

    assert Enum.all?(Task.await_many(tasks, 60_000))
  end

  test "is an option of the sidecar and of a connection, and a filter is kept", %{tmp_dir: dir} do
    database = Path.join(dir, "options.db")
    # Changes of the schema are told whatever the filter.
    schema? = fn commit -> Enum.all?(commit.changes, &(&1.operation == :schema)) end
    refuse = {schema?, [tables: ["t"], operations: [:delete]] ++ @long}
    sidecar = start_supervised!({LibsqlPort, log_level: :error, commit_hook: refuse}, id: :with_hook)
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database)
    LibsqlPort.query!(conn, "CREATE TABLE t (id INTEGER PRIMARY KEY, a)")
    assert {:ok, _} = insert(conn)
    assert {:error, %Error{code: :commit_vetoed}} = LibsqlPort.query(conn, "DELETE FROM t")

    {:ok, own} =
      LibsqlPort.connect(sidecar, database: database, commit_hook: {fn _commit -> {:error, "own"} end, @long})

    assert {:error, %Error{code: :commit_vetoed, message: message}} = insert(own)
    assert message =~ "own"
    :ok = LibsqlPort.close(own)
    :ok = LibsqlPort.close(conn)
    :ok = stop_supervised(:with_hook)
  end

  test "callers and Logger metadata are those of the process that commits", %{conn: conn} do
    test = self()
    Logger.metadata(request: "r1")

    :ok =
      LibsqlPort.set_commit_hook(
        conn,
        fn _commit ->
          send(test, {Process.get(:"$callers"), Logger.metadata()[:request]})
          :ok
        end,
        @long
      )

    assert {:ok, _} = insert(conn)
    assert_received {[^test | _], "r1"}
  end

  test "wrong hooks and options name what is wrong", %{conn: conn} do
    for {fun, options, words} <- [
          {fn -> true end, [], "a function of one argument"},
          {:no, [], "a function of one argument"},
          {fn _ -> true end, [:a], "keyword list"},
          {fn _ -> true end, [timeout: 0], ":timeout"},
          {fn _ -> true end, [table: "t"],
           "has no option :table (did you mean :tables?); it has :timeout, :tables"},
          {fn _ -> true end, [tables: "t"], "a list of strings"},
          {fn _ -> true end, [tables: []], ":tables of a commit hook takes a list of at least one"},
          {fn _ -> true end, [operations: []], ":operations of a commit hook takes a list of at least one"},
          {fn _ -> true end, [values: :all], ":none, :new or :old_and_new"}
        ] do
      assert {:error, %Error{code: :invalid_option, message: message}} =
               LibsqlPort.set_commit_hook(conn, fun, options)

      assert message =~ words
    end

    assert {:error, %Error{code: :invalid_option}} = LibsqlPort.start_link(commit_hook: :no)
    assert {:ok, false} = LibsqlPort.remove_commit_hook(conn)
    assert {:ok, _} = insert(conn)
  end

  describe "reports" do
    # What the program tells, and when, is in tests/sidecar/reports.rs: here is no program that takes locks without turns.
    test "tell of waits for locks of other programs", %{conn: conn} do
      {:ok, subscription} = Changes.subscribe(conn, hooks: [:busy], changes: false)
      %{id: id} = :sys.get_state(subscription)

      for {phase, waited} <- [began: 0, got: 70_000, gave_up: 3] do
        payload = {id, phase, "/data/app.db", conn.id, 307, waited}
        <<131, encoded::binary>> = :erlang.term_to_binary(payload)
        frame = IO.iodata_to_binary(LibsqlPort.Wire.frame(0, LibsqlPort.Wire.tag(:busy), encoded))
        send(subscription, {:libsql_port_event, id, LibsqlPort.Wire.tag(:busy), frame})
        assert_receive %Busy{subscription: ^subscription, phase: ^phase, waited_us: ^waited} = busy, 5_000
        assert {busy.database, busy.connection, busy.request} == {"/data/app.db", conn.id, 307}
      end
    end

    test "tell how far a statement has come", %{conn: conn} do
      {:ok, _} = Changes.subscribe(conn, hooks: [:progress], progress_interval: 10, changes: false)
      task = Task.async(fn -> LibsqlPort.query(conn, endless()) end)
      assert_receive %Progress{} = first, 5_000
      assert_receive %Progress{} = second, 5_000
      assert second.run_ms >= first.run_ms + 10 and second.steps > first.steps
      assert {:ok, true} = LibsqlPort.cancel(conn, second.request)
      assert {:error, %Error{code: :cancelled}} = Task.await(task)
      assert {:error, %Error{code: :invalid_option}} = Changes.subscribe(conn, progress_interval: 9)
    end
  end

  describe "a hook of a sidecar" do
    setup %{tmp_dir: dir} do
      sidecar =
        start_supervised!({LibsqlPort, log_level: :error, backoff_min: 1, backoff_max: 2}, id: :hooked)

      database = Path.join(dir, "hooked.db")
      {:ok, conn} = LibsqlPort.connect(sidecar, database: database)
      LibsqlPort.query!(conn, "CREATE TABLE t (id INTEGER PRIMARY KEY, a)")
      :ok = LibsqlPort.set_commit_hook(sidecar, fn _ -> false end, @long)
      {:ok, hooked: sidecar, at: database, owner: conn.handle.sidecar}
    end

    defp refuses(sidecar, database) do
      {:ok, conn} = LibsqlPort.connect(sidecar, database: database, connect_timeout: 60_000)
      assert {:error, %Error{code: :commit_vetoed}} = insert(conn)
      LibsqlPort.close(conn)
      conn.handle
    end

    defp child(sidecar, module) do
      {_, pid, _, _} = sidecar |> Supervisor.which_children() |> List.keyfind(module, 0)
      pid
    end

    test "outlives the program and each process of the driver", context do
      %{hooked: sidecar, at: database, owner: owner} = context
      %{os_pid: os_pid} = refuses(sidecar, database)

      capture_log(fn ->
        System.cmd("kill", ["-9", "#{os_pid}"])
        eventually(fn -> match?(%{handle: %{os_pid: other}} when other != os_pid, :sys.get_state(owner)) end)
        refuses(sidecar, database)

        for module <- [LibsqlPort.Sidecar, LibsqlPort.Runners, LibsqlPort.Guardian, LibsqlPort.Sidecar] do
          pid = child(sidecar, module)
          monitor = Process.monitor(pid)
          Process.exit(pid, :kill)
          assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}, 5_000
          refuses(sidecar, database)
        end
      end)

      assert {:ok, true} = LibsqlPort.remove_commit_hook(sidecar)
      {:ok, conn} = LibsqlPort.connect(sidecar, database: database)
      assert {:ok, _} = insert(conn)
    end

    test "that the next program does not take keeps everybody out", context do
      %{hooked: sidecar, at: database, owner: owner} = context
      %{functions: %{table: table}} = :sys.get_state(owner)
      [[number, hook]] = :ets.match(table, {:"$1", 0, :_, :active, :"$2"})
      # What no program takes.
      true = :ets.update_element(table, number, {5, %{hook | filter: %{"tables" => 5}}})

      log =
        capture_log(fn ->
          System.cmd("kill", ["-9", "#{:sys.get_state(owner).handle.os_pid}"])
          eventually(fn -> not match?(%{handle: %{}}, :sys.get_state(owner)) end)
          # One program after the other is tried.
          for _ <- 1..3 do
            assert {:error, %Error{code: code}} =
                     LibsqlPort.connect(sidecar, database: database, connect_timeout: 200)

            assert code in [:timeout, :sidecar_down]
          end

          true = :ets.update_element(table, number, {5, hook})
          refuses(sidecar, database)
        end)

      assert log =~ "does not take the function \"commit hook\""
      assert log =~ "did not take its commit hook"
    end

    test "that a program is silent about keeps everybody out", %{tmp_dir: dir} do
      options =
        LibsqlPort.Stub.options("hang", commit_hook: fn _ -> false end, backoff_min: 1, backoff_max: 2)

      sidecar = start_supervised!({LibsqlPort, options}, id: :silent)
      owner = child(sidecar, LibsqlPort.Sidecar)
      assert %{handle: nil, port: port, renewal: %{hooks: 1}} = :sys.get_state(owner)

      log =
        capture_log(fn ->
          assert {:error, %Error{code: :timeout}} =
                   LibsqlPort.connect(sidecar, database: Path.join(dir, "x.db"), connect_timeout: 100)

          # As after its :start_timeout.
          send(owner, {:not_renewed, port})
          assert %{port: other} = :sys.get_state(owner)
          assert other != port
        end)

      assert log =~ "has not taken its commit hook"
    end
  end
end
