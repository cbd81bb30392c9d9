defmodule EctoLibSql.ChangeLog.LeftBehind do
  @moduledoc """
  Changes were removed from a change log before a consumer had acknowledged them, because the log had reached a limit.

    * `log`, `consumer` – whose
    * `first`, `last` – the numbers of the changes that the consumer will not see

  What the consumer has made of the log is incomplete: read the tables themselves, then acknowledge `last` to go on.
  """

  defexception [:log, :consumer, :first, :last]

  @typedoc "The notice, which is an exception as well."
  @type t :: %__MODULE__{
          log: String.t(),
          consumer: String.t(),
          first: pos_integer,
          last: pos_integer
        }

  @impl true
  def message(%__MODULE__{} = notice) do
    "the changes #{notice.first} to #{notice.last} of #{notice.log} were removed before the consumer #{notice.consumer} had " <>
      "acknowledged them: read the tables anew, then acknowledge #{notice.last}"
  end
end
