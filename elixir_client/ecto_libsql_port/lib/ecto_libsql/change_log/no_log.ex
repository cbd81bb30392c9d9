defmodule EctoLibSql.ChangeLog.NoLog do
  @moduledoc """
  There is no change log of this name in the database. A migration makes it: `EctoLibSql.Migration.create_change_log/2`.

    * `log` – its name
  """

  defexception [:log]

  @typedoc "The exception."
  @type t :: %__MODULE__{log: String.t()}

  @impl true
  def message(%__MODULE__{log: log}) do
    "there is no change log #{inspect(log)} in the database. Make it in a migration: " <>
      "EctoLibSql.Migration.create_change_log(:my_table#{option(log)}), and run the migrations before its consumers"
  end

  defp option("change_log"), do: ""
  defp option(log), do: ", log: #{inspect(log)}"
end
