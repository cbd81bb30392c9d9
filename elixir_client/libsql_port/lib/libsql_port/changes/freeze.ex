defmodule LibsqlPort.Changes.Freeze do
  @moduledoc """
  `LibsqlPort.Replica.freeze/3` goes on, or has ended.

    * `database` – the replica's file, as `conn.path` names it
    * `pages_done` – pages that are copied
    * `pages_known` – pages of the file

  A message comes ten times in a second at most, and one at the end.
  """
  @enforce_keys [:subscription, :database, :pages_done, :pages_known]
  defstruct [:subscription, :database, :pages_done, :pages_known]

  @typedoc "How far a copy has come."
  @type t :: %__MODULE__{
          subscription: pid,
          database: String.t(),
          pages_done: non_neg_integer,
          pages_known: non_neg_integer
        }
end
