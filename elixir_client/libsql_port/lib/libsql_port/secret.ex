defmodule LibsqlPort.Secret do
  @moduledoc """
  A text that `inspect/2`, crash reports and logs do not show. The options `:auth_token` and `:proxy` of `LibsqlPort.connect/2` take
  one in place of the text itself: a Repo keeps them so.

      iex> secret = LibsqlPort.Secret.new("a token")
      iex> inspect(secret, structs: false) =~ "a token"
      false
      iex> LibsqlPort.Secret.reveal(secret)
      "a token"
  """

  @enforce_keys [:reveal]
  @derive {Inspect, only: []}
  defstruct [:reveal]

  @type t :: %__MODULE__{reveal: (() -> String.t())}

  @doc """
  Hides a text. Returns what is hidden already as it is.

      iex> secret = LibsqlPort.Secret.new("a token")
      iex> LibsqlPort.Secret.new(secret) == secret
      true
  """
  @spec new(String.t() | t) :: t
  # What a function encloses is not inspected.
  def new(text) when is_binary(text), do: %__MODULE__{reveal: fn -> text end}
  def new(%__MODULE__{} = secret), do: secret

  @doc """
  Returns the text.

      iex> "a token" |> LibsqlPort.Secret.new() |> LibsqlPort.Secret.reveal()
      "a token"
  """
  @spec reveal(t) :: String.t()
  def reveal(%__MODULE__{reveal: reveal}), do: reveal.()
end
