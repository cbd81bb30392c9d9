defmodule LibsqlPort.Authorization do
  @moduledoc """
  What a statement is about to do, as an authorizer is asked about it (`LibsqlPort.set_authorizer/3`).

    * `connection` – the id of the connection (`conn.id`)
    * `action` – `:read`, `:insert` and so on, as in the table of `LibsqlPort.Policy`; `:other` for what this client does not know
    * `object` – the table, function, pragma, file or name with which it is done; `nil` where there is none
    * `column` – of `:read` and `:update` the column; `nil` if the statement only counts rows
    * `database` – `"main"`, `"temp"` or the name of an attached one; `nil` where it is not known
    * `through` – the view or trigger in whose text it stands; `nil` for the statement's own
  """

  @enforce_keys [:connection, :action, :object, :column, :database, :through]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          connection: integer,
          action: atom,
          object: String.t() | nil,
          column: String.t() | nil,
          database: String.t() | nil,
          through: String.t() | nil
        }
end
