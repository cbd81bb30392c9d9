defmodule EctoLibSql.LocationTest do
  # Not async: some change the VM's directory.
  use ExUnit.Case

  alias Ecto.Adapters.LibSql
  alias EctoLibSql.Location

  @moduletag :tmp_dir

  defmodule PathRepo do
    use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
  end

  # The database files in a directory.
  defp files(dir), do: dir |> File.ls!() |> Enum.reject(&(&1 =~ ~r/-(turn|wal|shm)\z/)) |> Enum.sort()

  defp touch(database) do
    {:ok, state} = EctoLibSql.connect(database: database)
    {:ok, _, _, state} = EctoLibSql.handle_execute("CREATE TABLE IF NOT EXISTS t (x)", [], [], state)
    EctoLibSql.disconnect([], state)
  end

  defp in_dir(dir, fun) do
    before = File.cwd!()
    File.cd!(dir)

    try do
      fun.()
    after
      File.cd!(before)
    end
  end

  test "what looks like the address of a server is no path, and an error shows no more than its scheme" do
    for {text, words} <- [
          {"turso://h?authToken=s3cr3t", "begins with turso://"},
          {"htp://h/s3cr3t", "begins with htp://"},
          {" http://h?authToken=s3cr3t", "white space before http://"},
          {"\nlibsql://h?authToken=s3cr3t", "white space"},
          {"SQLite://s3cr3t", "capital letters"},
          {"a\0s3cr3t", "zero byte"}
        ] do
      assert {:error, message} = Location.parse(text)
      assert message =~ ":database"
      assert message =~ words
      refute message =~ "s3cr3t"
    end

    for path <- ["./turso://h", "c://a.db", "a.db", "127.0.0.1:8080", "://a", "http:a.db"] do
      assert {:ok, %Location{mode: nil}} = Location.parse(path)
    end
  end

  # What is given after the directory, and the file that it names.
  @bare [
    "what?.db",
    "100%.db",
    "my%20app.db",
    "a#b.db",
    "a b.db",
    "ü.db",
    "~",
    "a&b=c.db",
    "a:b.db",
    ";.db",
    "'\".db"
  ]
  @uris [
    {"file:DIR/my%20app.db", "my app.db"},
    {"file://DIR/host.db", "host.db"},
    {"file://localhostDIR/local.db", "local.db"},
    {"file:DIR/a%3Fb.db?mode=rwc", "a?b.db"},
    {"file:DIR/frag.db#there", "frag.db"},
    {"file:DIR/c.db?cache=shared&unknown=1", "c.db"},
    {"file:DIR/v.db?vfs=unix", "v.db"},
    {"file:DIR/p%25.db?psow=1", "p%.db"},
    {"file:DIR/half%2.db", "half%2.db"},
    {"sqlite://DIR/url.db", "url.db"},
    {"libsql:DIR/l%20.db", "l .db"}
  ]

  for name <- @bare do
    test "a bare path is literal: #{name}", %{tmp_dir: dir} do
      touch(Path.join(dir, unquote(name)))
      assert files(dir) == [unquote(name)]
    end
  end

  for {uri, name} <- @uris do
    test "a URI: #{uri}", %{tmp_dir: dir} do
      # A directory with characters that a URI has to encode.
      touch(String.replace(unquote(uri), "DIR", URI.encode(dir)))
      assert files(dir) == [unquote(name)]
    end
  end

  for {given, name} <- Enum.map(@bare, &{"DIR/" <> &1, &1}) ++ @uris do
    test "storage finds the same file: #{given}", %{tmp_dir: dir} do
      encoded = if given_uri?(unquote(given)), do: URI.encode(dir), else: dir
      options = [database: String.replace(unquote(given), "DIR", encoded)]
      assert LibSql.storage_status(options) == :down
      assert :ok = LibSql.storage_up(options)
      assert files(dir) == [unquote(name)]
      assert {:error, :already_up} = LibSql.storage_up(options)
      touch(options[:database])
      assert LibSql.storage_status(options) == :up
      assert :ok = LibSql.storage_down(options)
      assert files(dir) == []
    end
  end

  defp given_uri?(given), do: given =~ ~r/\A(file|sqlite|libsql):/

  test "what is no place is told", %{tmp_dir: dir} do
    for database <- [
          "",
          "file:",
          "file://elsewhere#{dir}/a.db",
          "file:#{dir}/a.db?mode=fast",
          "file:#{dir}/a%00.db",
          "#{dir}/a\0.db",
          7
        ] do
      assert {:error, message} = Location.parse(database), inspect(database)
      assert is_binary(message)
      assert {:error, %EctoLibSql.Error{code: :invalid_option}} = EctoLibSql.connect(database: database)
    end

    assert files(dir) == []
  end

  test "the mode of a URI", %{tmp_dir: dir} do
    uri = "file:#{URI.encode(dir)}/m.db"
    assert {:error, %{code: :cannot_open}} = EctoLibSql.connect(database: uri <> "?mode=rw")
    touch(uri)
    {:ok, state} = EctoLibSql.connect(database: uri <> "?mode=ro")
    assert {:error, %{code: :read_only}, state} = EctoLibSql.handle_execute("DELETE FROM t", [], [], state)
    EctoLibSql.disconnect([], state)
  end

  test "a parameter for the engine gets there", %{tmp_dir: dir} do
    assert {:error, _} = EctoLibSql.connect(database: "file:#{URI.encode(dir)}/a.db?vfs=none-of-that-name")
    assert files(dir) == []
  end

  test "a database in memory, in all its forms" do
    for database <- [
          :memory,
          ":memory:",
          "file::memory:",
          "file:any?mode=memory&cache=shared",
          "sqlite::memory:"
        ] do
      assert {:ok, %Location{path: :memory}} = Location.parse(database)
    end
  end

  test "a relative path starts from the VM's directory", %{tmp_dir: dir} do
    in_dir(dir, fn ->
      assert :ok = LibSql.storage_up(database: "rel.db")
      assert File.exists?(Path.join(dir, "rel.db"))
      assert LibSql.storage_status(database: "rel.db") == :up
      touch("file:uri%20rel.db")
      assert files(dir) == ["rel.db", "uri rel.db"]
      assert :ok = LibSql.storage_down(database: "rel.db")
    end)
  end

  test "a Repo stays with its files when the VM's directory changes", %{tmp_dir: dir} do
    other = Path.join(dir, "other")
    File.mkdir!(other)

    in_dir(dir, fn ->
      start_supervised!(
        {PathRepo, database: "app.db", attach: [archive: "old?.db"], pool_size: 2, log: false}
      )

      PathRepo.query!("CREATE TABLE t (x)")
      PathRepo.query!("CREATE TABLE archive.t (x)")
    end)

    in_dir(other, fn ->
      PathRepo.disconnect_all(0)
      PathRepo.checkout(fn -> PathRepo.query!("SELECT 1") end)

      for _ <- 1..10 do
        PathRepo.query!("INSERT INTO t VALUES (1)")
        PathRepo.query!("INSERT INTO archive.t VALUES (1)")
      end
    end)

    stop_supervised!(PathRepo)
    assert files(other) == []
    assert files(dir) == ["app.db", "old?.db", "other"]
  end

  test "an attached database by its URI, read-only", %{tmp_dir: dir} do
    touch(Path.join(dir, "arch ive.db"))
    attach = [archive: "file:#{URI.encode(dir)}/arch%20ive.db?mode=ro"]
    {:ok, state} = EctoLibSql.connect(database: Path.join(dir, "main?.db"), attach: attach)

    assert {:ok, _, %{rows: [[0]]}, state} =
             EctoLibSql.handle_execute("SELECT count(*) FROM archive.t", [], [], state)

    assert {:error, %{code: :read_only}, state} =
             EctoLibSql.handle_execute("DELETE FROM archive.t", [], [], state)

    EctoLibSql.disconnect([], state)
    assert files(dir) == ["arch ive.db", "main?.db"]
  end

  for options <- [[pool_size: 1], [pool_size: 7], [pool_size: 2, pool_count: 3], [pool_count: 2]] do
    test "in memory there is one database: #{inspect(options)}" do
      options = [database: ":memory:", log: false] ++ unquote(options)
      start_supervised!({PathRepo, options})
      PathRepo.query!("CREATE TABLE t (x)")

      1..30
      |> Enum.map(fn n -> Task.async(fn -> PathRepo.query!("INSERT INTO t VALUES (?)", [n]) end) end)
      |> Task.await_many(30_000)

      assert PathRepo.query!("SELECT count(*) FROM t").rows == [[30]]
    end
  end

  test "each instance of a Repo has its own" do
    for name <- [:memory_one, :memory_two] do
      start_supervised!({PathRepo, name: name, database: :memory, pool_size: 2, log: false}, id: name)
      PathRepo.put_dynamic_repo(name)
      PathRepo.query!("CREATE TABLE t (x)")
    end
  end
end
