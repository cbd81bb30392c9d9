defmodule LibsqlPort.OutcomeTest do
  use ExUnit.Case, async: true

  alias LibsqlPort.{Outcome, Request}

  defp error(lost, effect, in_transaction?) do
    request = %Request{
      name: :execute,
      payload: "",
      timeout: 10,
      effect: effect,
      in_transaction?: in_transaction?
    }

    Outcome.error(lost, request)
  end

  test "a lost autocommit write is uncertain, a lost read is not" do
    uncertain = [
      "INSERT INTO t VALUES (1)",
      "  -- comment\n update t set a = 1",
      "/* c */ DELETE FROM t",
      "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
      "WITH a AS (SELECT 'delete') SELECT * FROM a",
      "PRAGMA user_version = 3",
      "COMMIT",
      "end",
      "RELEASE a",
      "CREATE TABLE t (a)",
      "-- no end",
      ""
    ]

    certain = [
      "SELECT 1",
      "\n;select 1",
      "VALUES (1)",
      "WITH a AS (SELECT 1) SELECT * FROM a",
      "EXPLAIN DELETE FROM t",
      "PRAGMA user_version",
      "BEGIN",
      "ROLLBACK",
      "savepoint a",
      "/* a */ -- b\n SELECT 1",
      "\uFEFFSELECT 1"
    ]

    for sql <- uncertain, lost <- [:down, :silent] do
      assert error(lost, {:sql, sql}, false).code == :outcome_unknown, sql
    end

    for sql <- certain do
      assert error(:down, {:sql, sql}, false).code == :sidecar_down, sql
      assert error(:silent, {:sql, sql}, false).code == :timeout, sql
    end
  end

  test "inside a transaction only a commit is uncertain" do
    assert error(:down, {:sql, "INSERT INTO t VALUES (1)"}, true).code == :sidecar_down
    assert error(:down, {:sql, "INSERT INTO t VALUES (1)"}, true).message =~ "rolled back"
    assert error(:down, {:sql, "Commit"}, true).code == :outcome_unknown
    assert error(:down, {:script, "INSERT INTO t VALUES (1);"}, true).code == :sidecar_down

    assert error(:down, {:script, "INSERT INTO t VALUES (1); COMMIT"}, true).code ==
             :outcome_unknown

    assert error(:down, {:script, "SELECT 1"}, false).code == :outcome_unknown
    assert error(:down, :write, true).code == :outcome_unknown
  end

  test "a prepared statement that SQLite calls read-only is uncertain only if it ends a transaction" do
    for in_transaction? <- [true, false] do
      assert error(:down, {:read_only, "SELECT 1"}, in_transaction?).code == :sidecar_down
      assert error(:down, {:read_only, " COMMIT"}, in_transaction?).code == :outcome_unknown
      assert error(:down, {:read_only, "release a"}, in_transaction?).code == :outcome_unknown
    end
  end

  test "what was never sent is certain" do
    for effect <- [:none, :write, {:sql, "DELETE FROM t"}] do
      assert error(:not_sent, effect, false).code == :not_sent
      assert error(:not_sent, effect, true).code == :sidecar_down
      assert error(:not_sent, effect, true).message =~ "rolled back"
      assert error(:pipe_full, effect, false).code == :timeout
      assert error({:too_large, 5, 4}, effect, false).code == :frame_too_large
    end

    assert %{code: :sidecar_down, message: message} = error(:not_sent, :cursor, false)
    assert message =~ "cursor"
  end
end
