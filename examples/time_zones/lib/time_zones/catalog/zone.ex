defmodule TimeZones.Catalog.Zone do
  @moduledoc "A time zone with the place that it is named after."
  use Ecto.Schema

  @type t :: %__MODULE__{}

  schema "zones" do
    field :name, :string
    field :latitude, :float
    field :longitude, :float
    field :comment, :string

    many_to_many :countries, TimeZones.Catalog.Country,
      join_through: "zone_countries",
      join_keys: [zone_id: :id, country_code: :code]

    has_many :appointments, TimeZones.Diary.Appointment
  end
end
