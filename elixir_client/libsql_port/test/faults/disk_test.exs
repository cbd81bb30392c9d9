defmodule LibsqlPort.Faults.DiskTest do
  use LibsqlPort.SidecarCase, async: false

  alias LibsqlPort.Pragma

  @moduletag :faults
  @moduletag connect: false

  test "a corrupt file", %{sidecar: sidecar, database: database} do
    {:ok, conn} = LibsqlPort.connect(sidecar, database: database)
    LibsqlPort.query!(conn, "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)")

    LibsqlPort.query!(
      conn,
      "INSERT INTO t (a) SELECT printf('%0500d', value) FROM generate(2000)" |> numbered()
    )

    {:ok, _} = LibsqlPort.checkpoint(conn, mode: :truncate)
    :ok = LibsqlPort.close(conn)

    # The header stays, the pages behind it do not.
    <<head::binary-size(8192), rest::binary>> = File.read!(database)
    File.write!(database, [head, :binary.copy(<<0xA5>>, byte_size(rest))])

    {:ok, conn} = LibsqlPort.connect(sidecar, database: database)
    assert {:error, %Error{code: :corrupt}} = LibsqlPort.query(conn, "SELECT sum(length(a)) FROM t")
    assert {:ok, [_ | _]} = Pragma.integrity_check(conn)
    assert :ok = LibsqlPort.close(conn)
    assert :ok = LibsqlPort.ping(sidecar)
  end

  test "a foreign file is left as it is", %{sidecar: sidecar, database: database} do
    text = :binary.copy("this is a letter, not a database\n", 200)
    File.write!(database, text)

    answer =
      with {:ok, conn} <- LibsqlPort.connect(sidecar, database: database) do
        answer = LibsqlPort.query(conn, "SELECT * FROM sqlite_master")
        LibsqlPort.close(conn)
        answer
      end

    assert {:error, %Error{code: :not_a_database, message: message}} = answer
    assert message == "file is not a database (opening #{database})"
    assert File.read!(database) == text
    assert Path.wildcard(database <> "*") == [database]
  end

  test "a directory that cannot be written to", %{sidecar: sidecar, tmp_dir: directory} do
    locked = Path.join(directory, "locked")
    File.mkdir_p!(locked)
    File.chmod!(locked, 0o555)
    on_exit(fn -> File.chmod(locked, 0o755) end)

    if File.touch(Path.join(locked, "probe")) == :ok do
      IO.puts(
        "disk_test: permissions do not hold this user back; the read-only directory is one of the kernel's"
      )

      path = "/proc/self/test.db"
      assert {:error, %Error{code: code}} = LibsqlPort.connect(sidecar, database: path)
      assert code in [:cannot_open, :io_error, :permission_denied, :read_only]
    else
      assert {:error, %Error{code: code}} =
               LibsqlPort.connect(sidecar, database: Path.join(locked, "test.db"))

      assert code in [:cannot_open, :permission_denied, :read_only]
    end
  end

  test "a path that is no path", %{sidecar: sidecar, tmp_dir: directory} do
    for path <- ["with\0nul", directory, Path.join(directory, "missing/dir/a.db"), <<255, 254>>] do
      assert {:error, %Error{code: code}} = LibsqlPort.connect(sidecar, database: path)
      assert code in [:cannot_open, :invalid_request, :invalid_option, :io_error], "#{inspect(path)}: #{code}"
    end

    for {path, cause} <- [
          {directory, "it is a folder"},
          {Path.join(directory, "missing/dir/a.db"), "the folder #{directory}/missing/dir does not exist"}
        ] do
      assert {:error, %Error{code: :cannot_open, message: message}} =
               LibsqlPort.connect(sidecar, database: path)

      assert message =~ cause
    end

    assert :ok = LibsqlPort.ping(sidecar)
  end

  test "a full disk", %{sidecar: sidecar, tmp_dir: directory} do
    mount = Path.join(directory, "small")
    File.mkdir_p!(mount)

    case System.cmd("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], stderr_to_stdout: true) do
      {_, 0} ->
        on_exit(fn -> System.cmd("umount", ["-l", mount]) end)
        fill(sidecar, Path.join(mount, "test.db"))

      {message, _} ->
        IO.puts(
          "disk_test: no tmpfs can be mounted here, a full disk is not tested (#{String.trim(message)})"
        )
    end
  end

  defp fill(sidecar, path) do
    {:ok, conn} = LibsqlPort.connect(sidecar, database: path)
    LibsqlPort.query!(conn, "CREATE TABLE t (a)")
    LibsqlPort.query!(conn, "INSERT INTO t VALUES ('kept')")

    assert {:error, %Error{code: :disk_full}} =
             LibsqlPort.transaction(conn, fn conn ->
               for _ <- 1..1_000 do
                 with {:error, error} <- LibsqlPort.query(conn, "INSERT INTO t VALUES (randomblob(10000))"),
                      do: LibsqlPort.rollback(conn, error)
               end
             end)

    # What was acknowledged is there, the file is whole, and the connection goes on.
    assert {:ok, ["kept"]} = LibsqlPort.query_one(conn, "SELECT a FROM t")
    assert {:ok, []} = Pragma.integrity_check(conn)
    assert :ok = LibsqlPort.close(conn)
  end

  defp numbered(sql) do
    numbers =
      "(WITH RECURSIVE c(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM c WHERE value < 2000) SELECT value FROM c)"

    String.replace(sql, "generate(2000)", numbers)
  end
end
