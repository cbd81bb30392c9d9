defmodule LibsqlPort.Changes.Busy do
  @moduledoc """
  A statement waits for a lock that another program holds, as SQLite's busy handler is told of it.

    * `phase` – `:began`, then `:got` (the lock was free at last) or `:gave_up` (the statement fails with `:busy`, or has to
      stop). `:got` comes when the statement goes on, with the end of its request at the latest
    * `waited_us` – for how long, in microseconds; 0 when it begins
    * `connection` – the id of the connection that waits, `database` its main database
    * `request` – the id of its request, as `LibsqlPort.requests/1` and `LibsqlPort.cancel/3` know it

  Connections of sidecars wait for each other in line, for the writer turn, which is no lock of SQLite: the option
  `:lock_timeout` and `LibsqlPort.status/2` are about that.
  """
  @enforce_keys [:subscription, :phase, :database, :connection, :request, :waited_us]
  defstruct [:subscription, :phase, :database, :connection, :request, :waited_us]

  @typedoc "A wait for a lock of another program: its begin or its end."
  @type t :: %__MODULE__{
          subscription: pid,
          phase: :began | :got | :gave_up,
          database: String.t(),
          connection: integer,
          request: pos_integer,
          waited_us: non_neg_integer
        }
end
