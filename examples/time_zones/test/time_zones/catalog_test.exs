defmodule TimeZones.CatalogTest do
  use TimeZones.DataCase, async: true

  alias TimeZones.Catalog
  alias TimeZones.Catalog.Zone

  setup :small_world

  test "a zone comes with its countries" do
    assert {:ok, %Zone{countries: [%{code: "CH", name: "Switzerland"}]}} = Catalog.fetch_zone("Europe/Zurich")
    assert Catalog.fetch_zone("Europe/Nowhere") == :error
  end

  test "search finds names, comments and countries, whatever the case" do
    assert names(Catalog.search("zurich")) == ["Europe/Zurich"]
    assert names(Catalog.search("MOST OF")) == ["Pacific/Auckland"]
    assert names(Catalog.search("new zea")) == ["Pacific/Auckland", "Pacific/Chatham"]
  end

  test "a percent sign is a percent sign" do
    assert names(Catalog.search("100%")) == ["Pacific/Chatham"]
    assert Catalog.search("1%0") == []
  end

  test "the nearest zone may be on the other side of the date line" do
    assert [{"Pacific/Chatham", square}, {"Pacific/Auckland", _}] = Catalog.nearest(-43.95, 179.45, 2)
    assert_in_delta square, :math.pow(4 * :math.cos(43.95 * :math.pi() / 180), 2), 0.001
  end

  test "countries by the number of their zones" do
    assert Catalog.zones_per_country() == [{"New Zealand", 2}, {"Switzerland", 1}]
  end

  test "names are streamed in order" do
    assert Catalog.reduce_names([], &[&1 | &2]) == ["Pacific/Chatham", "Pacific/Auckland", "Europe/Zurich"]
  end

  defp names(zones), do: Enum.map(zones, & &1.name)
end
