defmodule Ecto.Adapters.LibSql.IndexColumns do
  @moduledoc false
  # SQLite takes a quoted name that is no column of the table for a text (https://www.sqlite.org/quirks.html#dblquote), and
  # so an index on a misspelt column for one on a constant, which serves no query. A unique one lets the table have one row.
  # Called by the adapter before an index is created.

  alias Ecto.Adapters.LibSql.{RemoveColumn, StoredTable}
  alias Ecto.Adapters.SQL
  alias Ecto.Migration.Index

  @creates [:create, :create_if_not_exists]

  @doc "Raises `EctoLibSql.MigrationError` if the index names a column that its table does not have."
  @spec check!(map, Ecto.Adapter.Migration.command(), keyword) :: :ok
  def check!(meta, {command, %Index{} = index}, options) when command in @creates do
    sql = "SELECT lower(name) FROM pragma_table_xinfo(?1, ?2)"
    table = to_string(index.table)
    rows = SQL.query!(meta, sql, [table, StoredTable.schema(index.prefix)], options).rows
    columns = List.flatten(rows)

    # SQLite itself says that there is no table.
    for name <- names(index), columns != [], String.downcase(name, :ascii) not in columns do
      StoredTable.error!(:no_such_column, table, RemoveColumn.no_such_column(table, name))
    end

    :ok
  end

  def check!(_meta, _command, _options), do: :ok

  # A text is an expression.
  defp names(index) do
    for column <- index.columns ++ index.include, name = name(column), is_atom(name), do: Atom.to_string(name)
  end

  defp name({_direction, column}), do: column
  defp name(column), do: column
end
