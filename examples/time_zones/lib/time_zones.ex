defmodule TimeZones do
  @moduledoc """
  A small application on the adapter: the time zones of the world, and the appointments of people who live in them.

      mix setup                                  # the database, its tables, the data of this machine
      mix run -e 'IO.inspect TimeZones.Catalog.nearest(46.95, 7.45, 3)'
      mix test

  `TimeZones.Catalog` is what the world has, `TimeZones.Diary` what people enter. `TimeZones.Seed` fills the first from
  the files that come with the system's time zones.
  """
end
