defmodule LibsqlPort.ServerUrl do
  @moduledoc false
  # The address of a database on a server, checked before anything is sent. Pure. Called by `LibsqlPort.ServerOptions`, and by the
  # adapter. What an error says of a URL is its scheme and host: the rest may be secret.

  @schemes ["libsql", "https", "http", "wss", "ws"]
  @example "such as \"libsql://app-org.turso.io\" or \"http://localhost:8080\""

  @enforce_keys [:url, :host, :encrypted?]
  defstruct [:url, :host, :encrypted?, :auth_token]

  @type t :: %__MODULE__{
          # Without a token.
          url: String.t(),
          host: String.t(),
          encrypted?: boolean,
          auth_token: String.t() | nil
        }

  @doc "Whether a text has the form of such an address: what else it is called, it is no path of a file."
  @spec url?(term) :: boolean
  def url?(text) when is_binary(text),
    do: Enum.any?(@schemes, &String.starts_with?(String.downcase(text, :ascii), &1 <> "://"))

  def url?(_other), do: false

  @doc "Reads an address; its token, if it bears one (`?authToken=`), is taken out of it."
  @spec parse(term) :: {:ok, t} | {:error, String.t()}
  def parse(text) when is_binary(text) do
    with {:ok, uri} <- read(text),
         :ok <- scheme(uri),
         :ok <- whole(uri),
         :ok <- port(uri.port),
         {:ok, query} <- query(uri.query),
         :ok <- agree(String.downcase(uri.scheme, :ascii), query["tls"]) do
      token = query["authToken"]
      tls = query["tls"]
      uri = %{uri | query: if(tls, do: "tls=" <> tls), scheme: String.downcase(uri.scheme, :ascii)}

      {:ok,
       %__MODULE__{
         url: URI.to_string(uri),
         host: uri.host,
         encrypted?: uri.scheme in ["libsql", "https", "wss"] and tls != "0",
         auth_token: if(token != "", do: token)
       }}
    else
      {:error, _message} = error -> error
    end
  end

  def parse(_other), do: {:error, "it takes a URL as a string, #{@example}"}

  @doc """
  The same, and refuses one over which secrets would be sent to another machine unencrypted. `tls` is the option of that name: `false`
  allows it, `true` refuses an unencrypted address of this machine as well.
  """
  @spec parse(term, boolean | nil) :: {:ok, t} | {:error, String.t()}
  def parse(text, tls) do
    with {:ok, url} <- parse(text) do
      cond do
        url.encrypted? ->
          {:ok, url}

        tls == true ->
          {:error, "it is not encrypted, and tls: true asks for that. Write https:// or libsql://"}

        tls == false or loopback?(url.host) ->
          {:ok, url}

        true ->
          {:error, unencrypted(url.host)}
      end
    end
  end

  defp unencrypted(host) do
    "what is sent to #{host}, the token or key included, would not be encrypted. Write https:// or libsql://, or give " <>
      "tls: false if nobody else is on the way"
  end

  @doc """
  Whether what is sent to this host stays on this machine. The sidecar has the same rule; `tests/fixtures/loopback_hosts.txt` is for
  both.
  """
  @spec loopback?(String.t()) :: boolean
  def loopback?(host) do
    host = host |> String.trim_leading("[") |> String.trim_trailing("]") |> String.downcase(:ascii)

    # Strictly: other forms of an address are left to the resolver, whose answer nobody knows here.
    case :inet.parse_strict_address(String.to_charlist(host)) do
      {:ok, {127, _, _, _} = address} -> :inet.ntoa(address) == String.to_charlist(host)
      {:ok, {0, 0, 0, 0, 0, 0, 0, 1}} -> true
      {:ok, _other} -> false
      {:error, _} -> host == "localhost" or (String.ends_with?(host, ".localhost") and host != ".localhost")
    end
  end

  # Elixir's own error shows what it could not read.
  defp read(text) do
    case String.valid?(text) && URI.new(text) do
      {:ok, uri} -> {:ok, uri}
      _unreadable -> {:error, "it is no URL. It takes one #{@example}"}
    end
  end

  defp scheme(%URI{scheme: nil}), do: {:error, "it has no scheme. It takes a URL #{@example}"}

  defp scheme(%URI{scheme: scheme}) do
    if String.downcase(scheme, :ascii) in @schemes do
      :ok
    else
      schemes = Enum.map_join(@schemes, ", ", &(&1 <> "://"))
      {:error, "the scheme #{inspect(scheme)} is none of #{schemes}"}
    end
  end

  defp whole(%URI{host: host}) when host in [nil, ""],
    do: {:error, "it names no host. It takes a URL #{@example}"}

  defp whole(%URI{userinfo: info}) when info != nil,
    do: {:error, "it bears a name or a password. Give the token as :auth_token, or behind ?authToken="}

  defp whole(%URI{fragment: fragment}) when fragment != nil,
    do: {:error, "it has a fragment (\"#\"), which means nothing"}

  defp whole(_uri), do: :ok

  # Any digits are read as a port, and a colon without some as one that is not defined.
  defp port(port) when port == nil or port in 1..65_535, do: :ok

  defp port(port) when is_integer(port),
    do: {:error, "its port is #{port}, and a port is a number from 1 to 65535"}

  defp port(_empty),
    do: {:error, "it has a colon without a port: write a number from 1 to 65535, or leave out the colon"}

  defp query(nil), do: {:ok, %{}}

  defp query(text) do
    # As the sidecar reads it: a plus is a plus.
    pairs = text |> URI.query_decoder(:rfc3986) |> Enum.to_list()
    query = Map.new(pairs)

    case Enum.find(pairs, fn {name, value} -> not known?(name, value) end) do
      nil when map_size(query) < length(pairs) -> {:error, "it has a parameter twice"}
      nil -> {:ok, query}
      {"tls", _value} -> {:error, "its tls is 0 or 1"}
      {_name, _value} -> {:error, "it has a parameter that is none; there are authToken and tls"}
    end
  rescue
    ArgumentError -> {:error, "its parameters are not well formed"}
  end

  # `libsql://` alone leaves it open.
  defp agree(scheme, tls) do
    case {scheme, tls} do
      {"libsql", _} -> :ok
      {_, nil} -> :ok
      {scheme, "1"} when scheme in ["https", "wss"] -> :ok
      {scheme, "0"} when scheme in ["http", "ws"] -> :ok
      _ -> {:error, "its scheme #{scheme}:// and its tls=#{tls} contradict each other"}
    end
  end

  defp known?("authToken", _value), do: true
  defp known?("tls", value), do: value in ["0", "1"]
  defp known?(_name, _value), do: false
end
