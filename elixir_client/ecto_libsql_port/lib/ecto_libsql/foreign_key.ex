defmodule EctoLibSql.ForeignKey do
  @moduledoc false
  # Tells which foreign key a statement, or a commit, has violated on a server, whose error says no more than that there is one. (In a
  # file the sidecar's engine says which.) Called by `Diagnosis`.
  #
  # The program of the statement (EXPLAIN) says which tables get rows and which lose some, by triggers and cascades too: the keys of
  # the former, and those that refer to the latter, come into question. Mostly one is left, and nothing has been run.
  #
  # If there are more, the statement runs once more in a savepoint or transaction that is rolled back, with the checks of foreign keys
  # deferred, and what is violated then is counted for each key: for the row that was inserted last, and in tables of up to so many
  # rows in all of them. What cannot be found so stays unknown.

  alias EctoLibSql.{SqlLexer, TableSql}
  alias LibsqlPort.{Connection, Error}

  # They bound how long an error may keep the connection.
  @limits [timeout: 2_000]
  @rows_max 50_000
  @savepoint "ecto_foreign_key"
  # OPFLAG_ISUPDATE
  @update 0x04

  @type key :: %{table: String.t(), columns: [String.t()], name: String.t() | nil}

  @doc "The key that a statement has violated, or a commit without one; `nil` if it is not found. `name` is that of the schema."
  @spec violated(Connection.t(), Error.t(), {String.t(), list | map} | nil) :: key | nil
  def violated(conn, %Error{tx_status: tx_status}, statement) do
    with {:ok, keys, program} <- asked(conn, statement) do
      case candidates(keys, program) do
        # It writes nothing itself: a COMMIT, which has left the transaction open.
        [] when tx_status not in [nil, :none] -> left_behind(conn, keys)
        [] -> nil
        [key] -> key
        several -> again(conn, several, statement, tx_status)
      end
      |> told()
    end
  end

  defp told(nil), do: nil

  defp told(key),
    do: %{table: key.table, columns: key.columns, name: TableSql.foreign_key_name(key.sql, key.columns)}

  # --- what is there --------------------------------------------------------------------------------------------

  @keys """
  SELECT s.name, s.sql, s.rootpage, (SELECT l.wr FROM pragma_table_list AS l WHERE l.schema = 'main' AND l.name = s.name), f.id,
    f."table", f."from", coalesce(f."to", (SELECT i.name FROM pragma_table_info(f."table") AS i WHERE i.pk = f.seq + 1))
  FROM sqlite_schema AS s CROSS JOIN pragma_foreign_key_list(s.name) AS f WHERE s.type = 'table' ORDER BY s.name, f.id, f.seq
  """
  @pages "SELECT lower(name), rootpage FROM sqlite_schema WHERE type = 'table'"

  defp asked(conn, statement) do
    explain = for {sql, params} <- List.wrap(statement), do: {"EXPLAIN " <> sql, params}

    case rows(conn, [@keys, @pages | explain]) do
      [keys, pages | program] -> {:ok, keys(keys), written(Enum.concat(program), pages)}
      nil -> nil
    end
  end

  defp keys(rows) do
    rows
    |> Enum.chunk_by(fn [table, _sql, _page, _wr, id | _] -> {table, id} end)
    |> Enum.map(fn [[table, sql, page, without_rowid, id, parent | _] | _] = rows ->
      %{
        table: table,
        sql: sql,
        page: page,
        rowid?: without_rowid == 0,
        id: id,
        parent: parent,
        columns: Enum.map(rows, &Enum.at(&1, 6)),
        targets: Enum.map(rows, &Enum.at(&1, 7))
      }
    end)
  end

  # The root pages of tables that get rows, and the names of those that lose some: an update does both, and may say so in a flag. Each program, those of
  # triggers too, begins with Init and numbers its own cursors.
  defp written(program, pages) do
    names = Map.new(pages, fn [name, page] -> {page, name} end)

    {_open, gain, lose} =
      Enum.reduce(program, {%{}, MapSet.new(), MapSet.new()}, fn
        [_, "Init" | _], {_open, gain, lose} ->
          {%{}, gain, lose}

        [_, "OpenWrite", cursor, page | _], {open, gain, lose} ->
          {Map.put(open, cursor, page), gain, lose}

        [_, "Insert", cursor, _, _, _, flags | _], {open, gain, lose} ->
          lose = if Bitwise.band(flags, @update) == 0, do: lose, else: MapSet.put(lose, names[open[cursor]])
          {open, MapSet.put(gain, open[cursor]), lose}

        # A table without rowid is an index to the engine.
        [_, "IdxInsert", cursor | _], {open, gain, lose} ->
          {open, MapSet.put(gain, open[cursor]), lose}

        [_, code, cursor | _], {open, gain, lose} when code in ["Delete", "IdxDelete"] ->
          {open, gain, MapSet.put(lose, names[open[cursor]])}

        [_, "Clear", page | _], {open, gain, lose} ->
          {open, gain, MapSet.put(lose, names[page])}

        _, state ->
          state
      end)

    %{gain: gain, lose: lose}
  end

  defp candidates(keys, %{gain: gain, lose: lose}) do
    for key <- keys,
        key = Map.put(key, :gains?, key.page in gain),
        key.gains? or SqlLexer.lower(key.parent) in lose,
        do: key
  end

  # --- once more ------------------------------------------------------------------------------------------------

  defp again(conn, keys, statement, tx_status) do
    counts = Enum.map(keys, &count/1)
    inserted = for %{rowid?: true, gains?: true} = key <- keys, do: {key, inserted(key)}

    with {:ok, deferred?} <- open(conn, tx_status) do
      try do
        statements =
          ["PRAGMA defer_foreign_keys = ON"] ++
            counts ++ [statement] ++ counts ++ Enum.map(inserted, &elem(&1, 1))

        with [_pragma | rows] <- rows(conn, statements) do
          {before, [_result | rows]} = Enum.split(rows, length(keys))
          {later, of_inserted} = Enum.split(rows, length(keys))

          inserted(inserted, of_inserted) || more(keys, before, later)
        end
      after
        close(conn, tx_status, deferred?)
      end
    else
      _ -> nil
    end
  end

  # The row may be another statement's, if this one has inserted none: then it violates nothing, or did so before.
  defp inserted(keys, rows) do
    case for({{key, _sql}, [[1]]} <- Enum.zip(keys, rows), do: key) do
      [key | _] -> key
      [] -> nil
    end
  end

  defp more(keys, before, later) do
    [keys, before, later]
    |> Enum.zip()
    |> Enum.find_value(fn {key, before, later} -> if count_of(later) > count_of(before), do: key end)
  end

  defp count_of([[count]]), do: count
  # A table of too many rows.
  defp count_of([]), do: 0

  # The order of a CROSS JOIN holds: the check does not begin if there are too many rows.
  defp count(%{table: table, id: id}) do
    "SELECT (SELECT count(*) FROM pragma_foreign_key_check(#{text(table)}) WHERE fkid = #{id}) FROM " <>
      "(SELECT count(*) AS size FROM (SELECT 1 FROM #{quoted(table)} LIMIT #{@rows_max + 1})) WHERE size <= #{@rows_max}"
  end

  defp inserted(key) do
    row = "SELECT 1 FROM #{quoted(key.table)} AS c WHERE c._rowid_ = last_insert_rowid()"
    given = Enum.map_join(key.columns, &" AND c.#{quoted(&1)} IS NOT NULL")
    same = key.targets |> Enum.zip(key.columns) |> Enum.map_join(" AND ", &same/1)
    row <> given <> " AND NOT EXISTS (SELECT 1 FROM #{quoted(key.parent)} AS p WHERE #{same})"
  end

  # As the engine compares them, by the collation of the other table's column.
  defp same({target, column}), do: "p.#{quoted(target)} = c.#{quoted(column)}"

  # --- a commit -------------------------------------------------------------------------------------------------

  defp left_behind(conn, keys) do
    with [_ | _] = rows <- rows(conn, Enum.map(keys, &count/1)) do
      keys |> Enum.zip(rows) |> Enum.find_value(fn {key, rows} -> if count_of(rows) > 0, do: key end)
    end
  end

  # --- the way --------------------------------------------------------------------------------------------------

  # The rows of each statement; `nil` if one fails.
  defp rows(_conn, []), do: nil

  defp rows(conn, statements) do
    with {:ok, answers} <- Connection.batch(conn, statements, [{:atomic, false} | @limits]),
         true <- Enum.all?(answers, &is_struct(&1, LibsqlPort.Result)) do
      Enum.map(answers, &(&1.rows || []))
    else
      _ -> nil
    end
  end

  # Whether the checks are deferred already, which a rollback to a savepoint does not bring back.
  defp open(conn, :none) do
    with {:ok, _} <- Connection.begin(conn, :immediate, @limits), do: {:ok, false}
  end

  defp open(conn, _inside) do
    with {:ok, %{rows: [[deferred]]}} <- Connection.execute(conn, "PRAGMA defer_foreign_keys", [], @limits),
         {:ok, _} <- Connection.savepoint(conn, @savepoint, @limits),
         do: {:ok, deferred == 1}
  end

  defp close(conn, :none, _deferred?), do: Connection.rollback(conn)

  defp close(conn, _inside, deferred?) do
    Connection.rollback_to(conn, @savepoint)
    Connection.release(conn, @savepoint)
    unless deferred?, do: Connection.execute(conn, "PRAGMA defer_foreign_keys = OFF", [], @limits)
  end

  defp quoted(name), do: ~s("#{String.replace(name, ~s("), ~s(""))}")
  defp text(name), do: "'" <> String.replace(name, "'", "''") <> "'"
end
