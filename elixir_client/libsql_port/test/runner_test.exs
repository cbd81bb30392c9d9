defmodule LibsqlPort.RunnerTest do
  # What the driver makes of calls, whatever the program is: a stub sends them. What SQL makes of the answers is in
  # functions_test.exs.
  use ExUnit.Case, async: true

  import LibsqlPort.SidecarCase, only: [eventually: 1]
  alias LibsqlPort.{Error, Stub}

  setup do
    {sidecar, conn} = Stub.start("polite")
    %{sidecar: sidecar, conn: conn}
  end

  # What the function answers to calls, which the program sends one after another.
  defp call(conn, name, items, options \\ []) do
    with {:ok, %{rows: rows}} <-
           LibsqlPort.query(conn, "call " <> name, [{:blob, :erlang.term_to_binary(items)}], options),
         do: for([outcome] <- rows, do: :erlang.binary_to_term(outcome))
  end

  defp scalar(conn, name, arguments), do: call(conn, name, [{:call, :scalar, arguments, 0}])

  defp runners(sidecar) do
    {_, supervisor, _, _} = sidecar |> Supervisor.which_children() |> List.keyfind(LibsqlPort.Runners, 0)
    for {_, pid, _, _} <- DynamicSupervisor.which_children(supervisor), do: pid
  end

  describe "a scalar function" do
    test "gets its arguments one by one, or as a list", %{conn: conn} do
      for arity <- 0..4 do
        arguments = Enum.take([1, nil, "a", 1.5], arity)
        :ok = LibsqlPort.create_function(conn, "f#{arity}", arity, function(arity, &length/1))
        assert scalar(conn, "f#{arity}", arguments) == [ok: arity]
      end

      :ok = LibsqlPort.create_function(conn, "any", :any, &Enum.sum/1)
      assert scalar(conn, "any", [1, 2, 3]) == [ok: 6]
      assert scalar(conn, "any", []) == [ok: 0]
    end

    test "answers with a value, or with what it did instead", %{conn: conn} do
      :ok = LibsqlPort.create_function(conn, "f", 1, &odd/1)

      for value <- [nil, 1, 1.5, "text", {:blob, <<255>>}, true, :infinity] do
        Process.put(:value, value)
        :ok = LibsqlPort.create_function(conn, "value", 0, fn -> value end)
        assert scalar(conn, "value", []) == [ok: value]
      end

      assert [error: "no"] = scalar(conn, "f", [1])
      assert [error: "the function threw :away"] = scalar(conn, "f", [2])
      assert [error: "the function exited: :gone"] = scalar(conn, "f", [3])

      assert [error: "the function returned a process id, which is no SQL value" <> _] =
               scalar(conn, "f", [4])

      assert [error: "the function returned a %Date{}" <> mend] = scalar(conn, "f", [5])
      assert mend =~ "return the text of Date.to_iso8601/1"
      assert [error: "the function returned an atom" <> _] = scalar(conn, "f", [6])
      assert [error: cut] = scalar(conn, "f", [7])
      assert byte_size(cut) <= 1_024 and String.valid?(cut)
      assert [error: "no function clause matching" <> _] = scalar(conn, "f", [8])
    end

    test "whose result is too long for a frame says so", %{conn: conn} do
      :ok = LibsqlPort.create_function(conn, "long", 0, fn -> String.duplicate("x", 16_777_216) end)
      assert [error: "the result takes 16777" <> _] = scalar(conn, "long", [])
    end

    test "runs in one process for all calls of a connection", %{sidecar: sidecar, conn: conn} do
      :ok = LibsqlPort.create_function(conn, "me", 0, fn -> inspect(self()) end)
      assert runners(sidecar) == []
      [ok: me] = scalar(conn, "me", [])
      assert [ok: ^me, ok: ^me] = call(conn, "me", List.duplicate({:call, :scalar, [], 0}, 2))
      assert Enum.map(runners(sidecar), &inspect/1) == [me]
    end

    test "has the caller's $callers and Logger metadata", %{conn: conn} do
      test = self()

      :ok =
        LibsqlPort.create_function(conn, "who", 0, fn ->
          send(test, {:who, Process.get(:"$callers"), Logger.metadata()[:request_id]})
          nil
        end)

      task =
        Task.async(fn ->
          Logger.metadata(request_id: "r1")
          scalar(conn, "who", [])
          self()
        end)

      caller = Task.await(task)
      assert_received {:who, [^caller, ^test], "r1"}
      # Another caller without metadata has none of it.
      scalar(conn, "who", [])
      assert_received {:who, [^test], nil}
    end
  end

  describe "a function whose process ends" do
    test "is answered at once, and the next call has another process", %{conn: conn} do
      :ok =
        LibsqlPort.create_function(conn, "die", 1, fn
          "kill" -> Process.exit(self(), :kill)
          "link" -> spawn_link(fn -> exit(:crashed) end) && Process.sleep(:infinity)
          "live" -> 1
        end)

      ExUnit.CaptureLog.capture_log(fn ->
        assert [error: "the process that ran the function has ended: killed", ok: 1] =
                 call(conn, "die", [{:call, :scalar, ["kill"], 0}, {:call, :scalar, ["live"], 0}])

        assert [error: "the process that ran the function has ended: " <> reason] =
                 scalar(conn, "die", ["link"])

        assert reason =~ "crashed"
        assert [ok: 1] = scalar(conn, "die", ["live"])
      end)
    end

    test "is killed when nobody waits for it any more, and reports no crash", %{sidecar: sidecar, conn: conn} do
      test = self()

      :ok =
        LibsqlPort.create_function(conn, "hang", 1, fn
          "hang" ->
            send(test, {:hangs, self()})
            Process.sleep(:infinity)

          "live" ->
            1
        end)

      log =
        ExUnit.CaptureLog.capture_log(fn ->
          assert [ok: 1] =
                   call(conn, "hang", [{:abandoned, :scalar, ["hang"]}, {:call, :scalar, ["live"], 0}])

          receive do
            {:hangs, pid} ->
              monitor = Process.monitor(pid)
              assert_receive {:DOWN, ^monitor, _, _, _}, 5_000
          after
            # Killed before it began.
            0 -> :ok
          end
        end)

      assert log == ""
      assert [_] = runners(sidecar)
    end

    test "ends with its connection, and with the program", %{sidecar: sidecar, conn: conn} do
      :ok = LibsqlPort.create_function(sidecar, "one", 0, fn -> 1 end)
      assert [ok: 1] = scalar(conn, "one", [])
      :ok = LibsqlPort.close(conn)
      eventually(fn -> runners(sidecar) == [] end)

      {_, other} = Stub.start("polite")
      test = self()

      :ok =
        LibsqlPort.create_function(other, "hang", 0, fn -> send(test, self()) && Process.sleep(:infinity) end)

      task = Task.async(fn -> scalar(other, "hang", []) end)
      assert_receive runner when is_pid(runner), 10_000
      monitor = Process.monitor(runner)

      ExUnit.CaptureLog.capture_log(fn ->
        System.cmd("kill", ["-9", to_string(os_pid(other))])
        assert {:error, %Error{code: code}} = Task.await(task)
        assert code in [:sidecar_down, :outcome_unknown]
        assert_receive {:DOWN, ^monitor, _, _, _}, 5_000
      end)
    end

    test "ends with the connection of a process that has ended", %{sidecar: sidecar} do
      {:ok, conn} =
        Task.await(
          Task.async(fn ->
            {:ok, conn} = LibsqlPort.connect(sidecar, database: "other")
            :ok = LibsqlPort.create_function(conn, "one", 0, fn -> 1 end)
            [ok: 1] = scalar(conn, "one", [])
            [_] = runners(sidecar)
            {:ok, conn}
          end)
        )

      eventually(fn -> not LibsqlPort.Functions.any?(conn.handle.functions) end)
      assert runners(sidecar) == []
    end
  end

  defp os_pid(conn), do: :erlang.port_info(conn.handle.port, :os_pid) |> elem(1)

  describe "an aggregate" do
    setup %{conn: conn} do
      :ok =
        LibsqlPort.create_aggregate(conn, "total", 1,
          start: fn -> 0 end,
          step: fn
            :raise, _ -> raise "not this one"
            x, sum -> sum + x
          end,
          inverse: fn x, sum -> sum - x end,
          value: fn sum -> sum * 10 end,
          finish: fn sum -> sum end
        )
    end

    test "folds blocks of rows, for several groups at once", %{conn: conn} do
      assert [ok: nil, ok: nil, ok: 6, ok: 15] =
               call(conn, "total", [
                 {:call, :step, {0, [[1], [2]]}, 0},
                 {:call, :step, {1, [[4], [5]]}, 0},
                 {:call, :final, {0, [[3]]}, 0},
                 {:call, :final, {1, [[6]]}, 0}
               ])
    end

    test "of no row begins with its end", %{conn: conn} do
      assert [ok: 0] = call(conn, "total", [{:call, :final, {0, []}, 0}])
    end

    test "over a window lets rows leave", %{conn: conn} do
      assert [ok: 10, ok: 30, ok: 50, ok: 3] =
               call(conn, "total", [
                 {:call, :value, {3, [[1]]}, 0},
                 {:call, :value, {3, [[2]]}, 0},
                 {:call, :value, {3, [{[1]}, [3]]}, 0},
                 {:call, :final, {3, [{[2]}]}, 0}
               ])
    end

    test "that has failed fails until it is dropped", %{conn: conn} do
      assert [error: "not this one", error: "not this one", ok: 1] =
               call(conn, "total", [
                 {:call, :step, {0, [[:raise]]}, 0},
                 {:call, :step, {0, [[1]]}, 0},
                 {:notice, :drop, 0},
                 {:call, :final, {1, [[1]]}, 0}
               ])
    end

    test "does not begin anew in another process", %{conn: conn} do
      :ok = LibsqlPort.create_function(conn, "die", 0, fn -> Process.exit(self(), :kill) end)

      ExUnit.CaptureLog.capture_log(fn ->
        [ok: nil] = call(conn, "total", [{:call, :step, {5, [[1]]}, 0}])
        [error: _] = scalar(conn, "die", [])

        assert [error: "the process that held the rows of this group has ended", ok: 7] =
                 call(conn, "total", [{:call, :final, {5, [[1]]}, 0}, {:call, :final, {6, [[7]]}, 0}])
      end)
    end
  end

  describe "a table function" do
    setup %{conn: conn} do
      test = self()

      rows = fn from ->
        Stream.resource(
          fn -> from end,
          fn
            13 -> raise "thirteen"
            n when n < 1_000 -> {[[n, "row"]], n + 1}
            n -> {:halt, n}
          end,
          fn _ -> send(test, :closed) end
        )
      end

      :ok = LibsqlPort.create_table_function(conn, "upto", parameters: [:from], columns: [:n, :t], rows: rows)
    end

    test "comes in chunks of at most so many rows", %{conn: conn} do
      assert [ok: {one, false}, ok: {two, false}, ok: {three, true}] =
               call(conn, "upto", [
                 {:call, :open, {0, [994], 2}, 0},
                 {:call, :next, {0, 3}, 0},
                 {:call, :next, {0, 100}, 0}
               ])

      assert Enum.map(one ++ two ++ three, &hd/1) == Enum.to_list(994..999)
      assert_received :closed
    end

    test "is halted when its scan ends", %{conn: conn} do
      assert [ok: {[_], false}] = call(conn, "upto", [{:call, :open, {0, [900], 1}, 0}, {:notice, :close, 0}])
      assert_receive :closed, 10_000
    end

    test "is halted when its runner ends", %{conn: conn} do
      :ok = LibsqlPort.create_function(conn, "die", 0, fn -> Process.exit(self(), :kill) end)

      ExUnit.CaptureLog.capture_log(fn ->
        [ok: _] = call(conn, "upto", [{:call, :open, {0, [900], 1}, 0}])
        [error: _] = scalar(conn, "die", [])
        assert_receive :closed, 10_000

        assert [error: "the process that read these rows has ended"] =
                 call(conn, "upto", [{:call, :next, {0, 1}, 0}])
      end)
    end

    test "is halted after the row at which nobody waits any more", %{sidecar: sidecar, conn: conn} do
      test = self()

      rows = fn ->
        Stream.resource(
          fn -> 1 end,
          fn n ->
            send(test, {:at, n, self()})
            receive do: (:go_on -> {[[n]], n + 1})
          end,
          fn _ -> send(test, :closed) end
        )
      end

      :ok = LibsqlPort.create_table_function(conn, "slow", columns: [:n], rows: rows)
      task = Task.async(fn -> call(conn, "slow", [{:call, :open, {0, [], 1_000}, 0}]) end)
      assert_receive {:at, 1, reader}, 5_000
      :ok = LibsqlPort.close(conn)
      eventually(fn -> runners(sidecar) == [] end)
      send(reader, :go_on)
      assert_receive :closed, 5_000
      refute_received {:at, 2, _}
      Task.shutdown(task, :brutal_kill)
    end

    test "that is linked to what crashes is answered at once", %{conn: conn} do
      rows = fn ->
        Stream.repeatedly(fn -> spawn_link(fn -> exit(:crashed) end) && Process.sleep(:infinity) end)
      end

      :ok = LibsqlPort.create_table_function(conn, "linked", columns: [:n], rows: rows)
      :ok = LibsqlPort.create_function(conn, "me", 0, fn -> inspect(self()) end)
      [ok: me] = scalar(conn, "me", [])

      assert [error: "the process that read the rows has ended: " <> _] =
               call(conn, "linked", [{:call, :open, {0, [], 9}, 0}])

      # The others of the connection go on.
      assert [ok: ^me] = scalar(conn, "me", [])
    end

    test "is halted when the connection is closed", %{conn: conn} do
      [ok: _] = call(conn, "upto", [{:call, :open, {0, [900], 1}, 0}])
      :ok = LibsqlPort.close(conn)
      assert_receive :closed, 10_000
    end

    test "that raises closes what it has opened", %{conn: conn} do
      assert [ok: {[[12, "row"]], false}, error: "thirteen"] =
               call(conn, "upto", [{:call, :open, {0, [12], 1}, 0}, {:call, :next, {0, 9}, 0}])

      assert_received :closed
    end

    test "has rows of as many values as columns", %{conn: conn} do
      for {row, message} <- [
            {[1], "a row of the table function must be a list of 2 values"},
            {[1 | 2], "a row of the table function must be a list of 2 values"},
            {{1, 2, 3}, "a row of the table function must be a list or tuple of 2 values"},
            {"text", "a row of the table function must be a list or tuple of 2 values"},
            {[1, self()], "column 2 of a row: the function returned a process id"}
          ] do
        :ok = LibsqlPort.create_table_function(conn, "bad", columns: [:a, :b], rows: fn -> [row] end)
        assert [error: text] = call(conn, "bad", [{:call, :open, {0, [], 9}, 0}])
        assert String.starts_with?(text, message)
      end

      :ok =
        LibsqlPort.create_table_function(conn, "good",
          columns: [:a, :b],
          rows: fn -> [{1, nil}, ["x", 2.5]] end
        )

      assert [ok: {[[1, nil], ["x", 2.5]], true}] = call(conn, "good", [{:call, :open, {0, [], 9}, 0}])
    end

    test "ends a chunk early whose rows are long", %{conn: conn} do
      row = [String.duplicate("x", 400_000)]

      :ok =
        LibsqlPort.create_table_function(conn, "wide",
          columns: [:a],
          rows: fn -> Stream.repeatedly(fn -> row end) end
        )

      assert [ok: {rows, false}] = call(conn, "wide", [{:call, :open, {0, [], 1_000}, 0}])
      assert length(rows) == 3
    end
  end

  test "a collation's key may be any bytes, and nothing else", %{conn: conn} do
    :ok =
      LibsqlPort.create_collation(conn, "keyed",
        key: fn
          "x" -> <<255>>
          _ -> :no
        end
      )

    assert [ok: {:blob, <<255>>}] = call(conn, "keyed", [{:call, :key, ["x"], 0}])
    assert [error: "the key function" <> _] = call(conn, "keyed", [{:call, :key, ["y"], 0}])
  end

  test "a call that this client does not know is answered", %{conn: conn} do
    :ok = LibsqlPort.create_function(conn, "f", 0, fn -> 1 end)
    assert [error: "this client does not know such a call" <> _] = call(conn, "f", [{:call, :value, :odd, 0}])
  end

  describe "registration" do
    test "a function of the sidecar is there again after a restart, before anybody's request", context do
      %{sidecar: sidecar, conn: conn} = context
      :ok = LibsqlPort.create_function(sidecar, "kept", 1, fn x -> x + 1 end, directonly: false, timeout: 7)
      :ok = LibsqlPort.create_function(sidecar, "dropped", 0, fn -> 1 end)
      {:ok, true} = LibsqlPort.drop_function(sidecar, "dropped", 0)
      :ok = LibsqlPort.create_function(conn, "of_connection", 0, fn -> 1 end)

      ExUnit.CaptureLog.capture_log(fn -> {:error, _} = LibsqlPort.query(conn, "die 9") end)
      {:ok, again} = LibsqlPort.connect(sidecar, database: "stub", connect_timeout: 60_000)
      {:ok, %{rows: rows}} = LibsqlPort.query(again, "functions")

      assert [
               {0,
                %{
                  "name" => "kept",
                  "timeout" => 7,
                  "directonly" => false,
                  "kind" => :scalar,
                  "arguments" => 1
                }}
             ] = for([function] <- rows, do: :erlang.binary_to_term(function))

      assert [ok: 2] = scalar(again, "kept", [1])
    end

    test "one that is refused is not there", %{sidecar: sidecar, conn: conn} do
      assert {:error, %Error{code: :out_of_memory}} =
               LibsqlPort.create_function(sidecar, "refused", 0, fn -> 1 end)

      assert {:error, %Error{code: :out_of_memory}} =
               LibsqlPort.create_function(conn, "refused", 0, fn -> 1 end)

      refute LibsqlPort.Functions.any?(conn.handle.functions)
    end

    test "replacing and dropping leaves nothing behind on a connection", %{conn: conn} do
      for _ <- 1..10, do: :ok = LibsqlPort.create_function(conn, "f", 0, fn -> 1 end)
      assert LibsqlPort.Functions.any?(conn.handle.functions)
      assert {:ok, true} = LibsqlPort.drop_function(conn, "f", 0)
      assert {:ok, false} = LibsqlPort.drop_function(conn, "f", 0)
      refute LibsqlPort.Functions.any?(conn.handle.functions)
    end

    test "one that was dropped while a statement runs is still called", %{sidecar: sidecar, conn: conn} do
      :ok =
        LibsqlPort.create_function(sidecar, "self", 0, fn ->
          {:ok, dropped?} = LibsqlPort.drop_function(sidecar, "self", 0)
          dropped?
        end)

      assert [ok: true, ok: false] = call(conn, "self", List.duplicate({:call, :scalar, [], 0}, 2))
    end

    test "the options of the sidecar and of a connection take functions" do
      double = {:scalar, "double", 1, fn x -> 2 * x end}
      {sidecar, conn} = Stub.start("polite", functions: [double])
      assert [ok: 4] = scalar(conn, "double", [2])

      {:ok, other} =
        LibsqlPort.connect(sidecar,
          database: "stub",
          functions: [{:scalar, "one", 0, fn -> 1 end, timeout: 5}]
        )

      {:ok, %{rows: [_, [of_connection]]}} = LibsqlPort.query(other, "functions")
      assert {2, %{"name" => "one", "timeout" => 5}} = :erlang.binary_to_term(of_connection)

      assert {:error, %Error{code: :out_of_memory}} =
               LibsqlPort.connect(sidecar, database: "stub", functions: [{:scalar, "refused", 0, fn -> 1 end}])

      assert {:error, %Error{code: :invalid_option, message: message}} =
               LibsqlPort.connect(sidecar, database: "stub", functions: [{:scalar, "f", 2, fn -> 1 end}])

      assert message =~ "the function f: :fun is a function of 2 arguments"
    end
  end

  describe "re-entry" do
    # Every request that a connection may be sent.
    @requests [
      query: "LibsqlPort.query(conn, \"x\")",
      prepare: "LibsqlPort.prepare(conn, \"x\")",
      batch: "LibsqlPort.batch(conn, [\"x\"])",
      script: "LibsqlPort.script(conn, \"x\")",
      transaction: "LibsqlPort.transaction(conn, & &1)",
      declare: "LibsqlPort.Cursor.declare(conn, \"x\", [])",
      close: "LibsqlPort.close(conn)",
      reset: "LibsqlPort.reset(conn)",
      status: "LibsqlPort.status(conn)",
      checkpoint: "LibsqlPort.checkpoint(conn)",
      cancel: "LibsqlPort.cancel(conn, 300)",
      create: "LibsqlPort.create_function(conn, \"g\", 0, fn -> 1 end)",
      drop: "LibsqlPort.drop_function(conn, \"f\", 0)"
    ]

    test "a connection that waits for the function refuses every request of it, at once", %{conn: conn} do
      test = self()

      for {name, code} <- @requests do
        request = code |> Code.string_to_quoted!()

        :ok =
          LibsqlPort.create_function(conn, "f", 0, fn ->
            {answer, _} = Code.eval_quoted(request, conn: conn)
            {in_task, _} = Task.await(Task.async(fn -> Code.eval_quoted(request, conn: conn) end))
            send(test, {name, answer, in_task})
            1
          end)

        assert [ok: 1] = scalar(conn, "f", [])

        assert_received {^name, {:error, %Error{code: :callback_reentered}},
                         {:error, %Error{code: :callback_reentered}}}
      end

      stream = fn -> conn |> LibsqlPort.stream("x") |> Enum.to_list() end
      :ok = LibsqlPort.create_function(conn, "f", 0, stream)
      assert [error: "the connection waits for the callback" <> _] = scalar(conn, "f", [])
    end

    test "the connection of a transaction is the same connection", %{conn: conn} do
      test = self()

      LibsqlPort.transaction(conn, fn inner ->
        :ok =
          LibsqlPort.create_function(inner, "f", 0, fn ->
            for c <- [conn, inner], do: send(test, LibsqlPort.query(c, "x"))
            1
          end)

        assert [ok: 1] = scalar(inner, "f", [])
      end)

      for _ <- 1..2, do: assert_received({:error, %Error{code: :callback_reentered}})
    end

    test "another connection works, also nested, and a chain that comes back is refused", %{conn: a} do
      # Of other programs, because a stub runs one call at a time.
      {_, b} = Stub.start("polite")
      {_, c} = Stub.start("polite")
      :ok = LibsqlPort.create_function(a, "f", 0, fn -> inspect(scalar(b, "g", [])) end)

      :ok =
        LibsqlPort.create_function(b, "g", 0, fn ->
          inspect(Task.await(Task.async(fn -> scalar(c, "h", []) end)))
        end)

      :ok =
        LibsqlPort.create_function(c, "h", 0, fn ->
          for conn <- [a, b, c], do: {:error, %Error{code: :callback_reentered}} = LibsqlPort.query(conn, "x")
          :ok = LibsqlPort.ping(a)
          "deep"
        end)

      assert [ok: text] = scalar(a, "f", [])
      assert text =~ "deep"
      # Nothing of it stays.
      assert {:ok, _} = LibsqlPort.query(a, "x")
    end

    test "a process that is not below the call only waits", %{conn: conn} do
      test = self()

      :ok =
        LibsqlPort.create_function(conn, "f", 0, fn -> send(test, :called) && receive(do: (:go_on -> 1)) end)

      task = Task.async(fn -> scalar(conn, "f", []) end)
      assert_receive :called, 10_000
      assert {:ok, _} = LibsqlPort.query(conn, "x")
      Task.shutdown(task, :brutal_kill)
    end

    test "what a function asks for gets no more time than is left to it", %{conn: conn} do
      {_, other} = Stub.start("polite", reply_grace: 0)

      :ok =
        LibsqlPort.create_function(conn, "f", 1, fn
          "here" -> timeout(LibsqlPort.query(other, "never", [], timeout: :infinity))
          "default" -> timeout(LibsqlPort.query(other, "never"))
          "task" -> Task.await(Task.async(fn -> timeout(LibsqlPort.query(other, "never")) end))
        end)

      for where <- ["here", "default", "task"] do
        assert [ok: "timeout"] = call(conn, "f", [{:call, :scalar, [where], 100}])
      end
    end

    defp timeout({:error, %Error{code: :outcome_unknown, message: message}}) do
      [_, ms] = Regex.run(~r/within (\d+) ms/, message)
      if String.to_integer(ms) <= 100, do: "timeout", else: "late"
    end
  end

  test "without a function a request leaves nothing for callbacks", %{conn: conn} do
    assert LibsqlPort.Functions.any?(conn.handle.functions) == false
    task = Task.async(fn -> LibsqlPort.query(conn, "never", [], timeout: 300) end)
    eventually(fn -> LibsqlPort.requests(conn) != [] end)
    [{id, _}] = LibsqlPort.requests(conn)
    assert LibsqlPort.InFlight.context(conn.handle.table, id) == nil
    Task.shutdown(task, :brutal_kill)
  end

  defp odd(1), do: raise(ArgumentError, "no")
  defp odd(2), do: throw(:away)
  defp odd(3), do: exit(:gone)
  defp odd(4), do: self()
  defp odd(5), do: ~D[2024-01-01]
  defp odd(6), do: :no_value
  defp odd(7), do: raise(String.duplicate("é", 2_000))

  defp function(0, fun), do: fn -> fun.([]) end
  defp function(1, fun), do: fn a -> fun.([a]) end
  defp function(2, fun), do: fn a, b -> fun.([a, b]) end
  defp function(3, fun), do: fn a, b, c -> fun.([a, b, c]) end
  defp function(4, fun), do: fn a, b, c, d -> fun.([a, b, c, d]) end
end
