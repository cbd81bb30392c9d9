defmodule EctoLibSql.MigrationError do
  @moduledoc """
  A migration command that was refused. The migration's transaction is rolled back, so nothing has changed.

    * `code` - why, see below
    * `message` - in words, with what to do about it
    * `table` - the table of the command
    * `count` - how many rows are in the way, or `nil`
    * `sample` - the keys of up to five of these rows, as `[{column, value}]` each

  | `code` | meaning |
  |---|---|
  | `:rows` | rows of the table break what the command asks for |
  | `:referenced` | rows of other tables refer to the table that would be dropped |
  | `:no_such_table`, `:no_such_column`, `:no_such_constraint`, `:no_such_index` | what the command names is not there |
  | `:in_use` | a view or a trigger would no longer compile, or a generated column or a foreign key uses what would go |
  | `:unsupported` | SQLite cannot do it |
  | `:definition` | the definition that the command gives does not compile |
  | `:schema_read_only` | the schema's text would have to be replaced, which the connection forbids (`SQLITE_DBCONFIG_DEFENSIVE`) |
  | `:verification` | a copied or edited table did not compare equal to what it was |

      iex> error = %EctoLibSql.MigrationError{code: :rows, message: "2 rows of users have no age", count: 2}
      iex> Exception.message(error)
      "2 rows of users have no age"
  """

  defexception [:code, :message, :table, :count, sample: []]

  @type t :: %__MODULE__{
          code:
            :rows
            | :referenced
            | :no_such_table
            | :no_such_column
            | :no_such_constraint
            | :no_such_index
            | :in_use
            | :unsupported
            | :definition
            | :schema_read_only
            | :verification,
          message: String.t(),
          table: String.t() | nil,
          count: pos_integer | nil,
          sample: [[{String.t(), term}]]
        }

  @impl true
  def message(%__MODULE__{message: message}), do: EctoLibSql.Error.text(message)
end
