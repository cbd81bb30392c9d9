defmodule EctoLibSql.AdminApi do
  @moduledoc false
  # Namespaces of a libSQL server: made and removed by its admin API, which has an address of its own. Called by storage alone,
  # for Mix tasks: a running application never needs it. Errors are texts without the key.

  @timeout_ms 30_000

  @type options :: keyword

  @doc "Makes a namespace; `:exists` if there is one."
  @spec create(String.t(), String.t(), options) :: :ok | :exists | {:error, String.t()}
  def create(url, namespace, options) do
    case request(:post, url, "/v1/namespaces/#{encoded(namespace)}/create", "{}", options) do
      {:ok, 200, _body} -> :ok
      {:ok, 400, body} -> if body =~ "already exists", do: :exists, else: {:error, told(400, body)}
      {:ok, status, body} -> {:error, told(status, body)}
      {:error, _} = error -> error
    end
  end

  @doc "Removes a namespace and what is in it; `:missing` if there is none."
  @spec delete(String.t(), String.t(), options) :: :ok | :missing | {:error, String.t()}
  def delete(url, namespace, options) do
    case request(:delete, url, "/v1/namespaces/#{encoded(namespace)}", ~s({"keep_backup":false}), options) do
      {:ok, 200, _body} -> :ok
      {:ok, 404, _body} -> :missing
      {:ok, status, body} -> {:error, told(status, body)}
      {:error, _} = error -> error
    end
  end

  defp request(method, url, path, body, options) do
    # Part of OTP, but not of every application.
    with {:ok, _} <- Application.ensure_all_started(:ssl),
         {:ok, _} <- Application.ensure_all_started(:inets) do
      address = String.to_charlist(String.trim_trailing(url, "/") <> path)
      request = {address, headers(options[:key]), ~c"application/json", body}
      # :httpc is called by its name only: the application need not have it.
      http =
        [timeout: @timeout_ms, connect_timeout: @timeout_ms, autoredirect: false] ++
          tls(String.downcase(url, :ascii))

      case apply(:httpc, :request, [method, request, http, [body_format: :binary]]) do
        {:ok, {{_version, status, _reason}, _headers, body}} ->
          {:ok, status, body}

        {:error, reason} ->
          {:error, "the admin API does not answer: #{inspect(reason, limit: 10, printable_limit: 200)}"}
      end
    else
      {:error, _missing} ->
        {:error, "Erlang's applications inets and ssl are not there, by which the admin API is asked"}
    end
  end

  defp headers(nil), do: []
  defp headers(key), do: [{~c"authorization", String.to_charlist("basic " <> key)}]

  defp tls("https" <> _) do
    name = [
      customize_hostname_check: [match_fun: apply(:public_key, :pkix_verify_hostname_match_fun, [:https])]
    ]

    [ssl: [verify: :verify_peer, cacerts: apply(:public_key, :cacerts_get, [])] ++ name]
  end

  defp tls(_plain), do: []

  defp told(401, _body), do: "the admin API refuses the key (the option :admin_auth_key)"
  defp told(status, body), do: "the admin API answers #{status}: #{String.slice(body, 0, 200)}"

  defp encoded(name), do: URI.encode(name, &URI.char_unreserved?/1)
end
