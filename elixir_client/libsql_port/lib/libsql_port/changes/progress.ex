defmodule LibsqlPort.Changes.Progress do
  @moduledoc """
  A statement still runs.

    * `connection` – the id of the connection, `database` its main database
    * `request` – the id of the request, as `LibsqlPort.requests/1` and `LibsqlPort.cancel/3` know it
    * `run_ms` – since when the request runs, in ms
    * `steps` – how many of the engine's instructions it has done so far, in thousands rounded down. SQLite does not know how many
      there will be

  Only what computes is told. While a request waits, for a lock, its turn, a callback or its client, there are no messages.
  """
  @enforce_keys [:subscription, :database, :connection, :request, :run_ms, :steps]
  defstruct [:subscription, :database, :connection, :request, :run_ms, :steps]

  @typedoc "How far a statement has come."
  @type t :: %__MODULE__{
          subscription: pid,
          database: String.t(),
          connection: integer,
          request: pos_integer,
          run_ms: non_neg_integer,
          steps: non_neg_integer
        }
end
