defmodule LibsqlPort.Changes.Ended do
  @moduledoc """
  The last message of a feed that has ended by itself, not by `LibsqlPort.Changes.unsubscribe/1`.

    * `subscription` – of which no more messages come
    * `error` – why: mostly `:sidecar_down`, because the sidecar was stopped for good
  """
  @enforce_keys [:subscription, :error]
  defstruct [:subscription, :error]

  @typedoc "That a feed has ended."
  @type t :: %__MODULE__{subscription: pid, error: LibsqlPort.Error.t()}
end
