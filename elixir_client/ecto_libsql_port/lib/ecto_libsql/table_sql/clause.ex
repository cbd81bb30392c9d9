defmodule EctoLibSql.TableSql.Clause do
  @moduledoc false
  # A clause of a column, or a constraint of a table.
  #
  #   * `kind` - `:primary_key`, `:not_null`, `:null`, `:unique`, `:check`, `:default`, `:collate`, `:references`,
  #     `:deferrable`, `:generated`; `:name` is a CONSTRAINT name with nothing behind it
  #   * `name` - of the constraint, without quotes, or nil
  #   * `range` - with `CONSTRAINT name`; `body` - without
  #   * `columns` - names of a key's own columns (table constraints and REFERENCES; empty for the clause of a column)
  #   * `table`, `targets` - what a foreign key refers to; no targets: the primary key
  #   * `mentions` - names in an expression that can be columns, in lower case
  #   * `flags` - `:autoincrement`, `:stored`, `{:collation, name}`
  defstruct [:kind, :name, :range, :body, :table, columns: [], targets: [], mentions: [], flags: []]
end
