defmodule EctoLibSql.AdminApiTest do
  # The way to the admin API: what may go unencrypted, proxies, authorities, and answers that are none.
  use ExUnit.Case, async: true

  alias EctoLibSql.AdminApi
  alias EctoLibSql.AdminApi.Proxy
  alias LibsqlPort.{Secret, ServerUrl}

  @key "s3cr3t-key"

  # Takes connections, and answers each request by a function of its head; the heads are sent to the test.
  defp listen(answer, tls \\ nil) do
    test = self()
    {:ok, listener} = :gen_tcp.listen(0, [:binary, ip: {127, 0, 0, 1}, active: false, backlog: 100])
    start_supervised!({Task, fn -> accept(listener, answer, tls, test) end}, id: make_ref())
    {:ok, port} = :inet.port(listener)
    port
  end

  defp accept(listener, answer, tls, test) do
    {:ok, socket} = :gen_tcp.accept(listener)
    # A client that does not trust goes away.
    with {:ok, {module, socket}} <- shaken(socket, tls), {:ok, head} <- head(module, socket, "") do
      send(test, {:asked, head})
      _ = module.send(socket, answer.(head))
      module.close(socket)
    end

    accept(listener, answer, tls, test)
  end

  defp shaken(socket, nil), do: {:ok, {:gen_tcp, socket}}

  defp shaken(socket, options) do
    with {:ok, socket} <- :ssl.handshake(socket, options, 30_000), do: {:ok, {:ssl, socket}}
  end

  defp head(module, socket, text) do
    if text =~ "\r\n\r\n" do
      {:ok, text}
    else
      with {:ok, data} <- module.recv(socket, 0, 30_000), do: head(module, socket, text <> data)
    end
  end

  defp answering(text), do: fn _head -> text end
  defp ok, do: answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

  defp create(url, options \\ []), do: AdminApi.create([admin_url: url, namespace: "a b"] ++ options)

  test "the key goes to another machine only encrypted, unless it is said" do
    for url <- ["http://example.com:9090", "http://10.0.0.1", "libsql://example.com?tls=0"] do
      assert {:error, message} = create(url, admin_auth_key: @key)
      assert message =~ ":admin_url"
      assert message =~ "would not be encrypted"
      assert message =~ "tls: false"
      refute message =~ @key
    end

    # Said, it goes: to a port where nobody is.
    assert {:error, message} = create("http://127.0.0.2:1", admin_auth_key: @key, tls: false)
    assert message =~ "cannot connect"
    assert {:error, message} = create("http://127.0.0.1:1", tls: true)
    assert message =~ "tls: true"
  end

  test "what is no address is refused" do
    for {url, words} <- [
          {"ftp://a", "ftp"},
          {"a.b", "no scheme"},
          {"https://a.b?authToken=#{@key}", ":admin_auth_key"}
        ] do
      assert {:error, message} = create(url)
      assert message =~ words
      refute message =~ @key
    end
  end

  test "a key with a line break is no header" do
    port = listen(ok())
    assert {:error, message} = create("http://127.0.0.1:#{port}", admin_auth_key: @key <> "\r\nx: y")
    assert message =~ ":admin_auth_key"
    refute message =~ @key
    refute_received {:asked, _}
    assert create("http://127.0.0.1:#{port}/base/", admin_auth_key: Secret.new(@key)) == :ok
    assert_received {:asked, head}
    assert head =~ "POST /base/v1/namespaces/a%20b/create HTTP/1.1\r\n"
    assert head =~ "authorization: basic #{@key}\r\n"
    assert head =~ "host: 127.0.0.1:#{port}\r\n"
  end

  test "answers are read in every form, and what is none is an error" do
    chunked = "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n"

    for {answer, words} <- [
          {chunked, "answers 500: abcdefg"},
          {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 418 Tea\r\ncontent-length: 3\r\n\r\npot",
           "answers 418: pot"},
          {"HTTP/1.0 503 Later\r\n\r\nuntil the end", "answers 503: until the end"},
          {"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n", ":admin_auth_key"},
          {"HTTP/1.1 400 No\r\ncontent-length: 99999999999\r\n\r\n", "longer than"},
          {"HTTP/1.1 400 No\r\ncontent-length: many\r\n\r\n", "cannot be read"},
          {"HTTP/1.1 400 No\r\ntransfer-encoding: gzip\r\n\r\n", "cannot be read"},
          {"HTTP/1.1 400 No\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", "cannot be read"},
          {"HTTP/1.1 400 No\r\ncontent-length: 5\r\n\r\nabc", "closed"},
          {"SSH-2.0-OpenSSH\r\n", "no HTTP"},
          {"HTTP/1.1 200 OK\r\n" <> String.duplicate("a: b\r\n", 200) <> "\r\n", "too many headers"},
          {"", "closed"}
        ] do
      port = listen(answering(answer))
      assert {:error, message} = create("http://127.0.0.1:#{port}", admin_auth_key: @key)
      assert message =~ words
      refute message =~ @key
    end

    port = listen(answering("HTTP/1.1 400 No\r\ncontent-length: 14\r\n\r\nalready exists"))
    assert create("http://127.0.0.1:#{port}") == :exists
  end

  test "a namespace is missing if the admin API says so, and not if something else does not know the path" do
    delete = &AdminApi.delete(admin_url: "http://127.0.0.1:#{&1}", namespace: "a")

    for {body, missing?} <- [
          {~s({"error":"Namespace `a` doesn't exist"}), true},
          {"", false},
          {"<h1>Not Found</h1>", false}
        ] do
      answer = "HTTP/1.1 404 No\r\ncontent-length: #{byte_size(body)}\r\n\r\n#{body}"
      answer = answer |> answering() |> listen() |> delete.()

      if missing? do
        assert answer == :missing
      else
        assert {:error, message} = answer
        assert message =~ "answers 404"
        assert message =~ ":admin_url"
      end
    end
  end

  test "a proxy is asked, with its password, and what it refuses is said" do
    for url <- ["http://example.com:81", "https://example.com"] do
      port = listen(answering("HTTP/1.1 407 No\r\n\r\n"))
      options = [tls: false, proxy: Secret.new("http://me:#{@key}@127.0.0.1:#{port}")]
      assert {:error, message} = create(url, options)
      assert message =~ "the proxy 127.0.0.1:#{port}: it answers 407"
      refute message =~ @key
      assert_received {:asked, head}
      assert head =~ "proxy-authorization: Basic #{Base.encode64("me:" <> @key)}\r\n"
      assert head =~ ~r"\ACONNECT example.com:(81|443) HTTP/1.1\r\n"
    end
  end

  test "behind a tunnel the request goes on" do
    two = fn
      "CONNECT" <> _ -> "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
      _other -> ""
    end

    port = listen(two)
    assert create("http://example.com:81", tls: false, proxy: "http://127.0.0.1:#{port}") == :ok
  end

  @tag :tmp_dir
  test "an authority of one's own is trusted, and no other", %{tmp_dir: directory} do
    made = LibsqlPort.Proxy.certificates(directory)
    port = listen(ok(), made.server)

    for host <- ["localhost", "127.0.0.1"] do
      url = "https://#{host}:#{port}"
      assert create(url, ca_file: made.ca_file) == :ok
      assert create(url, ca_file: made.ca_file, roots: :webpki) == :ok
      assert {:error, message} = create(url)
      assert message =~ "TLS"
      assert {:error, message} = create(url, roots: :webpki)
      assert message =~ ":ca_file"
    end

    # The certificate is for another host.
    assert {:error, message} = create("https://127.0.0.2:#{port}", ca_file: made.ca_file)
    assert message =~ "127.0.0.2"

    for {file, words} <- [{Path.join(directory, "none.pem"), "no such file"}, {__ENV__.file, "PEM"}] do
      assert {:error, message} = create("https://localhost:#{port}", ca_file: file)
      assert message =~ ":ca_file"
      assert message =~ words
    end
  end

  @tag :tmp_dir
  test "the client shows its certificate", %{tmp_dir: directory} do
    made = LibsqlPort.Proxy.certificates(directory)
    port = listen(ok(), made.server ++ [verify: :verify_peer, fail_if_no_peer_cert: true])
    url = "https://localhost:#{port}"
    assert create(url, Map.to_list(Map.take(made, [:ca_file, :client_cert_file, :client_key_file]))) == :ok
    assert {:error, _message} = create(url, ca_file: made.ca_file)
  end

  # The table of tests of src/network/proxy.rs.
  test "the environment names proxies and exceptions as it does for connections" do
    of = fn variables, encrypted?, host, port ->
      url = %ServerUrl{url: "", host: host, encrypted?: encrypted?}
      Proxy.of(nil, url, port, &Map.new(variables)[&1])
    end

    by? = fn variables, encrypted?, host, port ->
      match?({:ok, %Proxy{}}, of.(variables, encrypted?, host, port))
    end

    some = [{"HTTPS_PROXY", "http://p:1"}, {"no_proxy", "example.org, .corp,10.0.0.1:8080"}]
    assert by?.(some, true, "db.turso.io", 443)
    refute by?.(some, false, "db.turso.io", 80)

    for host <- ["example.org", "a.Example.org", "b.corp", "localhost", "127.0.0.1", "::1"],
        do: refute(by?.(some, true, host, 443))

    assert by?.(some, true, "notexample.org", 443)
    assert by?.(some, true, "10.0.0.1", 443)
    refute by?.(some, true, "10.0.0.1", 8080)
    all = [{"ALL_PROXY", "p:2"}, {"NO_PROXY", "*.x"}]
    assert by?.(all, false, "a", 80)
    refute by?.(all, true, "a.x", 443)
    refute by?.([{"https_proxy", "p"}, {"no_proxy", "*"}], true, "a", 443)
    refute by?.([{"HTTP_PROXY", "p"}], false, "a", 80)
  end

  test "URLs of proxies are read as for connections" do
    of = fn text ->
      with {:ok, proxy} <- Proxy.of(text, %ServerUrl{url: "", host: "a", encrypted?: true}, 443),
           do: proxy && {proxy.host, proxy.port, proxy.authorization}
    end

    assert of.("http://proxy:3128") == {"proxy", 3128, nil}
    assert of.("proxy") == {"proxy", 80, nil}
    assert of.("http://[::1]:8080/") == {"::1", 8080, nil}
    assert of.("http://u%40x:p@proxy:1") == {"proxy", 1, "Basic dUB4OnA="}
    assert of.("") == nil

    for {text, words} <- [
          {"socks5://p", "not socks5://"},
          {"http://p:x", "no number"},
          {"http://", "no host"}
        ] do
      assert {:error, message} = of.(text)
      assert message =~ ":proxy"
      assert message =~ words
    end

    {:ok, proxy} = Proxy.of("http://me:#{@key}@p", %ServerUrl{url: "", host: "a", encrypted?: true}, 443)
    refute inspect(proxy) =~ @key
  end
end
