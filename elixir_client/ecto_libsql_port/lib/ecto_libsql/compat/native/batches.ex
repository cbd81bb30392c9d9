defmodule EctoLibSql.Native.Batches do
  @moduledoc false
  # Lists and texts of statements. All or nothing is one round trip; one by one is as many, because the first error ends
  # the list, as ecto_libsql has it.

  alias EctoLibSql.{Arguments, Handles, Statements}
  alias EctoLibSql.Native.Answer

  def each(state_or_id, statements) do
    with {:ok, conn} <- Handles.connection(state_or_id) do
      statements
      |> Enum.reduce_while({:ok, []}, fn statement, {:ok, results} ->
        {sql, params} = encoded(statement)

        case LibsqlPort.query(conn, sql, params) do
          {:ok, result} -> {:cont, {:ok, [result | results]}}
          error -> {:halt, error}
        end
      end)
      |> in_order()
    end
  end

  defp in_order({:ok, results}), do: {:ok, Enum.reverse(results)}
  defp in_order(error), do: error

  def atomic(state_or_id, statements) do
    with {:ok, conn} <- Handles.connection(state_or_id) do
      LibsqlPort.batch(conn, Enum.map(statements, &encoded/1))
    end
  end

  defp encoded({sql, params}) when is_list(params), do: {sql, Arguments.encode(params)}
  defp encoded({sql, params}), do: {sql, params}
  defp encoded(sql), do: {sql, []}

  @doc "As `EctoLibSql.Result`."
  def results({:ok, results}), do: {:ok, Enum.map(results, &Answer.result(&1, :batch))}
  def results(error), do: Answer.text(error)

  @doc "As maps."
  def maps({:ok, results}), do: Enum.map(results, &Answer.map/1)
  def maps(error), do: Answer.text(error)

  @doc "The statements of a text, each as a map, `nil` for one that yields no rows."
  def text(state_or_id, sql, run) do
    case run.(state_or_id, Statements.split(sql)) do
      {:ok, results} -> {:ok, Enum.map(results, &if(&1.columns == [], do: nil, else: Answer.map(&1)))}
      error -> Answer.text(error)
    end
  end
end
