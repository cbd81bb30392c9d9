# Every file of both suites. They are not named *_test.exs, so that each adapter says which it takes.
ecto = Mix.Project.deps_paths()[:ecto]
ecto_sql = Mix.Project.deps_paths()[:ecto_sql]

for suite <- ["#{ecto}/integration_test/cases", "#{ecto_sql}/integration_test/sql"],
    file <- suite |> Path.join("*.exs") |> Path.wildcard() do
  Code.require_file(file, __DIR__)
end
