# PropEr is no dependency: the properties run where it is installed (Debian: erlang-proper).
unless Code.ensure_loaded?(:proper) do
  IO.puts("PropEr is not installed (Debian: erlang-proper): the tests tagged :proper are skipped")
end

exclude = if Code.ensure_loaded?(:proper), do: [], else: [:proper]
ExUnit.start(capture_log: true, exclude: exclude)
