defmodule EctoLibSql.HealthPlug do
  @moduledoc """
  A plug that answers the check of a load balancer with the health of a Repo: 200 if it can do its work, 503 if not, and JSON either way.

      # lib/my_app_web/endpoint.ex, before the router and before whatever logs requests
      plug EctoLibSql.HealthPlug, repo: MyApp.Repo, at: "/health"

      # or in a router
      forward "/health", EctoLibSql.HealthPlug, repo: MyApp.Repo

  This library does not depend on Plug: the functions of `Plug.Conn` are those that the application has.

  The body is `{"healthy":true,"reasons":[]}`. With `details: true` it has all of `EctoLibSql.Health`, which names files, servers and
  processes: for those who may know them.

  ## Options

    * `:repo` – the Repo, or the name of a dynamic one or of a pool; required
    * `:at` – the path to answer, such as `"/health"`. Requests for other paths are passed on. Default `nil`: all are answered
    * `:details` – whether the body has details; default `false`
    * `:timeout`, `:disk_free_min`, `:wal_bytes_max`, `:writer_held_max`, `:pool_wait_max`, `:replica_age_max` – as in `EctoLibSql.health/2`

  A wrong option raises an `EctoLibSql.Error` when the plug is initialized. Requests by other methods than GET and HEAD are answered with
  405.
  """

  alias EctoLibSql.{Error, Health, Settings}

  @own [:repo, :at, :details]

  @typedoc "What `init/1` has checked."
  @type options :: %{
          repo: term,
          at: [String.t()] | nil,
          details: boolean,
          health: keyword
        }

  @doc "Checks the options. Called by Plug, at compile time unless told otherwise."
  @spec init(keyword) :: options
  def init(options) do
    unless Keyword.keyword?(options), do: invalid!("options are a keyword list, not #{inspect(options)}")
    {own, health} = Keyword.split(options, @own)
    _ = Health.check!(health)

    %{
      repo: repo!(own),
      at: at!(own[:at]),
      details: details!(Keyword.get(own, :details, false)),
      health: health
    }
  end

  defp repo!(own) do
    case own[:repo] do
      nil -> invalid!("the option :repo is missing: the Repo whose health is told")
      repo -> repo
    end
  end

  defp at!(nil), do: nil
  defp at!("/" <> path), do: String.split(path, "/", trim: true)
  defp at!(other), do: invalid!("the option :at takes a path such as \"/health\", not #{inspect(other)}")

  defp details!(details) when is_boolean(details), do: details
  defp details!(other), do: invalid!("the option :details takes true or false, not #{inspect(other)}")

  defp invalid!(message),
    do: raise(Error, code: :invalid_option, message: "EctoLibSql.HealthPlug: " <> message)

  @doc "Answers, or passes the request on."
  @spec call(conn, options) :: conn when conn: struct
  def call(conn, %{at: at} = options) do
    if at in [nil, conn.path_info], do: conn |> answer(options) |> conn(:halt, []), else: conn
  end

  defp answer(%{method: method} = conn, options) when method in ["GET", "HEAD"] do
    health = EctoLibSql.health(options.repo, options.health)

    body =
      health
      |> Health.to_map(details: options.details)
      |> then(&Settings.get(:json_library).encode_to_iodata!(&1))

    conn
    |> conn(:put_resp_header, ["content-type", "application/json; charset=utf-8"])
    |> conn(:put_resp_header, ["cache-control", "no-store"])
    |> conn(:send_resp, [if(health.healthy?, do: 200, else: 503), body])
  end

  defp answer(conn, _options) do
    conn |> conn(:put_resp_header, ["allow", "GET, HEAD"]) |> conn(:send_resp, [405, ""])
  end

  # Found when it is called: this library is compiled without Plug.
  defp conn(conn, function, arguments), do: apply(Plug.Conn, function, [conn | arguments])
end
