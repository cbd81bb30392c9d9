defmodule EctoLibSql.ChangeLog.Change do
  @moduledoc """
  A row that was inserted, updated or deleted, as `EctoLibSql.ChangeLog` reads it.

    * `sequence` – its number in the log. Numbers follow the order of commits, without gaps
    * `at` – when the statement ran, by the clock of the database, in UTC
    * `table`
    * `operation` – `:insert`, `:update` or `:delete`. What INSERT OR REPLACE replaces is a `:delete` and an `:insert`
    * `key` – the primary key before the change, by column; the rowid of a table without one
    * `old` – the values before, `nil` for an insert, and unless the log has `values: :old_and_new`
    * `new` – the values after, `nil` for a delete, and if the log has `values: :none`
    * `changed` – for an update, the columns whose value or type differs; else `nil`
    * `undecoded` – the fields that could not be read, with what the log has in their place; mostly `%{}`. Such a field is `nil`, and the
      row is to be read from the table. See `docs/guides/change-log.md`

  Values are those of a query, except that a blob is `{:blob, bytes}`: they can be given to a statement as they are.
  `EctoLibSql.ChangeLog.load/3` makes a struct of them.
  """

  @enforce_keys [:sequence, :at, :table, :operation, :key]
  defstruct [:sequence, :at, :table, :operation, :key, :old, :new, :changed, undecoded: %{}]

  @typedoc "Values by the name of their column."
  @type values :: %{String.t() => term}
  @typedoc "A change, as described above."
  @type t :: %__MODULE__{
          sequence: pos_integer,
          at: DateTime.t() | nil,
          table: String.t(),
          operation: :insert | :update | :delete | nil,
          key: values | nil,
          old: values | nil,
          new: values | nil,
          changed: [String.t()] | nil,
          undecoded: %{optional(atom) => term}
        }
end
