defmodule EctoLibsqlPort.MixProject do
  use Mix.Project

  def project do
    [
      app: :ecto_libsql_port,
      version: "0.1.0",
      elixir: "~> 1.14",
      description: "libSQL for Ecto, in a program of its own",
      elixirc_paths: elixirc_paths(Mix.env()),
      test_paths: test_paths(System.get_env("ECTO_SUITES")),
      test_pattern: "*_test.exs",
      start_permanent: Mix.env() == :prod,
      package: package(),
      deps: deps()
    ]
  end

  def application do
    [mod: {EctoLibSql.Application, []}, extra_applications: extra_applications(Mix.env())]
  end

  # The tests' own servers and proxies.
  defp extra_applications(:test), do: [:logger, :crypto, :public_key, :ssl, :inets]
  defp extra_applications(_env), do: [:logger]

  defp elixirc_paths(:test), do: ["lib", "test/support", Path.expand("../libsql_port/test/servers", __DIR__)]
  defp elixirc_paths(_env), do: ["lib"]

  # ECTO_SUITES=1 runs the suites that Ecto shares with all adapters, from where its sources are; see docs/ecto-suites.md.
  defp test_paths(nil), do: ["test"]
  defp test_paths(_set), do: ["integration_test"]

  defp deps do
    [
      {:libsql_port, path: "../libsql_port"},
      from(:ecto, "~> 3.12", "ECTO_PATH"),
      from(:ecto_sql, "~> 3.12", "ECTO_SQL_PATH"),
      from(:db_connection, "~> 2.9", "DB_CONNECTION_PATH"),
      from(:decimal, "~> 2.0 or ~> 3.0", "DECIMAL_PATH"),
      from(:telemetry, "~> 1.0", "TELEMETRY_PATH"),
      from(:jason, "~> 1.4", "JASON_PATH")
    ]
  end

  # A checkout in place of the package, for machines without the registry and for trying a version of Ecto.
  defp from(app, requirement, variable) do
    case System.get_env(variable) do
      nil -> {app, requirement}
      path -> {app, path: path, override: true}
    end
  end

  defp package do
    [licenses: ["Apache-2.0"], files: ["lib", "mix.exs", "README.md", ".formatter.exs"]]
  end
end
