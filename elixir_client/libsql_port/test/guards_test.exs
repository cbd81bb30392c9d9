defmodule LibsqlPort.GuardsTest do
  use LibsqlPort.SidecarCase, async: true

  setup %{conn: conn} do
    LibsqlPort.query!(conn, "CREATE TABLE t (a CHECK (a > 0))")
    :ok
  end

  @edit "UPDATE sqlite_schema SET sql = 'CREATE TABLE t (a)' WHERE name = 't'"

  test "one statement may write what is protected", %{conn: conn} do
    assert {:error, %Error{code: :sql_error}} = LibsqlPort.query(conn, @edit)
    undefended = &LibsqlPort.query(conn, &1, [], defensive: false)
    assert {:ok, _} = undefended.("PRAGMA writable_schema = 1")
    assert {:ok, %Result{changes: 1}} = undefended.(@edit)
    assert {:error, %Error{code: :sql_error}} = LibsqlPort.query(conn, @edit)
  end

  test "a connection may do without", %{sidecar: sidecar, database: database} do
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database, defensive: false)
    LibsqlPort.query!(conn, "PRAGMA writable_schema = 1")
    assert %Result{changes: 1} = LibsqlPort.query!(conn, @edit)
    LibsqlPort.close(conn)
  end

  test "SQL of strangers opens no files", %{sidecar: sidecar, database: database} do
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database, untrusted_sql: true)

    for sql <- ["ATTACH '#{database}2' AS o", "VACUUM INTO '#{database}2'"] do
      assert {:error, %Error{code: :not_authorized}} = LibsqlPort.query(conn, sql)
    end

    refute File.exists?(database <> "2")
    LibsqlPort.close(conn)
  end

  test "SQL opens files of the allowed directories alone", %{sidecar: sidecar, database: database} do
    allowed = database <> ".allowed"
    File.mkdir!(allowed)
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database, allowed_directories: [allowed])

    for sql <- ["ATTACH ? AS o", "VACUUM INTO ?"] do
      assert {:error, %Error{code: :not_authorized} = error} = LibsqlPort.query(conn, sql, [database <> "2"])
      assert error.message =~ allowed
      assert {:ok, _} = LibsqlPort.query(conn, sql, [Path.join(allowed, String.slice(sql, 0, 3) <> ".db")])
    end

    refute File.exists?(database <> "2")
    LibsqlPort.close(conn)

    assert {:error, %Error{code: :invalid_option, message: message}} =
             LibsqlPort.connect(sidecar, database: database, allowed_directories: [database])

    assert message =~ "is no directory"
  end

  # What docs/security.md says of pragmas.
  test "SQL sets pragmas of its own connection, until a reset", %{sidecar: sidecar, database: database} do
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database, untrusted_sql: true)
    {:ok, other} = LibsqlPort.connect(sidecar, database: database)
    value = fn conn, pragma -> hd(LibsqlPort.query_one!(conn, "PRAGMA #{pragma}")) end

    for {pragma, safe, unsafe} <- [
          {"trusted_schema", 0, 1},
          {"cell_size_check", 1, 0},
          {"synchronous", 1, 0},
          {"foreign_keys", 1, 0},
          {"recursive_triggers", 0, 1}
        ] do
      assert value.(conn, pragma) == safe
      LibsqlPort.query!(conn, "PRAGMA #{pragma} = #{unsafe}")
      assert value.(conn, pragma) == unsafe
      assert value.(other, pragma) == safe
      :ok = LibsqlPort.reset(conn)
      assert value.(conn, pragma) == safe, pragma
    end

    for conn <- [conn, other], do: LibsqlPort.close(conn)
  end

  test "the engine's limits are options", %{sidecar: sidecar, database: database} do
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database, limits: [length: 1000])
    assert {:error, %Error{code: :too_big}} = LibsqlPort.query(conn, "SELECT zeroblob(1001)")
    LibsqlPort.close(conn)

    for limits <- [[lenght: 1], [length: 2_000_000_000]] do
      assert {:error, %Error{code: :invalid_option}} =
               LibsqlPort.connect(sidecar, database: database, limits: limits)
    end

    assert {:error, %Error{message: message}} =
             LibsqlPort.connect(sidecar, database: database, limits: [length: -1])

    assert message =~ ":limits"
  end

  test "a limit has a least value, the one that is documented", %{sidecar: sidecar} do
    {:docs_v1, _, _, _, %{"en" => docs}, _, _} = Code.fetch_docs(LibsqlPort.Options)
    rows = Regex.scan(~r/^\| `:(\w+)` \| .* \| (\d+) \|$/m, section(docs), capture: :all_but_first)
    assert length(rows) == 11

    for [name, least] <- rows, name = String.to_atom(name), least = String.to_integer(least) do
      connect = &LibsqlPort.connect(sidecar, database: ":memory:", limits: [{name, &1}])
      assert {:ok, conn} = connect.(least)
      LibsqlPort.close(conn)
      assert {:error, %Error{code: :invalid_option, message: message}} = connect.(least - 1)

      if least > 0,
        do: assert(message =~ "limits: [#{name}: #{least - 1}]: the limit #{name} can be #{least} at least")
    end
  end

  defp section(docs), do: docs |> String.split("| name in `:limits` |") |> List.last()

  test "an error of a limit names the option to raise", %{sidecar: sidecar} do
    {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:", limits: [length: 1000, vdbe_op: 1000])

    assert {:error, %Error{code: :too_big, message: message}} =
             LibsqlPort.query(conn, "SELECT zeroblob(1001)")

    assert message == "string or blob too big; raise limits: [length: …] of the connection"

    columns = Enum.map_join(1..1000, ", ", fn _ -> "hex(1)" end)

    assert {:error, %Error{code: :out_of_memory, message: message}} =
             LibsqlPort.query(conn, "SELECT #{columns}")

    assert message =~ "heap_bytes_max" and message =~ "vdbe_op"
    LibsqlPort.close(conn)
  end

  test "what is no option of a request is told", %{conn: conn} do
    assert {:error, %Error{code: :invalid_option}} = LibsqlPort.query(conn, "SELECT 1", [], defensive: 1)
    assert {:error, %Error{code: :invalid_option}} = LibsqlPort.script(conn, "SELECT 1", defensive: false)
  end

  test "each test that docs/security.md names is there" do
    root = Path.expand("../../..", __DIR__)
    text = File.read!(Path.join(root, "docs/security.md"))

    # Each folder is read once: a search for each of a hundred names takes a minute on a busy machine.
    modules =
      [Path.join(root, "tests/sidecar/*.rs"), Path.join(root, "src/**/*.rs")]
      |> Enum.flat_map(&Path.wildcard/1)
      |> Enum.group_by(&Path.basename(&1, ".rs"))

    for [_, module, test] <- Regex.scan(~r/`([a-z_]+)::([a-z_0-9]+)`/, text) do
      files = Map.get(modules, module, [])
      assert Enum.any?(files, &(File.read!(&1) =~ "#[test]\n#{indent(&1)}fn #{test}(")), "#{module}::#{test}"
    end

    suites =
      Path.join(root, "elixir_client/*/test/**/*.exs") |> Path.wildcard() |> MapSet.new(&Path.basename/1)

    for [_, file] <- Regex.scan(~r/`([a-z_]+\.exs)`/, text), do: assert(file in suites, file)
  end

  # Units stand in a module at the foot of their file.
  defp indent(path), do: if(path =~ "/tests/sidecar/", do: "", else: "    ")
end
