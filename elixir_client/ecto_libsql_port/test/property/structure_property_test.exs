defmodule Ecto.Adapters.LibSql.StructurePropertyTest do
  use ExUnit.Case, async: true

  alias Ecto.Adapters.LibSql
  alias EctoLibSql.{Cases, RandomSchema}

  @moduletag :tmp_dir
  @moduletag timeout: :infinity

  @objects """
  SELECT type, name, tbl_name, rtrim(sql, char(9, 10, 13, 32)) FROM sqlite_schema ORDER BY type, name
  """

  test "what is dumped and loaded is the same schema, whatever its tables are called", %{tmp_dir: dir} do
    Cases.check!(8, &RandomSchema.generate/1, &RandomSchema.smaller/1, fn statements ->
      File.rm_rf!(dir)
      File.mkdir_p!(dir)
      from = [database: Path.join(dir, "from.db"), attach: [arch: Path.join(dir, "arch.db")]]
      to = [database: Path.join(dir, "to.db"), dump_path: Path.join(dir, "structure.sql")]
      conn = connect!(from)
      for statement <- statements, do: LibsqlPort.query(conn.conn, RandomSchema.sql(statement))
      assert {:ok, path} = LibSql.structure_dump(dir, from)
      assert LibSql.structure_load(dir, to) == {:ok, path}
      copy = connect!(to)
      assert objects(copy) == objects(conn)
      assert {text, 0} = LibSql.dump_cmd([], [], to)
      assert text == File.read!(path)
      for state <- [conn, copy], do: EctoLibSql.disconnect(nil, state)
    end)
  end

  defp connect!(options) do
    {:ok, state} = EctoLibSql.connect(options)
    state
  end

  defp objects(%{conn: conn}) do
    {:ok, %{rows: rows}} = LibsqlPort.query(conn, @objects)
    rows
  end
end
