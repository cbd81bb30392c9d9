defmodule TimeZones.SeedTest do
  use TimeZones.DataCase, async: true

  alias TimeZones.{Catalog, Seed}
  alias TimeZones.Catalog.{Country, Zone}

  # What the machine lacks is left out, by its name.
  case Seed.files() do
    {:ok, _} -> :ok
    :absent -> @tag skip: "this machine has no tables of time zones"
  end

  test "this machine's zones, written twice, are the same rows" do
    {:ok, files} = Seed.files()
    {:ok, {zones, countries}} = Seed.run(files)
    assert zones > 100 and countries > 100
    ids = Repo.all(from z in Zone, order_by: z.id, select: {z.id, z.name})

    assert Seed.run(files) == {:ok, {zones, countries}}
    assert Repo.all(from z in Zone, order_by: z.id, select: {z.id, z.name}) == ids
    assert Repo.aggregate(Country, :count) == countries

    assert {:ok, %{countries: [_ | _]}} = Catalog.fetch_zone("Europe/Zurich")
    assert [{"Europe/Zurich", _}] = Catalog.nearest(46.95, 7.45, 1)
    assert Catalog.reduce_names(0, fn _name, count -> count + 1 end) == zones
  end

  @tag :tmp_dir
  test "a machine without the tables is told apart", %{tmp_dir: directory} do
    assert Seed.files(directory) == :absent
    for file <- ["zone.tab", "iso3166.tab"], do: File.write!(Path.join(directory, file), "")
    assert {:ok, %{zones: zones}} = Seed.files(directory)
    assert Path.basename(zones) == "zone.tab"
  end
end
