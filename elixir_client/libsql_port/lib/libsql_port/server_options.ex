defmodule LibsqlPort.ServerOptions do
  @moduledoc false
  # The options of a connection that name a database on a server and the way there: how they fit together, and the form in which
  # they travel. Called by `LibsqlPort.Options`, which has read their values.

  alias LibsqlPort.{AuthToken, Error, Function, ServerUrl}

  # Of no use to a server, which sets its own: to pass over them would be to promise what is not done.
  @local %{
    memory: "a server keeps its databases in files",
    mode: "a token without the right to write makes it read-only",
    busy_timeout: "the server waits for its own locks",
    lock_timeout: "the server waits for its own locks, up to the :timeout of the request",
    checkpoint_pages: "the server makes its own checkpoints",
    checkpoint_idle: "the server makes its own checkpoints",
    defensive: "the server decides what SQL may do",
    untrusted_sql: "the server decides what SQL may do",
    allowed_directories: "the server decides which files SQL opens",
    policy: "the engine that checks policies is the server's; restrict the token instead",
    limits: "the server has its own limits",
    open_flags: "they are flags of SQLite for files",
    functions: "SQL functions run where the engine is, which is the server",
    commit_hook: "hooks run where the engine is, which is the server",
    authorizer: "hooks run where the engine is, which is the server",
    promote: "a replica that is promoted has no server any more",
    pragmas: "the server has its own pragmas"
  }

  # Name, type, and the key under which the option travels.
  @server [
    {:url, :server_url, nil},
    {:auth_token, :auth_token, nil},
    {:namespace, :namespace, "namespace"},
    {:tls, :boolean, "tls"},
    {:ca_file, :path, "ca_file"},
    {:client_cert_file, :path, "client_cert_file"},
    {:client_key_file, :path, "client_key_file"},
    {:roots, {:one_of, [:native, :webpki]}, "roots"},
    {:proxy, :proxy, "proxy"},
    {:server_connect_timeout, {:integer, 0, 86_400_000}, "connect_timeout_ms"},
    {:stream_idle, {:integer, 0, 8_000}, "stream_idle_ms"},
    {:response_bytes_max, {:integer, 0, 4_294_967_295}, "response_bytes_max"},
    {:idle_sockets_max, {:integer, 0, 10_000}, "idle_sockets_max"},
    {:socket_idle, {:integer, 1, 86_400_000}, "socket_idle_ms"},
    {:breaker_failures, {:integer, 0, 1_000_000}, "breaker_failures"},
    {:breaker_delay, {:integer, 1, 86_400_000}, "breaker_delay_ms"},
    {:breaker_delay_max, {:integer, 1, 86_400_000}, "breaker_delay_max_ms"},
    {:probe_timeout, {:integer, 1, 86_400_000}, "probe_timeout_ms"},
    {:replica_urls, :server_urls, nil},
    {:read_from, {:one_of, [:primary, :replica, :nearest]}, "read_from"},
    {:fallback_reads, :fallback_reads, nil},
    {:replica_wait, {:integer, 1, 86_400_000}, "replica_wait_ms"},
    {:measure_interval, {:integer, 1, 86_400_000}, "measure_interval_ms"}
  ]

  # Of use on an encrypted way alone.
  @of_tls [:ca_file, :client_cert_file, :client_key_file, :roots]

  @replicas_max 64

  # Of replicas alone.
  @replica [
    {:consistency, {:one_of, [:local, :read_your_writes, :latest]}, "consistency"},
    {:sync_interval, {:integer, 0, 86_400_000}, "sync_interval_ms"},
    {:offline, :boolean, "offline"},
    {:sync_silence, {:integer, 1, 86_400_000}, "sync_silence_ms"},
    {:sync_protocol, {:one_of, [:v1, :v2, :auto]}, "sync_protocol"},
    {:max_lag, {:integer, 1, 86_400_000}, "max_lag_ms"},
    {:when_stale, {:one_of, [:server, :error]}, "when_stale"}
  ]

  @replica_names Enum.map(@replica, &elem(&1, 0))
  @names Enum.map(@server, &elem(&1, 0)) ++ @replica_names

  @type place :: %{path: String.t() | nil, wire: map, token: Function.t() | nil}

  @doc "The options by name, default, type and key, as `LibsqlPort.Options` lists them."
  @spec table() :: [{atom, nil, term, String.t() | nil}]
  def table, do: for({name, type, key} <- @server ++ @replica, do: {name, nil, type, key})

  @doc """
  What the options, of which these were `given`, each with the name of the option it belongs to, name: `:local`, or where a database on a server is. With `:database` as well it is
  a replica in that file. `address` is what the caller calls the option `:url`.
  """
  @spec place(map, [{atom, atom}], atom) :: {:ok, :local | place} | {:error, Error.t()}
  def place(values, given, address) do
    # Errors say it.
    address = inspect(address)
    if values.url == nil, do: local(values, address), else: on_server(values, given, address)
  end

  defp local(values, address) do
    case Enum.find(@names, &(values[&1] != nil)) do
      nil ->
        file(values.database, address)

      name ->
        error("the option #{inspect(name)} is for a database on a server: give its address as #{address}")
    end
  end

  defp on_server(values, given, address) do
    with :ok <- suits(values.database, given, address),
         :ok <- pair(values),
         {:ok, url} <- url(address, values.url, values),
         :ok <- encrypted(url, values, address),
         {:ok, token} <- token(url, values.auth_token, address),
         {:ok, replicas} <- replicas(values) do
      {asked, wire} = if is_binary(token), do: {nil, %{"auth_token" => token}}, else: {token, %{}}
      wire = wire |> Map.put("url", url.url) |> Map.merge(replicas)
      {:ok, %{path: values.database, wire: wire, token: asked}}
    end
  end

  # The servers that follow the one of `:url`, and which of them are read while that one is not there.
  defp replicas(%{replica_urls: none, read_from: from, fallback_reads: reads}) when none in [nil, []] do
    cond do
      from in [:replica, :nearest] ->
        error("the option :read_from names servers that follow the one of :url: give them as :replica_urls")

      reads in [nil, false, []] ->
        {:ok, %{}}

      true ->
        error(
          "the option :fallback_reads names servers that follow the one of :url: give them as :replica_urls"
        )
    end
  end

  defp replicas(%{replica_urls: urls} = values) when is_list(urls) and length(urls) <= @replicas_max do
    with {:ok, replicas} <- addresses(":replica_urls", urls, values),
         {:ok, reads} <- fallback_reads(values, replicas) do
      {:ok, Map.put(reads, "replica_urls", replicas)}
    end
  end

  defp replicas(_values),
    do: error("the option :replica_urls takes a list of at most #{@replicas_max} addresses of servers")

  defp fallback_reads(%{fallback_reads: none}, _replicas) when none in [nil, false, []], do: {:ok, %{}}
  defp fallback_reads(%{fallback_reads: true}, _replicas), do: {:ok, %{"fallback_reads" => true}}

  defp fallback_reads(%{fallback_reads: urls} = values, replicas) when is_list(urls) do
    with {:ok, urls} <- addresses(":fallback_reads", urls, values) do
      if urls -- replicas == [],
        do: {:ok, %{"fallback_reads" => urls}},
        else: error("the option :fallback_reads takes some of :replica_urls, or true for all of them")
    end
  end

  defp fallback_reads(_values, _replicas),
    do: error("the option :fallback_reads takes true, false, or some of :replica_urls")

  defp addresses(option, urls, values) do
    Enum.reduce_while(urls, {:ok, []}, fn text, {:ok, before} ->
      case url(option, text, values) do
        {:ok, %{auth_token: nil, url: url}} -> {:cont, {:ok, before ++ [url]}}
        {:ok, _with_token} -> {:halt, error("the option #{option}: their token is the one of the primary")}
        error -> {:halt, error}
      end
    end)
  end

  defp file(database, address) do
    if ServerUrl.url?(database),
      do: error("the option :database takes the path of a file. Give the address of a server as #{address}"),
      else: {:ok, :local}
  end

  defp suits(nil, given, address) do
    case Enum.find(given, fn {_name, option} -> is_map_key(@local, option) or option in @replica_names end) do
      nil ->
        :ok

      {name, option} when option in @replica_names ->
        error("the option #{inspect(name)} is for a replica: give the path of its file as :database as well")

      {name, option} ->
        error(
          "the option #{inspect(name)} is for a database in a file, and #{address} names one on a server: #{@local[option]}"
        )
    end
  end

  defp suits(database, given, address) do
    cond do
      database == ":memory:" or Keyword.has_key?(given, :memory) ->
        error(
          "with #{address} a replica is meant, which is a file, and :database names one in memory: leave :database out, or give a path"
        )

      Keyword.has_key?(given, :promote) ->
        error("the option :promote makes a replica a database without a server: leave #{address} out")

      true ->
        :ok
    end
  end

  defp pair(%{client_cert_file: nil, client_key_file: nil}), do: :ok
  defp pair(%{client_cert_file: cert, client_key_file: key}) when cert != nil and key != nil, do: :ok
  defp pair(_one), do: error("the options :client_cert_file and :client_key_file belong together")

  defp url(option, text, values) do
    with {:error, message} <- ServerUrl.parse(text, values.tls),
         do: error("the option #{option}: " <> message)
  end

  # Whoever gives one means that the server is checked, or checks.
  defp encrypted(%ServerUrl{encrypted?: true}, _values, _address), do: :ok

  defp encrypted(url, values, address) do
    case Enum.find(@of_tls, &(values[&1] != nil)) do
      nil ->
        :ok

      name ->
        error(
          "the option #{inspect(name)} is for TLS, and what is sent to #{url.host} is not encrypted: write https:// or " <>
            "libsql:// in #{address}"
        )
    end
  end

  defp token(%{auth_token: nil}, option, _address), do: AuthToken.of_option(option)
  defp token(%{auth_token: token}, nil, _address), do: AuthToken.of_option(token)

  defp token(_url, _option, address),
    do: error("the token is given twice, in #{address} and as :auth_token")

  defp error(message), do: {:error, Error.new(:invalid_option, message)}
end
