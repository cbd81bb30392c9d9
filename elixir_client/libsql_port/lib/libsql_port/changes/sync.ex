defmodule LibsqlPort.Changes.Sync do
  @moduledoc """
  A sync of a replica goes on, or has ended.

    * `database` – the replica's file, as `conn.path` names it
    * `frames_done` – frames of the server's log that have come
    * `frames_known` – frames that were missing as the sync began. A snapshot of the server takes fewer of them

  A message comes ten times in a second at most, and one at the end of a sync that has brought something. One of a first sync, while
  its connection is still being opened, comes to those who subscribed to the sidecar or to `{:database, sidecar, path}`.
  """
  @enforce_keys [:subscription, :database, :frames_done, :frames_known]
  defstruct [:subscription, :database, :frames_done, :frames_known]

  @typedoc "How far a sync has come."
  @type t :: %__MODULE__{
          subscription: pid,
          database: String.t(),
          frames_done: non_neg_integer,
          frames_known: non_neg_integer
        }
end
