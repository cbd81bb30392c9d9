defmodule TimeZones.TableTest do
  use ExUnit.Case, async: true
  doctest TimeZones.Table

  test "seconds, the south and the west" do
    assert [%{latitude: -54.9333, longitude: -67.6169, comment: nil}] =
             TimeZones.Table.zones("CL\t-5456-0673701\tAmerica/Punta_Arenas")
  end
end
