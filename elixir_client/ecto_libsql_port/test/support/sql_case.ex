defmodule EctoLibSql.SqlCase do
  @moduledoc false
  # For tests of SQL text: no database, no process.

  use ExUnit.CaseTemplate
  require Ecto.Query

  alias Ecto.Adapters.LibSql.Connection

  using do
    quote do
      import Ecto.Query
      import EctoLibSql.{SinceEcto, SqlCase}
      alias EctoLibSql.SqlCase.{Comment, Post}
    end
  end

  @doc "A query as Ecto hands it to the adapter."
  def plan(query, operation \\ :all) do
    query = query |> Ecto.Queryable.to_query() |> select_all(operation)
    {query, _cast, _dumped} = Ecto.Adapter.Queryable.plan_query(operation, Ecto.Adapters.LibSql, query)
    query
  end

  # As the Repo does for a query without a select.
  defp select_all(%{select: nil} = query, :all), do: Ecto.Query.select(query, [source], source)
  defp select_all(query, _operation), do: query

  def all(query), do: query |> plan() |> Connection.all() |> IO.iodata_to_binary()
  def update_all(query), do: query |> plan(:update_all) |> Connection.update_all() |> IO.iodata_to_binary()
  def delete_all(query), do: query |> plan(:delete_all) |> Connection.delete_all() |> IO.iodata_to_binary()

  def insert(prefix, table, header, rows, on_conflict, returning, placeholders \\ []) do
    prefix
    |> Connection.insert(table, header, rows, on_conflict, returning, placeholders)
    |> IO.iodata_to_binary()
  end

  def ddl(command), do: command |> Connection.execute_ddl() |> Enum.map(&IO.iodata_to_binary/1)
end
