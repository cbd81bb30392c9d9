defmodule TimeZones.Repo.Migrations.CheckAppointments do
  use Ecto.Migration

  # Changes to a table that is in use: a column more, and a constraint, for which the adapter rebuilds the table.
  def change do
    alter table(:appointments) do
      add :people, {:array, :string}, null: false, default: []
    end

    create constraint(:appointments, :some_minutes, check: "minutes > 0")
  end
end
