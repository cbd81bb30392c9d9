defmodule LibsqlPort.InFlightTest do
  use ExUnit.Case, async: true

  alias LibsqlPort.InFlight

  setup do
    %{table: InFlight.new(self(), nil), ids: InFlight.new_ids()}
  end

  test "ids start at 256 and differ", %{table: table, ids: ids} do
    taken = for _ <- 1..1_000, do: InFlight.enter(table, ids, make_ref(), 1)
    assert Enum.all?(taken, &(&1 in 256..2_147_483_647))
    assert length(Enum.uniq(taken)) == 1_000
  end

  test "after the last id the first free one comes", %{table: table, ids: ids} do
    first = InFlight.enter(table, ids, make_ref(), 1)
    :atomics.put(ids, 1, 2_147_483_648 - 256 - 1)
    assert InFlight.enter(table, ids, make_ref(), 1) == 256
    # The counter comes round to the one that still waits, and passes it by.
    :atomics.put(ids, 1, first - 256 - 1)
    assert InFlight.enter(table, ids, make_ref(), 1) == first + 1
  end

  test "an entry is taken once", %{table: table, ids: ids} do
    ref = make_ref()
    id = InFlight.enter(table, ids, ref, 1)
    assert {:ok, pid, ^ref} = InFlight.peek(table, id)
    assert pid == self()
    assert {:ok, _, ^ref} = InFlight.take(table, id)
    assert InFlight.take(table, id) == :none
    refute InFlight.waiting?(table, id)
  end

  test "requests are found by their connection", %{table: table, ids: ids} do
    one = InFlight.enter(table, ids, make_ref(), 1)
    InFlight.enter(table, ids, make_ref(), 2)
    InFlight.enter(table, ids, make_ref(), nil)
    assert InFlight.of_connection(table, 1) == [{one, self()}]
  end

  test "a table that is gone is answered, not raised", %{table: table, ids: ids} do
    :ets.delete(table)
    assert InFlight.enter(table, ids, make_ref(), 1) == :gone
    assert InFlight.take(table, 256) == :none
    refute InFlight.waiting?(table, 256)
    assert InFlight.of_connection(table, 1) == []
  end
end
