defmodule LibsqlPort.ClaimsOrderTest do
  # Replies of one connection may overtake each other if several processes have asked. Frames are made here, so that the
  # order is the test's.
  use ExUnit.Case, async: true

  alias LibsqlPort.{Claims, Wire}

  @connection 7
  @bare Wire.encode(@connection)
  @shared Wire.shared(301)

  setup do
    [me, other] = [self(), spawn_link(fn -> Process.sleep(:infinity) end)]
    %{me: me, other: other}
  end

  test "the end of one transaction leaves the next its holder", %{me: me, other: other} do
    for first <- [300, @shared], next <- [302, Wire.shared(303)] do
      claims = begun(%Claims{}, first, me)
      claims = begun(claims, next, other)
      assert {^claims, []} = reply(claims, {:status, me, address(first)}, me, frame(:ok, 0))
      assert {^claims, []} = reply(claims, {:status, me, address(first)}, me, no_transaction())
      assert {left, []} = reply(claims, {:status, other, address(next)}, other, frame(:ok, 0))
      assert left == %Claims{}
    end
  end

  test "what ran before a transaction is held says nothing about it", %{me: me, other: other} do
    claims = begun(%Claims{}, 300, me)
    assert {^claims, []} = reply(claims, {:status, other, nil}, other, written(0))
    assert {^claims, []} = reply(claims, {:status, me, nil}, me, written(0))
  end

  test "that no transaction is open is believed of its holder, and asked about of another", %{
    me: me,
    other: other
  } do
    {by_hand, []} = reply(%Claims{}, {:status, me, nil}, me, written(1))

    for claims <- [begun(%Claims{}, @shared, me), by_hand] do
      assert {%Claims{held: held}, []} = reply(claims, {:status, me, nil}, me, written(0))
      assert held == %{}

      assert {^claims, [{:ask, @connection, ^other}]} =
               reply(claims, {:status, other, nil}, other, written(0))

      asked = {:asked, @connection, other}
      assert {^claims, []} = reply(claims, asked, nil, frame(:ok, %{"tx_status" => 3}))
      assert {left, []} = reply(claims, asked, nil, frame(:ok, %{"tx_status" => 0}))
      assert left == %Claims{}
    end
  end

  test "the answer to what was asked says nothing about a transaction that is held", %{me: me, other: other} do
    claims = begun(%Claims{}, 300, me)
    assert {^claims, []} = reply(claims, {:asked, @connection, other}, nil, frame(:ok, %{"tx_status" => 0}))
  end

  test "a transaction that is open although one was held has another holder", %{me: me, other: other} do
    {claims, []} = reply(begun(%Claims{}, 300, me), {:status, other, nil}, other, written(1))
    assert %{@connection => %{transaction: {^other, 0}}} = claims.held
  end

  test "the status is found behind integers of all sizes" do
    for number <- [0, 255, 256, -1, 2_147_483_648, 9_223_372_036_854_775_807, -9_223_372_036_854_775_808] do
      assert Wire.empty_result_status(frame(:result, {[], [], number, number, number, 3, 0, 0, 0})) == 3
    end

    assert Wire.empty_result_status(frame(:result, {[], ["c"], 0, 0, 0, 3, 0, 0, 0})) == nil

    whole = frame(:result, {[], [], 0, 256, 1, 3, 0, 0, 0})

    for size <- 0..(byte_size(whole) - 8),
        do: assert(Wire.empty_result_status(binary_part(whole, 0, size)) == nil)
  end

  # The port's owner does this, and passes no reply on meanwhile.
  test "what is done for one connection does not cost more because there are others", %{other: other} do
    [few, many] =
      for connections <- [10, 10_000] do
        claims =
          for connection <- 1..connections,
              kind <- [:connection, {:statement, 1}, {:cursor, 2}],
              reduce: %Claims{} do
            claims -> Claims.add(claims, {connection, kind}, other)
          end

        assert Claims.connections(claims) == connections
        closed = Claims.reply(claims, {:release, :connection}, {3, other}, Wire.tag(:ok), frame(:ok, nil))
        assert {%Claims{held: held}, []} = closed
        assert map_size(held) == connections - 1

        cost(fn ->
          Claims.reply(claims, {:release, :connection}, {3, other}, Wire.tag(:ok), frame(:ok, nil))
        end)
      end

    assert many < few * 20
  end

  test "what is done for the end of a process grows with what it held", %{other: other} do
    [few, many] =
      for connections <- [100, 10_000] do
        claims =
          for connection <- 1..connections, kind <- [:connection, {:statement, 1}], reduce: %Claims{} do
            claims -> Claims.add(claims, {connection, kind}, other)
          end

        claims = Claims.add(claims, {0, {:cursor, 5}}, other, :no_columns)
        {given_back, left} = Claims.down(claims, other)
        assert left == %Claims{}
        closed = for connection <- 1..connections, do: {{connection, :connection}, nil}
        assert Enum.sort(given_back) == Enum.sort([{{0, {:cursor, 5}}, :no_columns} | closed])

        cost(fn -> Claims.down(claims, other) end)
      end

    # A hundred times as much, plus what a deeper map takes and the collection of garbage.
    assert many < few * 100 * 10
  end

  # The fewest reductions of some runs, each in a process of its own: others have had to collect garbage.
  defp cost(fun) do
    Enum.min(
      for _ <- 1..5 do
        Task.await(
          Task.async(fn ->
            {:reductions, before} = Process.info(self(), :reductions)
            fun.()
            {:reductions, now} = Process.info(self(), :reductions)
            now - before
          end),
          :infinity
        )
      end
    )
  end

  defp begun(claims, number, pid) do
    {claims, []} = reply(claims, {:claim, {:transaction, number}, pid}, pid, frame(:ok, 1))
    claims
  end

  defp reply(claims, claim, caller, frame),
    do: Claims.reply(claims, claim, {@connection, caller}, Wire.reply_tag(frame), frame)

  defp address(number), do: Wire.address(@bare, number)
  defp written(status), do: frame(:result, {[], [], 0, 1, 5, status, 0, 0, 0})

  defp no_transaction do
    frame(:error, {LibsqlPort.ErrorCode.number(:no_transaction), "it is over", nil, nil, nil, 3, nil})
  end

  defp frame(tag, payload),
    do: IO.iodata_to_binary(Wire.frame(300, Wire.tag(tag), Wire.encode(payload)))
end
