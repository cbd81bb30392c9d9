defmodule EctoLibSql.ChangeLog do
  @moduledoc """
  A durable log of changes. Triggers write each change of a table into a log table, in the transaction that makes the
  change; consumers read the log from where they stopped.

  Nothing is lost by a crash, a restart or another program that writes to the file: what is committed is in the log, what
  is rolled back is not. `EctoLibSql.Migration.create_change_log/2` makes the log of a table. The guide
  `docs/guides/change-log.md` shows the whole.

  ## Consumers

  A consumer has a name and the number of the change that it has acknowledged last. Each reads the whole log at its own
  pace. A change is read again until it is acknowledged: acknowledge after the work is done, or in the same transaction if the
  work is in the same database.

      :ok = EctoLibSql.ChangeLog.create_consumer(MyApp.Repo, "search")
      {:ok, changes} = EctoLibSql.ChangeLog.read(MyApp.Repo, "search", limit: 100)
      # index them
      :ok = EctoLibSql.ChangeLog.ack(MyApp.Repo, "search", List.last(changes).sequence)

  `EctoLibSql.ChangeLog.Consumer` is a process that does this, `stream/3` a stream.

  ## Limits

  `trim/2` removes what all consumers have acknowledged. Beyond `:rows_max`, `:bytes_max` or `:age_max_ms` it removes also what they
  have not: they get an `EctoLibSql.ChangeLog.LeftBehind` instead of changes, until they acknowledge its last number. Without
  a call the log only grows; a `Consumer` calls it.

  All functions but `load/3` and `wake/1` take `:log`, the name of the log, `"change_log"` by default. They raise an
  `EctoLibSql.ChangeLog.NoLog` if the database has no log of that name, a `LibsqlPort.Error` of code `:invalid_option` for what is no Repo,
  no consumer's name (a string that is not empty) or none of their options, and what the Repo's queries raise.

  The Repo is its module (with `put_dynamic_repo/1` the calling process's dynamic Repo), or the name or process of a running one.
  """

  alias EctoLibSql.ChangeLog.{Change, LeftBehind, NoLog, Options, Schema, Triggers, Values}
  alias EctoLibSql.Changes.Loader
  alias EctoLibSql.{RepoInstance, SqlLexer}

  @typedoc "A Repo's module, whose dynamic Repo is that of the calling process, or the name or process of one that runs."
  @type repo :: EctoLibSql.Changes.repo()

  @registry EctoLibSql.ChangeLog.Registry

  @trim_rows 5_000

  @doc """
  Creates a consumer, unless there is one of that name.

  ## Options

    * `:from` – `:beginning` (default): of what the log still has; `:end`: it sees later changes only
    * `:log`
  """
  @spec create_consumer(repo, String.t(), keyword) :: :ok
  def create_consumer(repo, consumer, options \\ []) do
    Options.consumer!("create_consumer/3", consumer)
    options = Options.check!("create_consumer/3", options, [:from])

    start =
      case options.from do
        :beginning -> ["coalesce((SELECT min(sequence) FROM ", log(options), ") - 1, ", last(options), ", 0)"]
        :end -> ["coalesce(", last(options), ", 0)"]
      end

    sql = [
      "INSERT INTO ",
      consumer_table(options),
      " (name, acknowledged, acknowledged_at) SELECT ?1, ",
      start,
      ", ",
      now()
    ]

    query!(repo, options, [sql, " WHERE true ON CONFLICT DO NOTHING"], [consumer])
    :ok
  end

  @doc """
  Deletes a consumer: the log is kept for it no longer. Returns whether there was one.

  ## Examples

      true = EctoLibSql.ChangeLog.delete_consumer(MyApp.Repo, "search")
  """
  @spec delete_consumer(repo, String.t(), keyword) :: boolean
  def delete_consumer(repo, consumer, options \\ []) do
    Options.consumer!("delete_consumer/3", consumer)
    options = Options.check!("delete_consumer/3", options, [])

    query!(repo, options, ["DELETE FROM ", consumer_table(options), " WHERE name = ?1"], [consumer]).num_rows >
      0
  end

  @doc """
  Returns all consumers, as maps with `name`, `acknowledged`, `behind` (how many changes wait for it) and `left_behind` (an
  `EctoLibSql.ChangeLog.LeftBehind` or `nil`), in the order of their names.

  ## Examples

      [%{name: "search", acknowledged: 12, behind: 3, left_behind: nil}] = EctoLibSql.ChangeLog.consumers(MyApp.Repo)
  """
  @spec consumers(repo, keyword) :: [map]
  def consumers(repo, options \\ []), do: all(repo, Options.check!("consumers/2", options, []))

  defp all(repo, options) do
    columns = ["name, acknowledged, coalesce(", last(options), ", 0), lost_first, lost_last"]

    for [name, acknowledged, last, lost_first, lost_last] <-
          query!(repo, options, ["SELECT ", columns, " FROM ", consumer_table(options), " ORDER BY name"], []).rows do
      %{
        name: name,
        acknowledged: acknowledged,
        behind: last - acknowledged,
        left_behind: left_behind(options, name, lost_first, lost_last)
      }
    end
  end

  @doc """
  Reads the changes that a consumer has not acknowledged, in the order of their commits.

  Returns `{:ok, changes}`, `{:left_behind, notice}` with an `EctoLibSql.ChangeLog.LeftBehind`, or `{:error, :no_consumer}`.

  A change that cannot be read comes all the same, with what the log has in `undecoded`.

  ## Options

    * `:limit` – how many at most, default 500
    * `:log`

  ## Examples

      {:ok, changes} = EctoLibSql.ChangeLog.read(MyApp.Repo, "search", limit: 100)
      for change <- changes, do: {change.sequence, change.operation, change.table, change.key}
  """
  @spec read(repo, String.t(), keyword) ::
          {:ok, [Change.t()]} | {:left_behind, LeftBehind.t()} | {:error, :no_consumer}
  def read(repo, consumer, options \\ []) do
    Options.consumer!("read/3", consumer)
    options = Options.check!("read/3", options, [:limit])

    # One statement, so that nothing is removed in between.
    sql = [
      [
        "SELECT c.lost_first, c.lost_last, l.sequence, l.at, l.\"table\", l.operation, l.key, l.old, l.new, l.changed"
      ],
      [
        " FROM ",
        consumer_table(options),
        " AS c LEFT JOIN ",
        log(options),
        " AS l ON l.sequence > c.acknowledged"
      ],
      " WHERE c.name = ?1 ORDER BY l.sequence LIMIT ?2"
    ]

    case query!(repo, options, sql, [consumer, options[:limit]]).rows do
      [] -> {:error, :no_consumer}
      [[nil, nil, nil | _]] -> {:ok, []}
      [[nil, nil | _] | _] = rows -> {:ok, Enum.map(rows, fn [_, _ | row] -> change(row) end)}
      [[first, last | _] | _] -> {:left_behind, left_behind(options, consumer, first, last)}
    end
  end

  defp change([sequence, at, table, operation, key, old, new, changed]) do
    fields = [
      at: {at, time(at)},
      operation: {operation, operation(operation)},
      key: {key, Values.decode(key)},
      old: {old, Values.decode(old)},
      new: {new, Values.decode(new)},
      changed: {changed, Values.names(changed)}
    ]

    change = %Change{sequence: sequence, table: table, at: nil, operation: nil, key: nil}

    Enum.reduce(fields, change, fn
      {field, {_stored, {:ok, value}}}, change -> Map.put(change, field, value)
      {field, {stored, :error}}, change -> put_in(change.undecoded[field], stored)
    end)
  end

  defp time(at) do
    with true <- is_binary(at), {:ok, at} <- NaiveDateTime.from_iso8601(at) do
      DateTime.from_naive(at, "Etc/UTC")
    else
      _no_time -> :error
    end
  end

  defp operation("insert"), do: {:ok, :insert}
  defp operation("update"), do: {:ok, :update}
  defp operation("delete"), do: {:ok, :delete}
  defp operation(_other), do: :error

  @doc """
  Acknowledges all changes up to `sequence`. A lower number than before changes nothing.

  Returns `:ok`, or `{:error, :no_consumer}`. Raises `ArgumentError` if the log has not come that far.

  ## Examples

      :ok = EctoLibSql.ChangeLog.ack(MyApp.Repo, "search", 12)
  """
  @spec ack(repo, String.t(), non_neg_integer, keyword) :: :ok | {:error, :no_consumer}
  def ack(repo, consumer, sequence, options \\ []) do
    Options.consumer!("ack/4", consumer)
    Options.sequence!(sequence)
    options = Options.check!("ack/4", options, [])

    sql = [
      [
        "UPDATE ",
        consumer_table(options),
        " SET acknowledged = max(acknowledged, ?2), acknowledged_at = ",
        now()
      ],
      ", lost_first = CASE WHEN lost_last > ?2 THEN lost_first END",
      ", lost_last = CASE WHEN lost_last > ?2 THEN lost_last END",
      [" WHERE name = ?1 AND ?2 <= coalesce(", last(options), ", 0)"]
    ]

    case query!(repo, options, sql, [consumer, sequence]).num_rows do
      1 -> :ok
      0 -> not_acknowledged(repo, consumer, sequence, options)
    end
  end

  defp not_acknowledged(repo, consumer, sequence, options) do
    if Enum.any?(all(repo, options), &(&1.name == consumer)),
      do: raise(ArgumentError, "#{options[:log]} has no change #{sequence} yet"),
      else: {:error, :no_consumer}
  end

  @doc """
  A stream of the changes that a consumer has not acknowledged, up to the end of the log. A batch is acknowledged when the
  first change after it is asked for, or the stream is at its end: a change is acknowledged once it has been processed.

  Raises `EctoLibSql.ChangeLog.LeftBehind`. Takes the options of `read/3`.

  ## Examples

      MyApp.Repo
      |> EctoLibSql.ChangeLog.stream("search")
      |> Enum.each(&MyApp.Search.index/1)
  """
  @spec stream(repo, String.t(), keyword) :: Enumerable.t()
  def stream(repo, consumer, options \\ []) do
    Options.consumer!("stream/3", consumer)
    Options.check!("stream/3", options, [:limit])

    ack = fn
      nil -> :ok
      sequence -> ack(repo, consumer, sequence, Keyword.take(options, [:log]))
    end

    Stream.resource(
      fn -> nil end,
      fn done ->
        ack.(done)

        case read(repo, consumer, options) do
          {:ok, []} -> {:halt, nil}
          {:ok, changes} -> {changes, List.last(changes).sequence}
          {:left_behind, notice} -> raise notice
          {:error, :no_consumer} -> raise ArgumentError, "there is no consumer #{consumer}"
        end
      end,
      fn _ -> :ok end
    )
  end

  @doc """
  Removes what all consumers have acknowledged, and what exceeds a limit. With no consumer at all, only limits remove changes.

  Returns `{rows, notices}`: how many changes were removed, and an `EctoLibSql.ChangeLog.LeftBehind` for each consumer that
  misses some.

  ## Options

    * `:rows_max` – the most changes that stay, default 1,000,000
    * `:bytes_max` – the most bytes of their keys and values, default 256 MiB
    * `:age_max_ms` – how long a change stays at most, default `:infinity`
    * `:log`

  Any of them may be `:infinity`.

  ## Examples

      {removed, []} = EctoLibSql.ChangeLog.trim(MyApp.Repo, age_max_ms: :timer.hours(24 * 7))
  """
  @spec trim(repo, keyword) :: {non_neg_integer, [LeftBehind.t()]}
  def trim(repo, options \\ []) do
    options = Options.check!("trim/2", options, [:rows_max, :bytes_max, :age_max_ms])
    RepoInstance.within(repo, &trimmed(&1, options))
  end

  defp trimmed(repo, options) do
    removed = remove_acknowledged(repo, options, 0)

    {:ok, {more, notices}} =
      repo.transaction(fn -> enforce(repo, options) end, timeout: :infinity, mode: :immediate)

    {removed + more, notices}
  end

  # A piece at a time, so that other writers get their turn.
  defp remove_acknowledged(repo, options, removed) do
    sql = [
      [
        "DELETE FROM ",
        log(options),
        " WHERE sequence <= (SELECT min(acknowledged) FROM ",
        consumer_table(options),
        ?)
      ],
      [" AND sequence < (SELECT min(sequence) FROM ", log(options), ") + ", to_string(@trim_rows)]
    ]

    case query!(repo, options, sql, []).num_rows do
      0 -> removed
      rows -> remove_acknowledged(repo, options, removed + rows)
    end
  end

  defp enforce(repo, options) do
    case options |> cuts() |> Enum.map(&cut(repo, options, &1)) |> Enum.max(fn -> 0 end) do
      0 -> {0, []}
      cut -> remove(repo, options, cut)
    end
  end

  # The last change that each limit takes away.
  defp cuts(options) do
    bytes = "octet_length(key) + ifnull(octet_length(old), 0) + ifnull(octet_length(new), 0)"

    Enum.reject(
      [
        limit(options[:rows_max], &["SELECT ", last(options), " - ", to_string(&1)]),
        limit(
          options[:bytes_max],
          &[
            [
              "SELECT max(sequence) FROM (SELECT sequence, sum(",
              bytes,
              ") OVER (ORDER BY sequence DESC) AS total FROM "
            ],
            [log(options), ") WHERE total > ", to_string(&1)]
          ]
        ),
        limit(
          options[:age_max_ms],
          &[
            [
              "SELECT max(sequence) FROM ",
              log(options),
              " WHERE at < strftime('%Y-%m-%dT%H:%M:%f', 'now', '-"
            ],
            [:erlang.float_to_binary(&1 / 1000, decimals: 3), " seconds')"]
          ]
        )
      ],
      &is_nil/1
    )
  end

  defp limit(:infinity, _sql), do: nil
  defp limit(limit, sql), do: sql.(limit)

  defp cut(repo, options, sql),
    do: query!(repo, options, sql, []).rows |> hd() |> hd() |> Kernel.||(0) |> max(0)

  defp remove(repo, options, cut) do
    behind = [
      [
        "UPDATE ",
        consumer_table(options),
        " SET lost_first = coalesce(lost_first, acknowledged + 1), lost_last = ?1"
      ],
      [" WHERE acknowledged < ?1 AND EXISTS (SELECT 1 FROM ", log(options), " WHERE sequence <= ?1)"],
      " RETURNING name, lost_first, lost_last"
    ]

    notices =
      for [name, first, last] <- query!(repo, options, behind, [cut]).rows,
          do: left_behind(options, name, first, last)

    {query!(repo, options, ["DELETE FROM ", log(options), " WHERE sequence <= ?1"], [cut]).num_rows, notices}
  end

  @doc """
  The tables of a log whose triggers are not those that they would be given today, as `[{table, reason}]`. A migration has added,
  renamed or dropped something: `EctoLibSql.Migration.create_change_log/2` brings them up to date.

  ## Examples

      [] = EctoLibSql.ChangeLog.stale(MyApp.Repo)
  """
  @spec stale(repo, keyword) :: [{String.t(), String.t()}]
  def stale(repo, options \\ []) do
    options = Options.check!("stale/2", options, [])

    RepoInstance.within(repo, fn repo ->
      unless there?(repo, options.log), do: raise(%NoLog{log: options.log})
      Schema.stale(repo, options.log)
    end)
  end

  @doc """
  The number of the last change, 0 if there was none.

  ## Examples

      15 = EctoLibSql.ChangeLog.last_sequence(MyApp.Repo)
  """
  @spec last_sequence(repo, keyword) :: non_neg_integer
  def last_sequence(repo, options \\ []) do
    options = Options.check!("last_sequence/2", options, [])
    # The sequence of a log that has had no change is not there either.
    sql = [
      "SELECT coalesce(",
      last(options),
      ", (SELECT coalesce(max(sequence), 0) FROM ",
      log(options),
      "))"
    ]

    [[sequence]] = query!(repo, options, sql, []).rows
    sequence
  end

  @doc """
  Loads values of a change into a struct of `schema`, by Ecto's types. Columns that the schema does not know are left out. Names are compared
  as SQLite does, without regard to the case of ASCII letters. Returns `nil` for `nil`.

      %Change{operation: :insert, new: new} = change
      %MyApp.City{} = EctoLibSql.ChangeLog.load(MyApp.Repo, MyApp.City, new)
  """
  @spec load(repo, module, Change.values() | nil) :: struct | nil
  def load(repo, schema, values)
  def load(_repo, _schema, nil), do: nil

  def load(repo, schema, values) do
    columns = Loader.columns(schema)

    values =
      Map.new(values, fn {column, value} ->
        {Map.get(columns, SqlLexer.lower(column), column), untagged(value)}
      end)

    RepoInstance.within(repo, & &1.load(schema, values))
  end

  defp untagged({:blob, bytes}), do: bytes
  defp untagged(value), do: value

  @doc """
  Tells the consumers of a Repo on this node to look for changes. Commits of the Repo's sidecar wake them by themselves; this is for
  who knows that another program has written. Costs a message for each consumer. A consumer that waits to try again goes on waiting.

  ## Examples

      :ok = EctoLibSql.ChangeLog.wake(MyApp.Repo)
  """
  @spec wake(repo) :: :ok
  def wake(repo) do
    instance = RepoInstance.of!(repo)
    pattern = {{{:"$1", :_, :_}, :"$2", :_}, [{:"=:=", :"$1", {:const, instance}}], [:"$2"]}
    for pid <- Registry.select(@registry, [pattern]), do: send(pid, :wake)
    :ok
  end

  defp left_behind(_options, _consumer, _first, nil), do: nil

  defp left_behind(options, consumer, first, last),
    do: %LeftBehind{log: options[:log], consumer: consumer, first: first, last: last}

  defp log(options), do: Triggers.quoted(options[:log])
  defp consumer_table(options), do: Triggers.quoted(options[:log] <> "_consumers")
  defp last(options), do: ["(SELECT seq FROM sqlite_sequence WHERE name = ", Triggers.text(options[:log]), ?)]
  defp now, do: "strftime('%Y-%m-%dT%H:%M:%f', 'now')"

  # Whether the log is there is looked up when a statement has failed. If it is, a migration may have committed in between: a
  # statement that is still wrong fails again.
  defp query!(repo, options, sql, params) do
    RepoInstance.within(repo, fn repo ->
      sql = IO.iodata_to_binary(sql)

      try do
        repo.query!(sql, params)
      rescue
        error in EctoLibSql.Error ->
          unless error.code == :sql_error, do: reraise(error, __STACKTRACE__)
          unless there?(repo, options[:log]), do: raise(%NoLog{log: options[:log]})
          repo.query!(sql, params)
      end
    end)
  end

  defp there?(repo, log) do
    sql = "SELECT count(*) FROM main.sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE"
    repo.query!(sql, [log], policy: false).rows == [[1]]
  end
end
