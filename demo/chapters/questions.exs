defmodule Demo.Questions do
  # Queries with named parameters, and what mistakes come back as.
  @moduledoc false
  alias Demo.{Terminal, TimeZones}

  # Great-circle distance, by the engine's own functions.
  @nearest """
  SELECT zone.name,
         (SELECT group_concat(coalesce(country.name, zone_country.country), ', ')
            FROM zone_country LEFT JOIN country ON country.code = zone_country.country
           WHERE zone_country.zone = zone.id) AS countries,
         2 * 6371 * asin(sqrt(
           pow(sin(radians(latitude - :latitude) / 2), 2) +
           cos(radians(:latitude)) * cos(radians(latitude)) * pow(sin(radians(longitude - :longitude) / 2), 2)
         )) AS km
    FROM zone
   WHERE latitude BETWEEN :south AND :north
   ORDER BY km LIMIT :count
  """

  def title, do: "Questions with named parameters, and typed errors"

  def run(%{conn: conn}) do
    [nearest(conn), southern(conn)] ++ errors(conn)
  end

  defp nearest(conn) do
    parameters = %{latitude: 46.95, longitude: 7.45, south: -60, north: 60, count: 4}
    {time_us, result} = :timer.tc(fn -> LibsqlPort.query!(conn, @nearest, parameters) end)
    Terminal.line("The zones nearest to Bern, #{Terminal.ms(time_us)}:")

    Terminal.table(
      result.columns,
      Enum.map(result.rows, fn [name, countries, km] -> [name, String.slice(countries, 0, 48), km] end)
    )

    [[first | _] | _] = result.rows
    {"the zone nearest to Bern", first, first == "Europe/Zurich"}
  end

  # The same answer from the file itself, worked out in Elixir.
  defp southern(conn) do
    {:ok, [found]} = LibsqlPort.query_one(conn, "SELECT count(*) FROM zone WHERE latitude < $limit", limit: 0)
    expected = TimeZones.path() |> TimeZones.read() |> Enum.count(&(&1.latitude < 0))
    {"zones south of the equator, counted twice", "#{found} and #{expected}", found == expected}
  end

  defp errors(conn) do
    Terminal.line("")

    mistakes = [
      {"a name twice", "INSERT INTO zone VALUES (NULL, 'Europe/Zurich', 0, 0, NULL)", [], :constraint_unique,
       &(&1.constraint.table == "zone" and &1.constraint.columns == ["name"])},
      {"a latitude of 91", "INSERT INTO zone VALUES (NULL, 'Nowhere', 91, 0, NULL)", [], :constraint_check,
       &(&1.constraint.kind == :check)},
      {"a zone without id", "INSERT INTO zone_country VALUES (999999, 'XX')", [], :constraint_foreign_key,
       &(&1.constraint.kind == :foreign_key)},
      {"a slip of the pen", "SELECT name FORM zone ORDER", [], :sql_error, &is_integer(&1.offset)},
      {"a missing parameter", "SELECT :here, :there", %{here: 1}, :parameter_name, fn _ -> true end},
      {"a pid as parameter", "SELECT ?", [self()], :invalid_parameter, fn _ -> true end}
    ]

    {rows, results} =
      mistakes
      |> Enum.map(fn {what, sql, parameters, code, expected?} ->
        {:error, error} = LibsqlPort.query(conn, sql, parameters)
        {[what, inspect(error.code), where(error)], error.code == code and expected?.(error)}
      end)
      |> Enum.unzip()

    Terminal.table(["mistake", "code", "where"], rows)
    right = Enum.count(results, & &1)
    [{"mistakes answered by the right typed error", "#{right} of #{length(results)}", Enum.all?(results)}]
  end

  defp where(%{constraint: %{table: table, columns: columns, name: name}}) do
    place = [table | List.wrap(columns)] |> Enum.reject(&(&1 in [nil, ""])) |> Enum.join(".")
    [place, name] |> Enum.reject(&(&1 in [nil, ""])) |> Enum.join("  ")
  end

  defp where(%{offset: offset}) when is_integer(offset), do: "byte #{offset}"
  defp where(_), do: ""
end
