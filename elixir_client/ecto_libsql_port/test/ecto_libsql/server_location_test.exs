defmodule EctoLibSql.ServerLocationTest do
  # Which options of a Repo name a database on a server. Nothing is connected.
  use ExUnit.Case, async: true

  alias EctoLibSql.{Error, Options, ServerLocation, StartOptions}
  alias LibsqlPort.Secret

  @token "secret-part"
  @uri "libsql://app-org.turso.io"

  defp driver!(options) do
    {:ok, driver_options, _mode} = Options.check(options)
    driver_options
  end

  test "by ecto_libsql's name, and by the address of a DATABASE_URL" do
    assert driver!(uri: @uri, auth_token: @token) |> Enum.sort() == [
             auth_token: @token,
             pragmas: [],
             url: @uri
           ]

    assert driver!(database: @uri, namespace: "a")[:url] == @uri
    assert driver!(url: @uri, namespace: "a")[:namespace] == "a"
    assert Options.path(uri: @uri) == {:ok, :remote}
    assert ServerLocation.of(database: "app.db") == {:ok, :local}
    assert ServerLocation.of(database: "libsql:app.db") == {:ok, :local}
  end

  test "with a file beside it, a replica" do
    options = driver!(uri: @uri, database: "replica.db", auth_token: @token, sync: true)
    assert options[:url] == @uri
    assert Path.basename(options[:database]) == "replica.db"
    assert {:ok, path} = Options.path(uri: @uri, database: "replica.db")
    assert Path.basename(path) == "replica.db"
  end

  test "what cannot be is refused with the reason, and without what is secret" do
    for {options, words} <- [
          {[uri: @uri, database: "https://a.b"], [":uri", ":database", "both"]},
          {[uri: "app.db"], [":uri", "no scheme"]},
          {[uri: "https://me:#{@token}@a.b"], [":uri", ":auth_token"]},
          {[uri: "http://example.com?authToken=#{@token}"], ["encrypted", "tls: false"]},
          {[uri: @uri, attach: [a: "a.db"]], [":attach", "server"]},
          {[database: "app.db", attach: [a: "https://a.b?authToken=#{@token}"]], [":attach", "server"]},
          {[uri: @uri, remote_encryption_key: @token], [":remote_encryption_key", "not supported"]},
          {[uri: @uri, encryption_key: @token], [":encryption_key", "not supported"]},
          {[uri: @uri, journal_mode: :wal], [":journal_mode", "server"]},
          {[uri: @uri, functions: [{:scalar, "f", 0, fn -> 1 end}]], [":functions", "server"]},
          {[database: "app.db", auth_token: @token], [":auth_token", ":uri"]}
        ] do
      assert {:error, %Error{code: :invalid_option, message: message}} = Options.check(options)
      for word <- words, do: assert(message =~ word, "#{message} lacks #{word}")
      refute message =~ @token
    end
  end

  test "options of a start that are secret are not shown" do
    assert {:error, %Error{message: message}} = StartOptions.check(uri: @uri, admin_auth_key: {@token})
    assert message =~ ":admin_auth_key"
    refute message =~ @token
    assert {:error, %Error{message: message}} = StartOptions.check(uri: @uri, retry: [tries: 1])
    assert message =~ ":attempts"

    assert StartOptions.check(
             repo: EctoLibSql.TestRepo,
             uri: @uri,
             retry: [attempts: 2],
             admin_url: "http://localhost:1",
             migration_lock_lease: 5
           ) == :ok
  end

  test "a URL that Ecto has taken apart never opens a file in place of a server" do
    for url <- [
          "libsql://example.com/app",
          "libsql://localhost/db1",
          "libsql://localhost:8080/db1",
          "http://localhost/db2",
          "https://localhost/db2",
          "ws://localhost/db2",
          "sqlite://localhost:8080/db",
          "ecto://example.com/app",
          "postgres://localhost/app"
        ] do
      options = Ecto.Repo.Supervisor.parse_url(url)
      assert options[:database]

      for start <- [&StartOptions.check/1, &Options.check/1] do
        assert {:error, %Error{code: :invalid_option, message: message}} = start.(options)
        assert message =~ "the option :url names "
        assert message =~ "uri:"
      end

      # What Mix tasks do with it.
      assert {:error, message} = Options.path(options)
      assert message =~ "uri:"
      assert_raise ArgumentError, ~r/:url names/, fn -> Ecto.Adapters.LibSql.storage_up(options) end
    end

    for url <- ["ecto://localhost/app.db", "sqlite://localhost/app.db", "file://localhost/app.db"] do
      assert {:ok, "/" <> _} = url |> Ecto.Repo.Supervisor.parse_url() |> Options.path()
    end
  end

  test "errors name the option in which the address was" do
    for name <- [:uri, :database, :url],
        {address, more, words} <- [
          {"http://example.com", [], "the option #{inspect(name)}: what is sent"},
          {"http://127.0.0.1:99999", [], "the option #{inspect(name)}: its port"},
          {"http://127.0.0.1:", [], "the option #{inspect(name)}: it has a colon"},
          {@uri, [journal_mode: :wal], "and #{inspect(name)} names one"}
        ] do
      assert {:error, %Error{code: :invalid_option, message: message}} =
               Options.check([{name, address} | more])

      assert message =~ words
    end

    assert {:error, %Error{message: message}} = Options.check(database: "app.db", namespace: "a")
    assert message =~ "address as :uri"
  end

  test "the admin API's address and key are looked at as a Repo starts" do
    repo = [repo: EctoLibSql.TestRepo, uri: @uri]

    for {options, words} <- [
          {[admin_url: "nope"], "no scheme"},
          {[admin_url: "http://example.com", admin_auth_key: @token], "tls: false"},
          {[admin_url: "https://me:#{@token}@a.b"], "a name or a password"},
          {[admin_url: "https://a.b?authToken=#{@token}"], ":admin_auth_key"},
          {[admin_url: "https://a.b:99999"], "65535"},
          {[admin_url: "https://a.b", admin_auth_key: @token <> "\n"], ":admin_auth_key"},
          {[admin_url: "https://a.b", admin_auth_key: ""], ":admin_auth_key"}
        ] do
      assert {:error, %Error{code: :invalid_option, message: message}} = StartOptions.check(repo ++ options)
      assert message =~ words
      refute message =~ @token
      {:ok, child, meta} = Ecto.Adapters.LibSql.init([telemetry_prefix: [:a]] ++ repo ++ options)
      refute inspect({child, meta}, structs: false, limit: :infinity) =~ @token
    end

    assert StartOptions.check(repo ++ [admin_url: "http://example.com", tls: false]) == :ok
  end

  test "tokens are hidden, wherever they stand" do
    for options <- [
          [uri: @uri, auth_token: @token],
          [uri: @uri <> "?authToken=" <> @token],
          [database: @uri <> "?authToken=" <> @token]
        ] do
      hidden = ServerLocation.hidden(options)
      refute inspect(hidden, structs: false, limit: :infinity) =~ @token
      assert Secret.reveal(hidden[:auth_token]) == @token
      assert {:ok, _options, _mode} = Options.check(hidden)
    end

    ask = fn -> @token end
    assert ServerLocation.hidden(uri: @uri, auth_token: ask) == [uri: @uri, auth_token: ask]
    assert ServerLocation.hidden(database: "app.db") == [database: "app.db"]
  end

  test "the child specification of a Repo bears no token" do
    {:ok, child, meta} =
      Ecto.Adapters.LibSql.init(
        repo: EctoLibSql.TestRepo,
        telemetry_prefix: [:a],
        uri: @uri <> "?authToken=" <> @token
      )

    refute inspect({child, meta}, structs: false, limit: :infinity) =~ @token
    assert meta.opts[:server]
    assert %EctoLibSql.Retry{} = meta.opts[:retry]
    refute meta.opts[:lane]
  end

  test "no child specification bears the key of the admin API or the password of a proxy" do
    options = [uri: @uri, admin_auth_key: @token, proxy: "http://me:#{@token}@proxy:3128"]

    {:ok, child, meta} =
      Ecto.Adapters.LibSql.init([repo: EctoLibSql.TestRepo, telemetry_prefix: [:a]] ++ options)

    refused = EctoLibSql.child_spec(options)
    assert %{start: {_module, :refuse, _error}} = refused
    child_spec = options |> Keyword.delete(:admin_auth_key) |> EctoLibSql.child_spec()
    refute inspect({child, meta, refused, child_spec}, structs: false, limit: :infinity) =~ @token
    assert %{start: {_module, :start_link, [hidden]}} = child_spec
    assert driver!(hidden)[:proxy] |> Secret.reveal() == options[:proxy]
  end

  test "the child specification of a pool bears no token, nor what is refused with one in it" do
    for {options, refused?} <- [
          {[uri: @uri, auth_token: @token], false},
          {[uri: @uri <> "?authToken=" <> @token], false},
          {[uri: @uri <> "?authToken=" <> @token, auth_token: @token], true},
          {[uri: @uri <> "?auth_token=" <> @token], true},
          {[uri: "https://me:#{@token}@a.b"], true},
          {[uri: @uri, encryption_key: @token], true}
        ] do
      %{start: {_module, function, _arguments}} = child_spec = EctoLibSql.child_spec(options)
      refute inspect(child_spec, structs: false, limit: :infinity) =~ @token
      assert function == if(refused?, do: :refuse, else: :start_link)
    end
  end

  test "a local Repo repeats transactions that ask for it, and no statements" do
    {:ok, _child, meta} =
      Ecto.Adapters.LibSql.init(repo: EctoLibSql.TestRepo, telemetry_prefix: [:a], database: "app.db")

    assert %EctoLibSql.Retry{} = meta.opts[:retries]
    assert meta.opts[:retry] == nil
    assert meta.opts[:server] == nil
  end
end
