defmodule TimeZones.Application do
  @moduledoc false
  use Application

  @impl true
  def start(_type, _args) do
    Supervisor.start_link([TimeZones.Repo], strategy: :one_for_one, name: TimeZones.Supervisor)
  end
end
