defmodule TimeZones.Catalog.Country do
  @moduledoc "A country, by its code of two letters."
  use Ecto.Schema

  @type t :: %__MODULE__{}

  @primary_key {:code, :string, autogenerate: false}
  schema "countries" do
    field :name, :string

    many_to_many :zones, TimeZones.Catalog.Zone,
      join_through: "zone_countries",
      join_keys: [country_code: :code, zone_id: :id]
  end
end
