defmodule EctoLibSql.OptionPlacesTest do
  # An option that would have no effect is refused, and the table of docs/modes.md says where each has one.
  use ExUnit.Case, async: true

  alias EctoLibSql.{Direct, Error, OptionPlaces, StartOptions}

  @document Path.expand("../../../../docs/modes.md", __DIR__)
  @uri "libsql://app-org.turso.io"
  @places [local: [database: "app.db"], remote: [uri: @uri], replica: [uri: @uri, database: "replica.db"]]

  # A value that asks for something.
  @values [
    retry: [attempts: 2],
    lane: true,
    pool_count: 2,
    pool_size_min: 1,
    pool_idle_timeout: 1_000,
    queue_max: 10,
    queue_threshold: 1,
    sidecar_options: [heartbeat: 60_000],
    migration_lock_lease: 60,
    admin_url: "http://localhost:1",
    admin_auth_key: "key"
  ]

  # What the functions that start or connect say of it. Nothing is opened by them here: the places are checked before that.
  defp check(:repo, options), do: StartOptions.check([repo: EctoLibSql.TestRepo] ++ options)
  defp check(:pool, options), do: StartOptions.check(options)

  # One that is not refused for its place opens, or fails to.
  defp check(:connection, options) do
    case EctoLibSql.connect([connect_timeout: 1] ++ options) do
      {:error, %Error{code: :invalid_option}} = refused -> refused
      {:ok, state} -> EctoLibSql.disconnect(nil, state)
      {:error, _} -> :ok
    end
  end

  test "each option has a value to be tried with" do
    assert Enum.sort(Keyword.keys(@values)) == OptionPlaces.table() |> Enum.map(&elem(&1, 0)) |> Enum.sort()
  end

  for {name, starts, places} <- OptionPlaces.table(),
      start <- [:repo, :pool, :connection],
      {place, _} <- @places do
    if start in starts and place in places do
      unless start == :connection do
        test "#{inspect(name)} is taken: #{start}, #{place}" do
          assert check(unquote(start), [{unquote(name), @values[unquote(name)]} | @places[unquote(place)]]) ==
                   :ok
        end
      end
    else
      test "#{inspect(name)} is refused: #{start}, #{place}" do
        options = [{unquote(name), @values[unquote(name)]} | @places[unquote(place)]]
        assert {:error, %Error{code: :invalid_option, message: message}} = check(unquote(start), options)
        assert message =~ "the option #{inspect(unquote(name))} has no effect here: "
        refute message =~ ~s("key")
      end
    end
  end

  test "what is so anyway is taken everywhere" do
    for start <- [:repo, :pool], {_place, where} <- @places do
      assert check(start, [retry: false, lane: false, pool_count: 1, sidecar_options: []] ++ where) == :ok
    end
  end

  test "what other adapters take of a server is refused beside one, and passed over beside a file" do
    foreign = [
      ssl: true,
      ssl_opts: [verify: :verify_peer],
      hostname: "example.com",
      port: 8080,
      username: "me",
      password: "key",
      socket_options: [:inet6],
      socket: "/tmp/socket",
      socket_dir: "/tmp",
      parameters: [application_name: "a"]
    ]

    for {name, value} <- foreign, {place, where} <- @places, start <- [:repo, :pool] do
      checked = check(start, [{name, value} | where])

      if place == :local do
        assert checked == :ok
      else
        assert {:error, %Error{code: :invalid_option, message: message}} = checked
        assert message =~ "the option #{inspect(name)} has no effect here: "
        refute message =~ ~s("key")
      end

      assert check(start, [{name, nil} | where]) == :ok
    end

    assert check(:repo, [ssl: false] ++ @places[:remote]) == :ok
  end

  test "options for a sidecar that is not started are refused" do
    options = [database: "app.db", sidecar: MyApp.Sidecar, sidecar_options: [heartbeat: 60_000]]

    for start <- [:repo, :pool, :connection] do
      assert {:error, %Error{code: :invalid_option, message: message}} = check(start, options)
      assert message =~ ":sidecar_options"
    end

    assert check(:repo, Keyword.put(options, :sidecar, nil)) == :ok
  end

  test "the document has the table" do
    marks = fn all, those -> Enum.map_join(those, " | ", &if(&1 in all, do: "yes", else: "refused")) end

    rows =
      for {name, starts, places} <- OptionPlaces.table() do
        "| `#{inspect(name)}` | #{marks.(starts, [:repo, :pool, :connection])} | #{marks.(places, [:local, :remote, :replica])} |"
      end

    text = File.read!(@document)
    listed = ~r/^\| `:[a-z_]+` \| .*$/m |> Regex.scan(text) |> List.flatten()
    assert Enum.sort(listed) == Enum.sort(rows)
  end

  @tag :tmp_dir
  test "storage and structure have a sidecar with the Repo's options", %{tmp_dir: directory} do
    double = {:scalar, "double", 1, &(&1 * 2), []}

    options = [
      database: Path.join(directory, "app.db"),
      sidecar_options: [functions: [double], name: MyApp.Repo.Sidecar]
    ]

    assert Ecto.Adapters.LibSql.storage_up(options) == :ok

    assert {:ok, %{rows: [[42]]}} =
             Direct.with_connection(options, &LibsqlPort.query(&1, "SELECT double(21)"))

    refute Process.whereis(MyApp.Repo.Sidecar)

    broken = Keyword.put(options, :sidecar_options, executable: "/nowhere/libsql_port")
    assert {:error, error} = Direct.with_connection(broken, fn _conn -> :ok end)
    assert Exception.message(error) =~ "/nowhere/libsql_port"
  end
end
