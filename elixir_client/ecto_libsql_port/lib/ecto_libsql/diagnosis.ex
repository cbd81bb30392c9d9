defmodule EctoLibSql.Diagnosis do
  @moduledoc false
  # Finds out, after a statement has broken a constraint, what SQLite does not say: the index of a unique constraint, the
  # name of a foreign key. Asked by `EctoLibSql` in the failing caller's process; costs nothing as long as nothing fails.
  #
  # For a foreign key the statement is run again with the check put off, and the violation looked up among the rows that
  # are there then. All of it happens in a savepoint, or a transaction of its own, that is rolled back.

  alias EctoLibSql.TableSql
  alias LibsqlPort.{Connection, Error}

  @savepoint "ecto_diagnosis"
  @limits [timeout: 5_000]

  @doc "The error of a statement, with the name of its constraint where it can be found."
  @spec statement(Error.t(), Connection.t(), {String.t(), term}) :: Error.t()
  def statement(%Error{code: :constraint_foreign_key, constraint: %{} = constraint} = error, conn, statement) do
    case violation(conn, statement, error.tx_status) do
      nil -> error
      found -> %{error | constraint: Map.merge(constraint, found)}
    end
  end

  def statement(
        %Error{constraint: %{index: nil, table: table, columns: [_ | _]} = constraint} = error,
        conn,
        _statement
      )
      when error.code == :constraint_unique and is_binary(table) do
    case index_name(conn, table, constraint.columns) do
      nil -> error
      name -> %{error | constraint: %{constraint | index: name, name: name}}
    end
  end

  def statement(error, _conn, _statement), do: error

  @doc "The error of a commit: its violation is still there to be seen."
  @spec commit(Error.t(), Connection.t()) :: Error.t()
  def commit(%Error{code: :constraint_foreign_key, constraint: %{} = constraint} = error, conn) do
    case broken(conn, :all) do
      nil -> error
      found -> %{error | constraint: Map.merge(constraint, found)}
    end
  end

  def commit(error, _conn), do: error

  # --- unique ---------------------------------------------------------------------------------------------------

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

  # --- foreign keys ---------------------------------------------------------------------------------------------

  defp violation(conn, {sql, params}, tx_status) do
    with {:ok, deferred} <- enter(conn, tx_status) do
      try do
        case Connection.execute(conn, sql, params, @limits) do
          {:ok, _} -> broken(conn, written(sql))
          # RESTRICT cannot be put off.
          {:error, %Error{code: :constraint_foreign_key}} -> restricting(conn, written(sql))
          {:error, _} -> nil
        end
      after
        leave(conn, tx_status, deferred)
      end
    else
      _ -> nil
    end
  end

  defp enter(conn, tx_status) do
    with {:ok, _} <- open(conn, tx_status),
         {:ok, %{rows: [[deferred]]}} <- pragma(conn, "PRAGMA defer_foreign_keys"),
         {:ok, _} <- pragma(conn, "PRAGMA defer_foreign_keys = 1") do
      {:ok, deferred}
    end
  end

  defp open(conn, :none), do: Connection.begin(conn, :immediate, @limits)
  defp open(conn, _inside), do: Connection.savepoint(conn, @savepoint, @limits)

  defp leave(conn, :none, _deferred), do: Connection.rollback(conn, @limits)

  defp leave(conn, _inside, deferred) do
    Connection.rollback_to(conn, @savepoint, @limits)
    Connection.release(conn, @savepoint, @limits)
    pragma(conn, "PRAGMA defer_foreign_keys = #{deferred}")
  end

  defp pragma(conn, sql), do: Connection.execute(conn, sql, [], @limits)

  # The table that a statement writes, as its text says.
  defp written(sql) do
    pattern =
      ~r/\b(?:INSERT(?:\s+OR\s+\w+)?\s+INTO|REPLACE\s+INTO|UPDATE(?:\s+OR\s+\w+)?|DELETE\s+FROM)\s+(?:("(?:[^"]|"")+"|[\w$]+)\s*\.\s*)?("(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\]|[\w$]+)/i

    case Regex.run(pattern, sql) do
      [_, _schema, table] -> TableSql.unquoted(table)
      nil -> :all
    end
  end

  # A violation stands in the written table, or in one that refers to it.
  @suspects """
  SELECT name FROM (
    SELECT name, name = ?1 COLLATE NOCASE AS itself FROM sqlite_schema AS s WHERE type = 'table' AND
      (?1 IS NULL OR name = ?1 COLLATE NOCASE
       OR EXISTS (SELECT 1 FROM pragma_foreign_key_list(s.name) AS k WHERE k."table" = ?1 COLLATE NOCASE))
  ) ORDER BY itself DESC
  """

  defp broken(conn, table) do
    case Connection.execute(conn, @suspects, [if(table == :all, do: nil, else: table)], @limits) do
      {:ok, %{rows: rows}} -> Enum.find_value(rows, fn [suspect] -> broken_in(conn, suspect) end)
      {:error, _} -> nil
    end
  end

  defp broken_in(conn, table) do
    case Connection.execute(conn, "SELECT fkid FROM pragma_foreign_key_check(?1) LIMIT 1", [table], @limits) do
      {:ok, %{rows: [[id]]}} -> named(conn, table, id)
      _none -> nil
    end
  end

  @restricting """
  SELECT s.name, k.id FROM sqlite_schema AS s, pragma_foreign_key_list(s.name) AS k
  WHERE s.type = 'table' AND k.seq = 0 AND k."table" = ?1 COLLATE NOCASE
    AND 'RESTRICT' IN (k.on_delete, k.on_update)
  """

  # Named only if there is no doubt.
  defp restricting(_conn, :all), do: nil

  defp restricting(conn, table) do
    case Connection.execute(conn, @restricting, [table], @limits) do
      {:ok, %{rows: [[child, id]]}} -> named(conn, child, id)
      _none_or_several -> nil
    end
  end

  @key """
  SELECT k."from", s.sql FROM pragma_foreign_key_list(?1) AS k, sqlite_schema AS s
  WHERE k.id = ?2 AND s.type = 'table' AND s.name = ?1 COLLATE NOCASE ORDER BY k.seq
  """

  defp named(conn, table, id) do
    case Connection.execute(conn, @key, [table, id], @limits) do
      {:ok, %{rows: [[first, sql] | _] = rows}} ->
        columns = Enum.map(rows, &hd/1)
        # Ecto's own name for a foreign key that the schema gives none.
        name = TableSql.foreign_key_name(sql, columns) || "#{table}_#{first}_fkey"
        %{table: table, columns: columns, name: name}

      _ ->
        nil
    end
  end
end
