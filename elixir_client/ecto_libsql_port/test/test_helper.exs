# PropEr is no dependency: the properties run where it is installed (Debian: erlang-proper).
proper? = Code.ensure_loaded?(:proper)

unless proper? do
  IO.puts("PropEr is not installed (Debian: erlang-proper): the tests tagged :proper are skipped")
end

ExUnit.start(capture_log: true, exclude: if(proper?, do: [], else: [:proper]))
