# PropEr is no dependency: the properties run where it is installed (Debian: erlang-proper).
# From 1.15 on, Mix takes what is no dependency off the code path.
for ebin <- Path.wildcard("#{:code.lib_dir()}/proper-*/ebin"), do: Code.append_path(ebin)
proper? = Code.ensure_loaded?(:proper)

unless proper? do
  IO.puts("PropEr is not installed (Debian: erlang-proper): the tests tagged :proper are skipped")
end

exclude = if(proper?, do: [], else: [:proper]) ++ LibsqlPort.Sqld.exclusions()
ExUnit.start(capture_log: true, exclude: exclude)
