defmodule LibsqlPort.Changes.Ended do
  @moduledoc "The feed has ended by itself: no more messages of `subscription` come. `error` says why."
  @enforce_keys [:subscription, :error]
  defstruct [:subscription, :error]

  @type t :: %__MODULE__{subscription: pid, error: LibsqlPort.Error.t()}
end
