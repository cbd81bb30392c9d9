defmodule LibsqlPort.MixProject do
  use Mix.Project

  def project do
    [
      app: :libsql_port,
      version: "0.1.0",
      elixir: "~> 1.14",
      description: "libSQL in a program of its own, driven over an Erlang port",
      # The program is built after the modules, because the compiler that builds it is one of them.
      compilers: Mix.compilers() ++ [:libsql_port],
      elixirc_paths: elixirc_paths(Mix.env()),
      start_permanent: Mix.env() == :prod,
      # Called where it runs; no dependency. Without this, compiling beside it warns of the missing dependency.
      xref: [exclude: [:telemetry, :telemetry_handler_table]],
      package: package(),
      deps: []
    ]
  end

  def application do
    [extra_applications: extra_applications(Mix.env())]
  end

  # The tests' own servers and proxies.
  defp extra_applications(:test), do: [:logger, :crypto, :public_key, :ssl]
  defp extra_applications(_env), do: [:logger]

  # The adapter's tests have `servers` too.
  defp elixirc_paths(:test), do: ["lib", "test/support", "test/servers"]
  defp elixirc_paths(_env), do: ["lib"]

  defp package do
    [licenses: ["Apache-2.0"], files: ["lib", "priv/.gitkeep", "mix.exs", "README.md", ".formatter.exs"]]
  end
end
