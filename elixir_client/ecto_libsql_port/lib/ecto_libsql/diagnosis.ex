defmodule EctoLibSql.Diagnosis do
  @moduledoc false
  # Completes the name of a violated constraint where SQLite's error lacks it: the index of a unique constraint, and for a
  # foreign key without a name in the schema the one that Ecto gives it. Called by `EctoLibSql` in the failing caller's
  # process. Of a file it never scans a table: the sidecar has already found the key, and the index where the error leaves no
  # doubt. Where several indexes have the columns `UniqueIndex` asks the engine, and where a server does not say which foreign key it was
  # `ForeignKey` asks it, both within limits.

  alias EctoLibSql.{ForeignKey, UniqueIndex}
  alias LibsqlPort.{Connection, Error}

  @doc "The error of a statement or a commit, with the name of its constraint where there is one."
  @spec complete(Error.t(), Connection.t(), {String.t(), list | map} | nil) :: Error.t()
  def complete(error, conn, statement \\ nil)

  def complete(
        %Error{code: :constraint_foreign_key, constraint: %{name: nil, table: table, columns: [first | _]}} =
          error,
        _conn,
        _statement
      )
      when is_binary(table) do
    put_in(error.constraint.name, "#{table}_#{first}_fkey")
  end

  def complete(
        %Error{code: :constraint_unique, constraint: %{index: nil, table: table, columns: [_ | _]}} = error,
        conn,
        {_sql, _params} = statement
      )
      when is_binary(table) do
    case UniqueIndex.name(conn, error, statement) do
      nil -> error
      name -> %{error | constraint: %{error.constraint | index: name, name: name}}
    end
  end

  def complete(
        %Error{code: :constraint_foreign_key, constraint: %{table: nil}} = error,
        %{mode: mode} = conn,
        statement
      )
      when mode != :local do
    case ForeignKey.violated(conn, error, statement) do
      nil -> error
      key -> complete(%{error | constraint: Map.merge(error.constraint, key)}, conn, statement)
    end
  end

  def complete(error, _conn, _statement), do: error
end
