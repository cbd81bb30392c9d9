import Config

config :time_zones, ecto_repos: [TimeZones.Repo]

# Statements are for `:debug`.
config :logger, level: :info

if config_env() == :test do
  config :time_zones, TimeZones.Repo,
    database: Path.join(Mix.Project.build_path(), "time_zones#{System.get_env("MIX_TEST_PARTITION")}.db"),
    pool: Ecto.Adapters.SQL.Sandbox,
    pool_size: System.schedulers_online() * 2

  config :logger, level: :warning
end
