defmodule EctoLibSql.AdminApi.Proxy do
  @moduledoc false
  # Which proxy stands before a host: the option `:proxy`, or the environment's variables. The same rules as those of the sidecar's
  # connections (`src/network/proxy.rs`), so that the admin API is reached where the database is. Pure, but for the environment.

  alias LibsqlPort.{Secret, ServerUrl}

  @enforce_keys [:host, :port]
  @derive {Inspect, only: [:host, :port]}
  defstruct [:host, :port, :authorization]

  @typedoc "`authorization` is what the header of that name bears."
  @type t :: %__MODULE__{host: String.t(), port: :inet.port_number(), authorization: String.t() | nil}

  @doc "The proxy before the host of an address, `nil` for none. `variable` reads the environment."
  @spec of(
          String.t() | Secret.t() | nil,
          ServerUrl.t(),
          :inet.port_number(),
          (String.t() -> String.t() | nil)
        ) ::
          {:ok, t | nil} | {:error, String.t()}
  def of(option, url, port, variable \\ &System.get_env/1)
  def of(%Secret{} = option, url, port, variable), do: of(Secret.reveal(option), url, port, variable)
  def of("", _url, _port, _variable), do: {:ok, nil}
  def of(nil, url, port, variable), do: environment(url, port, variable)

  def of(option, _url, _port, _variable) do
    with {:error, message} <- parse(option), do: {:error, "the option :proxy: " <> message}
  end

  defp environment(%ServerUrl{encrypted?: encrypted?, host: host}, port, variable) do
    # HTTP_PROXY in capitals is what a CGI program gets of a request's header Proxy.
    names = if encrypted?, do: ["https_proxy", "HTTPS_PROXY"], else: ["http_proxy"]

    given =
      for name <- names ++ ["all_proxy", "ALL_PROXY"], value = variable.(name), value != "", do: {name, value}

    case given do
      [{name, value} | _] ->
        if ServerUrl.loopback?(host) or
             exempt?(host, port, variable.("no_proxy") || variable.("NO_PROXY") || ""),
           do: {:ok, nil},
           else: with({:error, message} <- parse(value), do: {:error, "the variable #{name}: #{message}"})

      [] ->
        {:ok, nil}
    end
  end

  # `http://user:password@host:port`, where all but the host may be missing. Errors do not repeat it.
  defp parse(text) do
    with {:ok, rest} <- plain(String.split(text, "://", parts: 2)) do
      [authority | _] = String.split(rest, ["/", "?", "#"], parts: 2)

      {user, address} =
        case :binary.matches(authority, "@") do
          [] -> {nil, authority}
          matches -> cut(authority, matches |> List.last() |> elem(0))
        end

      with {:ok, host, port} <- host(split_port(address)),
           do: {:ok, %__MODULE__{host: host, port: port, authorization: authorization(user)}}
    end
  end

  defp plain(["http", rest]), do: {:ok, rest}
  defp plain([rest]), do: {:ok, rest}
  defp plain([scheme, _rest]), do: {:error, "a proxy is reached over http://, not #{scheme}://"}

  defp cut(text, at), do: {binary_part(text, 0, at), binary_part(text, at + 1, byte_size(text) - at - 1)}

  defp host({"", _port}), do: {:error, "the proxy has no host"}
  defp host({host, nil}), do: {:ok, host, 80}

  defp host({host, port}) do
    case Integer.parse(port) do
      {port, ""} when port in 1..65_535 -> {:ok, host, port}
      _ -> {:error, "the proxy's port is no number"}
    end
  end

  defp authorization(nil), do: nil
  defp authorization(user), do: "Basic " <> Base.encode64(URI.decode(user))

  # `host`, `host:port`, `[v6]`, `[v6]:port`, `v6`.
  defp split_port("[" <> rest = address) do
    case String.split(rest, "]", parts: 2) do
      [host, ":" <> port] -> {host, port}
      [host, _none] -> {host, nil}
      _ -> {address, nil}
    end
  end

  defp split_port(address) do
    case String.split(address, ":") do
      [host, port] -> {host, port}
      _ -> {address, nil}
    end
  end

  defp exempt?(host, port, exceptions) do
    host = String.downcase(host, :ascii)

    exceptions
    |> String.downcase(:ascii)
    |> String.split(",")
    |> Enum.map(&String.trim/1)
    |> Enum.any?(&(&1 != "" and means?(split_port(&1), host, port)))
  end

  # The host itself, a domain above it, `*`; each with or without a port.
  defp means?({name, only}, host, port) do
    domain = name |> String.replace_prefix("*.", "") |> String.replace_prefix(".", "")

    only in [nil, Integer.to_string(port)] and
      (name == "*" or host == domain or String.ends_with?(host, "." <> domain))
  end
end
