defmodule LibsqlPort.TableReaderTest do
  use LibsqlPort.SidecarCase

  alias LibsqlPort.Result

  test "a result is read by rows", %{conn: conn} do
    result = LibsqlPort.query!(conn, "SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, NULL")
    assert {:rows, %{columns: ["a", "b"], count: 2}, rows} = Table.Reader.init(result)
    assert Enum.to_list(rows) == [[1, "x"], [2, nil]]
  end

  test "one without rows is an empty table", %{conn: conn} do
    result = LibsqlPort.query!(conn, "CREATE TABLE t (x)")
    assert {:rows, %{columns: [], count: 0}, []} = Table.Reader.init(result)
  end

  test "the implementation is found before and after protocols are consolidated" do
    # This project's protocols are consolidated for its tests; a release without `mix` looks the module up by its name.
    assert Table.Reader.impl_for(%Result{}) == Table.Reader.LibsqlPort.Result
    paths = [Path.join(Mix.Project.build_path(), "lib/libsql_port/ebin")]
    assert Result in Protocol.extract_impls(Table.Reader, Enum.map(paths, &String.to_charlist/1))
    assert Protocol.assert_impl!(Table.Reader, Result) == :ok
  end
end
