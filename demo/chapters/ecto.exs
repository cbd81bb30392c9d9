defmodule Demo.Repo do
  use Ecto.Repo, otp_app: :demo, adapter: Ecto.Adapters.LibSql
end

defmodule Demo.Zone do
  use Ecto.Schema

  schema "zone" do
    field(:name, :string)
    field(:latitude, :float)
  end
end

defmodule Demo.FromEcto do
  # The same function as an option of a Repo, on the same file.
  @moduledoc false
  import Ecto.Query
  alias Demo.{Functions, Repo, Terminal, Zone}

  def run(%{database: database}) do
    {:ok, _} = Application.ensure_all_started(:ecto_libsql_port)
    functions = [{:scalar, "slugify", 1, &Functions.slugify/1, deterministic: true, directonly: false}]
    {:ok, repo} = Repo.start_link(database: database, pool_size: 2, functions: functions, log: false)
    query = from(z in Zone, where: fragment("slugify(?)", z.name) == ^"america-sao-paulo")
    zone = Repo.one(query)
    [plan] = Regex.run(~r/SEARCH [^|]*/, Ecto.Adapters.SQL.explain(Repo, :all, query))
    Terminal.field("from Ecto", "#{zone.name}, by #{String.trim(plan)}")
    Supervisor.stop(repo)

    [
      {"an Ecto query by the same function and index", zone.name,
       zone.name == "America/Sao_Paulo" and plan =~ "zone_slug"}
    ]
  end
end
