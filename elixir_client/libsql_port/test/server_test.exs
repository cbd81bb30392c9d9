defmodule LibsqlPort.ServerTest do
  # A database on a server: who asks, the way there, and what is said when the way or the server is gone.
  use LibsqlPort.SidecarCase, async: true

  import ExUnit.CaptureLog

  alias LibsqlPort.{Proxy, Sqld}
  alias LibsqlPort.Sqld.Token

  @moduletag :sqld
  @moduletag connect: false
  @moduletag sidecar_options: [log_level: :info]

  defp connect(sidecar, options), do: LibsqlPort.connect(sidecar, options)

  defp connect!(sidecar, options) do
    {:ok, conn} = connect(sidecar, options)
    conn
  end

  defp namespace do
    server = Sqld.shared()
    name = "server-#{System.unique_integer([:positive])}"
    :ok = Sqld.create_namespace(server, name)
    on_exit(fn -> Sqld.drop_namespace(server, name) end)
    [url: server.url, namespace: name]
  end

  test "a connection says where its database is", %{sidecar: sidecar, database: file} do
    location = namespace()
    conn = connect!(sidecar, location)
    assert conn.mode == :remote
    assert conn.path == location[:url]
    assert conn.info["mode"] == "remote"
    assert LibsqlPort.query_one!(conn, "SELECT 1") == [1]
    :ok = LibsqlPort.close(conn)

    local = connect!(sidecar, database: file)
    assert local.mode == :local
    :ok = LibsqlPort.close(local)
  end

  test "namespaces are databases of their own", %{sidecar: sidecar} do
    [one, other] = for _ <- 1..2, do: connect!(sidecar, namespace())
    LibsqlPort.query!(one, "CREATE TABLE t (x)")
    assert {:error, %Error{code: :sql_error}} = LibsqlPort.query(other, "SELECT * FROM t")
    for conn <- [one, other], do: :ok = LibsqlPort.close(conn)
  end

  @document Path.expand("../../../docs/modes.md", __DIR__)

  # The table of docs/modes.md, row by row.
  test "functions that a server does not have are :unsupported", %{sidecar: sidecar} do
    conn = connect!(sidecar, namespace())
    fun = fn _ -> 1 end
    aggregate = [step: fn x, sum -> (sum || 0) + x end]

    calls = %{
      "create_function/5" => fn -> LibsqlPort.create_function(conn, "f", 1, fun) end,
      "create_aggregate/5" => fn -> LibsqlPort.create_aggregate(conn, "f", 1, aggregate) end,
      "create_table_function/4" => fn ->
        LibsqlPort.create_table_function(conn, "f", columns: ["x"], rows: fn -> [] end)
      end,
      "create_collation/4" => fn -> LibsqlPort.create_collation(conn, "f", key: & &1) end,
      "drop_function/3" => fn -> LibsqlPort.drop_function(conn, "f", 1) end,
      "drop_table_function/2" => fn -> LibsqlPort.drop_table_function(conn, "f") end,
      "drop_collation/2" => fn -> LibsqlPort.drop_collation(conn, "f") end,
      "set_commit_hook/3" => fn -> LibsqlPort.set_commit_hook(conn, fun) end,
      "remove_commit_hook/1" => fn -> LibsqlPort.remove_commit_hook(conn) end,
      "set_authorizer/3" => fn -> LibsqlPort.set_authorizer(conn, fun) end,
      "remove_authorizer/1" => fn -> LibsqlPort.remove_authorizer(conn) end,
      "set_policy/3" => fn -> LibsqlPort.set_policy(conn, :read_only) end,
      "checkpoint/2" => fn -> LibsqlPort.checkpoint(conn) end
    }

    listed =
      for [name] <- Regex.scan(~r/^\| `([a-z_]+\/\d)` \|/m, File.read!(@document), capture: :all_but_first),
          do: name

    assert Enum.sort(listed) == Enum.sort(Map.keys(calls))

    for {name, call} <- calls do
      assert {^name, {:error, %Error{code: :unsupported, message: message}}} = {name, call.()}
      assert message =~ "("
    end

    assert LibsqlPort.query_one!(conn, "SELECT 1") == [1]
    :ok = LibsqlPort.close(conn)
  end

  test "statements that a server does not run are :unsupported", %{sidecar: sidecar} do
    conn = connect!(sidecar, namespace())

    for sql <- [
          "ATTACH 'a.db' AS a",
          "VACUUM",
          "CREATE TEMP TABLE t (x)",
          "PRAGMA journal_mode = delete"
        ] do
      assert {^sql, {:error, %Error{code: :unsupported}}} = {sql, LibsqlPort.query(conn, sql)}
    end

    :ok = LibsqlPort.close(conn)
  end

  describe "tokens" do
    setup do
      key = Token.key()
      {:ok, key: key, server: Sqld.start!(jwt: key)}
    end

    test "as text, in the URL, and refused", %{sidecar: sidecar, key: key, server: server} do
      token = Token.sign(key)

      for options <- [[url: server.url, auth_token: token], [url: server.url <> "?authToken=" <> token]] do
        conn = connect!(sidecar, options)
        assert LibsqlPort.query_one!(conn, "SELECT 1") == [1]
        assert conn.path == server.url
        :ok = LibsqlPort.close(conn)
      end

      for options <- [
            [],
            [auth_token: Token.sign(Token.key())],
            [auth_token: Token.sign(key, expires_in: -120)]
          ] do
        assert {:error, %Error{code: :unauthorized}} = connect(sidecar, [url: server.url] ++ options)
      end
    end

    test "that may not write are refused there", %{sidecar: sidecar, key: key, server: server} do
      writer = connect!(sidecar, url: server.url, auth_token: Token.sign(key))
      LibsqlPort.query!(writer, "CREATE TABLE t (x)")
      reader = connect!(sidecar, url: server.url, auth_token: Token.sign(key, access: :read))
      assert {:ok, %{rows: []}} = LibsqlPort.query(reader, "SELECT * FROM t")
      assert {:error, %Error{code: :forbidden}} = LibsqlPort.query(reader, "INSERT INTO t VALUES (1)")
      assert {:ok, %{rows: []}} = LibsqlPort.query(reader, "SELECT * FROM t")
      for conn <- [reader, writer], do: :ok = LibsqlPort.close(conn)
    end

    test "are asked for when one is needed, and kept", %{sidecar: sidecar, key: key, server: server} do
      test = self()

      ask = fn ->
        send(test, {:asked, self()})
        {:ok, Token.sign(key), 600_000}
      end

      conn = connect!(sidecar, url: server.url, auth_token: ask)
      assert_received {:asked, runner}
      assert runner != self()
      for _ <- 1..3, do: assert(LibsqlPort.query_one!(conn, "SELECT 1") == [1])
      refute_received {:asked, _}
      :ok = LibsqlPort.close(conn)
    end

    test "are asked for again when the server refuses one", %{sidecar: sidecar, key: key, server: server} do
      {:ok, tokens} = Agent.start_link(fn -> [Token.sign(key, expires_in: -120), Token.sign(key)] end)
      ask = fn -> Agent.get_and_update(tokens, fn [token | rest] -> {token, rest} end) end
      conn = connect!(sidecar, url: server.url, auth_token: ask)
      assert Agent.get(tokens, & &1) == []
      assert LibsqlPort.query_one!(conn, "SELECT 1") == [1]
      :ok = LibsqlPort.close(conn)
    end

    test "by module, function and arguments", %{sidecar: sidecar, key: key, server: server} do
      conn = connect!(sidecar, url: server.url, auth_token: {Token, :sign, [key]})
      assert LibsqlPort.query_one!(conn, "SELECT 1") == [1]
      :ok = LibsqlPort.close(conn)
    end

    test "that cannot be had are an error that says why", %{sidecar: sidecar, server: server} do
      for {ask, word} <- [
            {fn -> {:error, :vault_locked} end, "vault_locked"},
            # A text may hold what must not be shown.
            {fn -> {:error, "the vault is locked"} end, "a reason that is not shown"},
            {fn -> raise "no vault" end, "RuntimeError"},
            {fn -> nil end, "neither a token"},
            {fn -> "two words" end, "no token"},
            {fn -> {:ok, "a", 0} end, "lifetime"}
          ] do
        assert {:error, %Error{code: :callback_failed, message: message}} =
                 connect(sidecar, url: server.url, auth_token: ask)

        assert message =~ word
      end

      assert {:ok, %{connections: 0}} = LibsqlPort.status(sidecar)
    end

    test "that do not come are waited for as long as the request may take", %{
      sidecar: sidecar,
      server: server
    } do
      test = self()

      ask = fn ->
        send(test, {:asked, self()})
        Process.sleep(:infinity)
      end

      assert {:error, %Error{code: :timeout}} =
               connect(sidecar, url: server.url, auth_token: ask, connect_timeout: 200)

      assert_received {:asked, runner}
      monitor = Process.monitor(runner)
      assert_receive {:DOWN, ^monitor, :process, _, _}, 60_000
    end

    test "show nowhere", %{key: key, server: server} do
      telemetry = :"server_test_#{System.unique_integer([:positive])}"
      token = Token.sign(key)
      wrong = Token.sign(Token.key())

      log =
        capture_log(fn ->
          sidecar = start_supervised!({LibsqlPort, log_level: :debug, name: telemetry}, id: :loud)

          conn = connect!(sidecar, url: server.url, auth_token: token)
          assert {:error, error} = LibsqlPort.query(conn, "SELEKT 1")
          refute inspect(error, structs: false) =~ token
          refute inspect(conn, structs: false, limit: :infinity, printable_limit: :infinity) =~ token
          :ok = LibsqlPort.close(conn)

          for options <- [[auth_token: wrong], [auth_token: fn -> wrong end]] do
            assert {:error, error} = connect(sidecar, [url: server.url] ++ options)
            refute inspect(error, structs: false, limit: :infinity) =~ wrong
          end

          :ok = Sqld.kill(server)
          assert {:error, error} = connect(sidecar, url: server.url <> "?authToken=" <> token)
          refute inspect(error, structs: false, limit: :infinity) =~ token
          stop_supervised!(:loud)
        end)

      for secret <- [token, wrong], do: refute(log =~ secret)
    end
  end

  describe "the way there" do
    @tag :tmp_dir
    test "by TLS, trusting an authority of one's own", %{sidecar: sidecar, tmp_dir: directory} do
      location = namespace()
      made = Proxy.certificates(directory)
      proxy = Proxy.start!(Sqld.shared().http_port, tls: made)
      options = Keyword.put(location, :url, proxy.url)
      conn = connect!(sidecar, options ++ [ca_file: made.ca_file])
      assert LibsqlPort.query_one!(conn, "SELECT 1") == [1]
      :ok = LibsqlPort.close(conn)

      assert {:error, %Error{code: :remote_unavailable, message: message}} = connect(sidecar, options)
      assert message =~ "TLS"
    end

    @tag :tmp_dir
    test "by a certificate of the client", %{sidecar: sidecar, tmp_dir: directory} do
      location = namespace()
      made = Proxy.certificates(directory)
      proxy = Proxy.start!(Sqld.shared().http_port, tls: made, client_certificate: true)
      options = Keyword.put(location, :url, proxy.url) ++ [ca_file: made.ca_file]
      own = Map.to_list(Map.take(made, [:client_cert_file, :client_key_file]))
      conn = connect!(sidecar, options ++ own)
      assert LibsqlPort.query_one!(conn, "SELECT 1") == [1]
      :ok = LibsqlPort.close(conn)
      assert {:error, %Error{code: :remote_unavailable}} = connect(sidecar, options)
    end

    test "is gone: nothing took effect, and a new server is found", %{sidecar: sidecar} do
      server = Sqld.start!()
      conn = connect!(sidecar, url: server.url)
      LibsqlPort.query!(conn, "CREATE TABLE t (x)")
      :ok = Sqld.kill(server)
      assert {:error, %Error{code: :remote_unavailable}} = LibsqlPort.query(conn, "INSERT INTO t VALUES (1)")
      assert {:error, %Error{code: :remote_unavailable}} = connect(sidecar, url: server.url)
      :ok = Sqld.restart(server)
      assert LibsqlPort.query_one!(conn, "SELECT count(*) FROM t") == [0]
      :ok = LibsqlPort.close(conn)
    end

    test "is silent: the time of the request ends it", %{sidecar: sidecar} do
      server = Sqld.start!()
      conn = connect!(sidecar, url: server.url)
      LibsqlPort.query!(conn, "CREATE TABLE t (x)")
      :ok = Sqld.pause(server)
      assert {:error, %Error{code: :timeout}} = LibsqlPort.query(conn, "SELECT * FROM t", [], timeout: 200)

      assert {:error, %Error{code: :outcome_unknown}} =
               LibsqlPort.query(conn, "INSERT INTO t VALUES (1)", [], timeout: 200)

      :ok = Sqld.resume(server)
      assert {:ok, _} = LibsqlPort.query(conn, "SELECT * FROM t")
      :ok = LibsqlPort.close(conn)
    end

    test "breaks under a write: nobody knows, and it is there or not", %{sidecar: sidecar} do
      location = namespace()
      proxy = Proxy.start!(Sqld.shared().http_port)
      conn = connect!(sidecar, Keyword.put(location, :url, proxy.url))
      LibsqlPort.query!(conn, "CREATE TABLE t (x)")
      :ok = Proxy.plan(proxy, {:cut, :to_client, 1})

      assert {:error, %Error{code: :outcome_unknown}} = LibsqlPort.query(conn, "INSERT INTO t VALUES (1)")
      assert LibsqlPort.query_one!(conn, "SELECT count(*) FROM t") == [1]
      :ok = LibsqlPort.close(conn)
    end

    test "breaks under a read, which is read again", %{sidecar: sidecar} do
      location = namespace()
      proxy = Proxy.start!(Sqld.shared().http_port)
      conn = connect!(sidecar, Keyword.put(location, :url, proxy.url))
      LibsqlPort.query!(conn, "CREATE TABLE t (x)")
      assert {:ok, %{rows: []}} = LibsqlPort.query(conn, "SELECT * FROM t")
      :ok = Proxy.plan(proxy, {:cut, :to_client, 1})
      assert {:ok, %{rows: []}} = LibsqlPort.query(conn, "SELECT * FROM t")
      :ok = LibsqlPort.close(conn)
    end
  end

  describe "a transaction" do
    test "is lost with its server, and says so until it is rolled back", %{sidecar: sidecar} do
      server = Sqld.start!()
      conn = connect!(sidecar, url: server.url)
      LibsqlPort.query!(conn, "CREATE TABLE t (x)")

      assert {:error, %Error{code: :transaction_lost}} =
               LibsqlPort.transaction(conn, fn conn ->
                 LibsqlPort.query!(conn, "INSERT INTO t VALUES (1)")
                 :ok = Sqld.kill(server)
                 :ok = Sqld.restart(server)

                 for _ <- 1..2 do
                   assert {:error, %Error{code: :transaction_lost}} =
                            LibsqlPort.query(conn, "INSERT INTO t VALUES (2)")
                 end
               end)

      assert LibsqlPort.query_one!(conn, "SELECT count(*) FROM t") == [0]

      assert {:ok, _} = LibsqlPort.transaction(conn, &LibsqlPort.query!(&1, "INSERT INTO t VALUES (3)"))
      assert LibsqlPort.query_one!(conn, "SELECT sum(x) FROM t") == [3]
      :ok = LibsqlPort.close(conn)
    end

    test "whose commit has no answer is unknown", %{sidecar: sidecar} do
      location = namespace()
      proxy = Proxy.start!(Sqld.shared().http_port)
      conn = connect!(sidecar, Keyword.put(location, :url, proxy.url))
      LibsqlPort.query!(conn, "CREATE TABLE t (x)")

      assert {:error, %Error{code: :outcome_unknown}} =
               LibsqlPort.transaction(conn, fn conn ->
                 LibsqlPort.query!(conn, "INSERT INTO t VALUES (1)")
                 Proxy.plan(proxy, {:cut, :to_client, 1})
               end)

      assert LibsqlPort.query_one!(conn, "SELECT count(*) FROM t") == [1]
      :ok = LibsqlPort.close(conn)
    end
  end
end
