defmodule LibsqlPort.TemporaryFilesTest do
  # The temporary files of sorting, grouping and cursors: where they lie, what they may hold, that a sidecar that was killed
  # leaves none, and that a connection may do without.
  use LibsqlPort.SidecarCase, async: true

  alias LibsqlPort.Cursor

  @moduletag connect: false

  # Some 4 MB to sort. SQLite keeps 1 MB of it in memory with the page cache of `connect/2`.
  @sort "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r WHERE x < 5000) " <>
          "SELECT hex(randomblob(400)) AS a FROM r ORDER BY a"
  @sorted "SELECT count(*) FROM (#{@sort} LIMIT -1 OFFSET 1)"

  defp sidecar(options) do
    id = make_ref()
    {id, start_supervised!({LibsqlPort, [log_level: :error] ++ options}, id: id)}
  end

  defp connect(sidecar, options \\ []) do
    {:ok, conn} = LibsqlPort.connect(sidecar, [database: ":memory:", cache_size: 10] ++ options)
    conn
  end

  defp folder(context, name) do
    folder = Path.join(context.tmp_dir, name)
    File.mkdir_p!(folder)
    folder
  end

  defp os_pid(sidecar) do
    {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
    os_pid
  end

  # Half read, so that the sorter keeps its file.
  defp half_read(conn) do
    {:ok, cursor} = Cursor.declare(conn, @sort, [])
    assert {:more, [_]} = Cursor.fetch(conn, cursor, chunk_rows: 1)
    cursor
  end

  # The files of a folder that the program has open; nil where the system does not tell.
  defp open_in(folder, os_pid) do
    with {:ok, descriptors} <- File.ls("/proc/#{os_pid}/fd") do
      for descriptor <- descriptors,
          {:ok, file} <- [File.read_link("/proc/#{os_pid}/fd/#{descriptor}")],
          String.starts_with?(file, folder <> "/"),
          do: file
    else
      {:error, _} -> nil
    end
  end

  test "lie in :temp_directory, and a killed sidecar leaves none", context do
    folder = folder(context, "temporary")
    {_id, sidecar} = sidecar(temp_directory: folder)
    conns = for _ <- 1..3, do: connect(sidecar)
    Enum.each(conns, &half_read/1)
    os_pid = os_pid(sidecar)

    case open_in(folder, os_pid) do
      nil -> :ok
      open -> assert length(open) >= 3 and Enum.all?(open, &String.ends_with?(&1, " (deleted)"))
    end

    # Others sort at this moment, and make and remove files.
    for conn <- conns, do: Task.start(fn -> for _ <- 1..100, do: LibsqlPort.query(conn, @sorted) end)
    eventually(fn -> Enum.all?(conns, &(LibsqlPort.requests(&1) != [])) end)
    monitor = LibsqlPort.Connection.monitor_sidecar(hd(conns))
    {_, 0} = System.cmd("kill", ["-9", Integer.to_string(os_pid)])
    assert_receive {:DOWN, ^monitor, _, _, _}, 60_000
    assert File.ls!(folder) == []
  end

  for variable <- ["SQLITE_TMPDIR", "TMPDIR"] do
    test "lie where #{variable} says, if no option does", context do
      named = folder(context, "named")
      {_id, sidecar} = sidecar(env: [{unquote(variable), named}])
      half_read(connect(sidecar))
      open = open_in(named, os_pid(sidecar))
      assert open == nil or open != []
      assert File.ls!(named) == []

      option = folder(context, "option")
      {_id, sidecar} = sidecar(env: [{unquote(variable), named}], temp_directory: option)
      half_read(connect(sidecar))
      assert open_in(named, os_pid(sidecar)) in [nil, []]
      open = open_in(option, os_pid(sidecar))
      assert open == nil or open != []
    end
  end

  test "hold no more than :temp_bytes_max together; what is closed counts no longer" do
    {_id, sidecar} = sidecar(temp_bytes_max: 6_000_000)
    conn = connect(sidecar)
    for _ <- 1..3, do: assert({:ok, %{rows: [[4_999]]}} = LibsqlPort.query(conn, @sorted))

    other = connect(sidecar)
    cursor = half_read(other)

    assert {:error, %Error{code: :limit_exceeded, message: message}} = LibsqlPort.query(conn, @sorted)
    assert message =~ "temp_bytes_max"
    assert {:ok, %{rows: [[1]]}} = LibsqlPort.query(conn, "SELECT 1")

    :ok = Cursor.close(other, cursor)
    assert {:ok, %{rows: [[4_999]]}} = LibsqlPort.query(conn, @sorted)
  end

  test "are not made by a connection with temp_store: :memory" do
    {_id, sidecar} = sidecar(temp_bytes_max: 1)
    assert {:error, %Error{code: :limit_exceeded}} = sidecar |> connect() |> LibsqlPort.query(@sorted)
    conn = connect(sidecar, temp_store: :memory)
    assert {:ok, %{rows: [[4_999]]}} = LibsqlPort.query(conn, @sorted)
    assert {:ok, %{rows: [[2]]}} = LibsqlPort.query(conn, "PRAGMA temp_store")
  end
end
