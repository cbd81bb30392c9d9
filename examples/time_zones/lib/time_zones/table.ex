defmodule TimeZones.Table do
  @moduledoc "Reads the tables that come with the system's time zones: columns between tabs, comments behind `#`."

  @type zone :: %{
          codes: [String.t()],
          name: String.t(),
          latitude: float,
          longitude: float,
          comment: String.t() | nil
        }

  @doc """
  The zones of `zone1970.tab` or `zone.tab`.

      iex> TimeZones.Table.zones("CH,DE,LI\\t+4723+00832\\tEurope/Zurich\\tBüsingen\\n")
      [%{codes: ["CH", "DE", "LI"], name: "Europe/Zurich", latitude: 47.3833, longitude: 8.5333, comment: "Büsingen"}]
  """
  @spec zones(String.t()) :: [zone]
  def zones(text) do
    for [codes, coordinates, name | comment] <- rows(text) do
      {latitude, longitude} = coordinates(coordinates)

      %{
        codes: String.split(codes, ","),
        name: name,
        latitude: latitude,
        longitude: longitude,
        comment: List.first(comment)
      }
    end
  end

  @doc """
  The countries of `iso3166.tab`.

      iex> TimeZones.Table.countries("# a comment\\nCH\\tSwitzerland\\n")
      [%{code: "CH", name: "Switzerland"}]
  """
  @spec countries(String.t()) :: [%{code: String.t(), name: String.t()}]
  def countries(text), do: for([code, name | _] <- rows(text), do: %{code: code, name: name})

  defp rows(text) do
    for line <- String.split(text, "\n", trim: true), not String.starts_with?(line, "#") do
      String.split(line, "\t")
    end
  end

  # ISO 6709 without separators: ±DDMM±DDDMM, or with seconds ±DDMMSS±DDDMMSS.
  defp coordinates(text) do
    [_, north, east] = Regex.run(~r/^([+-]\d+)([+-]\d+)$/, text)
    {degrees(north, 2), degrees(east, 3)}
  end

  defp degrees(<<sign, digits::binary>>, width) do
    {degrees, rest} = String.split_at(digits, width)
    {minutes, seconds} = String.split_at(rest, 2)

    value =
      String.to_integer(degrees) + String.to_integer(minutes) / 60 + String.to_integer("0" <> seconds) / 3600

    Float.round(if(sign == ?-, do: -value, else: value), 4)
  end
end
