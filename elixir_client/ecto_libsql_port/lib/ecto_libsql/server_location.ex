defmodule EctoLibSql.ServerLocation do
  @moduledoc false
  # Whether a Repo's database is on a server, by which option that is said, and what the token is. Used by `EctoLibSql.Options`
  # and whatever treats files otherwise than servers. Pure.
  #
  # `:uri` is ecto_libsql's name; `:database` and `:url` may hold an address as well, as a `DATABASE_URL` does. With a file in
  # `:database` beside it, the file is a replica.

  alias LibsqlPort.{Secret, ServerUrl}

  @refused [
    remote_encryption_key:
      "the option :remote_encryption_key is not supported yet: the server would be asked without the key",
    encryption_key: "encryption (the option :encryption_key) is not supported yet"
  ]

  # Of `EctoLibSql.Location`, but for libsql, which is that of a server where a host is behind it, as there is in Ecto's `:url`.
  @schemes_of_files ["file", "sqlite", "sqlite3", "ecto"]

  @typedoc "The address as it was given, and what its option is called."
  @type t :: :local | {:remote | :replica, String.t()}

  @doc "Where the database is."
  @spec of(keyword) :: {:ok, t} | {:error, String.t()}
  def of(options) do
    with :ok <- possible(options) do
      case named(options) do
        [] ->
          {:ok, :local}

        [{name, address}] ->
          on_server(name, address, options)

        [{one, _}, {other, _} | _] ->
          {:error, "the options #{inspect(one)} and #{inspect(other)} both name a server"}
      end
    end
  end

  @doc "Whether the database is on a server alone; `false` also for what cannot be."
  @spec remote?(keyword) :: boolean
  def remote?(options), do: match?({:ok, {:remote, _}}, of(options))

  @doc "Whether a server has a part in it."
  @spec server?(keyword) :: boolean
  def server?(options), do: match?({:ok, {_kind, _address}}, of(options))

  @doc "By which option the address is given, or is to be."
  @spec option(keyword) :: atom
  def option(options) do
    case named(options) do
      [{name, _address} | _] -> name
      [] -> :uri
    end
  end

  defp possible(options) do
    Enum.find_value(@refused, whole(options), fn {name, message} ->
      if options[name], do: {:error, message}
    end)
  end

  # Ecto takes a Repo's `:url` apart, and leaves no trace of it but these. The file that its path names would be opened in place of the
  # database on that host: one on this machine, of which a file may be, has a port, or another scheme than those of files.
  defp whole(options) do
    {scheme, host, port} = {options[:scheme], options[:hostname], options[:port]}

    if scheme == nil or (scheme in @schemes_of_files and host in [nil, "", "localhost"] and port == nil) do
      :ok
    else
      {:error,
       "the option :url names #{scheme}://#{host}#{if is_integer(port), do: ":#{port}"}, and Ecto has taken it apart. For a " <>
         "database on a server write uri: \"libsql://…\" in place of :url, for a file database: \"path/to/app.db\""}
    end
  end

  defp named(options) do
    for name <- [:uri, :database, :url],
        address = options[name],
        name == :uri or ServerUrl.url?(address),
        do: {name, address}
  end

  defp on_server(name, address, options) do
    case ServerUrl.parse(address) do
      {:ok, _url} -> attached(options, {kind(name, options), address})
      {:error, message} -> {:error, "the option #{inspect(name)}: #{message}"}
    end
  end

  defp kind(:database, _options), do: :remote
  defp kind(_name, options), do: if(options[:database] in [nil, ""], do: :remote, else: :replica)

  defp attached(options, {:remote, _} = server) do
    if options[:attach] in [nil, []],
      do: {:ok, server},
      else:
        {:error, "the option :attach opens further databases, and a server opens none: use a Repo for each"}
  end

  defp attached(_options, server), do: {:ok, server}

  @doc """
  The same options, with the token, the password of a proxy and the key of the admin API where no error, crash report or `inspect/2`
  shows them. What is no address or token is left for whoever refuses it.
  """
  @spec hidden(keyword) :: keyword
  def hidden(options) do
    options =
      options
      |> Keyword.replace_lazy(:auth_token, &secret/1)
      |> Keyword.replace_lazy(:proxy, &secret/1)
      |> Keyword.replace_lazy(:admin_auth_key, &secret/1)

    Enum.reduce([:uri, :database, :url], options, &without_token/2)
  end

  defp secret(token) when is_binary(token), do: Secret.new(token)
  defp secret(other), do: other

  defp without_token(name, options) do
    with address when is_binary(address) <- options[name],
         true <- ServerUrl.url?(address),
         {:ok, %{auth_token: token, url: url}} when token != nil <- ServerUrl.parse(address),
         nil <- options[:auth_token] do
      options |> Keyword.put(name, url) |> Keyword.put(:auth_token, Secret.new(token))
    else
      _nothing_to_hide -> options
    end
  end
end
