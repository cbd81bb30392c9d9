defmodule Demo.Import do
  # Real tables into a new database: the time zones of this machine and its package list, one atomic batch each.
  @moduledoc false
  alias Demo.{Packages, Terminal, TimeZones}

  @schema """
  CREATE TABLE country (code TEXT PRIMARY KEY, name TEXT NOT NULL) STRICT;
  CREATE TABLE zone (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    latitude REAL NOT NULL CHECK (latitude BETWEEN -90 AND 90),
    longitude REAL NOT NULL CHECK (longitude BETWEEN -180 AND 180),
    comment TEXT
  ) STRICT;
  CREATE TABLE zone_country (
    zone INTEGER NOT NULL REFERENCES zone (id),
    country TEXT NOT NULL,
    PRIMARY KEY (zone, country)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE package (name TEXT PRIMARY KEY, section TEXT, kib INTEGER) STRICT;
  """

  def title, do: "Import"

  def run(%{conn: conn}) do
    {:ok, _} = LibsqlPort.script(conn, @schema)
    zones(conn) ++ packages(conn)
  end

  defp zones(conn) do
    path = TimeZones.path() || raise "no time-zone table on this machine: install tzdata"
    zones = path |> TimeZones.read() |> Enum.with_index(1)
    countries = TimeZones.countries(path)

    statements =
      Enum.map(countries, &{"INSERT INTO country VALUES (?, ?)", Tuple.to_list(&1)}) ++
        Enum.flat_map(zones, fn {zone, id} ->
          [
            {"INSERT INTO zone VALUES (:id, :name, :latitude, :longitude, :comment)",
             zone |> Map.take([:name, :latitude, :longitude, :comment]) |> Map.put(:id, id)}
            | Enum.map(zone.countries, &{"INSERT INTO zone_country VALUES (?, ?)", [id, &1]})
          ]
        end)

    {time_us, {:ok, _}} = :timer.tc(fn -> LibsqlPort.batch(conn, statements, atomic: true) end)
    {:ok, [stored]} = LibsqlPort.query_one(conn, "SELECT count(*) FROM zone")

    Terminal.field(
      "time zones",
      "#{stored} from #{path}, #{length(statements)} rows in #{Terminal.ms(time_us)}, one batch"
    )

    [{"time zones stored are those in the file", "#{stored} of #{length(zones)}", stored == length(zones)}]
  end

  defp packages(conn) do
    case Packages.read() do
      nil ->
        Terminal.field("packages", "no package or word list on this machine")
        []

      {path, packages} ->
        statements = Enum.map(packages, &{"INSERT INTO package VALUES (?, ?, ?)", Tuple.to_list(&1)})
        {time_us, {:ok, _}} = :timer.tc(fn -> LibsqlPort.batch(conn, statements, atomic: true) end)
        {:ok, [stored]} = LibsqlPort.query_one(conn, "SELECT count(*) FROM package")
        Terminal.field("packages", "#{stored} from #{path} in #{Terminal.ms(time_us)}, one batch")
        ok? = stored == length(packages)
        [{"packages stored are those in the file", "#{stored} of #{length(packages)}", ok?}]
    end
  end
end
