defmodule EctoLibSql.Diagnosis do
  @moduledoc false
  # Completes the name of a violated constraint where SQLite's error lacks it: the index of a unique constraint, and for a
  # foreign key without a name in the schema the one that Ecto gives it. Called by `EctoLibSql` in the failing caller's
  # process. Never runs the failed statement again and never scans a table: the sidecar has already found the key.

  alias LibsqlPort.{Connection, Error}

  @limits [timeout: 5_000]

  @doc "The error of a statement or a commit, with the name of its constraint where there is one."
  @spec complete(Error.t(), Connection.t()) :: Error.t()
  def complete(
        %Error{code: :constraint_foreign_key, constraint: %{name: nil, table: table, columns: [first | _]}} =
          error,
        _conn
      )
      when is_binary(table) do
    put_in(error.constraint.name, "#{table}_#{first}_fkey")
  end

  def complete(
        %Error{code: :constraint_unique, constraint: %{index: nil, table: table, columns: [_ | _]}} = error,
        conn
      )
      when is_binary(table) do
    case index_name(conn, table, error.constraint.columns) do
      nil -> error
      name -> %{error | constraint: %{error.constraint | index: name, name: name}}
    end
  end

  def complete(error, _conn), do: error

  # Of the indexes that somebody named; those that SQLite makes for UNIQUE and PRIMARY KEY have names nobody knows.
  @index """
  SELECT list.name FROM pragma_index_list(?1) AS list
  WHERE list."unique" AND list.origin = 'c'
    AND (SELECT json_group_array(name) FROM (SELECT name FROM pragma_index_info(list.name) ORDER BY seqno)) = json_array(COLUMNS)
  """

  defp index_name(conn, table, columns) do
    places = Enum.map_join(2..(length(columns) + 1), ", ", &"?#{&1}")
    sql = String.replace(@index, "COLUMNS", places)

    case Connection.execute(conn, sql, [table | columns], @limits) do
      {:ok, %{rows: [[name] | _]}} -> name
      _none -> nil
    end
  end
end
