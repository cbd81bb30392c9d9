defmodule EctoLibSql.PrivateCopyTest do
  use ExUnit.Case, async: true

  alias EctoLibSql.PrivateCopy

  # The pool tries for ever in one process, whose end would close them.
  test "a copy that cannot be filled is closed" do
    sidecar = start_supervised!({LibsqlPort, []})
    source = [database: Path.join(System.tmp_dir!(), "none-#{System.unique_integer([:positive])}/x.db")]

    for _ <- 1..3 do
      assert {:error, %LibsqlPort.Error{code: :cannot_open}} = PrivateCopy.connect(sidecar, source, [])
    end

    assert {:ok, %{connections: 0}} = LibsqlPort.status(sidecar)
  end
end
