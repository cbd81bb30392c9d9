defmodule TimeZones.MixProject do
  use Mix.Project

  def project do
    [
      app: :time_zones,
      version: "0.1.0",
      elixir: "~> 1.14",
      elixirc_paths: elixirc_paths(Mix.env()),
      start_permanent: Mix.env() == :prod,
      aliases: aliases(),
      deps: deps()
    ]
  end

  def application do
    [mod: {TimeZones.Application, []}, extra_applications: [:logger]]
  end

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_env), do: ["lib"]

  defp aliases do
    [
      setup: ["ecto.create", "ecto.migrate", "run priv/repo/seeds.exs"],
      test: ["ecto.create --quiet", "ecto.migrate --quiet", "test"]
    ]
  end

  # The packages beside the adapter stand here only so that a checkout can take the place of each.
  defp deps do
    [
      {:ecto_libsql_port, path: "../../elixir_client/ecto_libsql_port"},
      from(:ecto, "~> 3.12", "ECTO_PATH"),
      from(:ecto_sql, "~> 3.12", "ECTO_SQL_PATH"),
      from(:db_connection, "~> 2.6", "DB_CONNECTION_PATH"),
      from(:decimal, "~> 2.0 or ~> 3.0", "DECIMAL_PATH"),
      from(:telemetry, "~> 1.0", "TELEMETRY_PATH"),
      from(:jason, "~> 1.4", "JASON_PATH")
    ]
  end

  defp from(app, requirement, variable) do
    case System.get_env(variable) do
      nil -> {app, requirement}
      path -> {app, path: path, override: true}
    end
  end
end
