defmodule LibsqlPort.Restart do
  @moduledoc false
  # When a program that has ended is started again. The first time at once; if that one does not live long either, after
  # a pause that doubles from `backoff_min` up to `backoff_max`. One that has lived for `backoff_max` counts as healthy.
  # Pure.

  @enforce_keys [:min, :max]
  defstruct [:min, :max, pause: nil]

  @type t :: %__MODULE__{min: pos_integer, max: pos_integer, pause: non_neg_integer | nil}

  @spec new(%{backoff_min: pos_integer, backoff_max: pos_integer}) :: t
  def new(options),
    do: %__MODULE__{min: options.backoff_min, max: max(options.backoff_min, options.backoff_max)}

  @doc """
  The pause before the next start, in ms, after a run of so many.

      iex> restart = LibsqlPort.Restart.new(%{backoff_min: 100, backoff_max: 300})
      iex> {0, restart} = LibsqlPort.Restart.next(restart, 0)
      iex> {100, restart} = LibsqlPort.Restart.next(restart, 0)
      iex> {200, restart} = LibsqlPort.Restart.next(restart, 0)
      iex> {300, restart} = LibsqlPort.Restart.next(restart, 299)
      iex> {0, _restart} = LibsqlPort.Restart.next(restart, 300)
  """
  @spec next(t, non_neg_integer) :: {non_neg_integer, t}
  def next(%__MODULE__{} = restart, lived_ms) do
    pause = if lived_ms >= restart.max, do: 0, else: longer(restart)
    {pause, %{restart | pause: pause}}
  end

  defp longer(%{pause: nil}), do: 0
  defp longer(%{pause: 0, min: min}), do: min
  defp longer(%{pause: pause, max: max}), do: min(pause * 2, max)
end
