defmodule Ecto.Adapters.LibSql.Structure do
  @moduledoc false
  # `mix ecto.dump` and `mix ecto.load`: the schema as SQL, and back, by the sidecar and without the sqlite3 program.
  # Called by the adapter.

  alias Ecto.Adapters.LibSql.Quoting
  alias EctoLibSql.{Direct, ServerLocation, SqlLexer, Statements, TableSql}

  # What the engine creates by itself, and creates again as the schema is loaded, is left out: names that begin with
  # "sqlite_" are reserved for it, a virtual table's own tables are of the type `shadow`. An index of vectors keeps its
  # data in tables that look like any others; libSQL lists those indexes in a table.
  @vector_indexes "libsql_vector_meta_shadow"
  @schema """
  SELECT sql FROM sqlite_schema AS s
  WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND tbl_name NOT IN (SELECT name FROM own)
    AND NOT EXISTS (SELECT 1 FROM pragma_table_list AS l WHERE l.schema = 'main' AND l.name = s.tbl_name AND l.type = 'shadow')
  ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 WHEN 'view' THEN 2 ELSE 3 END, rowid
  """
  @no_vectors "WITH own(name) AS (SELECT NULL WHERE 0) "
  @vectors """
  WITH own(name) AS (SELECT name || '_shadow' FROM #{@vector_indexes} UNION ALL VALUES ('#{@vector_indexes}'))
  """

  # The sqlite3 program, with which ecto_sqlite3 dumps, lists SQLite's own tables as well: sqlite_sequence wherever there
  # is an AUTOINCREMENT. SQLite lets nobody create them.
  @own ~r{\A(?:\s+|--[^\n]*\n|/\*.*?\*/)*CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?["'`\[]?sqlite_}is

  @doc "Writes the schema, and the versions of the migrations that have run, to a file."
  @spec dump(String.t(), keyword) :: {:ok, String.t()} | {:error, term}
  def dump(default, config) do
    path = config[:dump_path] || Path.join(default, "structure.sql")

    with {:ok, text} <- Direct.with_connection(config, &text(&1, config)),
         :ok <- path |> Path.dirname() |> File.mkdir_p(),
         :ok <- File.write(path, text) do
      {:ok, path}
    else
      {:error, %_{} = error} -> {:error, Exception.message(error)}
      {:error, reason} -> {:error, "#{path}: #{:file.format_error(reason)}"}
    end
  end

  defp text(conn, config) do
    with {:ok, vectors?} <- table?(conn, @vector_indexes),
         {:ok, schema} <- LibsqlPort.query(conn, if(vectors?, do: @vectors, else: @no_vectors) <> @schema),
         {:ok, versions} <- versions(conn, config) do
      {:ok, [Enum.map(schema.rows, fn [sql] -> [Statements.terminated(sql), ?\n] end), versions]}
    end
  end

  defp versions(conn, config) do
    table = config |> Keyword.get(:migration_source, "schema_migrations") |> to_string()

    with {:ok, true} <- table?(conn, table),
         {:ok, %{columns: columns, rows: rows}} <-
           LibsqlPort.query(conn, IO.iodata_to_binary(["SELECT * FROM ", Quoting.name(table), " ORDER BY 1"])) do
      {:ok, Enum.map(rows, &insert(table, columns, &1))}
    else
      {:ok, false} -> {:ok, []}
      {:error, _} = error -> error
    end
  end

  defp table?(conn, name) do
    sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE"
    with {:ok, %{rows: rows}} <- LibsqlPort.query(conn, sql, [name]), do: {:ok, rows != []}
  end

  defp insert(table, columns, row) do
    values = Enum.map_intersperse(row, ", ", &value/1)
    ["INSERT INTO ", Quoting.name(table), " (", Quoting.names(columns), ") VALUES (", values, ");\n"]
  end

  defp value(nil), do: "NULL"
  defp value(number) when is_number(number), do: to_string(number)
  defp value(text), do: Quoting.text(text)

  @doc """
  Runs the file, also one that the sqlite3 program has written. It runs in one transaction: after an error the database is
  as it was.
  """
  @spec load(String.t(), keyword) :: {:ok, String.t()} | {:error, term}
  def load(default, config) do
    path = config[:dump_path] || Path.join(default, "structure.sql")

    # The sqlite3 program dumps a virtual table as what it consists of, which a defensive connection does not let SQL write. A server decides
    # about that by itself.
    config = if ServerLocation.server?(config), do: config, else: Keyword.put(config, :defensive, false)

    with {:ok, sql} <- File.read(path),
         {:ok, _} <- Direct.with_connection(config, &run(&1, Statements.split(sql))) do
      {:ok, path}
    else
      {:error, %_{} = error} -> {:error, Exception.message(error)}
      {:error, reason} -> {:error, "#{path}: #{:file.format_error(reason)}"}
    end
  end

  # A dump of data begins with a pragma, which has no effect in a transaction, and with the transaction of its own.
  defp run(conn, statements) do
    {pragmas, statements} =
      statements |> Enum.reject(&(&1 =~ @own)) |> Enum.split_while(&(first_word(&1) == "pragma"))

    with {:ok, _} <- LibsqlPort.script(conn, text(pragmas)) do
      LibsqlPort.transaction(conn, fn conn ->
        case LibsqlPort.script(conn, text(statements)) do
          {:ok, done} -> done
          {:error, error} -> LibsqlPort.rollback(conn, error)
        end
      end)
    end
  end

  defp text(statements) do
    for statement <- statements,
        first_word(statement) not in ~w(begin commit end),
        into: "",
        do: Statements.terminated(statement) <> "\n"
  end

  defp first_word(statement) do
    [token | _] = SqlLexer.tokens(statement)
    TableSql.lower(SqlLexer.text(statement, token))
  end

  @doc "The schema as text, for those who call the dump themselves: no arguments, or `[\".schema\"]`."
  @spec command([String.t()], keyword, keyword) :: {String.t(), non_neg_integer}
  def command(arguments, _options, config) when arguments in [[], [".schema"], [".dump"]] do
    case Direct.with_connection(config, &text(&1, config)) do
      {:ok, text} -> {IO.iodata_to_binary(text), 0}
      {:error, error} -> {Exception.message(error), 1}
    end
  end

  def command(arguments, _options, _config) do
    {"the structure is dumped without the sqlite3 program, which would know #{inspect(arguments)}\n", 1}
  end
end
