defmodule LibsqlPort.ArchitectureTest do
  # Who may know whom, read from the compiled modules.
  use ExUnit.Case, async: true

  # The compiled files, also under `--cover`, where the modules that are loaded come from no file.
  @ebin Application.app_dir(:libsql_port, "ebin")

  {:ok, modules} = :application.get_key(:libsql_port, :modules)
  @modules Enum.reject(modules, &(to_string(&1.module_info(:compile)[:source]) =~ "/test/"))

  defp calls(module) do
    {:ok, {^module, [imports: imports]}} = :beam_lib.chunks(~c"#{@ebin}/#{module}.beam", [:imports])
    for {other, _, _} <- imports, other != module, uniq: true, do: other
  end

  test "modules do not call each other in circles" do
    graph = :digraph.new()
    Enum.each(@modules, &:digraph.add_vertex(graph, &1))

    for module <- @modules,
        other <- calls(module),
        other in @modules,
        do: :digraph.add_edge(graph, module, other)

    assert :digraph.no_edges(graph) > 50
    assert :digraph_utils.cyclic_strong_components(graph) == []
  end

  # `Table` and `:telemetry` are used where they are there; nothing else outside of Erlang/OTP and Elixir is.
  test "the driver calls OTP, Elixir, itself and :telemetry" do
    otp = :code.lib_dir() |> to_string()
    elixir = :code.lib_dir(:elixir) |> to_string() |> Path.dirname()

    foreign =
      for module <- @modules,
          other <- calls(module),
          other not in @modules,
          path = :code.which(other),
          is_list(path) or path == :non_existing,
          not String.starts_with?(to_string(path), [otp, elixir]),
          # Elixir's own protocols.
          not (to_string(path) =~ "/consolidated/"),
          uniq: true,
          do: other

    assert foreign -- [:telemetry, :telemetry_handler_table] == []
  end
end
