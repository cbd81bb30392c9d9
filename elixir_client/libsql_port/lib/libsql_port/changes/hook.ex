defmodule LibsqlPort.Changes.Hook do
  @moduledoc """
  What a hook of SQLite has told: `kind` is `:commit`, `:rollback` or `:wal` (a commit has left `pages` pages in the WAL);
  `connection` is the id of the connection, `database` its database and `schema` the name by which it knows that.
  """
  @enforce_keys [:subscription, :kind, :database, :schema, :connection, :pages]
  defstruct [:subscription, :kind, :database, :schema, :connection, :pages]

  @typedoc "A commit, a rollback, or a commit that has left pages in the WAL."
  @type t :: %__MODULE__{
          subscription: pid,
          kind: :commit | :rollback | :wal,
          database: String.t(),
          schema: String.t(),
          connection: integer,
          pages: non_neg_integer
        }
end
