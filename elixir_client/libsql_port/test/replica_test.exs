defmodule LibsqlPort.ReplicaTest do
  use LibsqlPort.SidecarCase, async: true

  alias LibsqlPort.{Changes, Proxy, Replica, Sqld}
  alias LibsqlPort.Sqld.Token

  @moduletag :sqld
  @moduletag connect: false

  # A server of its own: some of these tests end it.
  setup %{tmp_dir: folder} do
    %{server: Sqld.start!(), path: Path.join(folder, "r.db")}
  end

  defp connect!(context, options \\ []) do
    {:ok, conn} =
      LibsqlPort.connect(context.sidecar, [database: context.path, url: context.server.url] ++ options)

    conn
  end

  test "reads what it has written, also from another connection, and says where it is", context do
    writer = connect!(context)
    reader = connect!(context, consistency: :local)
    {:ok, _} = LibsqlPort.query(writer, "CREATE TABLE t(a)", [])
    {:ok, _} = LibsqlPort.query(writer, "INSERT INTO t VALUES (?)", [1])

    for conn <- [writer, reader] do
      assert {:ok, %{rows: [[1]]}} = LibsqlPort.query(conn, "SELECT a FROM t", [])
    end

    assert {:ok, %{index: index, log: log, error: nil, age: age}} = Replica.status(reader)
    assert is_integer(index) and is_binary(log) and is_integer(age)
    assert {:ok, %{index: ^index}} = Replica.sync(reader, until: {log, index})
    assert {:ok, ^index} = Replica.flush(reader)
    assert {:ok, %{rows: [[1]]}} = LibsqlPort.query(reader, "SELECT a FROM t", [], consistency: :latest)
  end

  test "reads on when the server is gone, and says why it does not sync", context do
    conn = connect!(context)
    {:ok, _} = LibsqlPort.query(conn, "CREATE TABLE t(a)", [])
    Sqld.kill(context.server)
    assert {:error, %Error{code: :remote_unavailable}} = Replica.sync(conn)
    assert {:ok, %{error: %Error{code: :remote_unavailable}}} = Replica.status(conn)
    assert {:ok, %{rows: []}} = LibsqlPort.query(conn, "SELECT a FROM t", [])

    assert {:error, %Error{code: :remote_unavailable}} =
             LibsqlPort.query(conn, "INSERT INTO t VALUES (1)", [])
  end

  test "freezes into a database of its own", %{tmp_dir: folder} = context do
    conn = connect!(context)
    {:ok, _} = LibsqlPort.script(conn, "CREATE TABLE t(a); INSERT INTO t VALUES (7)")
    copy = Path.join(folder, "copy.db")
    {:ok, _} = Changes.subscribe(context.sidecar, changes: false, hooks: [:freeze])
    assert {:ok, bytes} = Replica.freeze(conn, copy)
    assert File.stat!(copy).size == bytes
    path = Path.expand(context.path)

    assert_receive %Changes.Freeze{database: ^path, pages_done: pages, pages_known: pages} when pages > 0,
                   20_000

    assert {:error, %Error{code: :cannot_open}} = Replica.freeze(conn, copy)
    {:ok, local} = LibsqlPort.connect(context.sidecar, database: copy)
    assert {:ok, %{rows: [[7]]}} = LibsqlPort.query(local, "SELECT a FROM t", [])
  end

  test "tells a subscriber how far a first sync has come", context do
    {:ok, remote} = LibsqlPort.connect(context.sidecar, url: context.server.url)
    {:ok, _} = LibsqlPort.query(remote, "CREATE TABLE t(a)", [])
    {:ok, _} = Changes.subscribe(context.sidecar, changes: false, hooks: [:sync])
    connect!(context)
    path = Path.expand(context.path)

    assert_receive %Changes.Sync{database: ^path, frames_done: done, frames_known: known} when done >= known,
                   20_000
  end

  test "asks for a token again when the server refuses the last one, to sync as to write", context do
    key = Token.key()
    server = Sqld.start!(jwt: key)
    test = self()

    {:ok, tokens} =
      Agent.start_link(fn ->
        [Token.sign(key, expires_in: 60), Token.sign(key, expires_in: -120), Token.sign(key, expires_in: 60)]
      end)

    token = fn ->
      send(test, :asked)
      {:ok, Agent.get_and_update(tokens, fn [token | rest] -> {token, rest} end), 1}
    end

    location = [database: context.path, url: server.url, auth_token: token]
    {:ok, conn} = LibsqlPort.connect(context.sidecar, location)
    Process.sleep(2)
    assert {:ok, %{error: nil}} = Replica.sync(conn)
    for _ <- 1..3, do: assert_receive(:asked)

    assert {:error, %Error{code: :unauthorized} = error} =
             LibsqlPort.connect(context.sidecar,
               database: context.path <> "2",
               url: server.url,
               auth_token: Token.sign(Token.key())
             )

    refute inspect(error) =~ "eyJ"
  end

  test "reads of the server what the file has too old, or says so", context do
    proxy = Proxy.start!(context.server.http_port)
    location = [database: context.path, url: proxy.url]
    {:ok, conn} = LibsqlPort.connect(context.sidecar, [max_lag: 60_000] ++ location)
    {:ok, _} = LibsqlPort.query(conn, "CREATE TABLE t(a)", [])
    {:ok, remote} = LibsqlPort.connect(context.sidecar, url: context.server.url)
    {:ok, _} = LibsqlPort.query(remote, "INSERT INTO t VALUES (1)", [])
    assert {:ok, %{rows: []}} = LibsqlPort.query(conn, "SELECT a FROM t", [])
    Process.sleep(2)
    assert {:ok, %{rows: [[1]]}} = LibsqlPort.query(conn, "SELECT a FROM t", [], max_lag: 1)
    Proxy.plan(proxy, :refuse)
    {:ok, strict} = LibsqlPort.connect(context.sidecar, [when_stale: :error, offline: true] ++ location)
    assert {:error, %Error{code: :too_stale}} = LibsqlPort.query(strict, "SELECT a FROM t", [], max_lag: 1)
    assert {:ok, %{rows: _}} = LibsqlPort.query(strict, "SELECT a FROM t", [])
    assert {:error, %Error{code: :invalid_option}} = LibsqlPort.query(conn, "SELECT 1", [], max_lag: 0)
  end

  test "becomes a database of its own", context do
    conn = connect!(context)
    {:ok, _} = LibsqlPort.script(conn, "CREATE TABLE t(a); INSERT INTO t VALUES (7)")
    assert {:error, %Error{code: :busy}} = Replica.promote(context.sidecar, context.path)
    :ok = LibsqlPort.close(conn)
    assert :ok = Replica.promote(context.sidecar, context.path)
    {:ok, local} = LibsqlPort.connect(context.sidecar, database: context.path)
    assert {:ok, %{changes: 1}} = LibsqlPort.query(local, "UPDATE t SET a = 8", [])
    assert {:error, %Error{code: :cannot_open}} = Replica.promote(context.sidecar, context.path)

    assert {:error, %Error{code: :cannot_open}} =
             LibsqlPort.connect(context.sidecar, database: context.path, url: context.server.url)
  end

  test "has errors that name what is to be done", context do
    options = [database: context.path, url: context.server.url]

    assert {:error, %Error{code: :unsupported} = error} =
             LibsqlPort.connect(context.sidecar, [sync_protocol: :v2] ++ options)

    assert error.message =~ "local database"

    assert {:error, %Error{code: :invalid_option} = error} =
             LibsqlPort.connect(context.sidecar, url: context.server.url, offline: true)

    assert error.message =~ ":database"
    conn = connect!(context)
    assert {:error, %Error{code: :invalid_option}} = Replica.sync(conn, until: :last)
    {:ok, local} = LibsqlPort.connect(context.sidecar, database: ":memory:")
    assert {:error, %Error{code: :unsupported}} = Replica.sync(local)
    assert {:error, %Error{code: :unsupported}} = Replica.status(local)
  end
end
