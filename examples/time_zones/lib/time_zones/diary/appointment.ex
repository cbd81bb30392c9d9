defmodule TimeZones.Diary.Appointment do
  @moduledoc "Something that begins at a time, in a zone, with people."
  use Ecto.Schema
  import Ecto.Changeset

  @type t :: %__MODULE__{}

  @primary_key {:id, :binary_id, autogenerate: true}
  schema "appointments" do
    field :title, :string
    field :starts_at, :utc_datetime_usec
    field :minutes, :integer
    field :people, {:array, :string}, default: []
    belongs_to :zone, TimeZones.Catalog.Zone
    timestamps()
  end

  @doc "What people entered, as a change to an appointment. The database has the last word on what may be."
  @spec changeset(t, map) :: Ecto.Changeset.t()
  def changeset(appointment, params) do
    appointment
    |> cast(params, [:title, :starts_at, :minutes, :people, :zone_id])
    |> validate_required([:title, :starts_at, :minutes, :zone_id])
    |> unique_constraint([:zone_id, :starts_at], message: "is taken", error_key: :starts_at)
    |> check_constraint(:minutes, name: :some_minutes, message: "must be more than none")
    |> foreign_key_constraint(:zone_id)
  end
end
