defmodule TimeZones.Seed do
  @moduledoc "Fills the catalogue from the tables of the system's time zones, again and again with the same outcome."

  alias TimeZones.Catalog.{Country, Zone}
  alias TimeZones.{Repo, Table}

  @directory "/usr/share/zoneinfo"

  @doc "The files of a machine, `:absent` if it has none (Windows, small containers)."
  @spec files(Path.t()) :: {:ok, %{zones: Path.t(), countries: Path.t()}} | :absent
  def files(directory \\ @directory) do
    zones = Enum.find(["zone1970.tab", "zone.tab"], &File.regular?(Path.join(directory, &1)))
    countries = Path.join(directory, "iso3166.tab")

    if zones && File.regular?(countries),
      do: {:ok, %{zones: Path.join(directory, zones), countries: countries}},
      else: :absent
  end

  @doc "Reads the files and writes what they say in one transaction; the number of zones, and of countries."
  @spec run(%{zones: Path.t(), countries: Path.t()}) :: {:ok, {non_neg_integer, non_neg_integer}}
  def run(files) do
    write(Table.countries(File.read!(files.countries)), Table.zones(File.read!(files.zones)))
  end

  @doc "Writes countries and zones. Those that are there already are brought up to date and keep their ids."
  @spec write([map], [Table.zone()]) :: {:ok, {non_neg_integer, non_neg_integer}}
  def write(countries, zones) do
    Repo.transaction(fn ->
      Repo.insert_all(Country, countries, on_conflict: {:replace, [:name]}, conflict_target: :code)

      {count, written} =
        Repo.insert_all(Zone, Enum.map(zones, &Map.delete(&1, :codes)),
          on_conflict: {:replace, [:latitude, :longitude, :comment]},
          conflict_target: :name,
          returning: [:id, :name]
        )

      ids = Map.new(written, &{&1.name, &1.id})
      Repo.delete_all("zone_countries")

      Repo.insert_all(
        "zone_countries",
        for(zone <- zones, code <- zone.codes, do: %{zone_id: ids[zone.name], country_code: code})
      )

      {count, length(countries)}
    end)
  end
end
