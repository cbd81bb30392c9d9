defmodule LibsqlPort.TransactionPropertyTest do
  # Random runs of transactions, savepoints, writes and failures, against a map that is copied where the engine has a
  # savepoint.
  use LibsqlPort.SidecarCase, async: true

  import LibsqlPort.Properties

  alias LibsqlPort.Connection

  @moduletag :proper
  @moduletag timeout: 240_000

  defp command do
    key = type(:integer, [1, 5])

    type(:frequency, [
      [
        {2, :begin},
        {2, :commit},
        {1, :rollback},
        {3, :savepoint},
        {2, :release},
        {2, :rollback_to},
        {6, {:put, key, type(:integer, [0, 99])}},
        {2, {:delete, key}},
        {2, {:insert, key}},
        {1, {:batch, key, key}},
        {1, :syntax_error},
        {1, :overrun},
        {1, :reset}
      ]
    ])
  end

  test "the database holds what the model holds", %{conn: conn} do
    LibsqlPort.query!(conn, "CREATE TABLE t (k INTEGER PRIMARY KEY, v INTEGER)")

    check!(
      list(command()),
      fn commands ->
        :ok = LibsqlPort.reset(conn)
        LibsqlPort.query!(conn, "DELETE FROM t")
        state = %{map: %{}, stack: []}

        {state, agreed} =
          Enum.reduce_while(commands, {state, true}, fn command, {state, true} ->
            {expected, next} = model(command, state)
            answer = run(command, conn, state)
            agreed = answer == expected and stored(conn) == next.map
            {if(agreed, do: :cont, else: :halt), {next, agreed}}
          end)

        agreed and autocommit?(conn) == (state.stack == [])
      end,
      150
    )
  end

  # The stack holds what each open level would go back to: `{:transaction, map}` at the bottom, unless a savepoint began
  # the transaction, and `{:savepoint, map}` above.
  defp model(:begin, %{stack: []} = state), do: {:ok, push(state, :transaction)}
  defp model(:begin, state), do: {:transaction_open, state}
  defp model(:commit, %{stack: []} = state), do: {:no_transaction, state}
  defp model(:commit, state), do: {:ok, %{state | stack: []}}
  defp model(:rollback, %{stack: []} = state), do: {:no_transaction, state}
  defp model(:rollback, state), do: {:ok, %{map: state.stack |> List.last() |> elem(1), stack: []}}
  defp model(:savepoint, state), do: {:ok, push(state, :savepoint)}

  defp model(:release, %{stack: [{:savepoint, _} | below]} = state), do: {:ok, %{state | stack: below}}
  defp model(:release, state), do: {:error, state}

  defp model(:rollback_to, %{stack: [{:savepoint, map} | _]} = state), do: {:ok, %{state | map: map}}
  defp model(:rollback_to, state), do: {:error, state}

  defp model({:put, key, value}, state), do: {:ok, put_in(state.map[key], value)}
  defp model({:delete, key}, state), do: {:ok, %{state | map: Map.delete(state.map, key)}}

  defp model({:insert, key}, %{map: map} = state) when is_map_key(map, key),
    do: {:constraint_primary_key, state}

  defp model({:insert, key}, state), do: {:ok, put_in(state.map[key], 0)}

  # All or nothing.
  defp model({:batch, one, two}, %{map: map} = state) do
    if one == two or Map.has_key?(map, one) or Map.has_key?(map, two),
      do: {:constraint_primary_key, state},
      else: {:ok, %{state | map: Map.merge(map, %{one => 1, two => 1})}}
  end

  defp model(:syntax_error, state), do: {:sql_error, state}
  defp model(:overrun, state), do: {:timeout, state}
  defp model(:reset, %{stack: []} = state), do: {:ok, state}
  defp model(:reset, state), do: {:ok, %{map: state.stack |> List.last() |> elem(1), stack: []}}

  defp push(state, kind), do: %{state | stack: [{kind, state.map} | state.stack]}

  defp run(:begin, conn, _state), do: answer(Connection.begin(conn))
  defp run(:commit, conn, _state), do: answer(Connection.commit(conn))
  defp run(:rollback, conn, _state), do: answer(Connection.rollback(conn))
  defp run(:savepoint, conn, state), do: answer(Connection.savepoint(conn, name(state, 1)))
  defp run(:release, conn, state), do: answer(Connection.release(conn, name(state, 0))) |> unless_top(state)

  defp run(:rollback_to, conn, state),
    do: answer(Connection.rollback_to(conn, name(state, 0))) |> unless_top(state)

  defp run({:put, key, value}, conn, _state),
    do: answer(LibsqlPort.query(conn, "INSERT OR REPLACE INTO t VALUES (?, ?)", [key, value]))

  defp run({:delete, key}, conn, _state),
    do: answer(LibsqlPort.query(conn, "DELETE FROM t WHERE k = ?", [key]))

  defp run({:insert, key}, conn, _state),
    do: answer(LibsqlPort.query(conn, "INSERT INTO t VALUES (?, 0)", [key]))

  defp run({:batch, one, two}, conn, _state) do
    insert = "INSERT INTO t VALUES (?, 1)"
    answer(LibsqlPort.batch(conn, [{insert, [one]}, {insert, [two]}]))
  end

  defp run(:syntax_error, conn, _state), do: answer(LibsqlPort.query(conn, "SELEKT"))
  defp run(:overrun, conn, _state), do: answer(LibsqlPort.query(conn, endless(), [], timeout: 1))
  defp run(:reset, conn, _state), do: answer(LibsqlPort.reset(conn))

  defp name(%{stack: stack}, more), do: "level #{length(stack) + more}"

  # Without a savepoint on top there is none of that name: which error that is, the model does not say.
  defp unless_top(code, %{stack: [{:savepoint, _} | _]}), do: code
  defp unless_top(:ok, _state), do: :ok
  defp unless_top(_code, _state), do: :error

  defp answer(:ok), do: :ok
  defp answer({:ok, _}), do: :ok
  defp answer({:error, %Error{code: code}}), do: code

  defp stored(conn) do
    conn |> LibsqlPort.query!("SELECT k, v FROM t") |> Map.fetch!(:rows) |> Map.new(&List.to_tuple/1)
  end

  defp autocommit?(conn), do: elem(LibsqlPort.status(conn), 1).autocommit
end
