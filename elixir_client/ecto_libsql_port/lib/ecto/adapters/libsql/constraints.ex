defmodule Ecto.Adapters.LibSql.Constraints do
  @moduledoc false
  # Errors as the constraints that changesets know: by the real name where the error bears one, else by the name that
  # Ecto would have given. Called by `Connection`.
  #
  # ecto_sqlite3 does not know the names of unique indexes, so changesets written for it have Ecto's name even where the
  # migration gave another one. The option `:unique_constraint_names` lets them be.

  alias EctoLibSql.Error

  @spec of(Exception.t(), keyword) :: keyword
  def of(%Error{constraint: %{kind: kind} = constraint}, _options), do: constraint(kind, constraint)
  def of(_error, _options), do: []

  # An index that SQLite named for a UNIQUE or PRIMARY KEY in a table's text is known to nobody.
  defp constraint(kind, %{index: "sqlite_autoindex_" <> _} = constraint) do
    constraint(kind, %{constraint | index: nil})
  end

  defp constraint(kind, constraint) when kind in [:unique, :primary_key, :rowid] do
    [unique: unique_name(constraint)]
  end

  defp constraint(:foreign_key, constraint), do: [foreign_key: constraint.name]
  defp constraint(:check, constraint), do: [check: constraint.name]

  # Changesets have no function for NOT NULL: as with PostgreSQL, MySQL and ecto_sqlite3 the error itself is raised, which says
  # table and column.
  defp constraint(:not_null, _constraint), do: []
  defp constraint(_kind, _constraint), do: []

  defp unique_name(%{columns: columns} = constraint) do
    case EctoLibSql.Settings.get(:unique_constraint_names) do
      :index ->
        constraint.index || by_columns(constraint)

      # An index on an expression has no columns; SQLite itself names it.
      :columns ->
        if columns in [nil, []], do: constraint.index, else: by_columns(constraint)
    end
  end

  defp by_columns(%{table: table, columns: columns}), do: Enum.join([table | columns] ++ ["index"], "_")
end
