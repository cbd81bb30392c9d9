ExUnit.start()
:ok = EctoLibSql.Sandbox.private_copies(TimeZones.Repo)
Ecto.Adapters.SQL.Sandbox.mode(TimeZones.Repo, :manual)
