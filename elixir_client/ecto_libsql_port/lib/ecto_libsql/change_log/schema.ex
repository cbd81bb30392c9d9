defmodule EctoLibSql.ChangeLog.Schema do
  @moduledoc false
  # The tables of a change log, and the triggers on the tables that it follows: creates, drops and compares them. Called by
  # `EctoLibSql.Migration` and `EctoLibSql.ChangeLog`, which document them. What a trigger says is `Triggers`'.
  #
  # What a log was asked to do stands in the trigger itself, as a comment, so that it goes wherever the table goes.

  alias EctoLibSql.ChangeLog.Triggers
  alias EctoLibSql.{MigrationError, SqlLexer}

  @comment "-- change log "

  @doc "As `EctoLibSql.Migration.create_change_log/2`."
  @spec create(module, String.t(), map) :: :ok
  def create(repo, name, options) do
    in_transaction(repo, fn ->
      table = table!(repo, name)
      create_log(repo, options[:log])
      for {trigger, _} <- stored(repo, table.name, options[:log]), do: drop(repo, trigger)
      for {_, sql} <- generated(repo, table, options), do: query!(repo, sql)
    end)
  end

  @doc "As `EctoLibSql.Migration.drop_change_log/2`."
  @spec drop(module, String.t(), map) :: :ok
  def drop(repo, name, options) do
    in_transaction(repo, fn ->
      table = table!(repo, name)

      case stored(repo, table.name, options[:log]) do
        [] -> error!(:no_such_table, table.name, "#{table.name} has no change log #{options[:log]}")
        triggers -> for {trigger, _} <- triggers, do: drop(repo, trigger)
      end

      # The last one takes the log along.
      if followed(repo, options[:log]) == [] do
        for suffix <- ["", "_pending", "_consumers"],
            do: query!(repo, ["DROP TABLE IF EXISTS ", Triggers.quoted(options[:log] <> suffix)])
      end
    end)
  end

  @doc "The tables that a log follows whose triggers are not those that they would be given today, and why."
  @spec stale(module, String.t()) :: [{String.t(), String.t()}]
  def stale(repo, log) do
    for name <- followed(repo, log), reason = stale_table(repo, log, name), do: {name, reason}
  end

  defp stale_table(repo, log, name) do
    stored = stored(repo, name, log)
    wanted = generated(repo, table!(repo, name), stored_options(stored, log))

    cond do
      Enum.sort(stored) != Enum.sort(wanted) ->
        "its columns, indexes or name have changed, or its triggers are of an older version of this library"

      others_fire_first?(repo, name, Enum.map(stored, &elem(&1, 0))) ->
        "it has a trigger that was created later"

      true ->
        nil
    end
  rescue
    error in MigrationError -> error.message
  end

  # Those of other logs change nothing.
  defp others_fire_first?(repo, name, ours) do
    sql = """
    SELECT name, rowid, sql LIKE ?2 ESCAPE '\\' FROM sqlite_schema
    WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE
    """

    rows = rows(repo, sql, [name, "%#{like(@comment)}%"])
    first = for([trigger, rowid, _] <- rows, trigger in ours, do: rowid) |> Enum.min(fn -> 0 end)
    Enum.any?(rows, fn [_trigger, rowid, log?] -> log? == 0 and rowid > first end)
  end

  @doc "The tables that a log follows."
  @spec followed(module, String.t()) :: [String.t()]
  def followed(repo, log) do
    sql =
      "SELECT DISTINCT tbl_name FROM sqlite_schema WHERE type = 'trigger' AND sql LIKE ?1 ESCAPE '\\' ORDER BY 1"

    for [name] <- rows(repo, sql, ["%#{like(marker(log))}%"]), do: name
  end

  # --- triggers -------------------------------------------------------------------------------------------------------

  defp generated(repo, table, options), do: table |> described(repo, options) |> Triggers.sql()

  defp comment(options),
    do: @comment <> marker(options[:log]) <> Jason.encode!(Map.drop(options, [:log, :repo]))

  # JSON, so that the name ends.
  defp marker(log), do: [Jason.encode!(log), " "] |> IO.iodata_to_binary()
  defp like(text), do: String.replace(text, ["\\", "%", "_"], &("\\" <> &1))

  defp stored(repo, name, log) do
    sql = """
    SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE
    AND sql LIKE ?2 ESCAPE '\\' ORDER BY rowid
    """

    for [trigger, text] <- rows(repo, sql, [name, "%#{like(@comment <> marker(log))}%"]), do: {trigger, text}
  end

  defp stored_options([{_, sql} | _], log) do
    [_, rest] = String.split(sql, @comment <> marker(log), parts: 2)
    stored = rest |> String.split("\n", parts: 2) |> hd() |> Jason.decode!()

    %{
      log: log,
      columns: stored["columns"],
      operations: Enum.map(stored["operations"], &String.to_existing_atom/1),
      values: String.to_existing_atom(stored["values"]),
      replace: stored["replace"]
    }
  end

  defp drop(repo, trigger), do: query!(repo, ["DROP TRIGGER ", Triggers.quoted(trigger)])

  # --- the table ------------------------------------------------------------------------------------------------------

  defp table!(repo, name) do
    sql = "SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE"

    case rows(repo, sql, [name]) do
      [[name, "table", without_rowid]] ->
        %{name: name, without_rowid: without_rowid == 1}

      [[name, type, _]] ->
        error!(:unsupported, name, "#{name} is a #{type} table: only plain tables have change logs")

      [] ->
        error!(:no_such_table, name, "there is no table #{name}")
    end
  end

  defp described(table, repo, options) do
    xinfo = rows(repo, "SELECT name, type, pk, hidden FROM pragma_table_xinfo(?1, 'main')", [table.name])
    plain = for [name, _, _, 0] <- xinfo, do: name
    all = for [name | _] <- xinfo, do: name
    declared = for([name, _, pk, _] <- xinfo, pk > 0, do: {pk, name}) |> Enum.sort() |> Enum.map(&elem(&1, 1))
    row = if table.without_rowid, do: :key, else: rowid!(table, all)

    %{
      name: table.name,
      log: options[:log],
      comment: comment(options),
      columns: logged!(table, options[:columns], plain, all),
      key: if(declared == [], do: [row], else: declared),
      row: row,
      unique: if(options[:replace], do: unique!(repo, table), else: []),
      operations: options[:operations],
      values: options[:values],
      replace: options[:replace]
    }
  end

  # Generated columns follow from the others.
  defp logged!(_table, nil, plain, _all), do: plain

  defp logged!(table, wanted, _plain, all) do
    stored = Map.new(all, &{SqlLexer.lower(&1), &1})

    for column <- wanted do
      stored[SqlLexer.lower(column)] ||
        error!(:no_such_column, table.name, "#{table.name} has no column #{column}")
    end
  end

  defp rowid!(table, columns) do
    taken = Enum.map(columns, &SqlLexer.lower/1)

    Enum.find(~w(rowid _rowid_ oid), &(&1 not in taken)) ||
      error!(:unsupported, table.name, "columns of #{table.name} have all three names of the rowid")
  end

  defp unique!(repo, table) do
    sql = "SELECT name FROM pragma_index_list(?1, 'main') WHERE \"unique\" = 1 ORDER BY name"

    for [index] <- rows(repo, sql, [table.name]) do
      sql = "SELECT name, coll FROM pragma_index_xinfo(?1, 'main') WHERE key = 1 ORDER BY seqno"

      for [column, collation] <- rows(repo, sql, [index]) do
        if column == nil do
          error!(
            :unsupported,
            table.name,
            "the unique index #{index} is on an expression: the change log cannot see what INSERT OR REPLACE deletes by it. " <>
              "Give `replace: false` if nothing replaces rows of #{table.name}"
          )
        end

        {column, collation}
      end
    end
  end

  # --- the log --------------------------------------------------------------------------------------------------------

  # AUTOINCREMENT, so that no number comes twice. A rollback takes the counter back, so there are no gaps either.
  defp create_log(repo, log) do
    query!(repo, """
    CREATE TABLE IF NOT EXISTS #{Triggers.quoted(log)} (
      "sequence" INTEGER PRIMARY KEY AUTOINCREMENT,
      "at" TEXT NOT NULL,
      "table" TEXT NOT NULL,
      "operation" TEXT NOT NULL,
      "key" TEXT NOT NULL,
      "old" TEXT,
      "new" TEXT,
      "changed" TEXT
    )
    """)

    query!(repo, """
    CREATE TABLE IF NOT EXISTS #{Triggers.quoted(log <> "_pending")} (
      "table" TEXT NOT NULL,
      "row" NOT NULL,
      "key" TEXT NOT NULL,
      "old" TEXT,
      PRIMARY KEY ("table", "row")
    ) WITHOUT ROWID
    """)

    query!(repo, """
    CREATE TABLE IF NOT EXISTS #{Triggers.quoted(log <> "_consumers")} (
      "name" TEXT NOT NULL PRIMARY KEY,
      "acknowledged" INTEGER NOT NULL,
      "acknowledged_at" TEXT NOT NULL,
      "lost_first" INTEGER,
      "lost_last" INTEGER
    ) WITHOUT ROWID
    """)
  end

  defp in_transaction(repo, fun) do
    {:ok, _} = repo.transaction(fun, timeout: :infinity)
    :ok
  end

  defp rows(repo, sql, params), do: repo.query!(sql, params, timeout: :infinity).rows
  defp query!(repo, sql), do: repo.query!(IO.iodata_to_binary(sql), [], timeout: :infinity)

  @spec error!(atom, String.t(), String.t()) :: no_return
  defp error!(code, table, message),
    do: raise(MigrationError, code: code, table: table, message: message)
end
