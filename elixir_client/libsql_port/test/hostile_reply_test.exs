defmodule LibsqlPort.HostileReplyTest do
  # Whatever bytes a program sends in reply, its caller gets a value of the right form or a typed error, and the process
  # that owns the port lives on.
  use ExUnit.Case, async: true

  alias LibsqlPort.{Connection, Cursor, Description, Error, InFlight, Reply, Result, Stub, Wire}

  @directory Path.expand("../../../tests/fixtures/golden", __DIR__)

  # The bodies of the golden replies.
  defp bodies do
    for file <- File.ls!(@directory), String.starts_with?(file, "reply_") do
      lines = @directory |> Path.join(file) |> File.read!() |> String.split("\n", trim: true)
      bytes = for line <- lines, not (line =~ ~r/^(#|[a-z]+: )/), do: String.replace(line, " ", "")
      <<_length::32, body::binary>> = bytes |> Enum.join() |> Base.decode16!(case: :mixed)
      body
    end
  end

  defp mutated(body) do
    <<head::binary-size(9), rest::binary>> = body
    head <> Enum.reduce(0..:rand.uniform(3), rest, fn _, rest -> mutate(rest, :rand.uniform(6)) end)
  end

  defp mutate(<<>>, _kind), do: <<:rand.uniform(256) - 1>>

  defp mutate(bytes, kind) do
    at = :rand.uniform(byte_size(bytes)) - 1
    <<before::binary-size(at), byte, rest::binary>> = bytes

    case kind do
      1 ->
        before <> <<:rand.uniform(256) - 1>> <> rest

      2 ->
        before

      3 ->
        before <> rest

      4 ->
        before <> <<byte, :rand.uniform(256) - 1>> <> rest

      # Another kind of term, or a length that is a lie.
      5 ->
        before <> <<Enum.random([70, 97, 98, 100, 104, 105, 106, 107, 108, 109, 110, 116, 119, 255])>> <> rest

      6 ->
        before <> :binary.copy(<<255>>, 4) <> rest
    end
  end

  defp fits?(_name, :unreadable), do: true
  defp fits?(_name, {:error, %Error{code: code, message: message}}), do: is_atom(code) and is_binary(message)

  defp fits?(name, {:ok, value, _times}) when name in [:execute, :query_one, :execute_prepared],
    do: match?(%Result{}, value) and length(value.rows) == value.num_rows

  defp fits?(:batch, {:ok, items, _}),
    do: Enum.all?(items, &(match?(%Result{}, &1) or match?({:error, %Error{}}, &1)))

  defp fits?(:fetch, {:ok, {more, rows}, _}), do: more in [:more, :done] and length(rows) >= 0
  defp fits?(:describe, {:ok, value, _}), do: match?(%Description{}, value)

  defp fits?(:prepare, {:ok, {id, description}, _}),
    do: is_integer(id) and match?(%Description{}, description)

  defp fits?(:declare, {:ok, {id, columns}, _}), do: is_integer(id) and Enum.all?(columns, &is_binary/1)
  defp fits?(:begin, {:ok, status, _}), do: status in [:none, :open, :read, :write]
  defp fits?(:cancel, {:ok, told?, _}), do: is_boolean(told?)
  defp fits?(_name, {:ok, _value, _}), do: true

  test "no mutation of a golden reply is read as anything but an answer or an error" do
    bodies = bodies()
    assert length(bodies) > 20
    names = for {name, _} <- Wire.requests(), name != :credit, do: name

    for body <- bodies, _ <- 1..60, frame = mutated(body), name <- names do
      answer = Reply.read(name, frame, [])
      assert fits?(name, answer), inspect({name, frame, answer}, limit: :infinity)
    end
  end

  test "frames of rows and parts that are none are found out" do
    for body <- bodies(), _ <- 1..200, frame = mutated(body) do
      assert match?({count, bytes} when is_integer(count) and is_binary(bytes), Wire.bare_rows(frame)) or
               Wire.bare_rows(frame) == nil

      assert match?({last, bytes} when last in 0..2 and is_binary(bytes), Wire.part(frame)) or
               Wire.part(frame) == nil
    end
  end

  describe "a program that sends it" do
    setup do
      {sidecar, conn} = Stub.start("polite", reply_grace: 0)
      %{sidecar: sidecar, conn: conn}
    end

    defp term(tag, term), do: {:blob, <<97, tag, Wire.encode(term)::binary>>}

    test "leaves its callers with typed errors and the port's owner alive", %{sidecar: sidecar, conn: conn} do
      owner = conn.handle.sidecar

      frames = [
        [{:blob, <<97, 66>>}],
        [{:blob, <<97, 66, 104, 200>>}],
        [{:blob, <<97, 66, 109, 255, 255, 255, 255>>}],
        [{:blob, <<97, 200, 106>>}],
        [term(64, nil)],
        [term(66, nil)],
        [term(66, {1, 2, 3})],
        [term(66, {[[1] | 2], ["a"], 1, 0, 0, 0, 1, 2, 3})],
        [term(66, {[1], ["a"], 1, 0, 0, 0, 1, 2, 3})],
        [term(66, {[[1]], [:a], 1, 0, 0, 0, 1, 2, 3})],
        [term(66, {[[1]], ["a"], 2, 0, 0, 0, 1, 2, 3})],
        [term(66, {[], [], 0, 0, 0, 9, 1, 2, 3})],
        [term(65, nil)],
        [term(65, {:a, :b, :c, :d, :e, :f, :g})],
        [term(65, {1, "m", nil, {1, 2}, nil, nil, nil})],
        # Rows that are no list, and rows that the end does not count.
        [{:blob, <<97, 67>>}],
        [{:blob, <<97, 67, 108>>}],
        [{:blob, <<97, 67, 108, 255, 255, 255, 255, 106>>}, term(66, {[], ["a"], 1, 0, 0, 0, 1, 2, 3})],
        [term(67, [[1]]), term(66, {[], ["a"], 5, 0, 0, 0, 1, 2, 3})],
        [term(67, [[1]]), term(66, {[[2]], ["a"], 2, 0, 0, 0, 1, 2, 3})],
        # Parts that are none, or that make no frame.
        [term(70, nil)],
        [term(70, {2, "no frame"})],
        [term(70, {0, <<131, 104>>}), term(70, {2, "no frame"})],
        [term(70, {7, "x"})]
      ]

      for frames <- frames do
        assert {:error, %Error{code: code}} =
                 LibsqlPort.query(conn, "raw", frames, in_transaction: true, timeout: 1_000),
               inspect(frames)

        assert code in [:protocol_mismatch, :unknown, :timeout], inspect({frames, code})

        assert {:error, %Error{code: code}} = LibsqlPort.query(conn, "raw", frames, timeout: 1_000)
        assert code in [:outcome_unknown, :unknown, :timeout], inspect({frames, code})
        assert {:ok, %Result{rows: [["still", "here"]]}} = LibsqlPort.query(conn, "echo", ["still", "here"])
      end

      assert {:ok, %{sidecar: ^owner}} =
               LibsqlPort.Supervisor.handle(sidecar, System.monotonic_time(:millisecond) + 60_000)

      # Who has given up is not answered, even if an answer still comes.
      assert InFlight.callers(conn.handle.table) == []
    end

    test "as an event, changes nothing", %{conn: conn} do
      for rest <- [
            <<97, 97>>,
            <<97, 97, 104, 200>>,
            <<97, 97, Wire.encode({:a, :b})::binary>>,
            <<97, 98, 106>>,
            <<97, 98, 104, 2>>,
            <<97, 255, 1>>
          ] do
        assert {:ok, _} = LibsqlPort.query(conn, "event", [{:blob, rest}])
      end

      assert {:ok, _} = LibsqlPort.query(conn, "echo")
    end

    # The stub answers these with a number.
    test "is an error of every request that knows another form", %{conn: conn} do
      unreadable = [
        &LibsqlPort.prepare(&1, "x"),
        &LibsqlPort.describe(&1, "x"),
        &LibsqlPort.checkpoint/1,
        &LibsqlPort.status/1,
        &Cursor.declare(&1, "SELECT 1", [])
      ]

      for request <- unreadable, do: assert({:error, %Error{code: :protocol_mismatch}} = request.(conn))
      assert {:error, %Error{code: :outcome_unknown}} = LibsqlPort.batch(conn, ["x"])
      assert {:error, %Error{code: :outcome_unknown}} = LibsqlPort.script(conn, "x")
      assert {:ok, :none} = Connection.savepoint(conn, "a")
    end
  end
end
