defmodule EctoLibSql.TableSqlPropertyTest do
  # What `TableSql` reads out of a table's text is what the engine has read out of it: over random schemas, and over every
  # CREATE TABLE in this repository's own tests, guides and examples.
  use ExUnit.Case, async: true

  alias EctoLibSql.{Cases, RandomSchema, Statements, TableSql}

  @moduletag timeout: :infinity
  @root Path.expand("../../../..", __DIR__)

  setup_all do
    {:ok, sidecar: start_supervised!(LibsqlPort)}
  end

  test "random schemas", %{sidecar: sidecar} do
    Cases.check!(60, &RandomSchema.generate/1, &RandomSchema.smaller/1, fn statements ->
      with_database(sidecar, fn conn ->
        for "CREATE" <> _ = sql <- Enum.map(statements, &RandomSchema.sql/1), do: LibsqlPort.query(conn, sql)
        for schema <- ["main", "arch"], do: agree_all!(conn, schema)
      end)
    end)
  end

  # A statement in a source file ends somewhere before the next semicolon, heredoc or quote: every closing parenthesis is
  # tried, and the engine says what is a statement.
  test "every table of this repository", %{sidecar: sidecar} do
    files =
      for file <-
            Path.wildcard(
              "#{@root}/{elixir_client,examples,docs,demo,tests,src,benches,port_driver}/**/*.{ex,exs,md,sql,rs}"
            ),
          # What tests write comes and goes.
          not (Path.relative_to(file, @root) =~ ~r{/(tmp|deps|_build|target)/}),
          do: file

    texts =
      for file <- files, text = File.read!(file), candidate <- candidates(text), uniq: true, do: candidate

    accepted =
      for text <- texts, reduce: 0 do
        accepted -> accepted + with_database(sidecar, &created(&1, text))
      end

    assert accepted > 100
  end

  defp candidates(text) do
    for [{at, _}] <- Regex.scan(~r/create\s+table\s/i, text, return: :index) do
      binary_part(text, at, min(byte_size(text) - at, 3_000))
    end
  end

  defp created(conn, text) do
    [statement | _] = Statements.split(text)

    ends =
      for [{at, 1}] <- Regex.scan(~r/\)/, statement, return: :index),
          do: at + 1

    found =
      Enum.find(
        [byte_size(statement) | ends],
        &match?({:ok, _}, LibsqlPort.query(conn, binary_part(statement, 0, &1)))
      )

    if found, do: agree_all!(conn, "main"), else: 0
  end

  defp with_database(sidecar, fun) do
    {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:")
    {:ok, _} = LibsqlPort.query(conn, "ATTACH ':memory:' AS arch")

    try do
      fun.(conn)
    after
      LibsqlPort.close(conn)
    end
  end

  # --- agreement with the engine ----------------------------------------------------------------------------------

  defp agree_all!(conn, schema) do
    tables =
      rows(conn, """
      SELECT name, sql FROM #{schema}.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
        AND sql NOT LIKE 'CREATE VIRTUAL%'
      """)

    for [name, sql] <- tables, do: agree!(conn, schema, name, sql)
    length(tables)
  end

  defp agree!(conn, schema, name, sql) do
    assert {:ok, table} = TableSql.parse(sql)
    assert table.name == name
    tiled!(table, sql)

    columns =
      rows(conn, "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1, ?2)", [
        name,
        schema
      ])

    [[without_rowid, strict]] =
      rows(conn, "SELECT wr, strict FROM pragma_table_list WHERE schema = ?2 AND name = ?1", [name, schema])

    assert "without rowid" in table.options == (without_rowid == 1)
    assert "strict" in table.options == (strict == 1)
    assert Enum.map(table.columns, & &1.name) == Enum.map(columns, &hd/1)
    for {column, row} <- Enum.zip(table.columns, columns), do: column!(table, column, row)
    assert keys(table) == keys(conn, schema, name)
    assert uniques(table) == uniques(conn, schema, name)
  end

  # Every byte belongs to an item or to what separates them, and replacing what is there by itself changes nothing.
  defp tiled!(table, sql) do
    items = Enum.map(table.columns, & &1.range) ++ Enum.map(table.constraints, & &1.range)
    assert table.text == sql
    assert TableSql.edit(table, for(range <- items, do: {range, TableSql.slice(table, range)})) == sql

    for {{at, size}, {next, _}} <- Enum.zip(items, tl(items) ++ [{table.close, 1}]) do
      gap = binary_part(sql, at + size, next - at - size)
      assert String.replace(gap, ~r{--[^\n]*\n|/\*.*?\*/|\s}s, "") in ["", ","]
    end

    for column <- table.columns do
      parts = [column.name_range] ++ List.wrap(column.type) ++ Enum.map(column.clauses, & &1.range)
      assert {elem(hd(parts), 0), last(parts)} == {elem(column.range, 0), last([column.range])}

      for {{at, size}, {next, _}} <- Enum.zip(parts, tl(parts)) do
        gap = binary_part(sql, at + size, next - at - size)
        # Two words need no space between a parenthesis and a word.
        assert String.replace(gap, ~r{--[^\n]*\n|/\*.*?\*/|\s}s, "") == ""
      end
    end
  end

  defp last(ranges), do: ranges |> List.last() |> then(fn {at, size} -> at + size end)

  defp column!(table, column, [_name, type, not_null, default, key, hidden]) do
    kinds = Enum.map(column.clauses, & &1.kind)

    key? =
      :primary_key in kinds or
        Enum.any?(table.constraints, &(&1.kind == :primary_key and listed?(&1, column.name)))

    assert key? == key > 0
    assert :generated in kinds == hidden in [2, 3]
    if :generated in kinds, do: assert(stored?(column) == (hidden == 3))
    # A key of a table WITHOUT ROWID or STRICT is NOT NULL without being called so.
    if not_null == 1, do: assert(:not_null in kinds or key?), else: refute(:not_null in kinds)

    # With a comment between GENERATED and ALWAYS the engine takes GENERATED for a part of the type.
    unless :generated in kinds and type =~ ~r/generated/i do
      assert squeezed(column.type && TableSql.slice(table, column.type)) == squeezed(type)
    end

    case Enum.filter(column.clauses, &(&1.kind == :default)) do
      [] -> assert default == nil
      defaults -> assert TableSql.slice(table, List.last(defaults).body) =~ default
    end
  end

  defp stored?(column), do: Enum.any?(column.clauses, &(:stored in &1.flags))
  defp listed?(clause, name), do: TableSql.lower(name) in Enum.map(clause.columns, &TableSql.lower/1)

  # The engine keeps a type with its spaces and comments, and takes the quotes off one that begins with some.
  defp squeezed(type) do
    (type || "")
    |> String.upcase(:ascii)
    |> String.replace(~r{--[^\n]*\n|/\*.*?\*/|["`\[\]\s]}s, "")
    |> String.replace(~r/generatedalways\z/i, "")
  end

  defp keys(table) do
    in_columns =
      for column <- table.columns,
          %{kind: :references} = clause <- column.clauses,
          do: {clause, [column.name]}

    of_table = for %{kind: :references} = clause <- table.constraints, do: {clause, clause.columns}

    Enum.sort(
      for {clause, columns} <- in_columns ++ of_table do
        {clause.table, Enum.map(columns, &TableSql.lower/1), Enum.map(clause.targets, &TableSql.lower/1)}
      end
    )
  end

  defp keys(conn, schema, name) do
    conn
    |> rows("SELECT id, \"table\", \"from\", \"to\" FROM pragma_foreign_key_list(?1, ?2) ORDER BY id, seq", [
      name,
      schema
    ])
    |> Enum.group_by(&hd/1)
    |> Enum.map(fn {_id, [[_, table | _] | _] = rows} ->
      {table, for([_, _, from, _] <- rows, do: TableSql.lower(from)),
       for([_, _, _, to] <- rows, to != nil, do: TableSql.lower(to))}
    end)
    |> Enum.sort()
  end

  # Two constraints over the same columns share an index.
  defp uniques(table) do
    in_columns =
      for column <- table.columns, %{kind: :unique} <- column.clauses, do: [TableSql.lower(column.name)]

    of_table =
      for %{kind: :unique} = clause <- table.constraints, do: Enum.map(clause.columns, &TableSql.lower/1)

    (in_columns ++ of_table)
    |> Enum.map(&Enum.uniq/1)
    |> Enum.map(&Enum.sort/1)
    |> MapSet.new()
    |> without_key(table)
  end

  defp uniques(conn, schema, name) do
    found =
      for [index] <-
            rows(conn, "SELECT name FROM pragma_index_list(?1, ?2) WHERE origin = 'u'", [name, schema]) do
        conn
        |> rows("SELECT name FROM pragma_index_xinfo(?1, ?2) WHERE key = 1 ORDER BY seqno", [index, schema])
        |> Enum.map(&TableSql.lower(hd(&1)))
        |> Enum.sort()
      end

    {:ok, table} =
      TableSql.parse(
        hd(
          hd(rows(conn, "SELECT sql FROM #{schema}.sqlite_schema WHERE name = ?1 AND type = 'table'", [name]))
        )
      )

    found |> MapSet.new() |> without_key(table)
  end

  # A constraint over the primary key's own columns has no index of its own.
  defp without_key(sets, table) do
    in_columns =
      for column <- table.columns, %{kind: :primary_key} <- column.clauses, do: [TableSql.lower(column.name)]

    of_table =
      for %{kind: :primary_key} = clause <- table.constraints,
          do: Enum.sort(Enum.map(clause.columns, &TableSql.lower/1))

    MapSet.difference(sets, MapSet.new(in_columns ++ of_table))
  end

  defp rows(conn, sql, params \\ []) do
    {:ok, %{rows: rows}} = LibsqlPort.query(conn, sql, params)
    rows
  end
end
