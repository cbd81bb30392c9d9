defmodule LibsqlPort.OutcomeTest do
  use ExUnit.Case, async: true

  alias LibsqlPort.Outcome

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
      assert Outcome.error(lost, {:sql, sql}, false, 10).code == :outcome_unknown, sql
    end

    for sql <- certain do
      assert Outcome.error(:down, {:sql, sql}, false, 10).code == :sidecar_down, sql
      assert Outcome.error(:silent, {:sql, sql}, false, 10).code == :timeout, sql
    end
  end

  test "inside a transaction only a commit is uncertain" do
    assert Outcome.error(:down, {:sql, "INSERT INTO t VALUES (1)"}, true, 10).code == :sidecar_down
    assert Outcome.error(:down, {:sql, "INSERT INTO t VALUES (1)"}, true, 10).message =~ "rolled back"
    assert Outcome.error(:down, {:sql, "Commit"}, true, 10).code == :outcome_unknown
    assert Outcome.error(:down, {:script, "INSERT INTO t VALUES (1);"}, true, 10).code == :sidecar_down

    assert Outcome.error(:down, {:script, "INSERT INTO t VALUES (1); COMMIT"}, true, 10).code ==
             :outcome_unknown

    assert Outcome.error(:down, {:script, "SELECT 1"}, false, 10).code == :outcome_unknown
    assert Outcome.error(:down, :write, true, 10).code == :outcome_unknown
  end

  test "what was never sent is certain" do
    for effect <- [:none, :write, {:sql, "DELETE FROM t"}] do
      assert Outcome.error(:not_sent, effect, false, 10).code == :not_sent
      assert Outcome.error(:not_sent, effect, true, 10).code == :sidecar_down
      assert Outcome.error(:not_sent, effect, true, 10).message =~ "rolled back"
      assert Outcome.error(:pipe_full, effect, false, 10).code == :timeout
      assert Outcome.error({:too_large, 5}, effect, false, 10).code == :frame_too_large
    end

    assert %{code: :sidecar_down, message: message} = Outcome.error(:not_sent, :cursor, false, 10)
    assert message =~ "cursor"
  end
end
