defmodule EctoLibSql.NormalizeTimes do
  @moduledoc false
  # Rewrites stored times to the form that is written today, where they are in another. Called by `EctoLibSql.Migration`,
  # which documents it. What a time is and what its form is is `TimeSql`'s to say.

  alias EctoLibSql.TimeSql

  @types [:datetime, :utc_datetime, :utc_datetime_usec, :date, :time]

  @doc "As `EctoLibSql.Migration.normalize_times/3`."
  def run(repo, table, columns, options) do
    target = [quoted(options[:prefix] || "main"), ?., quoted(table)]
    columns = Enum.map(columns, &column!/1)

    {:ok, counts} =
      repo.transaction(
        fn ->
          for {column, type} <- columns do
            existing!(repo, options[:prefix] || "main", table, column)
            {form, where} = change(quoted(column), type)
            rows = count(repo, target, where)
            if rows > 0 and not options[:dry_run], do: rewrite(repo, target, column, form, where)
            {to_string(table), to_string(column), rows}
          end
        end,
        timeout: :infinity
      )

    counts
  end

  defp column!({column, type}) when type in @types, do: {column, type}
  defp column!(column) when is_atom(column) or is_binary(column), do: {column, :datetime}

  defp column!(other) do
    raise ArgumentError,
          "a column is a name, or {name, type} with one of #{inspect(@types)}, not #{inspect(other)}"
  end

  # SQLite takes a name in double quotes that is no column for a text, which has no rows to change.
  defp existing!(repo, prefix, table, column) do
    sql = "SELECT 1 FROM pragma_table_xinfo(?1, ?3) WHERE name = ?2 COLLATE NOCASE"

    if repo.query!(sql, [to_string(table), to_string(column), to_string(prefix)]).rows == [] do
      raise ArgumentError, "there is no table #{table} with a column #{column} in #{prefix}"
    end
  end

  # Text that is no time has no form, and stays.
  defp change(column, type) do
    form = TimeSql.cast(column, cast_type(type), true)
    {form, ["typeof(", column, ") = 'text' AND ", column, " <> ", form, whole(column, type)]}
  end

  # With a Z, a time of whole seconds has no place for a fraction: one that has it stays as it is.
  defp whole(column, :utc_datetime) do
    if TimeSql.designated?(:utc_datetime),
      do: [" AND CAST(", TimeSql.micros(column), " AS INTEGER) = 0"],
      else: []
  end

  defp whole(_column, _type), do: []

  # The finest type of each: nothing is cut off.
  defp cast_type(:datetime), do: :naive_datetime_usec

  defp cast_type(:utc_datetime),
    do: if(TimeSql.designated?(:utc_datetime), do: :utc_datetime, else: :utc_datetime_usec)

  defp cast_type(:utc_datetime_usec), do: :utc_datetime_usec
  defp cast_type(:time), do: :time_usec
  defp cast_type(:date), do: :date

  defp count(repo, target, where) do
    [[rows]] = query!(repo, ["SELECT count(*) FROM ", target, " WHERE ", where]).rows
    rows
  end

  defp rewrite(repo, target, column, form, where),
    do: query!(repo, ["UPDATE ", target, " SET ", quoted(column), " = ", form, " WHERE ", where])

  defp query!(repo, sql), do: repo.query!(IO.iodata_to_binary(sql), [], timeout: :infinity)

  defp quoted(name), do: [?", name |> to_string() |> String.replace("\"", "\"\""), ?"]
end
