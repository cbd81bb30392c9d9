defmodule Ecto.Adapters.LibSql.MigrationPragmas do
  @moduledoc false
  # A migration must not change a pragma that a connection keeps for itself: it would stay on one connection of the pool,
  # with whoever has it next, and would not be on the others. Called by `Connection` for each statement; a statement of a
  # migration that speaks of a PRAGMA is followed by the question what has changed. That is put back, and is an error.
  #
  # What a database keeps (`user_version`, `application_id`, `auto_vacuum` …) may be set. So may `defer_foreign_keys`,
  # which the end of a transaction switches off.
  #
  # `foreign_keys` is the one that SQLite passes over in a transaction without a word. A migration that believes them to be
  # off would lose the rows that refer to a table that it drops, so there the text is refused before any of it runs.
  #
  # That a migration runs in this process is known by what `Ecto.Migration.Runner` keeps in its dictionary, which is no
  # public interface of ecto_sql: without it the statements of `execute/1` are still guarded, those of `repo()` are not, and
  # migration_pragmas_test.exs fails.

  alias EctoLibSql.{MigrationError, Query, SqlLexer, Statements}

  @of_connection ~w(analysis_limit automatic_index busy_timeout cell_size_check checkpoint_fullfsync count_changes
    empty_result_callbacks foreign_keys full_column_names fullfsync hard_heap_limit ignore_check_constraints
    legacy_alter_table query_only read_uncommitted recursive_triggers reverse_unordered_selects short_column_names
    soft_heap_limit temp_store threads trusted_schema wal_autocheckpoint writable_schema)
  @of_database ~w(cache_size cache_spill journal_mode journal_size_limit locking_mode max_page_count mmap_size secure_delete
    synchronous)
  # It can be set and not be read.
  @case "case_sensitive_like"

  @typep answer :: {:ok, term} | {:error, Exception.t()}

  @doc """
  Runs a function that runs a statement. `options` with `pragmas: :own` are of the adapter itself, which puts back what it
  sets; with `pragmas: :refused` they are of a migration in any process.
  """
  @spec guard(term, iodata, keyword, (term, keyword -> answer)) :: answer
  def guard(conn, sql, options, fun) do
    {pragmas, options} = Keyword.pop(options, :pragmas)

    if pragmas != :own and (pragmas == :refused or Process.get(:ecto_migration) != nil) and
         IO.iodata_to_binary(sql) =~ ~r/\bpragma\b/i,
       do: DBConnection.run(conn, &guarded(&1, sql, options, fun), options),
       else: fun.(conn, options)
  end

  defp guarded(conn, sql, options, fun) do
    quiet = Keyword.delete(options, :log)

    with {:ok, before} <- read(conn, quiet), :ok <- effective(conn, sql, before) do
      result = fun.(conn, options)

      # Nothing can be read when the engine has rolled the transaction back.
      changed =
        case read(conn, quiet) do
          {:ok, now} -> before -- now
          {:error, _} -> before
        end

      for {pragma, value} <- changed do
        EctoLibSql.mark(conn, %Query{operation: :restore, statement: "PRAGMA #{pragma} = #{value}"}, quiet)
      end

      if match?({:ok, _}, result) and changed != [], do: {:error, refusal(changed)}, else: result
    end
  end

  defp refusal(changed) do
    names = Enum.map_join(changed, ", ", &elem(&1, 0))

    %MigrationError{
      code: :unsupported,
      message:
        "a migration cannot change what a connection keeps for itself (#{names}): it would stay on one connection of the " <>
          "pool. It has been put back. Set it in the configuration of the Repo, or set it and put it back in one " <>
          "`repo().query_many!/1`; tables are changed without switching foreign keys"
    }
  end

  # --- foreign keys -------------------------------------------------------------------------------------------------

  defp effective(conn, sql, before) do
    now = for {"foreign_keys", value} <- before, do: value

    if DBConnection.status(conn) == :transaction and
         sql
         |> IO.iodata_to_binary()
         |> Statements.split()
         |> Enum.any?(&(foreign_keys(&1) not in [nil | now])),
       do: {:error, without_effect()},
       else: :ok
  end

  # What a statement sets the pragma to, as SQLite reads a boolean; `nil` for any other statement.
  defp foreign_keys(statement) do
    case statement |> SqlLexer.tokens() |> Enum.take(6) |> Enum.map(&plain(statement, &1)) do
      ["pragma", _schema, ".", "foreign_keys", sign, value | _] when sign in ["=", "("] -> boolean(value)
      ["pragma", "foreign_keys", sign, value | _] when sign in ["=", "("] -> boolean(value)
      _other -> nil
    end
  end

  defp plain(_statement, {:illegal, _, _}), do: :illegal

  defp plain(statement, {kind, _, _} = token) do
    text = SqlLexer.text(statement, token)
    SqlLexer.lower(if kind in [:name, :string], do: SqlLexer.unquoted(text), else: text)
  end

  # What is no token is an error of the engine.
  defp boolean(:illegal), do: nil
  defp boolean(value) when value in ["on", "yes", "true"], do: 1
  defp boolean(value), do: if(match?({number, _} when number > 0, Integer.parse(value)), do: 1, else: 0)

  defp without_effect do
    %MigrationError{
      code: :unsupported,
      message:
        "PRAGMA foreign_keys has no effect in a transaction, and DROP TABLE deletes the rows that refer to the table, or " <>
          "changes them, as their foreign keys say. Nothing of the text has run. Leave the pragma out: commands such as " <>
          "`alter` and `drop table` keep rows of other tables without it. For SQL of your own use " <>
          "`@disable_ddl_transaction true`, and set the pragma and put it back in one `repo().query_many!/1`"
    }
  end

  # --- what there is ------------------------------------------------------------------------------------------------

  defp read(conn, options) do
    with {:ok, %{rows: schemas}} <-
           query(conn, "SELECT name FROM pragma_database_list WHERE name <> 'temp'", options),
         {:ok, like} <- value(conn, "SELECT 'a' NOT LIKE 'A'", options),
         {:ok, values} <- values(conn, pragmas(schemas), options),
         do: {:ok, [{@case, like} | values]}
  end

  defp pragmas(schemas) do
    databases =
      for [schema] <- schemas,
          name <- @of_database,
          do: ~s("#{String.replace(schema, ~s("), ~s(""))}".#{name})

    @of_connection ++ databases
  end

  defp values(conn, pragmas, options) do
    Enum.reduce_while(pragmas, {:ok, []}, fn pragma, {:ok, values} ->
      case value(conn, "PRAGMA #{pragma}", options) do
        {:ok, nil} -> {:cont, {:ok, values}}
        {:ok, value} -> {:cont, {:ok, [{pragma, value} | values]}}
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
  end

  # A pragma that this SQLite does not know has no value.
  defp value(conn, sql, options) do
    case query(conn, sql, options) do
      {:ok, %{rows: [[value] | _]}} -> {:ok, value}
      {:ok, _none} -> {:ok, nil}
      {:error, error} -> {:error, error}
    end
  end

  defp query(conn, sql, options), do: EctoLibSql.query(conn, sql, [], options)
end
