defmodule Ecto.Adapters.LibSql.ReturningSql do
  @moduledoc false
  # RETURNING of `update_all` and `delete_all`, called by `WriteSql`. SQLite names there only the columns of the table that
  # is written, without an alias.
  #
  # A joined source may still be read if it is the written row itself: the same table, or a subquery over it, joined by
  # the whole primary key. Then its columns are the written row's. Those that the update sets are the new values, though,
  # where other databases give the joined row's old ones.

  alias Ecto.Adapters.LibSql.{ExpressionSql, QuerySql}
  alias Ecto.Query.{JoinExpr, QueryExpr}

  @doc "` RETURNING …`, or nothing if the query has no select."
  @spec query(Ecto.Query.t(), tuple) :: iodata
  def query(%{select: nil}, _sources), do: []

  def query(%{select: %{fields: fields}} = query, sources) do
    fields = from_written(fields, query)

    if joined?(fields) do
      ExpressionSql.error!(
        query,
        "RETURNING knows only columns of the table that is written, and those of a join with itself by its primary key"
      )
    end

    [" RETURNING ", QuerySql.select_fields(fields, bare(sources), query)]
  end

  defp bare(sources) do
    {sql, _name, schema} = elem(sources, 0)
    put_elem(sources, 0, {sql, nil, schema})
  end

  defp joined?({:&, _, [index]}), do: index > 0
  defp joined?(list) when is_list(list), do: Enum.any?(list, &joined?/1)
  defp joined?(%{__struct__: _}), do: false
  defp joined?(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> joined?()
  defp joined?(_other), do: false

  # --- joins with the written row -------------------------------------------------------------------------------

  defp from_written(fields, %{joins: joins, sources: sources}) do
    written = elem(sources, 0)

    same =
      for %JoinExpr{ix: index} = join <- joins,
          same_row?(join, sources),
          into: %{},
          do: {index, source(join, sources)}

    if same == %{}, do: fields, else: rewrite(fields, same, written)
  end

  defp rewrite({:., meta, [{:&, source_meta, [index]}, name]} = field, same, written) do
    with %{^index => source} <- same, column when column != nil <- column(source, name, written) do
      {:., meta, [{:&, source_meta, [0]}, column]}
    else
      _ -> field
    end
  end

  defp rewrite(list, same, written) when is_list(list), do: Enum.map(list, &rewrite(&1, same, written))
  defp rewrite(%{__struct__: _} = struct, _same, _written), do: struct

  defp rewrite(tuple, same, written) when is_tuple(tuple),
    do: tuple |> Tuple.to_list() |> rewrite(same, written) |> List.to_tuple()

  defp rewrite(other, _same, _written), do: other

  defp same_row?(%JoinExpr{qual: :inner, ix: index, on: %QueryExpr{expr: on}} = join, sources) do
    written = elem(sources, 0)
    key = QuerySql.primary_key(written)
    key != [] and key -- equal_columns(on, index, source(join, sources), written) == []
  end

  defp same_row?(_join, _sources), do: false

  # Only the join itself has a subquery as it was planned, only the sources have a table's prefix.
  defp source(%JoinExpr{source: %Ecto.SubQuery{} = subquery}, _sources), do: subquery
  defp source(%JoinExpr{ix: index}, sources), do: elem(sources, index)

  # The columns of the written table that an `on` compares with the same column of a joined source.
  defp equal_columns({:and, _, [left, right]}, index, source, written),
    do: equal_columns(left, index, source, written) ++ equal_columns(right, index, source, written)

  defp equal_columns({:==, _, [left, right]}, index, source, written) do
    case Enum.sort([field(left), field(right)]) do
      [{0, column}, {^index, name}] -> if column(source, name, written) == column, do: [column], else: []
      _ -> []
    end
  end

  defp equal_columns(_other, _index, _source, _written), do: []

  defp field({{:., _, [{:&, _, [index]}, name]}, _, []}), do: {index, name}
  defp field(_other), do: nil

  # The column of the written table that a joined source calls `name`.
  defp column({table, _joined_schema, prefix}, name, {table, _schema, prefix}), do: name

  defp column(%Ecto.SubQuery{query: %{combinations: []} = inner}, name, {table, _, prefix}) do
    with {^table, _schema, ^prefix} <- elem(inner.sources, 0),
         {^name, selected} <- List.keyfind(inner.select.fields, name, 0),
         {0, column} <- field(selected) do
      column
    else
      _ -> nil
    end
  end

  defp column(_source, _name, _written), do: nil
end
