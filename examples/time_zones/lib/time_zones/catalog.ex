defmodule TimeZones.Catalog do
  @moduledoc "Countries and their time zones. They are read, searched and counted here; `TimeZones.Seed` writes them."

  import Ecto.Query

  alias TimeZones.Catalog.{Country, Zone}
  alias TimeZones.Repo

  # LIKE would take the text for a pattern.
  defmacrop contains(field, text) do
    quote do: fragment("instr(lower(?), lower(?)) > 0", unquote(field), unquote(text))
  end

  @doc "The zone of a name such as `Europe/Zurich`, with its countries."
  @spec fetch_zone(String.t()) :: {:ok, Zone.t()} | :error
  def fetch_zone(name) do
    case Repo.get_by(Zone, name: name) do
      nil -> :error
      zone -> {:ok, Repo.preload(zone, countries: from(c in Country, order_by: c.code))}
    end
  end

  @doc "Zones whose name, comment or country has this text, whatever the case of its ASCII letters."
  @spec search(String.t()) :: [Zone.t()]
  def search(text) do
    Repo.all(
      from z in Zone,
        left_join: c in assoc(z, :countries),
        where: contains(z.name, ^text) or contains(z.comment, ^text) or contains(c.name, ^text),
        distinct: true,
        order_by: z.name
    )
  end

  @doc """
  The zones whose places are nearest, with the square of the distance in degrees of latitude. The earth is taken for flat
  around the point, which is good enough for a suggestion.
  """
  @spec nearest(float, float, pos_integer) :: [{String.t(), float}]
  def nearest(latitude, longitude, count) do
    # A degree of longitude is shorter the farther it is from the equator.
    shrink = :math.cos(latitude * :math.pi() / 180)

    placed =
      from z in Zone,
        select: %{
          name: z.name,
          north: z.latitude - ^latitude,
          # The shorter way around.
          east: fragment("abs(? - ?)", z.longitude, ^longitude)
        }

    measured =
      from p in subquery(placed),
        select: %{
          name: p.name,
          square: p.north * p.north + fragment("pow(min(?, 360 - ?) * ?, 2)", p.east, p.east, ^shrink)
        }

    Repo.all(from m in subquery(measured), order_by: m.square, limit: ^count, select: {m.name, m.square})
  end

  @doc "How many zones each country has, the one with the most first."
  @spec zones_per_country() :: [{String.t(), pos_integer}]
  def zones_per_country do
    Repo.all(
      from c in Country,
        join: z in assoc(c, :zones),
        group_by: [c.code, c.name],
        order_by: [desc: count(z.id), asc: c.name],
        select: {c.name, count(z.id)}
    )
  end

  @doc "Runs a function over the names of all zones, one after the other, without holding all of them."
  @spec reduce_names(acc, (String.t(), acc -> acc)) :: acc when acc: var
  def reduce_names(acc, fun) do
    names = from(z in Zone, order_by: z.name, select: z.name)
    {:ok, acc} = Repo.transaction(fn -> names |> Repo.stream() |> Enum.reduce(acc, fun) end, mode: :read_only)
    acc
  end
end
