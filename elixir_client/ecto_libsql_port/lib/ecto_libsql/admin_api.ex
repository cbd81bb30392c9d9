defmodule EctoLibSql.AdminApi do
  @moduledoc false
  # Namespaces of a libSQL server: made and removed by its admin API, which has an address of its own. It is asked with the Repo's
  # options of a connection to a server, so over the same way and by the same rules of what may go unencrypted. Called by storage alone, for Mix
  # tasks: a running application never needs it. Errors are texts without the key.

  alias EctoLibSql.AdminApi.Http
  alias LibsqlPort.{Secret, ServerUrl}

  @timeout_ms 30_000

  @doc "Whether the address and the key can be used; nobody is asked."
  @spec check(keyword) :: :ok | {:error, String.t()}
  def check(options) do
    with {:ok, _url} <- if(options[:admin_url] == nil, do: {:ok, nil}, else: url(options)),
         {:ok, _headers} <- headers(options[:admin_auth_key]),
         do: :ok
  end

  @doc "Makes the namespace of these options; `:exists` if there is one."
  @spec create(keyword) :: :ok | :exists | {:error, String.t()}
  def create(options) do
    case request("POST", "/create", "{}", options) do
      {:ok, 200, _body} -> :ok
      {:ok, 400, body} -> if body =~ "already exists", do: :exists, else: {:error, told(400, body)}
      {:ok, status, body} -> {:error, told(status, body)}
      {:error, _} = error -> error
    end
  end

  @doc "Removes the namespace and what is in it; `:missing` if there is none."
  @spec delete(keyword) :: :ok | :missing | {:error, String.t()}
  def delete(options) do
    case request("DELETE", "", ~s({"keep_backup":false}), options) do
      {:ok, 200, _body} -> :ok
      # Whoever is no admin API answers so as well.
      {:ok, 404, body} -> if body =~ "doesn't exist", do: :missing, else: {:error, told(404, body)}
      {:ok, status, body} -> {:error, told(status, body)}
      {:error, _} = error -> error
    end
  end

  defp request(method, action, body, options) do
    path = "/v1/namespaces/" <> encoded(options[:namespace]) <> action

    with {:ok, url} <- url(options),
         {:ok, headers} <- headers(options[:admin_auth_key]),
         {:error, message} <- Http.request(url, method, path, headers, body, options, @timeout_ms) do
      {:error, "the admin API cannot be asked: #{message}"}
    end
  end

  defp url(options) do
    case ServerUrl.parse(options[:admin_url], options[:tls]) do
      {:ok, %{auth_token: nil} = url} ->
        {:ok, url}

      {:ok, _token} ->
        {:error, "the option :admin_url bears a token: the admin API takes the :admin_auth_key"}

      {:error, message} ->
        {:error, "the option :admin_url: " <> message}
    end
  end

  defp headers(key) do
    json = {"content-type", "application/json"}

    case revealed(key) do
      nil -> {:ok, [json]}
      key -> if visible?(key), do: {:ok, [json, {"authorization", "basic " <> key}]}, else: {:error, no_key()}
    end
  end

  defp revealed(%Secret{} = key), do: Secret.reveal(key)
  defp revealed(key), do: key

  # A line break in it would be the next header.
  defp visible?(key), do: key != "" and for(<<byte <- key>>, byte not in 0x21..0x7E, do: byte) == []

  defp no_key do
    "the option :admin_auth_key is empty or has characters that are not visible ASCII, such as a line break of the file " <>
      "that it comes from"
  end

  defp told(401, _body), do: "the admin API refuses the key (the option :admin_auth_key)"

  defp told(404, body) do
    "the admin API answers 404: #{String.slice(body, 0, 200)}. Is it at the address of :admin_url? It has a port of its own, beside that " <>
      "of databases"
  end

  defp told(status, body), do: "the admin API answers #{status}: #{String.slice(body, 0, 200)}"

  defp encoded(name), do: URI.encode(name, &URI.char_unreserved?/1)
end
