defmodule LibsqlPort.GoldenTest do
  # The frames of tests/fixtures/golden, which neither side's encoder wrote; their form is told in the README there.
  use ExUnit.Case, async: true

  alias LibsqlPort.Changes.Event
  alias LibsqlPort.{Description, Error, Reply, Result, Wire}

  @subscribed [101, 102, 103, 105, 106, 107, 109]

  @directory Path.expand("../../../tests/fixtures/golden", __DIR__)
  @files @directory |> File.ls!() |> Enum.filter(&String.ends_with?(&1, ".hex")) |> Enum.sort()

  test "there are golden frames of each kind" do
    for kind <- ~w(request value reply event), do: assert(Enum.any?(@files, &String.starts_with?(&1, kind)))
  end

  for file <- @files do
    @file_name file
    test "#{file}" do
      golden = read(@file_name)

      if golden["term"] do
        assert :erlang.binary_to_term(golden.body) == golden["term"]
      end

      check(@file_name |> String.split("_") |> hd(), golden)
    end
  end

  # The program reads longer time limits than this client writes: it refuses them.
  defp check("request", %{"term" => {_, _, {_, timeout, _, _}}})
       when is_integer(timeout) and timeout > 2_147_483_647 do
    assert_raise ArgumentError, fn -> Wire.timeout_ms(timeout) end
  end

  # What the client writes means the same; bytes may differ where the format allows several forms.
  defp check("request", %{"term" => {id, tag, payload}}) do
    assert <<131, 104, 3, 98, ^id::32, 97, ^tag, _::binary>> =
             written = IO.iodata_to_binary(Wire.frame(id, tag, written(tag, payload)))

    assert :erlang.binary_to_term(written) == {id, tag, payload}
  end

  defp check("value", %{"term" => {_, _, {_, _, _, params}}} = golden) do
    case Wire.params(params) do
      {:ok, encoded} -> assert :erlang.binary_to_term(<<131, encoded::binary>>) == params
      {:error, error} -> assert Atom.to_string(error.code) == golden["answer"]
    end
  end

  defp check("value", _without_term), do: :ok

  defp check("reply", %{"term" => {_id, tag, payload}} = golden) do
    assert Wire.reply_tag(golden.body) == tag
    assert Wire.payload(golden.body) == payload
    reply(tag, payload, golden)
  end

  defp check("event", %{"term" => {0, tag, payload}} = golden) do
    known =
      Enum.map(
        [:hello, :connection_lost, :log, :call, :abandoned, :policy_denied, :breaker, :replica],
        &Wire.tag/1
      )

    assert tag in known or tag in @subscribed
    assert Wire.payload(golden.body) == payload
    if tag in @subscribed, do: assert(Event.subscription(golden.body) == elem(payload, 0))
    subscribed(tag, payload, golden.body)

    # What is read without decoding is the same.
    if tag == Wire.tag(:call), do: assert(Wire.call_head(golden.body) == head(payload, 4))
    if tag == Wire.tag(:abandoned), do: assert(Wire.abandoned(golden.body) == payload)
  end

  defp subscribed(101, {_, 1, bytes}, body) do
    assert {true, ^bytes} = Event.piece(body)
    assert {:ok, event} = Event.changes(bytes)
    assert {event.database, event.schema, event.connection, event.sequence} == {"/data/app.db", "main", 7, 42}
    assert [insert, update, delete, schema, resync] = event.changes

    assert insert == %{
             operation: :insert,
             table: "t",
             rowid: 1,
             old_rowid: nil,
             key: %{"id" => 1},
             old_key: nil,
             old: nil,
             new: %{"id" => 1, "a" => "x"}
           }

    assert %{operation: :update, rowid: 9, old_rowid: 1, key: %{"id" => 9}, old_key: %{"id" => 1}} = update
    assert update.new == %{"id" => 9, "a" => nil}
    assert %{operation: :delete, rowid: 9, key: %{"id" => 9}, old: nil, new: nil} = delete
    assert schema == %{operation: :schema}
    assert resync == %{operation: :resync, reason: :too_large}
  end

  defp subscribed(102, {_, database, from, to}, body),
    do: assert(Event.lagged(body) == {:ok, {database, from, to}})

  defp subscribed(103, {_, kind, database, schema, connection, pages}, body) do
    fields = %{kind: kind, database: database, schema: schema, connection: connection, pages: pages}
    assert Event.hook(body) == {:ok, fields}
  end

  defp subscribed(105, {_, phase, database, connection, request, waited_us}, body) do
    fields = %{
      phase: phase,
      database: database,
      connection: connection,
      request: request,
      waited_us: waited_us
    }

    assert Event.busy(body) == {:ok, fields}
  end

  defp subscribed(106, {_, database, connection, request, run_ms, steps}, body) do
    fields = %{database: database, connection: connection, request: request, run_ms: run_ms, steps: steps}
    assert Event.progress(body) == {:ok, fields}
  end

  defp subscribed(107, {_, database, done, known}, body) do
    assert Event.sync(body) == {:ok, %{database: database, frames_done: done, frames_known: known}}
  end

  defp subscribed(109, {_, database, done, known}, body) do
    assert Event.freeze(body) == {:ok, %{database: database, pages_done: done, pages_known: known}}
  end

  # What a commit hook is asked about has the form of what subscribers are told.
  defp subscribed(99, {_, _, _, _, :commit, transactions, _}, _body) do
    assert [{:ok, %{schema: "main", changes: [%{operation: :insert, table: "t", rowid: 5}]}}] =
             Enum.map(transactions, &Event.transaction/1)
  end

  defp subscribed(_tag, _payload, _body), do: :ok

  defp head(tuple, count), do: tuple |> Tuple.to_list() |> Enum.take(count) |> List.to_tuple()

  defp reply(64, _payload, golden) do
    assert {:ok, answer, nil} = Reply.read(answered(golden.file), golden.body, [])

    case answered(golden.file) do
      :connection_status -> assert is_integer(answer.requests)
      :status -> assert is_integer(answer.uptime)
      :describe -> assert %Description{} = answer
      :begin -> assert answer in [:none, :open, :read, :write]
      _other -> assert answer != :unreadable
    end
  end

  defp reply(65, payload, golden) do
    assert {:error, %Error{} = error} = Reply.read(:execute, golden.body, [])
    assert error.number == elem(payload, 0)
    assert error.code != :unknown

    if is_tuple(elem(payload, 3)) and tuple_size(elem(payload, 3)) == 6,
      do: assert(%{action: :read, rule: 1} = error.denial),
      else: if(elem(payload, 3), do: assert(error.constraint.kind != :other))
  end

  # The end of a result whose rows came in frames before it, which are not there.
  defp reply(66, {rows, _, count, _, _, _, _, _, _}, golden) when length(rows) != count do
    assert Reply.read(:execute, golden.body, []) == :unreadable
  end

  defp reply(66, payload, golden) do
    assert {:ok, %Result{} = result, times} = Reply.read(:execute, golden.body, [])
    assert times == {elem(payload, 6), elem(payload, 7), elem(payload, 8)}
    assert result.rows == elem(payload, 0)
    assert result.times == %{queue_us: elem(payload, 6), lock_us: elem(payload, 7), run_us: elem(payload, 8)}
  end

  defp reply(tag, rows, golden) when tag in [67, 68, 71] do
    assert {count, _bytes} = bare = Wire.bare_rows(golden.body)
    assert count == length(rows)
    assert Wire.join_rows([bare, bare]) == rows ++ rows
  end

  defp reply(69, {items, _, queue, lock, run}, golden) do
    assert {:ok, results, {^queue, ^lock, ^run}} = Reply.read(:batch, golden.body, [])
    assert length(results) == length(items)

    for {item, result} <- Enum.zip(items, results) do
      case item do
        {:error, _} -> assert {:error, %Error{}} = result
        _ -> assert %Result{} = result
      end
    end
  end

  defp reply(70, {last, bytes}, golden) do
    assert Wire.part(golden.body) == {last, bytes}

    if golden["joined"] do
      assert :erlang.binary_to_term(joined(golden.file)) == golden["joined"]
    end
  end

  # The request that a reply with an `ok` answers, by the name of its file.
  @answered %{
    "checkpoint" => :checkpoint,
    "checkpoint_no_wal" => :checkpoint,
    "connection_status" => :connection_status,
    "declare" => :declare,
    "describe" => :describe,
    "false" => :cancel,
    "nil" => :close,
    "open" => :open,
    "open_remote" => :open,
    "prepare" => :prepare,
    "replication_status" => :sync,
    "replication_status_none" => :replication_status,
    "script" => :script,
    "status" => :status,
    "true" => :cancel,
    "tx_status" => :begin
  }

  defp answered("reply_ok_" <> name), do: Map.fetch!(@answered, Path.basename(name, ".hex"))

  defp joined(file) do
    [stem, _] = String.split(file, ~r/_\d+_of_/)

    @files
    |> Enum.filter(&String.starts_with?(&1, stem <> "_"))
    |> Enum.map_join(fn file -> file |> read() |> Map.fetch!(:body) |> Wire.part() |> elem(1) end)
  end

  # A payload as the client makes it.
  defp written(tag, payload) when tag in [1, 2, 28, 29, 30], do: Wire.encode(payload)
  defp written(4, {timeout, path, options}), do: Wire.encode({timeout, path, options})

  defp written(tag, {connection, timeout}) when tag in [3, 5, 16, 17, 23, 41, 43],
    do: Wire.addressed(address(connection), timeout)

  defp written(24, {connection, request}), do: Wire.cancel(address(connection), request)
  defp written(27, {connection, call, outcome}), do: Wire.answer(connection, call, Wire.encode(outcome))
  defp written(25, {connection, credits}), do: Wire.credit(address(connection), credits)

  defp written(tag, {connection, timeout, source, params}) when tag in [6, 7, 10, 12] do
    Wire.statement(address(connection), timeout, source(source), params(params), nil)
  end

  defp written(tag, {connection, timeout, source, params, options}) when tag in [6, 7, 10, 12] do
    Wire.statement(address(connection), timeout, source(source), params(params), options)
  end

  defp written(13, {connection, timeout, cursor, rows, bytes}),
    do: Wire.fetch(address(connection), timeout, cursor, rows, bytes)

  defp written(21, {connection, timeout, atomic, statements}) do
    pairs = for {sql, params} <- statements, do: [<<104, 2>>, Wire.binary(sql), params(params)]
    Wire.batch(address(connection), timeout, atomic, pairs)
  end

  defp written(_tag, {connection, timeout, source}),
    do: Wire.addressed(address(connection), timeout, source(source))

  defp address({connection, transaction}), do: Wire.address(Wire.encode(connection), transaction)
  defp address(connection), do: Wire.encode(connection)

  defp source(sql) when is_binary(sql), do: Wire.binary(sql)
  defp source(other), do: Wire.encode(other)

  defp params(params) do
    {:ok, encoded} = Wire.params(params)
    encoded
  end

  defp read(file) do
    lines = @directory |> Path.join(file) |> File.read!() |> String.split("\n", trim: true)

    golden =
      Enum.reduce(lines, %{file: file, bytes: []}, fn line, golden ->
        cond do
          String.starts_with?(line, "#") ->
            golden

          line =~ ~r/^[a-z]+: / ->
            expectation(golden, String.split(line, ": ", parts: 2))

          true ->
            %{golden | bytes: [golden.bytes, Base.decode16!(String.replace(line, " ", ""), case: :mixed)]}
        end
      end)

    <<length::32, body::binary>> = IO.iodata_to_binary(golden.bytes)
    assert byte_size(body) == length
    Map.put(golden, :body, body)
  end

  defp expectation(golden, [key, text]) when key in ["term", "joined"], do: Map.put(golden, key, term(text))
  defp expectation(golden, [key, text]), do: Map.put(golden, key, text)

  defp term(text) do
    {:ok, tokens, _} = :erl_scan.string(String.to_charlist(text <> "."))
    {:ok, term} = :erl_parse.parse_term(tokens)
    term
  end
end
