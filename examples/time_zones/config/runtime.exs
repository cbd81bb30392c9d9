import Config

# `:database` takes what DATABASE_URL says; Ecto would read the option `:url` by itself, and ask for a host.
if config_env() != :test do
  config :time_zones, TimeZones.Repo, database: System.get_env("DATABASE_URL", "file:time_zones.db")
end
