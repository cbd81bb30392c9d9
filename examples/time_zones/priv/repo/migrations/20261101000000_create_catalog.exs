defmodule TimeZones.Repo.Migrations.CreateCatalog do
  use Ecto.Migration

  def change do
    create table(:countries, primary_key: false) do
      add :code, :string, primary_key: true
      add :name, :string, null: false
    end

    create table(:zones) do
      add :name, :string, null: false
      add :latitude, :float, null: false
      add :longitude, :float, null: false
      add :comment, :string
    end

    create unique_index(:zones, [:name])

    create table(:zone_countries, primary_key: false, options: [without_rowid: true]) do
      add :zone_id, references(:zones, on_delete: :delete_all), primary_key: true
      add :country_code, references(:countries, column: :code, type: :string), primary_key: true
    end

    create index(:zone_countries, [:country_code])
  end
end
