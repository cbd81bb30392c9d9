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
    Cases.check!(8, &generate/1, &RandomSchema.smaller/1, fn statements ->
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

  @names [
    "notes",
    "a b",
    "it's",
    "x\"y",
    "semi;colon",
    "tab\tnew\nline",
    "end",
    "日本",
    "a_shadow",
    "f_data",
    "--dash"
  ]

  # Virtual tables and indexes of vectors, whose own tables the engine makes, among tables that are called like them.
  defp generate(seed) do
    statements = RandomSchema.generate(seed)
    :rand.seed(:exsss, {seed, 1, seed})
    [full, boxes] = @names |> Enum.shuffle() |> Enum.take(2)
    # libSQL makes no index of vectors with another name.
    [places, index] = Enum.take(Enum.shuffle(["places", "a_shadow", "f_data"]), 2)

    statements ++
      Enum.shuffle([
        "CREATE TABLE #{q("src " <> full)} (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT, up AS (upper(body)) STORED)",
        "CREATE VIRTUAL TABLE #{q("f " <> full)} USING fts5(body, content=\"src #{String.replace(full, ~s("), ~s(""))}\", tokenize = 'porter; x')",
        "CREATE VIRTUAL TABLE #{q("g " <> full)} USING fts5(body, title UNINDEXED, prefix='2 3')",
        "CREATE VIRTUAL TABLE #{q("r " <> boxes)} USING rtree(id, x0, x1, +name TEXT)",
        "CREATE TABLE #{q("p_" <> places)} (id INTEGER PRIMARY KEY, v F32_BLOB(3)) STRICT",
        "CREATE TABLE #{q("q_" <> places)} (id INTEGER PRIMARY KEY, v F32_BLOB(3))",
        "CREATE TABLE #{q("g #{full}_datas")} (a)"
      ]) ++
      [
        "CREATE INDEX #{q("v_" <> index)} ON #{q("q_" <> places)} (libsql_vector_idx(v))",
        "INSERT INTO #{q("q_" <> places)} VALUES (1, vector32('[1,2,3]'))",
        "INSERT INTO #{q("g " <> full)} VALUES ('some text;', 'title')",
        "CREATE TRIGGER #{q("t " <> full)} AFTER INSERT ON #{q("src " <> full)} BEGIN INSERT INTO #{q("g " <> full)} VALUES (new.body || '; END;', 'x'); /* END; */ END"
      ]
  end

  defp q(name), do: ~s("#{String.replace(name, ~s("), ~s(""))}")

  defp connect!(options) do
    {:ok, state} = EctoLibSql.connect(options)
    state
  end

  defp objects(%{conn: conn}) do
    {:ok, %{rows: rows}} = LibsqlPort.query(conn, @objects)
    rows
  end
end
