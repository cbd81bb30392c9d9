defmodule LibsqlPort.ChangesTest do
  # What subscribers of the driver are told. Which rows change is tests/sidecar/feed.rs's matter.
  use LibsqlPort.SidecarCase, async: true

  alias LibsqlPort.{Changes, Cursor}
  alias LibsqlPort.Changes.{Ended, Hook, Outbox, Witness}

  setup %{conn: conn} do
    LibsqlPort.script!(
      conn,
      "CREATE TABLE t (id INTEGER PRIMARY KEY, a); CREATE TABLE u (k TEXT PRIMARY KEY, v)"
    )

    :ok
  end

  # Passed on by two processes, which takes as long as it takes on a busy machine: the time of the test bounds it.
  defp told(subscription) do
    receive do: (%Changes{subscription: ^subscription} = changes -> changes)
  end

  # After a transaction that is told, nothing of what came before is still to come.
  defp mark(conn, subscription) do
    LibsqlPort.query!(conn, "INSERT INTO t VALUES (NULL, 'mark')")
    receive_until_mark(subscription, [])
  end

  defp receive_until_mark(subscription, before) do
    changes = told(subscription)

    case changes.changes do
      [%{operation: :insert, new: %{"a" => "mark"}}] -> Enum.reverse(before)
      _other -> receive_until_mark(subscription, [changes | before])
    end
  end

  test "a transaction is one message, after its commit", %{conn: conn, database: database} do
    {:ok, subscription} = Changes.subscribe(conn, values: :old_and_new)

    LibsqlPort.transaction(conn, fn conn ->
      LibsqlPort.query!(conn, "INSERT INTO t VALUES (1, 'x')")
      LibsqlPort.query!(conn, "UPDATE t SET id = 2, a = NULL")
      LibsqlPort.query!(conn, "INSERT INTO u VALUES ('k', ?)", [{:blob, <<0, 255>>}])
      LibsqlPort.query!(conn, "DELETE FROM u")
      refute_received %Changes{}
      {:ok, nil}
    end)

    changes = told(subscription)
    assert %Changes{schema: "main", connection: connection, sequence: sequence} = changes
    assert changes.database == Path.expand(database) or String.ends_with?(changes.database, "/test.db")
    assert connection == conn.id and is_integer(sequence)

    assert changes.changes == [
             %{
               operation: :insert,
               table: "t",
               rowid: 1,
               old_rowid: nil,
               key: %{"id" => 1},
               old_key: nil,
               old: nil,
               new: %{"id" => 1, "a" => "x"}
             },
             %{
               operation: :update,
               table: "t",
               rowid: 2,
               old_rowid: 1,
               key: %{"id" => 2},
               old_key: %{"id" => 1},
               old: %{"id" => 1, "a" => "x"},
               new: %{"id" => 2, "a" => nil}
             },
             %{
               operation: :insert,
               table: "u",
               rowid: 1,
               old_rowid: nil,
               key: %{"k" => "k"},
               old_key: nil,
               old: nil,
               new: %{"k" => "k", "v" => <<0, 255>>}
             },
             %{
               operation: :delete,
               table: "u",
               rowid: 1,
               old_rowid: nil,
               key: %{"k" => "k"},
               old_key: nil,
               old: %{"k" => "k", "v" => <<0, 255>>},
               new: nil
             }
           ]
  end

  test "nothing is told of a rollback", %{conn: conn} do
    {:ok, subscription} = Changes.subscribe(conn, values: :new)

    assert {:error, :no} =
             LibsqlPort.transaction(conn, fn conn ->
               LibsqlPort.query!(conn, "INSERT INTO t VALUES (1, 'x')")
               LibsqlPort.rollback(conn, :no)
             end)

    assert mark(conn, subscription) == []
  end

  test "a sidecar's subscriber hears of all its databases", %{sidecar: sidecar, conn: conn, tmp_dir: dir} do
    {:ok, subscription} = Changes.subscribe(sidecar, operations: [:insert])
    {:ok, other} = LibsqlPort.connect(sidecar, database: Path.join(dir, "other.db"))
    LibsqlPort.query!(other, "CREATE TABLE o (a)")
    LibsqlPort.query!(other, "INSERT INTO o VALUES (1)")
    assert %{changes: [%{operation: :schema}]} = told(subscription)
    assert %{changes: [%{table: "o"}], database: database} = told(subscription)
    assert Path.basename(database) == "other.db"
    LibsqlPort.query!(conn, "INSERT INTO t VALUES (1, 1)")
    assert %{changes: [%{table: "t"}]} = told(subscription)
    :ok = LibsqlPort.close(other)
  end

  test "several subscribers, each with its filter; one that unsubscribes hears nothing more", %{conn: conn} do
    {:ok, keys} = Changes.subscribe(conn, tables: ["t"])
    {:ok, new} = Changes.subscribe(conn, values: :new, columns: ["a"])
    LibsqlPort.query!(conn, "INSERT INTO t VALUES (1, 'x')")
    assert [%{key: %{"id" => 1}, new: nil}] = told(keys).changes
    assert [%{new: %{"a" => "x"} = row}] = told(new).changes
    assert map_size(row) == 1
    assert :ok = Changes.unsubscribe(keys)
    refute Process.alive?(keys)
    assert :ok = Changes.unsubscribe(keys)
    LibsqlPort.query!(conn, "INSERT INTO t VALUES (2, 'y')")
    told(new)
    refute_received %Changes{subscription: ^keys}
  end

  test "a subscription ends with its process", %{conn: conn} do
    test = self()

    {subscriber, monitor} =
      spawn_monitor(fn ->
        {:ok, subscription} = Changes.subscribe(conn)
        send(test, subscription)
        receive do: (:end -> :ok)
      end)

    assert_receive subscription when is_pid(subscription), 5_000
    ended = Process.monitor(subscription)
    send(subscriber, :end)
    assert_receive {:DOWN, ^monitor, :process, _, :normal}, 5_000
    assert_receive {:DOWN, ^ended, :process, _, :normal}, 5_000
  end

  test "a subscription that is killed is given back", %{conn: conn} do
    {:ok, first} = Changes.subscribe(conn)
    ended = Process.monitor(first)
    Process.exit(first, :kill)
    assert_receive {:DOWN, ^ended, :process, _, :killed}, 5_000
    # Its requests after that run are answered as ever.
    {:ok, second} = Changes.subscribe(conn, values: :new)
    assert mark(conn, second) == []
    refute_received %Changes{subscription: ^first}
  end

  test "with a demand of its own a subscriber is told no more than it asks for, and then what it missed", %{
    conn: conn
  } do
    {:ok, slow} = Changes.subscribe(conn, demand: :manual, pending_bytes_max: 1)
    {:ok, quick} = Changes.subscribe(conn)

    sequences =
      for id <- 1..5 do
        LibsqlPort.query!(conn, "INSERT INTO t VALUES (?, 1)", [id])
        told(quick).sequence
      end

    refute_received %Changes{subscription: ^slow}
    :ok = Changes.demand(slow)
    assert %{changes: [%{key: %{"id" => 1}}]} = told(slow)
    :ok = Changes.demand(slow, 2)
    assert %{changes: [resync], database: database} = changes = told(slow)
    assert Changes.resync?(changes)

    assert resync == %{
             operation: :resync,
             reason: :lagged,
             from: Enum.at(sequences, 1),
             to: Enum.at(sequences, 4)
           }

    assert is_binary(database)
    LibsqlPort.query!(conn, "DELETE FROM t WHERE id = 5")
    assert %{changes: [%{operation: :delete}]} = told(slow)
  end

  # Does not take what it is sent before it is told to; then the test has it.
  defp idle(conn, options) do
    test = self()

    subscriber =
      spawn_link(fn ->
        {:ok, subscription} = Changes.subscribe(conn, options)
        send(test, {:subscribed, self(), subscription})
        receive do: (:go -> forward(test))
      end)

    assert_receive {:subscribed, ^subscriber, subscription}, 5_000
    {subscriber, subscription}
  end

  defp forward(test) do
    receive do: (message -> send(test, message))
    forward(test)
  end

  defp waiting(subscriber, subscription) do
    # What it has to say of all that has committed it has said.
    :sys.get_state(subscription)
    Process.info(subscriber, :message_queue_len)
  end

  test "no more messages wait in the mailbox than it may hold; further ones follow, or are told as missed", %{
    conn: conn
  } do
    {subscriber, subscription} = idle(conn, pending_messages_max: 10, pending_bytes_max: 4_000)
    {:ok, quick} = Changes.subscribe(conn)
    for _ <- 1..4, do: send(subscriber, :of_somebody_else)

    sequences =
      for id <- 1..200, into: %{} do
        LibsqlPort.query!(conn, "INSERT INTO t VALUES (?, 1)", [id])
        {id, told(quick).sequence}
      end

    assert waiting(subscriber, subscription) == {:message_queue_len, 10}
    send(subscriber, :go)
    {ids, resync} = until_resync(subscription, [])
    last = length(ids)
    assert last in 11..199 and ids == Enum.to_list(1..last)
    assert resync == %{operation: :resync, reason: :lagged, from: sequences[last + 1], to: sequences[200]}
    LibsqlPort.query!(conn, "INSERT INTO t VALUES (201, 1)")
    assert [%{key: %{"id" => 201}}] = told(subscription).changes
  end

  defp until_resync(subscription, ids) do
    case told(subscription).changes do
      [%{operation: :insert, key: %{"id" => id}}] -> until_resync(subscription, [id | ids])
      [resync] -> {Enum.reverse(ids), resync}
    end
  end

  test "hooks and transformed messages wait for room as well", %{conn: conn} do
    options = [pending_messages_max: 3, hooks: [:commit, :wal], transform: & &1]
    {subscriber, subscription} = idle(conn, options)
    for id <- 1..5, do: LibsqlPort.query!(conn, "INSERT INTO t VALUES (?, 1)", [id])
    assert waiting(subscriber, subscription) == {:message_queue_len, 3}
    send(subscriber, :go)
    for id <- 1..5, do: assert([%{key: %{"id" => ^id}}] = told(subscription).changes)
  end

  test "a subscription to a private database ends with its connection, behind what it has told", context do
    %{sidecar: sidecar, database: database} = context
    test = self()

    for close <- [
          fn private -> :ok = LibsqlPort.close(private) end,
          fn private -> send(private.owner, :end) end
        ] do
      # The connection is its owner's.
      owner =
        spawn_link(fn ->
          {:ok, private} = LibsqlPort.connect(sidecar, database: ":memory:")
          LibsqlPort.query!(private, "CREATE TABLE p (a)")
          send(test, {:private, private})
          receive do: (:end -> :ok)
        end)

      assert_receive {:private, private}, 5_000
      {:ok, other} = LibsqlPort.connect(sidecar, database: ":memory:")
      {:ok, of_other} = Changes.subscribe(other)
      {:ok, file} = LibsqlPort.connect(sidecar, database: database)
      {:ok, of_file} = Changes.subscribe(file)
      :ok = LibsqlPort.close(file)
      {:ok, manual} = Changes.subscribe(private, demand: :manual)
      {subscriber, full} = idle(private, pending_messages_max: 1)
      {:ok, quick} = Changes.subscribe(private)
      for id <- 1..3, do: LibsqlPort.query!(private, "INSERT INTO p VALUES (?)", [id])
      for _ <- 1..3, do: told(quick)
      close.(Map.put(private, :owner, owner))

      for subscription <- [quick, manual] do
        assert_receive %Ended{subscription: ^subscription, error: %Error{code: :connection_closed}}, 5_000
      end

      assert waiting(subscriber, full) == {:message_queue_len, 1}
      send(subscriber, :go)
      for id <- 1..3, do: assert([%{operation: :insert, rowid: ^id}] = told(full).changes)
      assert_receive %Ended{subscription: ^full, error: %Error{code: :connection_closed}}, 5_000
      assert Process.alive?(of_other) and Process.alive?(of_file)
      for subscription <- [of_other, of_file], do: :ok = Changes.unsubscribe(subscription)
      :ok = LibsqlPort.close(other)
      refute_received %Ended{}
    end
  end

  # The next program has all its room.
  test "what waits when the program ends is not credited to the next one" do
    outbox = Outbox.new(%{subscriber: self(), pending_messages_max: 1, demand: :manual})
    {outbox, 0} = Outbox.put(outbox, :first, 7)
    {outbox, 0} = outbox |> Outbox.forget_bytes() |> Outbox.put(:second, 5)
    assert {outbox, 0} = Outbox.demand(outbox, 1)
    assert {outbox, 5} = Outbox.demand(outbox, 1)
    assert Outbox.empty?(outbox) and {:messages, [:first, :second]} == Process.info(self(), :messages)
  end

  # One that watches only later takes an end that it has missed for one that nobody has told.
  test "its witness watches when it has been started" do
    test = self()

    for _ <- 1..200 do
      {subscription, monitor} =
        spawn_monitor(fn ->
          witness = Witness.start(test)
          {:monitored_by, watching} = Process.info(self(), :monitored_by)
          send(test, {:watches, self(), witness, witness in watching})
        end)

      assert_receive {:watches, ^subscription, witness, true}, 5_000
      assert_receive {:DOWN, ^monitor, :process, ^subscription, :normal}, 5_000
      of_witness = Process.monitor(witness)
      assert_receive {:DOWN, ^of_witness, :process, ^witness, _reason}, 5_000
      refute_received %Ended{}
    end
  end

  test "one that hangs is ended all the same, and nothing is told of it", %{conn: conn} do
    test = self()

    hang = fn _message ->
      send(test, {:hangs, self()})
      Process.sleep(:infinity)
    end

    trapping = fn message ->
      Process.flag(:trap_exit, true)
      hang.(message)
    end

    for transform <- [hang, trapping] do
      {:ok, subscription} = Changes.subscribe(conn, transform: transform)
      witness = Process.monitor(:sys.get_state(subscription).witness)
      LibsqlPort.query!(conn, "INSERT INTO t VALUES (NULL, 1)")
      assert_receive {:hangs, ^subscription}, 5_000
      assert :ok = Changes.unsubscribe(subscription, 10)
      refute Process.alive?(subscription)
      # Nobody else could tell its end.
      assert_receive {:DOWN, ^witness, :process, _pid, _reason}, 5_000
      if transform == hang, do: refute_received(%Ended{})
    end

    {:ok, subscription} = Changes.subscribe(conn, values: :new)
    assert mark(conn, subscription) == []
    refute_received {:hangs, _pid}
  end

  @tag timeout: 300_000
  test "a long transaction comes whole", %{conn: conn} do
    {:ok, subscription} = Changes.subscribe(conn, values: :new)

    LibsqlPort.query!(conn, """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
    INSERT INTO t SELECT i, printf('%0100d', i) FROM n
    """)

    changes = told(subscription).changes
    assert length(changes) == 20_000
    assert List.last(changes).new == %{"id" => 20_000, "a" => String.pad_leading("20000", 100, "0")}
  end

  test "a large transaction is told after a small one, and so is what follows", %{conn: conn} do
    {:ok, subscription} = Changes.subscribe(conn, values: :new, pending_bytes_max: 10_000)

    # Less than a quarter of the room: of the small ones the sidecar is not told yet that they were taken.
    for {bytes, id} <- Enum.with_index([5, 9_900, 5, 20_000, 5]) do
      LibsqlPort.query!(conn, "INSERT INTO t VALUES (?, ?)", [id, String.duplicate("x", bytes)])
      assert [%{operation: :insert, key: %{"id" => ^id}}] = told(subscription).changes
      # What it has to say of that it has said.
      :sys.get_state(subscription)
    end
  end

  # SQLite undoes nothing of a statement whose savepoint went with that of another beside it.
  @tag sidecar_options: [heap_bytes_max: 64_000_000]
  test "of a statement that runs out of memory beside another what stays is told", context do
    %{conn: conn, sidecar: sidecar} = context
    {:ok, subscription} = Changes.subscribe(conn, tables: ["t"])
    {:ok, memory} = LibsqlPort.connect(sidecar, database: ":memory:")
    LibsqlPort.query!(memory, "CREATE TABLE f (b)")

    for sql <- ["BEGIN", "INSERT INTO t VALUES (1, 1)", "SAVEPOINT s", "INSERT INTO t VALUES (2, 2)"],
        do: LibsqlPort.query!(conn, sql)

    first = "INSERT INTO t VALUES (10, 1), (11, 1), (12, 1) RETURNING id"
    {:ok, first} = Cursor.declare(conn, first, [], live: true)
    {:more, [[10]]} = Cursor.fetch(conn, first, chunk_rows: 1)

    second =
      "WITH RECURSIVE n(i) AS (SELECT 20 UNION ALL SELECT i + 1 FROM n WHERE i < 25) " <>
        "INSERT INTO t SELECT i, zeroblob(600000 + i * 10000) FROM n RETURNING id, a"

    {:ok, second} = Cursor.declare(conn, second, [], live: true)
    {:more, [[20, _]]} = Cursor.fetch(conn, second, chunk_rows: 1)
    :ok = Cursor.close(conn, first)
    for size <- [1_000_000, 100_000, 10_000, 1_000], do: fill(memory, size)
    assert {:error, %Error{code: :out_of_memory}} = Cursor.fetch(conn, second, chunk_rows: 3)
    :ok = LibsqlPort.close(memory)
    LibsqlPort.query!(conn, "COMMIT")
    stored = LibsqlPort.query!(conn, "SELECT id FROM t").rows |> List.flatten()
    assert Enum.map(told(subscription).changes, & &1.rowid) == stored
  end

  defp fill(conn, size) do
    case LibsqlPort.query(conn, "INSERT INTO f VALUES (zeroblob(?))", [size]) do
      {:ok, _} -> fill(conn, size)
      {:error, %Error{code: :out_of_memory}} -> :ok
    end
  end

  @tag sidecar_options: [changes_bytes_max: 10_000]
  test "one that is too long says to read anew", %{conn: conn} do
    {:ok, subscription} = Changes.subscribe(conn, values: :new)
    LibsqlPort.query!(conn, "INSERT INTO t VALUES (1, ?)", [String.duplicate("x", 20_000)])
    assert told(subscription).changes == [%{operation: :resync, reason: :too_large}]
  end

  test "a stream subscribes when it begins and unsubscribes when it is left", %{conn: conn} do
    test = self()

    reader =
      Task.async(fn ->
        conn
        |> Changes.stream(values: :new)
        |> Stream.flat_map(& &1.changes)
        # An insert that was under way when the stream subscribed is told as such.
        |> Stream.filter(&(&1.operation == :insert))
        |> Stream.each(&send(test, {:read, &1.key}))
        |> Enum.take_while(&(&1.new["a"] != "stop"))
      end)

    # Until the stream has subscribed, nothing comes of it.
    eventually(fn ->
      LibsqlPort.query!(conn, "INSERT INTO t VALUES (NULL, 'go')")

      receive do
        {:read, _key} -> true
      after
        20 -> false
      end
    end)

    LibsqlPort.query!(conn, "INSERT INTO t VALUES (NULL, 'stop')")
    assert [_ | _] = rows = Task.await(reader)
    assert Enum.all?(rows, &(&1.new["a"] == "go"))
  end

  test "a transformation takes the place of a message, or leaves it out; one that raises ends the feed", %{
    conn: conn
  } do
    transform = fn %Changes{changes: [%{key: %{"id" => id}}]} ->
      if id == 3, do: raise("no")
      if id > 1, do: {:changed, id}
    end

    {:ok, subscription} = Changes.subscribe(conn, tables: ["t"], transform: transform)
    for id <- 1..3, do: LibsqlPort.query!(conn, "INSERT INTO t VALUES (?, 1)", [id])

    assert_receive %Ended{subscription: ^subscription, error: %Error{code: :internal, message: message}},
                   5_000

    assert message =~ "no"
    # Of the first nothing has come, and the second is all there is.
    assert {:messages, [{:changed, 2}]} = Process.info(self(), :messages)
    LibsqlPort.query!(conn, "INSERT INTO t VALUES (4, 1)")
  end

  test "hooks", %{conn: conn} do
    {:ok, subscription} = Changes.subscribe(conn, hooks: [:commit, :rollback, :wal], changes: false)
    LibsqlPort.query!(conn, "INSERT INTO t VALUES (1, 1)")
    assert_receive %Hook{subscription: ^subscription, kind: :commit, schema: "main"} = hook, 5_000
    assert hook.connection == conn.id
    assert_receive %Hook{kind: :wal, pages: pages} when pages > 0, 5_000
    assert {:error, _} = LibsqlPort.query(conn, "INSERT INTO t VALUES (1, 1)")
    assert_receive %Hook{kind: :rollback}, 5_000
    refute_received %Changes{}
  end

  describe "a sidecar whose program ends" do
    test "is subscribed to again, and says from where transactions may be missing", %{
      sidecar: sidecar,
      conn: conn,
      database: database
    } do
      {:ok, subscription} = Changes.subscribe(conn, values: :new)
      {:ok, private} = LibsqlPort.connect(sidecar, database: ":memory:")
      {:ok, of_private} = Changes.subscribe(private)
      LibsqlPort.query!(conn, "INSERT INTO t VALUES (1, 'before')")
      sequence = told(subscription).sequence
      {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
      {_, 0} = System.cmd("kill", ["-KILL", "#{os_pid}"])
      assert %{changes: [resync], database: name} = told(subscription)
      assert resync == %{operation: :resync, reason: :restarted, from: sequence}
      assert Path.basename(name) == "test.db"
      {:ok, conn} = LibsqlPort.connect(sidecar, database: database)
      LibsqlPort.query!(conn, "INSERT INTO t VALUES (2, 'after')")
      assert [%{new: %{"a" => "after"}}] = told(subscription).changes
      assert_receive %Ended{subscription: ^of_private, error: %Error{code: :sidecar_down}}, 5_000
    end

    test "for good, ends the subscriptions", %{tmp_dir: dir} do
      {:ok, sidecar} = LibsqlPort.start_link(log_level: :error)
      {:ok, conn} = LibsqlPort.connect(sidecar, database: Path.join(dir, "gone.db"))
      {:ok, of_conn} = Changes.subscribe(conn)
      {:ok, of_sidecar} = Changes.subscribe(sidecar)
      Supervisor.stop(sidecar)

      for subscription <- [of_conn, of_sidecar],
          do: assert_receive(%Ended{subscription: ^subscription}, 20_000)
    end
  end

  test "a subscription whose process is killed tells its subscriber, and a stream ends", %{conn: conn} do
    for reason <- [:kill, :shutdown, :some_reason] do
      {:ok, subscription} = Changes.subscribe(conn)
      Process.exit(subscription, reason)

      assert_receive %Ended{subscription: ^subscription, error: %Error{code: :internal, message: message}},
                     5_000

      assert message =~ to_string(if(reason == :kill, do: :killed, else: reason))
    end

    # Its sidecar gives the subscription back: nobody is told any more.
    {:ok, marker} = Changes.subscribe(conn)
    LibsqlPort.query!(conn, "INSERT INTO t VALUES (1, 'after')")
    told(marker)
    refute_received %Changes{}

    test = self()

    reader =
      Task.async(fn ->
        Changes.messages(fn options ->
          with {:ok, subscription} = subscribed <- Changes.subscribe(conn, options) do
            send(test, {:subscribed, subscription})
            subscribed
          end
        end)
        |> Enum.to_list()
      end)

    assert_receive {:subscribed, subscription}, 5_000
    Process.exit(subscription, :kill)
    assert Task.await(reader) == []
  end

  test "an end is told once, and none that was asked for", %{conn: conn} do
    witness = fn subscription -> Process.monitor(:sys.get_state(subscription).witness) end
    {:ok, subscription} = Changes.subscribe(conn)
    {:ok, crashing} = Changes.subscribe(conn, transform: fn _ -> raise "no" end)
    witnesses = Enum.map([subscription, crashing], witness)
    :ok = Changes.unsubscribe(subscription)
    LibsqlPort.query!(conn, "INSERT INTO t VALUES (1, 1)")
    for monitor <- witnesses, do: assert_receive({:DOWN, ^monitor, :process, _witness, _reason}, 5_000)
    assert_received %Ended{subscription: ^crashing}
    refute_received %Ended{}
  end

  test "a stream refuses what it sets itself", %{conn: conn} do
    for {option, value} <- [subscriber: self(), demand: :auto, transform: & &1] do
      error = assert_raise Error, fn -> Changes.stream(conn, [{option, value}]) end
      assert {error.code, error.message =~ inspect(option)} == {:invalid_option, true}
    end
  end

  test "bad options and closed connections are errors", %{conn: conn, sidecar: sidecar} do
    assert {:error, %Error{code: :invalid_option, message: message}} = Changes.subscribe(conn, table: "t")
    assert message =~ ":tables"
    assert {:error, %Error{code: :invalid_option}} = Changes.subscribe(conn, operations: [:truncate])
    lists = [:tables, :columns, :changed_columns, :operations, :hooks]

    for option <- lists, value <- ["t", :t, [:t], [1], ["t" | "u"], [:insert | :commit], [<<255>>], %{}] do
      assert {:error, %Error{code: :invalid_option, message: message}} =
               Changes.subscribe(conn, [{option, value}])

      assert message =~ inspect(option)
    end

    {:ok, closed} = LibsqlPort.connect(sidecar, database: ":memory:")
    :ok = LibsqlPort.close(closed)
    assert {:error, %Error{code: :unknown_connection}} = Changes.subscribe(closed)
    assert_raise Error, fn -> closed |> Changes.stream() |> Enum.take(1) end
  end
end
