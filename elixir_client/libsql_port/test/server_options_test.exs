defmodule LibsqlPort.ServerOptionsTest do
  # Addresses and tokens of databases on a server, as options: nothing is connected.
  use ExUnit.Case, async: true

  alias LibsqlPort.{Error, Options, Secret, ServerOptions, ServerUrl}

  @token "eyJhbGciOiJFZERTQSJ9.secret-part.signature"

  defp given!(options) do
    {:ok, checked} = Options.connection(options)
    checked
  end

  test "what is given travels, and the path is empty" do
    checked =
      given!(
        url: "libsql://app-org.turso.io",
        auth_token: @token,
        namespace: "a",
        ca_file: "/ca.pem",
        client_cert_file: "/c.pem",
        client_key_file: "/k.pem",
        roots: :webpki,
        proxy: "",
        server_connect_timeout: 7,
        stream_idle: 0,
        response_bytes_max: 1_000,
        idle_sockets_max: 2,
        socket_idle: 3,
        breaker_failures: 0,
        breaker_delay: 4,
        breaker_delay_max: 5,
        probe_timeout: 6,
        replica_urls: ["libsql://b.turso.io", "https://c.turso.io"],
        read_from: :nearest,
        fallback_reads: ["https://c.turso.io"],
        replica_wait: 8,
        measure_interval: 9,
        timeout: 5_000
      )

    assert checked.path == ""

    assert checked.wire == %{
             "url" => "libsql://app-org.turso.io",
             "auth_token" => @token,
             "namespace" => "a",
             "ca_file" => "/ca.pem",
             "client_cert_file" => "/c.pem",
             "client_key_file" => "/k.pem",
             "roots" => :webpki,
             "proxy" => "",
             "connect_timeout_ms" => 7,
             "stream_idle_ms" => 0,
             "response_bytes_max" => 1_000,
             "idle_sockets_max" => 2,
             "socket_idle_ms" => 3,
             "breaker_failures" => 0,
             "breaker_delay_ms" => 4,
             "breaker_delay_max_ms" => 5,
             "probe_timeout_ms" => 6,
             "replica_urls" => ["libsql://b.turso.io", "https://c.turso.io"],
             "read_from" => :nearest,
             "fallback_reads" => ["https://c.turso.io"],
             "replica_wait_ms" => 8,
             "measure_interval_ms" => 9
           }

    none = given!(url: "https://e.com", replica_urls: [], read_from: :primary, fallback_reads: false)
    assert Map.drop(none.wire, ["read_from"]) == %{"url" => "https://e.com"}
    all = given!(url: "https://e.com", replica_urls: ["https://f.com"], fallback_reads: true)
    assert all.wire["fallback_reads"] == true
  end

  test "defaults are left to the program" do
    assert given!(url: "https://example.com").wire == %{"url" => "https://example.com"}
    assert given!(url: "https://example.com", auth_token: nil, database: nil).path == ""
  end

  test "with a file beside it, the file is a replica and takes what files take" do
    checked = given!(url: "https://example.com", database: "a.db", synchronous: :full, statement_cache: 1)
    assert checked.path == "a.db"
    assert checked.wire["url"] == "https://example.com"
    assert checked.wire["pragmas"] == %{"synchronous" => "full"}
  end

  test "a token may stand in the URL, and is taken out of it" do
    assert given!(url: "libsql://example.com?authToken=#{@token}").wire ==
             %{"url" => "libsql://example.com", "auth_token" => @token}

    assert given!(url: "libsql://example.com?authToken=a+b%2Bc").wire["auth_token"] == "a+b+c"

    assert given!(url: "libsql://localhost:8080?tls=0&authToken=#{@token}").wire ==
             %{"url" => "libsql://localhost:8080?tls=0", "auth_token" => @token}
  end

  test "a token may be a secret, or be asked for" do
    assert given!(url: "https://a.b", auth_token: Secret.new(@token)).wire["auth_token"] == @token
    proxy = "http://me:#{@token}@proxy:3128"
    assert given!(url: "https://a.b", proxy: Secret.new(proxy)).wire["proxy"] == proxy

    for ask <- [fn -> @token end, {String, :trim, [@token]}] do
      checked = given!(url: "https://a.b", auth_token: ask)
      refute Map.has_key?(checked.wire, "auth_token")
      assert checked.token.fun.() == @token
      assert inspect(checked.token) =~ "auth_token"

      encoded = checked |> Options.encoded(7) |> IO.iodata_to_binary()
      assert encoded =~ "ask_auth_token"
    end
  end

  test "what is not encrypted goes to this machine alone, unless it is said" do
    for url <- [
          "http://localhost:1",
          "http://127.0.0.9:1",
          "ws://[::1]:1",
          "http://db.localhost",
          "libsql://localhost?tls=0"
        ] do
      assert {:ok, _} = Options.connection(url: url)
    end

    for url <- [
          "http://example.com",
          "ws://10.0.0.1",
          "libsql://example.com?tls=0",
          "http://localhost.example.com"
        ] do
      assert {:error, %Error{code: :invalid_option, message: message}} = Options.connection(url: url)
      assert message =~ "would not be encrypted"
      assert message =~ "tls: false"
      assert {:ok, %{wire: %{"tls" => false}}} = Options.connection(url: url, tls: false)
    end
  end

  test "which hosts are this machine is as the sidecar has it" do
    hosts =
      for line <- "../../../tests/fixtures/loopback_hosts.txt" |> Path.expand(__DIR__) |> File.stream!(),
          [answer, host] <- [String.split(line)],
          do: {host, answer}

    assert length(hosts) > 20

    for {host, answer} <- hosts do
      assert {host, if(ServerUrl.loopback?(host), do: "yes", else: "no")} == {host, answer}
    end
  end

  test "what is for TLS alone is refused where there is none" do
    for options <- [
          [ca_file: "/ca.pem"],
          [client_cert_file: "/c.pem", client_key_file: "/k.pem"],
          [roots: :webpki]
        ],
        {url, also} <- [{"http://localhost:1", []}, {"http://example.com", [tls: false]}] do
      assert {:error, %Error{code: :invalid_option, message: message}} =
               Options.connection([url: url] ++ also ++ options)

      [{name, _} | _] = options
      assert message =~ "the option #{inspect(name)} is for TLS"
      assert message =~ "https://"
      assert {:ok, _} = Options.connection([url: "https://example.com"] ++ options)
    end

    assert {:error, %Error{message: message}} = Options.connection(url: "http://localhost:1", tls: true)
    assert message =~ "tls: true"
    assert {:ok, _} = Options.connection(url: "https://example.com", tls: true)
  end

  test "each option of a connection that a server has no use for is refused" do
    # What is done here, or by a server as well.
    common = [:database, :timeout, :connect_timeout, :owner, :statement_cache, :show_statement, :telemetry]
    of_server = for {name, _, _, _} <- ServerOptions.table(), do: name

    values = %{
      memory: true,
      mode: :read_only,
      allowed_directories: ["/a"],
      policy: :read_only,
      limits: [length: 1000],
      open_flags: [:nofollow],
      functions: [{:scalar, "f", 0, fn -> 1 end}],
      commit_hook: fn -> :ok end,
      authorizer: fn _ -> :allow end,
      pragmas: [foreign_keys: true],
      journal_mode: :wal,
      synchronous: :full,
      temp_store: :memory,
      auto_vacuum: :full,
      locking_mode: :exclusive
    }

    for name <- Options.connection_names() -- (common ++ of_server) do
      tries =
        Enum.map(
          [Map.get(values, name, 1), 1, true],
          &Options.connection([{:url, "https://e.com"}, {name, &1}])
        )

      refute Enum.any?(tries, &match?({:ok, _}, &1)), "#{name} is taken and has no effect"
      words = "the option #{inspect(name)} is for a database in a file"
      assert Enum.any?(tries, fn {:error, error} -> error.message =~ words end), "#{name}: #{inspect(tries)}"
    end
  end

  test "errors name the mend, and show nothing that is secret" do
    secret = "s3cr3t-of-mine"

    for {options, words} <- [
          {[url: "ftp://example.com/#{secret}"], ["ftp", "libsql://", "https://"]},
          {[url: "example.com"], ["no scheme", "libsql://"]},
          {[url: "https://"], ["no host"]},
          {[url: 1], ["takes a URL as a string"]},
          {[url: "https://me:#{secret}@example.com"], ["password", ":auth_token"]},
          {[url: "https://example.com#x"], ["fragment"]},
          {[url: "https://example.com?token=#{secret}"], ["parameter", "authToken"]},
          {[url: "https://example.com?#{secret}"], ["parameter", "authToken"]},
          {[url: "https://example.com:99999/#{secret}"], ["port is 99999", "65535"]},
          {[url: "http://127.0.0.1:0/#{secret}"], ["port is 0", "65535"]},
          {[url: "libsql://example.com:84430"], ["port is 84430", "65535"]},
          {[url: "https://example.com?authToken=#{secret}&authToken=a"], ["twice"]},
          {[url: "https://example.com?tls=1&tls=1"], ["twice"]},
          {[url: "http://127.0.0.1:"], ["without a port"]},
          {[url: "libsql://example.com:/#{secret}"], ["without a port"]},
          {[url: "https://example.com?tls=#{secret}"], ["tls is 0 or 1"]},
          {[url: "https://example.com?tls=0"], ["contradict"]},
          {[url: "https://exa mple.com/#{secret}"], ["no URL"]},
          {[url: "https://e.com?authToken=#{secret}", auth_token: "b"], ["twice", ":auth_token"]},
          {[url: "https://e.com", auth_token: secret <> "\n"], [":auth_token", "line break"]},
          {[url: "https://e.com", auth_token: "ä" <> secret], [":auth_token", "ASCII"]},
          {[url: "https://e.com", auth_token: ""], [":auth_token", "empty"]},
          {[url: "https://e.com", auth_token: {secret, 1}], [":auth_token", "function"]},
          {[url: "https://e.com", auth_token: fn _ -> secret end], [":auth_token", "without arguments"]},
          {[url: "https://e.com", namespace: ""], [":namespace"]},
          {[url: "https://e.com", proxy: "socks5://me:#{secret}@p"], [":proxy", "http://proxy:3128"]},
          {[url: "https://e.com", proxy: "https://me:#{secret}@p"], [":proxy", "http://proxy:3128"]},
          {[url: "https://e.com", roots: :mine], [":roots", ":native", ":webpki"]},
          {[url: "https://e.com", stream_idle: 9_000], [":stream_idle", "8000"]},
          {[url: "https://e.com", breaker_delay: 0], [":breaker_delay", "from 1"]},
          {[url: "https://e.com", read_from: :replica], [":read_from", ":replica_urls"]},
          {[url: "https://e.com", read_from: :anywhere], [":read_from", ":nearest"]},
          {[url: "https://e.com", fallback_reads: true], [":fallback_reads", ":replica_urls"]},
          {[url: "https://e.com", replica_urls: "https://f.com"], [":replica_urls", "a list"]},
          {[url: "https://e.com", replica_urls: ["http://f.com"]], [":replica_urls", "tls: false"]},
          {[url: "https://e.com", replica_urls: [1]], [":replica_urls", "a URL"]},
          {[url: "https://e.com", replica_urls: ["https://f.com?authToken=#{secret}"]],
           [":replica_urls", "token"]},
          {[url: "https://e.com", replica_urls: ["https://f.com"], fallback_reads: ["https://g.com"]],
           [":fallback_reads", "some of :replica_urls"]},
          {[url: "https://e.com", replica_urls: ["https://f.com"], fallback_reads: :all],
           [":fallback_reads", "true"]},
          {[database: "a.db", replica_urls: ["https://f.com"]], [":replica_urls", ":url"]},
          {[url: "https://e.com", client_cert_file: "/c"], [":client_key_file", "belong together"]},
          {[url: "https://e.com", journal_mode: :wal], [":journal_mode", "server"]},
          {[url: "https://e.com", functions: [{:scalar, "f", 0, fn -> 1 end}]], [":functions", "server"]},
          {[url: "https://e.com", mode: :read_only], [":mode", "token"]},
          {[url: "https://e.com", policy: :read_only], [":policy", "token"]},
          {[database: "a.db", auth_token: secret], [":auth_token", ":url"]},
          {[database: "a.db", namespace: "a"], [":namespace", ":url"]},
          {[database: "libsql://e.com?authToken=#{secret}"], [":database", ":url"]},
          {[], [":database", ":url"]}
        ] do
      assert {:error, %Error{code: :invalid_option, message: message}} = Options.connection(options)
      for word <- words, do: assert(message =~ word, "#{message} lacks #{word}")
      refute message =~ secret
    end
  end

  test "an address that another option holds is called by its name" do
    for {options, word} <- [
          {[url: "http://example.com"], "the option :uri: what is sent"},
          {[url: "https://e.com", journal_mode: :wal], "and :uri names one"},
          {[url: "http://localhost:1", ca_file: "/ca.pem"], "in :uri"},
          {[url: "https://e.com?authToken=a", auth_token: "b"], "in :uri and as :auth_token"},
          {[url: "https://e.com", database: ":memory:"], "with :uri a replica"},
          {[database: "a.db", namespace: "a"], "address as :uri"},
          {[database: "https://e.com"], "server as :uri"}
        ] do
      assert {:error, %Error{message: message}} = Options.connection(options, :uri)
      assert message =~ word
      refute message =~ ":url"
    end
  end

  test "what has the form of an address is one, in any case" do
    for url <- ["libsql://a", "HTTPS://a", "wss://a"], do: assert(ServerUrl.url?(url))
    for path <- ["a.db", "libsql:a.db", "file:///a", "", nil, 1], do: refute(ServerUrl.url?(path))
  end

  test "a crash of the port's owner shows no request to open" do
    call = {:"$gen_call", {self(), make_ref()}, {:open, ["bytes", @token], self(), make_ref()}}
    status = %{message: call, state: %{}, reason: :boom, log: []}
    refute inspect(LibsqlPort.Sidecar.format_status(status), limit: :infinity) =~ @token
    assert LibsqlPort.Sidecar.format_status(%{status | message: :other}).message == :other
  end
end
