defmodule EctoLibSql.ArchitectureTest do
  # Who may know whom, read from the compiled modules. The rooms are those of docs/architecture.md.
  use ExUnit.Case, async: true

  # The compiled files, also under `--cover`, where the modules that are loaded come from no file.
  @ebin Application.app_dir(:ecto_libsql_port, "ebin")

  {:ok, modules} = :application.get_key(:ecto_libsql_port, :modules)
  @modules Enum.reject(modules, &(to_string(&1.module_info(:compile)[:source]) =~ "/test/"))

  defp chunk(module, name) do
    {:ok, {^module, [{^name, chunk}]}} = :beam_lib.chunks(~c"#{@ebin}/#{module}.beam", [name])
    chunk
  end

  # Modules that are named, called or not: aliases in patterns and arguments are atoms.
  defp named(module) do
    for {_, atom} <- chunk(module, :atoms), atom in @modules, atom != module, do: atom
  end

  defp called(module) do
    for {other, _, _} <- chunk(module, :imports), other in @modules, other != module, uniq: true, do: other
  end

  defp source(module), do: module.module_info(:compile)[:source] |> to_string()
  defp compat?(module), do: source(module) =~ "/lib/ecto_libsql/compat/"
  defp adapter?(module), do: source(module) =~ "/lib/ecto/adapters/"

  test "there are modules of all rooms" do
    assert length(@modules) > 60
    for room <- [&compat?/1, &adapter?/1], do: assert(Enum.count(@modules, room) > 5)
    assert Ecto.Adapters.LibSql.TypeCodec in named(Ecto.Adapters.LibSql)
    assert EctoLibSql.Options in called(EctoLibSql.Pool)
  end

  test "EctoLibSql never names a module of the Ecto adapter" do
    assert [] ==
             for(
               module <- @modules,
               not adapter?(module),
               other <- named(module),
               adapter?(other),
               do: {module, other}
             )
  end

  # Two doors: the callbacks that ecto_libsql's users call, and the process that keeps their handles.
  @doors [{EctoLibSql, EctoLibSql.ByHand}, {EctoLibSql.Application, EctoLibSql.Handles}]

  test "nothing but compat/ knows what is there for ecto_libsql's users" do
    known =
      for module <- @modules, not compat?(module), other <- named(module), compat?(other), do: {module, other}

    assert known -- @doors == []
  end

  # Subqueries stand in expressions, and expressions in queries.
  @circles [[Ecto.Adapters.LibSql.ExpressionSql, Ecto.Adapters.LibSql.QuerySql]]

  test "modules do not call each other in circles" do
    graph = :digraph.new()
    Enum.each(@modules, &:digraph.add_vertex(graph, &1))
    for module <- @modules, other <- called(module), do: :digraph.add_edge(graph, module, other)

    assert graph |> :digraph_utils.cyclic_strong_components() |> Enum.map(&Enum.sort/1) |> Enum.sort() ==
             @circles
  end
end
