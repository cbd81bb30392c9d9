defmodule EctoLibSql.Native.Answer do
  @moduledoc false
  # The driver's answers in the form that ecto_libsql gave them: errors as text, results as maps with string keys or as
  # `EctoLibSql.Result`. Used by the modules behind `EctoLibSql.Native` alone.

  alias EctoLibSql.Result

  @doc "An error as text; anything else as it is."
  def text({:error, %{message: message}}), do: {:error, message}
  def text(other), do: other

  @doc "The same, with what was attempted before the text."
  def text({:error, %{message: message}}, attempt), do: {:error, attempt <> ": " <> message}
  def text(other, _attempt), do: other

  @doc "What is inside of `{:ok, value}`."
  def bare({:ok, value}), do: value
  def bare(error), do: text(error)

  @doc "Rows as a map."
  @spec map(LibsqlPort.Result.t()) :: map
  def map(result) do
    %{"columns" => result.columns, "rows" => result.rows, "num_rows" => num_rows(result)}
  end

  @doc "Rows as a result, whose lists are empty for a statement that yields none."
  @spec result(LibsqlPort.Result.t(), atom) :: Result.t()
  def result(result, command) do
    %{Result.new(result, command) | columns: result.columns, rows: result.rows}
  end

  # Rows that came back; those that were written by a statement that yields none.
  defp num_rows(%{columns: []} = result), do: result.changes
  defp num_rows(result), do: result.num_rows
end
