defmodule Demo.TimeZones do
  # Reads the time-zone table that every Unix machine brings along (tzdb): names, countries, coordinates.
  @moduledoc false

  @directories ["/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/var/db/timezone/zoneinfo"]

  @doc "Path of the newest kind of table that is there, or nil."
  def path do
    Enum.find_value(["zone1970.tab", "zone.tab"], fn name ->
      Enum.find(Enum.map(@directories, &Path.join(&1, name)), &File.regular?/1)
    end)
  end

  @doc "A list of `%{name:, countries:, latitude:, longitude:, comment:}`."
  def read(path) do
    for [countries, coordinates, name | comment] <- records(path) do
      {latitude, longitude} = coordinates(coordinates)

      %{
        name: name,
        countries: String.split(countries, ","),
        latitude: latitude,
        longitude: longitude,
        comment: List.first(comment)
      }
    end
  end

  @doc "Country codes and names from the table beside it; an empty list if there is none."
  def countries(path) do
    file = Path.join(Path.dirname(path), "iso3166.tab")
    if File.regular?(file), do: for([code, name] <- records(file), do: {code, name}), else: []
  end

  defp records(path) do
    path
    |> File.stream!()
    |> Stream.reject(&String.starts_with?(&1, "#"))
    |> Stream.map(&(&1 |> String.trim_trailing("\n") |> String.split("\t")))
    |> Enum.to_list()
  end

  # ISO 6709: ±DDMM±DDDMM or ±DDMMSS±DDDMMSS.
  defp coordinates(text) do
    [latitude, longitude] = Regex.run(~r/^([+-]\d+)([+-]\d+)$/, text, capture: :all_but_first)
    {degrees(latitude, 2), degrees(longitude, 3)}
  end

  defp degrees(<<sign, digits::binary>>, whole) do
    <<degrees::binary-size(whole), minutes::binary-size(2), seconds::binary>> = digits
    seconds = if seconds == "", do: 0, else: String.to_integer(seconds)
    value = String.to_integer(degrees) + String.to_integer(minutes) / 60 + seconds / 3600
    if sign == ?-, do: -value, else: value
  end
end
