defmodule EctoLibSql.BytesToBlobs do
  @moduledoc false
  # Turns bytes that were stored as text into blobs, keys and what refers to them together. Called by
  # `EctoLibSql.Migration`, which documents it.
  #
  # Foreign keys are deferred meanwhile, so that a key and its references may change in turn. Tables that refer come
  # before the ones that they refer to: ON UPDATE RESTRICT cannot be deferred, and so has nothing to say.

  alias EctoLibSql.Error

  require Logger

  @doc "As `EctoLibSql.Migration.bytes_to_blobs/3`."
  def run(repo, table, columns, options) do
    prefix = to_string(options[:prefix] || "main")
    bytes = bytes!(options[:bytes])

    {:ok, counts} =
      repo.transaction(
        fn ->
          given = for column <- columns, do: existing!(repo, prefix, to_string(table), to_string(column))
          all = closure(given, links(repo, prefix), given)
          counts = for {table, column} <- all, do: {table, column, count(repo, prefix, table, column, bytes)}
          unless options[:dry_run], do: mend(repo, prefix, counts, bytes)
          counts
        end,
        timeout: :infinity
      )

    counts
  end

  defp bytes!(:any), do: :any
  defp bytes!(size) when is_integer(size) and size > 0, do: size

  defp bytes!(other) do
    raise ArgumentError, "the option :bytes takes a size or :any, not #{inspect(other)}"
  end

  # --- which columns --------------------------------------------------------------------------------------------

  # By the names that the schema has: SQLite compares names without regard to case.
  defp existing!(repo, prefix, table, column) do
    sql = """
    SELECT t.name, c.name FROM #{quoted(prefix)}.sqlite_schema AS t, pragma_table_info(t.name, ?3) AS c
    WHERE t.type = 'table' AND t.name = ?1 COLLATE NOCASE AND c.name = ?2 COLLATE NOCASE
    """

    case query!(repo, sql, [table, column, prefix]).rows do
      [[table, column]] -> {table, column}
      [] -> raise ArgumentError, "there is no table #{table} with a column #{column} in #{prefix}"
    end
  end

  # `{from, to}`: a column that refers, and the one that it refers to. Without its name that is the primary key's.
  defp links(repo, prefix) do
    sql = """
    SELECT t.name, f.name, p.name, c.name
    FROM #{quoted(prefix)}.sqlite_schema AS t, pragma_foreign_key_list(t.name, ?1) AS k,
      pragma_table_info(t.name, ?1) AS f, #{quoted(prefix)}.sqlite_schema AS p, pragma_table_info(p.name, ?1) AS c
    WHERE t.type = 'table' AND p.type = 'table' AND p.name = k."table" COLLATE NOCASE
      AND f.name = k."from" COLLATE NOCASE
      AND iif(k."to" IS NULL, c.pk = k.seq + 1, c.name = k."to" COLLATE NOCASE)
    """

    for [child, from, parent, to] <- query!(repo, sql, [prefix]).rows, do: {{child, from}, {parent, to}}
  end

  defp closure([], _links, found), do: found

  defp closure(columns, links, found) do
    next =
      for {from, to} <- links,
          {one, other} <- [{from, to}, {to, from}],
          one in columns,
          other not in found,
          do: other

    next = Enum.uniq(next)
    closure(next, links, found ++ next)
  end

  # --- their rows -----------------------------------------------------------------------------------------------

  defp count(repo, prefix, table, column, bytes) do
    sql = "SELECT count(*) FROM #{quoted(prefix)}.#{quoted(table)} WHERE #{text(column, bytes)}"
    [[rows]] = query!(repo, sql, []).rows
    rows
  end

  defp text(column, :any), do: "typeof(#{quoted(column)}) = 'text'"
  defp text(column, size), do: "(typeof(#{quoted(column)}) = 'text' AND length(#{blob(column)}) = #{size})"

  defp blob(column), do: "CAST(#{quoted(column)} AS BLOB)"

  defp mend(repo, prefix, counts, bytes) do
    changed = for {table, column, rows} <- counts, rows > 0, do: {table, column}
    tables = changed |> Enum.map(&elem(&1, 0)) |> Enum.uniq()
    broken = broken(repo, prefix, tables)

    [[deferred]] = query!(repo, "PRAGMA defer_foreign_keys", []).rows
    query!(repo, "PRAGMA defer_foreign_keys = 1", [])

    for table <- referring_first(tables, links(repo, prefix)) do
      update(repo, prefix, table, for({^table, column} <- changed, do: column), bytes)
    end

    refuse_broken(broken(repo, prefix, tables) -- broken)
    query!(repo, "PRAGMA defer_foreign_keys = #{deferred}", [])

    for {table, column, rows} <- counts,
        rows > 0,
        do: Logger.info("#{table}.#{column}: #{rows} texts made blobs")
  end

  # In one statement for each table, since its columns may refer to each other.
  defp update(repo, prefix, table, columns, bytes) do
    set =
      Enum.map_join(columns, ", ", fn column ->
        "#{quoted(column)} = iif(#{text(column, bytes)}, #{blob(column)}, #{quoted(column)})"
      end)

    where = Enum.map_join(columns, " OR ", &text(&1, bytes))
    query!(repo, "UPDATE #{quoted(prefix)}.#{quoted(table)} SET #{set} WHERE #{where}", [])
  end

  # Circles are cut anywhere.
  defp referring_first([], _links), do: []

  defp referring_first(tables, links) do
    referred = for {{child, _}, {parent, _}} <- links, child in tables, child != parent, do: parent
    first = Enum.find(tables, hd(tables), &(&1 not in referred))
    [first | referring_first(tables -- [first], links)]
  end

  defp broken(repo, prefix, tables) do
    Enum.flat_map(tables, fn table ->
      sql = ~s|SELECT "table", rowid, parent, fkid FROM pragma_foreign_key_check(?1, ?2)|
      query!(repo, sql, [table, prefix]).rows
    end)
  end

  defp refuse_broken([]), do: :ok

  defp refuse_broken([[table, _rowid, parent, _key] | _] = rows) do
    raise Error,
      code: :constraint_foreign_key,
      message:
        "#{length(rows)} rows, one of #{table}, would no longer find the rows of #{parent} that they refer to; nothing was changed"
  end

  defp query!(repo, sql, params), do: repo.query!(sql, params, timeout: :infinity)
  defp quoted(name), do: ~s("#{String.replace(name, ~s("), ~s(""))}")
end
