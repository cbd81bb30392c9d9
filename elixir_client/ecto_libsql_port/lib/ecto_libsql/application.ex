defmodule EctoLibSql.Application do
  @moduledoc false
  # Owns what belongs to no Repo: the sidecar of those who connect without one (storage, structure, a console).
  # A Repo's sidecar is started by `EctoLibSql.Pool`, never here.

  use Application

  @impl true
  def start(_type, _args) do
    # A wrong one is said by the first Repo that starts.
    _ = EctoLibSql.Settings.reload()
    :ok = EctoLibSql.PoolDefaults.start()

    consumers = {Registry, keys: :unique, name: EctoLibSql.ChangeLog.Registry}

    Supervisor.start_link([EctoLibSql.Handles, EctoLibSql.SharedSidecar, consumers],
      strategy: :one_for_one,
      name: __MODULE__
    )
  end

  @impl true
  def config_change(_changed, _new, _removed) do
    _ = EctoLibSql.Settings.reload()
    :ok
  end
end
