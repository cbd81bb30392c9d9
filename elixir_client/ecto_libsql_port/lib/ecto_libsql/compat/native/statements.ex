defmodule EctoLibSql.Native.Statements do
  @moduledoc false
  # Prepared statements by name. Behind a name is the text: the sidecar keeps what it prepared by the text, so running it
  # again prepares nothing, nothing has to be closed there, and a reset of the connection takes nothing away.

  alias EctoLibSql.{Arguments, Handles, State}
  alias EctoLibSql.Native.Answer

  @type id :: Handles.id()

  def prepare(state_or_id, sql) do
    with {:ok, conn} <- Handles.connection(state_or_id),
         {:ok, description} <- LibsqlPort.describe(conn, sql) do
      {:ok, Handles.put(:statement, conn_id(state_or_id), {sql, description.parameters})}
    end
    |> Answer.text("Prepare failed")
  end

  def query(state_or_id, stmt_id, params) do
    with {:ok, result} <- run(state_or_id, stmt_id, params) do
      {:ok, Answer.result(result, :select)}
    end
    |> Answer.text()
  end

  def execute(state_or_id, stmt_id, params) do
    case run(state_or_id, stmt_id, params) do
      {:ok, %{columns: []} = result} -> {:ok, result.changes}
      {:ok, result} -> {:ok, Answer.result(result, :select)}
      error -> Answer.text(error)
    end
  end

  @doc "Runs a statement by its name."
  @spec run(State.t() | id, id, list | map) :: {:ok, LibsqlPort.Result.t()} | {:error, LibsqlPort.Error.t()}
  def run(state_or_id, stmt_id, params) do
    with {:ok, {sql, names}} <- Handles.owned(stmt_id, :statement, conn_id(state_or_id)),
         {:ok, conn} <- Handles.connection(state_or_id),
         {:ok, values} <- values(names, params) do
      LibsqlPort.query(conn, sql, Arguments.encode(values), inside(state_or_id))
    end
  end

  # If the sidecar is lost, a write in a transaction is known to be undone.
  defp inside(%State{begun: true}), do: [in_transaction: true]
  defp inside(_state_or_id), do: []

  defp values(_names, params) when is_list(params), do: {:ok, params}
  defp values(names, params) when is_map(params), do: Arguments.positional(names, params)

  # --- parameters -----------------------------------------------------------------------------------------------

  @doc "Named parameters by position; raises if one is missing."
  @spec positional!(LibsqlPort.Connection.t(), String.t(), list | map) ::
          {:ok, list} | {:error, LibsqlPort.Error.t()}
  def positional!(_conn, _sql, params) when is_list(params), do: {:ok, params}

  def positional!(conn, sql, params) when is_map(params) do
    with {:ok, description} <- LibsqlPort.describe(conn, sql) do
      case Arguments.positional(description.parameters, params) do
        {:ok, _} = ok -> ok
        {:error, error} -> raise ArgumentError, error.message
      end
    end
  end

  def normalise(_conn_id, _sql, params) when is_list(params), do: params

  def normalise(conn_id, sql, params) when is_map(params) do
    with {:ok, conn} <- Handles.connection(conn_id) do
      positional!(conn, sql, params)
    end
    |> Answer.bare()
  end

  def normalise(_conn_id, _sql, _other), do: {:error, "arguments must be a list or map"}

  def normalise_prepared(_conn_id, _stmt_id, params) when is_list(params), do: params

  def normalise_prepared(conn_id, stmt_id, params) when is_map(params) do
    with {:ok, {_sql, names}} <- Handles.owned(stmt_id, :statement, conn_id) do
      Arguments.positional(names, params)
    end
    |> Answer.bare()
  end

  def normalise_prepared(_conn_id, _stmt_id, _other), do: {:error, "arguments must be a list or map"}

  # --- what a statement is --------------------------------------------------------------------------------------

  def column_count(state_or_id, stmt_id), do: told(state_or_id, stmt_id, &length(&1.columns))
  def parameter_count(state_or_id, stmt_id), do: told(state_or_id, stmt_id, &length(&1.parameters))

  def columns(state_or_id, stmt_id) do
    told(state_or_id, stmt_id, fn description ->
      Enum.map(description.columns, &{&1.name, &1.origin || &1.name, &1.type})
    end)
  end

  def column_name(state_or_id, stmt_id, index) do
    with {:ok, columns} <- columns(state_or_id, stmt_id) do
      case Enum.at(columns, index) do
        {name, _origin, _type} -> {:ok, name}
        nil -> {:error, "Column index #{index} out of bounds: the statement has #{length(columns)}"}
      end
    end
  end

  # SQLite counts parameters from 1.
  def parameter_name(state_or_id, stmt_id, index) do
    with {:ok, names} <- told(state_or_id, stmt_id, & &1.parameters) do
      if index in 1..length(names)//1 do
        {:ok, Enum.at(names, index - 1)}
      else
        {:error, "Parameter index #{index} out of bounds: the statement has #{length(names)}"}
      end
    end
  end

  # There is nothing to reset: a statement is, after each run.
  def reset(state_or_id, stmt_id) do
    with {:ok, _} <- Handles.owned(stmt_id, :statement, conn_id(state_or_id)) do
      :ok
    end
    |> Answer.text()
  end

  # Asked anew each time: the table may have got another column.
  defp told(state_or_id, stmt_id, tell) do
    with {:ok, {sql, _names}} <- Handles.owned(stmt_id, :statement, conn_id(state_or_id)),
         {:ok, conn} <- Handles.connection(state_or_id),
         {:ok, description} <- LibsqlPort.describe(conn, sql) do
      {:ok, tell.(description)}
    end
    |> Answer.text()
  end

  defp conn_id(%State{conn_id: conn_id}), do: conn_id
  defp conn_id(conn_id), do: conn_id
end
