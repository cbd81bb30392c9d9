defmodule Ecto.Adapters.LibSql.Constraints do
  @moduledoc false
  # Errors as the constraints that changesets know: by the real name where the error bears one, else by the name that
  # Ecto would have given. Called by `Connection`.

  alias EctoLibSql.Error

  @spec of(Exception.t(), keyword) :: keyword
  def of(%Error{constraint: %{kind: kind} = constraint}, _options), do: constraint(kind, constraint)
  def of(_error, _options), do: []

  # An index that SQLite named for a UNIQUE or PRIMARY KEY in a table's text is known to nobody.
  defp constraint(kind, %{index: "sqlite_autoindex_" <> _} = constraint) do
    constraint(kind, %{constraint | index: nil})
  end

  defp constraint(kind, constraint) when kind in [:unique, :primary_key, :rowid] do
    [unique: constraint.index || by_columns(constraint)]
  end

  defp constraint(:foreign_key, constraint), do: [foreign_key: constraint.name]
  defp constraint(:check, constraint), do: [check: constraint.name]
  defp constraint(:not_null, constraint), do: [check: by_columns(constraint)]
  defp constraint(_kind, _constraint), do: []

  defp by_columns(%{table: table, columns: columns}), do: Enum.join([table | columns] ++ ["index"], "_")
end
