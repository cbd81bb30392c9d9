defmodule LibsqlPort.Authorization do
  @moduledoc """
  What a statement is about to do, as an authorizer is asked about it (`LibsqlPort.set_authorizer/3`).

    * `connection` – the id of the connection (`conn.id`)
    * `action` – `:read`, `:insert` and so on, as in the table of `LibsqlPort.Policy`; `:other` for what this client does not know
    * `object` – the table, function, pragma, file or name with which it is done; `nil` where there is none
    * `column` – of `:read` and `:update` the column; `nil` if the statement only counts rows
    * `database` – `"main"`, `"temp"` or the name of an attached one; `nil` where it is not known
    * `through` – the view or trigger in whose text it stands; `nil` for the statement's own

  ## Authorizers

  An authorizer is asked while a statement is compiled, about each thing that the statement does.

  | the function | the statement |
  |---|---|
  | returns `:ok` | goes on |
  | returns `:deny` | is a `:not_authorized` error, with action and object in its `denial` |
  | returns `:ignore` | a column that is read is NULL, a function that is called returns NULL, a column that is updated stays as it is; for `:read`, `:function` and `:update` alone |
  | raises, throws, exits, is killed, returns something else, takes longer than its `:timeout` | is a `:not_authorized` error |

  What it says is kept until another authorizer is set: it is asked once about each thing, not again for another statement, another run or
  another process. Setting or removing one has all statements of the connection compiled anew, and is a `:locked` error while the
  connection has open cursors, which have been allowed what they read. `:ignore` in a statement that writes what it reads is
  `:not_authorized`, because it would store the NULL. `LibsqlPort.reset/2` keeps it.

  A policy (`LibsqlPort.Policy`), which costs no round trip, comes first; the function is asked about what that allows. A statement
  with `policy: false` is not asked about. Denials are events, as those of policies are. The function is asked in the midst of a
  request: its connection waits, and refuses its requests with `:callback_reentered`. `LibsqlPort.Function` says where it runs.
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
