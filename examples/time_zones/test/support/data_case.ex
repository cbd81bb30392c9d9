defmodule TimeZones.DataCase do
  @moduledoc "Tests on the database. Each has a copy to itself, so that all of them may be `async: true`."
  use ExUnit.CaseTemplate

  alias Ecto.Adapters.SQL.Sandbox
  alias TimeZones.{Repo, Seed}

  using do
    quote do
      import Ecto.Query
      import TimeZones.DataCase
      alias TimeZones.Repo
    end
  end

  setup tags do
    owner = Sandbox.start_owner!(Repo, shared: not tags[:async])
    on_exit(fn -> Sandbox.stop_owner(owner) end)
  end

  @doc "A small world: two countries, three zones."
  def small_world(_context) do
    {:ok, _} =
      Seed.write(
        [%{code: "CH", name: "Switzerland"}, %{code: "NZ", name: "New Zealand"}],
        [
          %{codes: ["CH"], name: "Europe/Zurich", latitude: 47.3833, longitude: 8.5333, comment: nil},
          %{
            codes: ["NZ"],
            name: "Pacific/Auckland",
            latitude: -36.8667,
            longitude: 174.7667,
            comment: "most of it"
          },
          %{
            codes: ["NZ"],
            name: "Pacific/Chatham",
            latitude: -43.95,
            longitude: -176.55,
            comment: "100% islands"
          }
        ]
      )

    {:ok, zurich} = TimeZones.Catalog.fetch_zone("Europe/Zurich")
    {:ok, zurich: zurich}
  end
end
