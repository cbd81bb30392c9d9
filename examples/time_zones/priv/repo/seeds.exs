with {:ok, files} <- TimeZones.Seed.files(),
     {:ok, {zones, countries}} <- TimeZones.Seed.run(files) do
  IO.puts("#{zones} zones and #{countries} countries from #{files.zones}")
else
  :absent -> IO.puts("This machine has no tables of time zones: the catalogue stays empty.")
end
