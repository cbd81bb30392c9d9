defmodule LibsqlPort.InFlightTest do
  use ExUnit.Case, async: true

  alias LibsqlPort.{InFlight, Request}

  setup do
    %{table: InFlight.new(self(), nil), ids: InFlight.new_ids()}
  end

  defp enter(table, ids, ref, connection, claim \\ nil, sql \\ nil) do
    InFlight.enter(table, ids, ref, request(connection, claim, sql))
  end

  defp request(connection, claim, sql \\ nil) do
    %Request{name: :execute, payload: "", timeout: 1, connection: connection, claim: claim, sql: sql}
  end

  test "ids start at 256 and differ", %{table: table, ids: ids} do
    taken = for _ <- 1..1_000, do: enter(table, ids, make_ref(), 1)
    assert Enum.all?(taken, &(&1 in 256..2_147_483_647))
    assert length(Enum.uniq(taken)) == 1_000
  end

  test "after the last id the first free one comes", %{table: table, ids: ids} do
    first = enter(table, ids, make_ref(), 1)
    :atomics.put(ids, 1, 2_147_483_648 - 256 - 1)
    assert enter(table, ids, make_ref(), 1) == 256
    # The counter comes round to the one that still waits, and passes it by.
    :atomics.put(ids, 1, first - 256 - 1)
    assert enter(table, ids, make_ref(), 1) == first + 1
  end

  test "an entry is taken once", %{table: table, ids: ids} do
    ref = make_ref()
    id = enter(table, ids, ref, 1)
    assert {^id, pid, ^ref, 1, nil, nil, nil} = entry = InFlight.peek(table, id)
    assert pid == self()
    assert InFlight.take(table, id) == entry
    assert InFlight.take(table, id) == nil
    refute InFlight.waiting?(table, id)
  end

  test "requests are found by their connection", %{table: table, ids: ids} do
    one = enter(table, ids, make_ref(), 1)
    enter(table, ids, make_ref(), 2)
    enter(table, ids, make_ref(), nil)
    assert InFlight.of_connection(table, 1) == [{one, self()}]
  end

  test "who gives up leaves nothing behind, unless the reply may open something", %{table: table, ids: ids} do
    plain = enter(table, ids, make_ref(), 1)
    claim = {:claim, :cursor, self()}
    claiming = enter(table, ids, make_ref(), 1, claim)

    assert InFlight.give_up(table, plain, request(1, nil))
    refute InFlight.give_up(table, plain, request(1, nil))
    assert InFlight.give_up(table, claiming, request(1, claim))

    assert InFlight.of_connection(table, 1) == []
    assert InFlight.take(table, claiming) == {claiming, nil, nil, 1, claim, nil, nil}
    InFlight.answer_all(table)
    refute_received {_, :sidecar_down}
  end

  test "the oldest request of each connection is the one that runs", %{table: table, ids: ids} do
    enter(table, ids, make_ref(), 1, nil, "first")
    enter(table, ids, make_ref(), 1, nil, "second")
    enter(table, ids, make_ref(), 2, nil, nil)
    enter(table, ids, make_ref(), 2, nil, "behind one without a text")
    enter(table, ids, make_ref(), 3, nil, "third")
    enter(table, ids, make_ref(), nil, nil, "of no connection")
    assert InFlight.running(table) == [{1, "first"}, {3, "third"}]
  end

  test "a table that is gone is answered, not raised", %{table: table, ids: ids} do
    :ets.delete(table)
    assert enter(table, ids, make_ref(), 1) == :gone
    assert InFlight.take(table, 256) == nil
    refute InFlight.give_up(table, 256, request(1, nil))
    refute InFlight.give_up(table, 256, request(1, {:release, :all}))
    refute InFlight.waiting?(table, 256)
    assert InFlight.of_connection(table, 1) == []
  end

  # --- replies that are kept --------------------------------------------------------------------------------------

  test "the frames of a reply are kept in their order, for whoever takes them first", %{
    table: table,
    ids: ids
  } do
    id = enter(table, ids, :kept, 1)
    assert InFlight.kept(table, id) == []
    for frame <- ["a", "b"], do: InFlight.deliver(table, InFlight.peek(table, id), frame)
    assert InFlight.kept(table, id) == ["a", "b"]
    assert InFlight.take_kept(table, id) == ["a", "b"]
    assert InFlight.take_kept(table, id) == :gone
  end

  test "what was taken is not kept again, whatever comes of the reply", %{table: table, ids: ids} do
    id = enter(table, ids, :kept, 1)
    entry = InFlight.peek(table, id)
    InFlight.deliver(table, entry, "a")
    assert InFlight.take_kept(table, id) == ["a"]
    InFlight.deliver(table, entry, "b")
    assert InFlight.kept(table, id) == :gone
  end

  test "replies that nobody took are forgotten with their connection", %{table: table, ids: ids} do
    [one, two] = for connection <- [1, 2], do: enter(table, ids, :kept, connection)
    for id <- [one, two], do: InFlight.deliver(table, InFlight.take(table, id), "a")
    late = enter(table, ids, :kept, 1)
    InFlight.forget_kept(table, 1)
    InFlight.deliver(table, InFlight.take(table, late), "b")
    assert [{{:kept, ^two}, 2, ["a"]}] = :ets.tab2list(table)
  end

  test "a table that is gone is a run that is over", %{table: table, ids: ids} do
    id = enter(table, ids, :kept, 1)
    :ets.delete(table)
    assert InFlight.kept(table, id) == :down
    assert InFlight.take_kept(table, id) == :down
  end
end
