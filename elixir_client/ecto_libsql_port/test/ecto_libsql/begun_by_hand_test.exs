defmodule EctoLibSql.BegunByHandTest do
  # No transaction that was begun by a statement stays open on a connection that goes back to the pool.
  use EctoLibSql.RepoCase

  @moduletag repo: [pool_size: 1]

  setup do
    script("CREATE TABLE t (x)")
    :ok
  end

  # The next caller finds no transaction open, and what it writes stays.
  defp closed do
    TestRepo.query!("INSERT INTO t VALUES ('next')")
    assert {:ok, [["next"]]} = TestRepo.transaction(fn -> TestRepo.query!("SELECT x FROM t").rows end)
  end

  for statement <- [
        "BEGIN",
        "begin immediate transaction",
        "/* a comment */ BEGIN EXCLUSIVE",
        "SAVEPOINT here",
        "-- first\nBEGIN DEFERRED"
      ] do
    test "outside of a checkout it is refused: #{inspect(statement)}" do
      assert {:error, %EctoLibSql.Error{code: :transaction_open, message: message}} =
               TestRepo.query(unquote(statement))

      assert message =~ "checkout"
      closed()
    end

    test "as part of a text: #{inspect(statement)}" do
      text = unquote(statement) <> "; INSERT INTO t VALUES (1)"
      assert {:error, %EctoLibSql.Error{code: :transaction_open}} = TestRepo.query_many(text)
      closed()
    end
  end

  test "a text that ends what it begins is none of it" do
    assert {:ok, _} = TestRepo.query_many("BEGIN; INSERT INTO t VALUES (1); COMMIT; SAVEPOINT a; RELEASE a")
    assert TestRepo.query!("SELECT x FROM t").rows == [[1]]
  end

  test "a text that fails after its BEGIN" do
    assert {:error, %{code: :sql_error}} = TestRepo.query_many("BEGIN; INSERT INTO t VALUES (1); SELEC 1")
    closed()
  end

  test "in a checkout it may be ended" do
    TestRepo.checkout(fn ->
      TestRepo.query!("BEGIN")
      TestRepo.query!("INSERT INTO t VALUES (1)")
      TestRepo.query!("COMMIT")
    end)

    assert TestRepo.query!("SELECT x FROM t").rows == [[1]]
  end

  @tag :capture_log
  test "left open by a checkout, it is rolled back and told" do
    error =
      assert_raise DBConnection.ConnectionError, fn ->
        TestRepo.checkout(fn ->
          TestRepo.query!("BEGIN")
          TestRepo.query!("INSERT INTO t VALUES (1)")
        end)
      end

    assert Exception.message(error) =~ "checked in with status :transaction"
    closed()
  end

  test "left open by a checkout that raises" do
    assert_raise RuntimeError, "mine", fn ->
      TestRepo.checkout(fn ->
        TestRepo.query!("BEGIN IMMEDIATE")
        raise "mine"
      end)
    end

    closed()
  end

  @tag :capture_log
  test "left open in a checkout inside of a checkout" do
    assert_raise DBConnection.ConnectionError, fn ->
      TestRepo.checkout(fn -> TestRepo.checkout(fn -> TestRepo.query!("BEGIN IMMEDIATE") end) end)
    end

    closed()
  end

  @tag :capture_log
  test "left open by a checkout that only DBConnection knows" do
    %{pid: pool} = Ecto.Adapter.lookup_meta(TestRepo)

    leave_open = fn ->
      catch_throw(
        DBConnection.run(pool, fn conn ->
          EctoLibSql.query!(conn, "BEGIN IMMEDIATE")
          throw(:out)
        end)
      )
    end

    leave_open.()
    closed()
    leave_open.()
    assert {:ok, :ok} = TestRepo.transaction(fn -> :ok end)
    leave_open.()
    assert TestRepo.checkout(fn -> TestRepo.query!("SELECT x FROM t").rows end) == [["next"]]
  end

  test "in a Repo's transaction a savepoint by hand ends with it" do
    TestRepo.transaction(fn ->
      TestRepo.query!("SAVEPOINT mine")
      TestRepo.query!("INSERT INTO t VALUES ('next')")
    end)

    assert TestRepo.query!("SELECT x FROM t").rows == [["next"]]
    assert {:error, :no} = TestRepo.transaction(fn -> TestRepo.rollback(:no) end)
  end
end
