defmodule Ecto.Adapters.LibSql.TableKind do
  @moduledoc false
  # Whether what Ecto writes to is a view or a virtual table. SQLite counts no changes of a view's INSTEAD OF triggers, and
  # has no RETURNING for most writes of a virtual table. Called by the adapter for each write of a struct.
  #
  # They are looked up once for each Repo and kept in the table of its prepared queries, which ends with it; a command of a
  # migration forgets them, and so does the end of the transaction around it.
  #
  # In a transaction nothing is looked up unless a command ran in it: it goes on with what was known when it began. A read
  # that the application did not ask for would be the first thing that a deferred transaction does. Whoever commits before
  # its first write would make that write fail, and a writer of a file that is not in WAL mode would wait for its lock while
  # the transaction waits for the writer.

  alias Ecto.Adapters.LibSql.{InsertAll, Quoting}
  alias Ecto.Adapters.SQL

  # The entry of the table: the kinds, `nil` if nothing was looked up yet; how many times they had been forgotten when they were
  # looked up; how many times they have been.
  @key {__MODULE__, :kinds}
  @looked_up 3
  @forgotten 4

  @doc "What a source is."
  @spec of(map, String.t() | atom | nil, String.t()) :: :table | :view | :virtual
  def of(meta, prefix, source) do
    case kinds(meta) do
      kinds when kinds == %{} -> :table
      kinds -> Map.get(kinds, {to_string(prefix || "main"), source}, :table)
    end
  end

  @doc "How an `update_all` or `delete_all` is run; `nil` stands for another query. Raises where it cannot be."
  @spec written(map, map | nil) :: :table | {:view, String.t(), boolean}
  def written(_meta, nil), do: :table

  def written(meta, %{prefix: prefix, source: source} = written) do
    case of(meta, prefix, source) do
      :view -> {:view, written.view, written.select?}
      :virtual when written.select? -> refuse_returning!(source, written.operation)
      _table -> :table
    end
  end

  defp refuse_returning!(source, operation) do
    raise EctoLibSql.Error,
      code: :unsupported,
      message:
        "#{source} is a virtual table, of which SQLite returns no rows that #{operation} writes: select them with " <>
          "Repo.all/2 first, in one transaction with the #{operation} without a select"
  end

  @doc "Looks the kinds up, where they are unknown. Called before a transaction begins."
  @spec know(map) :: :ok
  def know(%{cache: _} = meta) do
    kinds(meta)
    :ok
  end

  def know(_meta), do: :ok

  @doc "Forgets what was looked up. Called after each command of a migration."
  @spec forget(map) :: :ok
  def forget(%{cache: cache} = meta) do
    if SQL.in_transaction?(meta), do: Process.put(changed(cache), :unknown)
    :ets.update_counter(cache, @key, {@forgotten, 1}, {@key, nil, -1, 0})
    :ok
  rescue
    # The Repo has been stopped, and its table with it.
    ArgumentError -> :ok
  end

  def forget(_meta), do: :ok

  @doc "The outermost transaction of the calling process has ended: what its commands have changed is visible to all."
  @spec transaction_ended(map) :: :ok
  def transaction_ended(%{cache: cache} = meta) do
    if Process.delete(changed(cache)), do: forget(meta), else: :ok
  end

  def transaction_ended(_meta), do: :ok

  defp changed(cache), do: {__MODULE__, cache}

  defp kinds(%{cache: cache} = meta) do
    case Process.get(changed(cache)) do
      nil -> shared(meta)
      :unknown -> own(meta)
      kinds -> kinds
    end
  end

  defp kinds(meta), do: look_up(meta) || %{}

  defp shared(%{cache: cache} = meta) do
    case :ets.lookup(cache, @key) do
      [{_key, kinds, times, times}] ->
        kinds

      [{_key, kinds, _earlier, times}] ->
        if kinds && SQL.in_transaction?(meta), do: kinds, else: ask(meta, times)

      [] ->
        ask(meta, 0)
    end
  end

  # What is forgotten meanwhile stays so. Nothing is kept if the question failed.
  defp ask(%{cache: cache} = meta, times) do
    case look_up(meta) do
      nil ->
        %{}

      kinds ->
        entry = [{2, kinds}, {@looked_up, times}]
        :ets.update_element(cache, @key, entry) || :ets.insert_new(cache, {@key, kinds, times, times})
        kinds
    end
  end

  # What the transaction itself has changed is nobody else's yet, and may be rolled back. Nothing is kept if the question
  # failed, as in a transaction that the engine has rolled back.
  defp own(%{cache: cache} = meta) do
    case look_up(meta) do
      nil -> %{}
      kinds -> tap(kinds, &Process.put(changed(cache), &1))
    end
  end

  defp look_up(meta) do
    sql = "SELECT schema, name, type FROM pragma_table_list WHERE type IN ('view', 'virtual')"

    case SQL.query(meta, sql, [], log: false, telemetry_event: nil) do
      {:ok, %{rows: rows}} -> Map.new(rows, fn [schema, name, type] -> {{schema, name}, kind(type)} end)
      # What the write itself would have raised; the connection is lost by it.
      {:error, %DBConnection.ConnectionError{} = error} -> raise error
      {:error, _} -> nil
    end
  end

  defp kind("view"), do: :view
  defp kind("virtual"), do: :virtual

  # --- one row --------------------------------------------------------------------------------------------------

  # In place of a count, a row for each one that a trigger was run for.
  @counted {:unsafe_fragment, "1"}

  @doc "Inserts a row into a view or a virtual table; as `Ecto.Adapter.Schema.insert/6` answers."
  def insert(
        :view,
        meta,
        schema,
        conn,
        params,
        {on_conflict, conflict_params, _} = conflict,
        returning,
        options
      ) do
    {fields, values} = Enum.unzip(params)
    sql = conn.insert(schema.prefix, schema.source, fields, [fields], conflict, counted(returning), [])
    struct(meta, conn, sql, :insert, schema, [], values ++ conflict_params, on_conflict, returning, options)
  end

  # The number of the new row is known when it has been written.
  def insert(:virtual, meta, schema, conn, params, {_, conflict_params, _} = conflict, returning, options) do
    {fields, values} = Enum.unzip(params)
    sql = conn.insert(schema.prefix, schema.source, fields, [fields], conflict, [], [])

    case SQL.query(meta, sql, values ++ conflict_params, [source: schema.source] ++ options) do
      {:ok, %{last_insert_rowid: rowid}} -> read(meta, schema, conn, [rowid: rowid], returning, options)
      {:error, error} -> invalid(conn, error, schema)
    end
  end

  @doc "As `Ecto.Adapter.Schema.insert_all/8`."
  def insert_all(:view, meta, schema, conn, header, rows, conflict, returning, placeholders, options) do
    returned = counted(returning)
    {count, rows} = InsertAll.run(meta, schema, conn, header, rows, conflict, returned, placeholders, options)
    {count, if(returning != [], do: rows)}
  end

  def insert_all(:virtual, meta, schema, conn, header, rows, conflict, [], placeholders, options),
    do: InsertAll.run(meta, schema, conn, header, rows, conflict, [], placeholders, options)

  # The number of a row is known when it has been written: one after the other.
  def insert_all(:virtual, meta, schema, conn, _header, rows, conflict, returning, placeholders, options) do
    rows = Enum.map(given_rows!(rows, schema), &placed(&1, placeholders))

    {:ok, returned} =
      SQL.transaction(meta, options, fn ->
        for row <- rows do
          {fields, values} = Enum.unzip(row)
          sql = conn.insert(schema.prefix, schema.source, fields, [fields], conflict, [], [])
          options = [source: schema.source] ++ options
          %{last_insert_rowid: rowid} = SQL.query!(meta, sql, values ++ elem(conflict, 1), options)
          {:ok, read} = read(meta, schema, conn, [rowid: rowid], returning, options)
          Enum.map(read, &elem(&1, 1))
        end
      end)

    {length(returned), returned}
  end

  defp given_rows!(rows, schema) do
    if is_list(rows) and
         not Enum.any?(rows, fn row -> Enum.any?(row, &match?({_, {%Ecto.Query{}, _}}, &1)) end) do
      rows
    else
      raise EctoLibSql.Error,
        code: :unsupported,
        message:
          "#{schema.source} is a virtual table, of which SQLite returns no rows that are inserted from a query: leave " <>
            ":returning out, or select the rows with Repo.all/2 and insert those"
    end
  end

  defp placed(row, placeholders) do
    Enum.map(row, fn
      {field, {:placeholder, index}} -> {field, Enum.at(placeholders, index - 1)}
      given -> given
    end)
  end

  @doc "As `Ecto.Adapter.Schema.update/6`."
  def update(:view, meta, schema, conn, fields, filters, returning, options) do
    {names, values} = Enum.unzip(fields)
    sql = conn.update(schema.prefix, schema.source, names, filters, counted(returning))
    values = values ++ Keyword.values(filters)
    struct(meta, conn, sql, :update, schema, filters, values, :raise, returning, options)
  end

  def update(:virtual, meta, schema, conn, fields, filters, returning, options) do
    {names, values} = Enum.unzip(fields)
    sql = conn.update(schema.prefix, schema.source, names, filters, [])
    values = values ++ Keyword.values(filters)

    with {:ok, []} <- struct(meta, conn, sql, :update, schema, filters, values, :raise, [], options),
         do: read(meta, schema, conn, filters, returning, options)
  end

  @doc "As `Ecto.Adapter.Schema.delete/5`. What a virtual table deletes cannot be returned."
  def delete(:view, meta, schema, conn, filters, returning, options) do
    sql = conn.delete(schema.prefix, schema.source, filters, counted(returning))
    struct(meta, conn, sql, :delete, schema, filters, Keyword.values(filters), :raise, returning, options)
  end

  def delete(:virtual, meta, schema, conn, filters, returning, options) do
    sql = conn.delete(schema.prefix, schema.source, filters, returning)
    struct(meta, conn, sql, :delete, schema, filters, Keyword.values(filters), :raise, returning, options)
  end

  defp counted([]), do: @counted
  defp counted(returning), do: returning

  defp struct(meta, conn, sql, operation, schema, filters, values, on_conflict, returning, options) do
    SQL.struct(meta, conn, sql, operation, schema.source, filters, values, on_conflict, returning, options)
  end

  defp read(_meta, _schema, _conn, _filters, [], _options), do: {:ok, []}

  defp read(meta, schema, conn, filters, returning, options) do
    {conditions, _next} =
      Enum.map_reduce(filters, 1, fn {name, _}, next -> {[Quoting.name(name), " IS ?#{next}"], next + 1} end)

    sql = [
      ["SELECT ", Quoting.names(returning), " FROM ", Quoting.table(schema.prefix, schema.source)],
      [" WHERE ", Enum.intersperse(conditions, " AND ")]
    ]

    case SQL.query(meta, sql, Keyword.values(filters), [source: schema.source] ++ options) do
      {:ok, %{rows: [values | _]}} -> {:ok, Enum.zip(returning, values)}
      {:ok, _none} -> {:error, :stale}
      {:error, error} -> invalid(conn, error, schema)
    end
  end

  defp invalid(conn, error, schema) do
    case conn.to_constraints(error, source: schema.source) do
      [] -> raise error
      constraints -> {:invalid, constraints}
    end
  end
end
