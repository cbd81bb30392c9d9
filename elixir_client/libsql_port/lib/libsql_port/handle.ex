defmodule LibsqlPort.Handle do
  @moduledoc false
  # Everything a caller needs to talk to one run of the sidecar without asking a process: the port, the table of
  # requests in flight, the counter of ids, and a flag that says whether there are SQL functions. It dies with that run: a call on a stale handle finds the port closed
  # and answers `:sidecar_down`.

  @enforce_keys [
    :port,
    :table,
    :ids,
    :sidecar,
    :guardian,
    :os_pid,
    :frame_bytes_max,
    :reply_grace,
    :functions
  ]
  @derive {Inspect, only: [:os_pid]}
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          port: port,
          table: :ets.table(),
          ids: :atomics.atomics_ref(),
          sidecar: pid,
          guardian: pid,
          os_pid: non_neg_integer | nil,
          frame_bytes_max: pos_integer,
          reply_grace: non_neg_integer,
          functions: :atomics.atomics_ref()
        }
end
