defmodule EctoLibSql.ErrorMessageTest do
  use EctoLibSql.RepoCase

  alias EctoLibSql.{Error, MigrationError}

  @bytes <<"a", 0xFF, "b", 0xC3>>

  setup do
    script("CREATE TABLE t (a)")
    :ok
  end

  defp refused(code, fun) do
    error = catch_error(fun.())
    assert error.code == code
    message = Exception.message(error)
    assert String.valid?(message), inspect(message)
    assert message =~ "a<<255>>b<<195>>"
  end

  test "a message is text although the statement is not" do
    refused(:invalid_request, fn -> TestRepo.query!("SELECT '#{@bytes}'") end)
    refused(:invalid_request, fn -> TestRepo.query_many!("SELECT '#{@bytes}'") end)
    refused(:invalid_request, fn -> TestRepo.all(from(x in @bytes, select: 1)) end)
    refused(:invalid_request, fn -> TestRepo.all(from(x in "t", select: 1), prefix: @bytes) end)
    refused(:invalid_request, fn -> TestRepo.insert_all(@bytes, [%{a: 1}]) end)
  end

  test "nor a name in a migration" do
    import Ecto.Migration
    refused(:invalid_request, fn -> migrate(fn -> create(table(@bytes)) end) end)
    refused(:no_such_constraint, fn -> migrate(fn -> drop(constraint("t", @bytes)) end) end)
  end

  test "text is left as it is" do
    assert Exception.message(%Error{code: :sql_error, message: "é\n\0", statement: "SÉLECT"}) ==
             "é\n\0 (sql_error)\n\n    SÉLECT"

    assert Exception.message(%MigrationError{code: :rows, message: "é"}) == "é"
  end

  test "a mark stands in a statement that is no text" do
    error = %Error{code: :sql_error, message: "m", statement: <<0xFF, " x">>, offset: 2}
    assert Exception.message(error) =~ ~r/<<255>> x\n +\^\z/
  end
end
