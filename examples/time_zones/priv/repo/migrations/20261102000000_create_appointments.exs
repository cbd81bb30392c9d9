defmodule TimeZones.Repo.Migrations.CreateAppointments do
  use Ecto.Migration

  def change do
    create table(:appointments, primary_key: false) do
      add :id, :binary_id, primary_key: true
      add :title, :string, null: false
      add :starts_at, :utc_datetime_usec, null: false
      add :minutes, :integer, null: false, default: 30
      add :zone_id, references(:zones, on_delete: :restrict), null: false
      timestamps()
    end

    create unique_index(:appointments, [:zone_id, :starts_at])
  end
end
