defmodule EctoLibSql.Changes.Tables do
  @moduledoc false
  # The tables that a subscription of schemas is to, as the Repo's connections know them: which database a `@schema_prefix` is, and whether
  # there are tables at all. Called by `EctoLibSql.Changes`.

  alias Ecto.Adapters.SQL.Sandbox
  alias EctoLibSql.{KnownOptions, RepoInstance, SqlLexer}
  alias LibsqlPort.Changes, as: Feed

  @kinds "SELECT lower(name), type FROM pragma_table_list WHERE schema = ?1 COLLATE NOCASE AND type <> 'table'"
  @databases "SELECT file FROM pragma_database_list WHERE name = ?1 COLLATE NOCASE"

  @doc "The feed's source for the database of the schemas: `main` is that of the Repo, as given."
  @spec source(RepoInstance.t(), Feed.source(), String.t(), [module]) ::
          {:ok, Feed.source()} | {:error, Exception.t()}
  def source({_module, dynamic}, source, prefix, schemas) do
    meta = Ecto.Adapter.lookup_meta(dynamic)

    with {:ok, source} <- of_prefix(source, SqlLexer.lower(prefix), prefix, meta, dynamic),
         {:ok, kinds} <- query(meta, dynamic, @kinds, prefix) do
      kinds = Map.new(kinds, &List.to_tuple/1)

      case Enum.find(schemas, &is_map_key(kinds, SqlLexer.lower(&1.__schema__(:source)))) do
        nil -> {:ok, source}
        schema -> no_table(schema, kinds[SqlLexer.lower(schema.__schema__(:source))])
      end
    end
  end

  defp no_table(schema, type) do
    KnownOptions.invalid(
      "#{inspect(schema)} is of #{schema.__schema__(:source)}, a #{type}: changes are told of the tables that rows are stored in. " <>
        "Subscribe to a schema of these"
    )
  end

  defp of_prefix(source, "main", _prefix, _meta, _dynamic), do: {:ok, source}

  defp of_prefix(source, _lower, prefix, meta, dynamic) do
    with {:ok, rows} <- query(meta, dynamic, @databases, prefix) do
      case rows do
        [[file]] when file not in [nil, ""] ->
          {:ok, {:database, sidecar(source), file}}

        [_in_memory] ->
          KnownOptions.invalid(
            "the database #{inspect(prefix)} is one connection's alone, in memory or temporary: nobody else is told of its changes"
          )

        [] ->
          KnownOptions.invalid(
            "the prefix #{inspect(prefix)} is no database of the Repo: attach it by its option :attach, or by :after_connect"
          )
      end
    end
  end

  defp sidecar({:database, sidecar, _path}), do: sidecar
  defp sidecar(%LibsqlPort.Connection{handle: handle}), do: handle

  # Where a process owns no connection of the sandbox, the database is asked all the same.
  defp query(meta, dynamic, sql, prefix) do
    {:ok, run(meta, sql, prefix)}
  rescue
    DBConnection.OwnershipError ->
      {:ok, Sandbox.unboxed_run(GenServer.whereis(dynamic), fn -> run(meta, sql, prefix) end)}
  end

  defp run(meta, sql, prefix), do: Ecto.Adapters.SQL.query!(meta, sql, [prefix], policy: false).rows
end
