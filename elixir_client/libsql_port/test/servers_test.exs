defmodule LibsqlPort.ServersTest do
  # The servers and proxies of the tests themselves: a fault that they do not make proves nothing.
  use ExUnit.Case, async: true

  alias LibsqlPort.{Proxy, Sqld}
  alias LibsqlPort.Sqld.{Http, Token}

  @moduletag :sqld
  @select ~s({"baton":null,"requests":[{"type":"execute","stmt":{"sql":"SELECT 7"}},{"type":"close"}]})

  defp select(port), do: Http.request(port, "POST", "/v3/pipeline", @select)

  test "a server is killed, started again with its data, and stands still when it is told to" do
    server = Sqld.start!()
    assert {200, body} = select(server.http_port)
    assert body =~ ~s("value":"7")

    create = String.replace(@select, "SELECT 7", "CREATE TABLE t (x)")
    assert {200, _} = Http.request(server.http_port, "POST", "/v3/pipeline", create)
    :ok = Sqld.kill(server)
    assert select(server.http_port) == :error
    :ok = Sqld.restart(server)
    assert {200, body} = Http.request(server.http_port, "POST", "/v3/pipeline", create)
    assert body =~ "already exists"

    :ok = Sqld.pause(server)
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, server.http_port, [:binary, active: false])
    :ok = :gen_tcp.send(socket, "GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
    assert {:error, :timeout} = :gen_tcp.recv(socket, 0, 200)
    :ok = Sqld.resume(server)
    assert {:ok, "HTTP/1.1 200" <> _} = :gen_tcp.recv(socket, 0, 30_000)

    :ok = Sqld.stop(server)
    assert select(server.http_port) == :error
  end

  test "tokens are checked" do
    key = Token.key()
    server = Sqld.start!(jwt: key)
    assert {401, _} = select(server.http_port)

    for {claims, status} <- [
          {[], 200},
          {[expires_in: 60], 200},
          {[expires_in: -120], 401},
          {[access: :read], 200}
        ] do
      assert {^status, _} = authorized(server.http_port, Token.sign(key, claims))
    end

    assert {401, _} = authorized(server.http_port, Token.sign(Token.key()))
  end

  defp authorized(port, token) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false])

    head =
      "POST /v3/pipeline HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer #{token}\r\ncontent-length: #{byte_size(@select)}\r\n\r\n"

    :ok = :gen_tcp.send(socket, [head, @select])
    {:ok, "HTTP/1.1 " <> <<status::binary-size(3)>> <> _} = :gen_tcp.recv(socket, 0, 30_000)
    {String.to_integer(status), socket}
  end

  test "a replica follows its primary" do
    primary = Sqld.start!()
    replica = Sqld.start!(primary: primary)
    create = String.replace(@select, "SELECT 7", "CREATE TABLE t AS SELECT 9 AS x")
    assert {200, _} = Http.request(primary.http_port, "POST", "/v3/pipeline", create)
    read = String.replace(@select, "SELECT 7", "SELECT x FROM t")

    assert Enum.any?(1..1_000, fn _ ->
             Process.sleep(10)

             match?({200, _}, answer = Http.request(replica.http_port, "POST", "/v3/pipeline", read)) and
               elem(answer, 1) =~ ~s("9")
           end)
  end

  test "namespaces come and go" do
    server = Sqld.start!(namespaces: true)
    :ok = Sqld.create_namespace(server, "one")
    assert {400, _} = Sqld.admin(server, "POST", "/v1/namespaces/one/create", "{}")
    :ok = Sqld.drop_namespace(server, "one")
    :ok = Sqld.create_namespace(server, "one")
  end

  test "a proxy passes, cuts after so many bytes, holds back and refuses" do
    server = Sqld.start!()
    proxy = Proxy.start!(server.http_port)
    assert {200, _} = select(proxy.port)

    :ok = Proxy.plan(proxy, {:cut, :to_server, 20})
    assert select(proxy.port) == :error
    assert {200, _} = select(proxy.port)

    :ok = Proxy.plan(proxy, {:cut, :to_client, 20})
    assert select(proxy.port) == :error

    :ok = Proxy.plan(proxy, :refuse)
    assert select(proxy.port) == :error

    :ok = Proxy.plan(proxy, {:delay, 20})
    assert {200, _} = select(proxy.port)

    :ok = Proxy.plan(proxy, :blackhole)
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, proxy.port, [:binary, active: false])
    :ok = :gen_tcp.send(socket, "GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
    assert {:error, :timeout} = :gen_tcp.recv(socket, 0, 200)
    assert Proxy.connections(proxy) == 7
  end

  @tag :tmp_dir
  test "a proxy speaks TLS by certificates that its authority has signed", %{tmp_dir: directory} do
    server = Sqld.start!()
    made = Proxy.certificates(directory)
    proxy = Proxy.start!(server.http_port, tls: made, client_certificate: true)
    trust = [verify: :verify_peer, cacertfile: made.ca_file, server_name_indication: ~c"localhost"]
    own = [certfile: made.client_cert_file, keyfile: made.client_key_file]

    {:ok, socket} = :ssl.connect(~c"localhost", proxy.port, [:binary, active: false] ++ trust ++ own)
    :ok = :ssl.send(socket, "GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
    assert {:ok, "HTTP/1.1 200" <> _} = :ssl.recv(socket, 0, 30_000)

    # In TLS 1.3 the client learns of it by its first read.
    assert {:error, _} =
             with(
               {:ok, socket} <- :ssl.connect(~c"localhost", proxy.port, [:binary, active: false] ++ trust),
               do: :ssl.recv(socket, 0, 30_000)
             )
  end
end
