defmodule EctoLibSql.PragmaTest do
  use EctoLibSql.ByHandCase, async: true

  alias EctoLibSql.{Pragma, Result}

  test "are set and read", %{state: state} do
    assert {:ok, %Result{command: :pragma, rows: [[1]]}} = Pragma.foreign_keys(state)
    assert :ok = Pragma.disable_foreign_keys(state)
    assert {:ok, %Result{rows: [[0]]}} = Pragma.foreign_keys(state)
    assert :ok = Pragma.enable_foreign_keys(state)
    assert {:ok, %Result{rows: [[1]]}} = Pragma.foreign_keys(state)

    assert {:ok, %Result{rows: [["wal"]]}} = Pragma.journal_mode(state)
    assert {:ok, %Result{rows: [["delete"]]}} = Pragma.set_journal_mode(state, :delete)

    for {level, number} <- [off: 0, normal: 1, full: 2, extra: 3] do
      assert {:ok, _} = Pragma.set_synchronous(state, level)
      assert {:ok, %Result{rows: [[^number]]}} = Pragma.synchronous(state)
      assert {:ok, _} = Pragma.set_synchronous(state, number)
    end

    assert {:ok, _} = Pragma.set_user_version(state, 42)
    assert {:ok, %Result{rows: [[42]]}} = Pragma.user_version(state)
  end

  test "tell of tables, of attached ones too", %{state: state} do
    rows(state, "CREATE TABLE a (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
    rows(state, "ATTACH ':memory:' AS other")
    rows(state, "CREATE TABLE other.b (x)")

    assert {:ok,
            %Result{rows: [[0, "id", "INTEGER", 0, nil, 1], [1, "name", "TEXT", 1, nil, 0]], num_rows: 2}} =
             Pragma.table_info(state, :a)

    assert {:ok, %Result{rows: [[0, "x" | _]]}} = Pragma.table_info(state, "other.b")
    assert {:error, {:invalid_identifier, "a); DROP TABLE a"}} = Pragma.table_info(state, "a); DROP TABLE a")

    {:ok, tables} = Pragma.table_list(state)
    assert Enum.any?(tables.rows, &match?(["main", "a", "table" | _], &1))
  end

  test "by a state that was made of an id; none for a closed connection", %{state: state} do
    assert {:ok, %Result{rows: [[0]]}} = Pragma.user_version(bare(state))
    :ok = EctoLibSql.disconnect([], state)
    assert {:error, "Connection not found"} = Pragma.user_version(bare(state))
    assert {:error, message} = Pragma.user_version(state)
    assert is_binary(message)
  end
end
