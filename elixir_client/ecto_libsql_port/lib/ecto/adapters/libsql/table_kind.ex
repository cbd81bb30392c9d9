defmodule Ecto.Adapters.LibSql.TableKind do
  @moduledoc false
  # Whether what Ecto writes to is a view or a virtual table. SQLite counts no changes of a view's INSTEAD OF triggers, and
  # has no RETURNING for most writes of a virtual table. Called by the adapter for each write of a struct.
  #
  # They are looked up once for each Repo and kept in the table of its prepared queries, which ends with it, until a statement changes
  # the schema (`EctoLibSql.SchemaChanges`). Those of a transaction that has changed it are its own until it ends.
  #
  # What single connections have is known by them alone: their write checks a connection out and asks it. So it does for the names of such views
  # and virtual tables, whatever they are on other connections.
  #
  # A name is looked for where SQLite looks for it: an unqualified one among the temporary tables, then in the main database, then
  # in attached ones in their order. Names differ by more than the case of ASCII letters.
  #
  # In a transaction nothing is looked up unless it has changed the schema: it goes on with what was known when it began. A read
  # that the application did not ask for would be the first thing that a deferred transaction does. Whoever commits before
  # its first write would make that write fail, and a writer of a file that is not in WAL mode would wait for its lock while
  # the transaction waits for the writer.

  alias Ecto.Adapters.LibSql.{InsertAll, Quoting}
  alias Ecto.Adapters.SQL
  alias EctoLibSql.SchemaChanges

  # The entry of the table: the kinds, and how many times the schema had been changed when they were looked up.
  @key {__MODULE__, :kinds}

  # Views and virtual tables, and whatever has the name of one in another database.
  @sql "SELECT schema, name, type, (SELECT seq FROM pragma_database_list AS d WHERE d.name = schema COLLATE NOCASE) " <>
         "FROM pragma_table_list " <>
         "WHERE name COLLATE NOCASE IN (SELECT name FROM pragma_table_list WHERE type IN ('view', 'virtual')"

  # Names of views and virtual tables in databases that single connections have attached, as one parameter, however many they are.
  @attached " UNION ALL SELECT value FROM json_each(?)"

  @doc "What a source is, on the connection that is checked out if there is one."
  @spec of(map, String.t() | atom | nil, String.t()) :: :table | :view | :virtual
  def of(meta, prefix, source) do
    own = if of_connection?(meta, source), do: private(meta), else: %{}
    kinds = kinds(meta)

    if kinds == %{} and own == %{},
      do: :table,
      else: named(own, kinds, SchemaChanges.name(to_string(prefix), source))
  end

  defp named(own, kinds, {"", _} = name), do: unqualified(own, kinds, name)
  defp named(own, kinds, name), do: own[name] || Map.get(kinds, name, :table)

  # The temporary tables come first, what a statement has attached last.
  defp unqualified(own, kinds, {_, name} = unqualified) do
    own[{"temp", name}] || kinds[unqualified] ||
      Enum.find_value(own, :table, fn {{_attached, other}, kind} -> if other == name, do: kind end)
  end

  @doc "Whether the kind of a source has to be asked of the connection that writes it."
  @spec of_connection?(map, String.t()) :: boolean
  def of_connection?(meta, source) do
    case changes(meta) do
      nil ->
        false

      changes ->
        # Connections that are still being opened may make it: the first look-up waits for one that has been.
        unless :ets.member(meta.cache, @key), do: kinds(meta)
        SchemaChanges.private?(changes, source)
    end
  end

  # No request: the state of the connection has it.
  defp private(meta) do
    case SQL.query(meta, %EctoLibSql.Query{operation: :state}, [], log: false, telemetry_event: nil) do
      {:ok, state} -> state.private
      {:error, %DBConnection.ConnectionError{} = error} -> raise error
      {:error, _} -> %{}
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
  def know(meta) do
    if changes(meta), do: kinds(meta)
    :ok
  end

  @doc "Forgets what was looked up. Called after each command of a migration."
  @spec forget(map) :: :ok
  def forget(meta) do
    with changes when changes != nil <- changes(meta) do
      if SQL.in_transaction?(meta), do: SchemaChanges.pend(changes)
      SchemaChanges.changed(changes)
    end

    :ok
  end

  @doc "The outermost transaction of the calling process has ended: what it has changed is visible to all, or to nobody."
  @spec transaction_ended(map) :: :ok
  def transaction_ended(meta) do
    with changes when changes != nil <- changes(meta),
         true <- SchemaChanges.settled(changes),
         do: SchemaChanges.changed(changes)

    :ok
  end

  defp changes(%{cache: _, opts: options}) do
    with {_name, changes} <- :lists.keyfind(:schema_changes, 1, options), do: changes, else: (false -> nil)
  end

  defp changes(_of_no_repo), do: nil

  defp kinds(meta) do
    case changes(meta) do
      nil -> look_up(meta, nil) || %{}
      changes -> if own?(changes, meta), do: own(meta, changes), else: shared(meta, changes)
    end
  end

  # What a process has changed outside of a transaction is everybody's.
  defp own?(changes, meta) do
    SchemaChanges.pending?(changes) and (SQL.in_transaction?(meta) or not SchemaChanges.settled(changes))
  end

  defp shared(%{cache: cache} = meta, changes) do
    count = SchemaChanges.count(changes)

    case :ets.lookup(cache, @key) do
      [{_key, kinds, ^count}] -> kinds
      [{_key, kinds, _earlier}] -> if SQL.in_transaction?(meta), do: kinds, else: ask(meta, changes, count)
      [] -> ask(meta, changes, count)
    end
  end

  # What changes meanwhile makes it out of date. Nothing is kept if the question failed.
  defp ask(%{cache: cache} = meta, changes, count) do
    case look_up(meta, changes) do
      nil ->
        %{}

      kinds ->
        :ets.insert(cache, {@key, kinds, count})
        kinds
    end
  end

  # What the transaction itself has changed is nobody else's yet, and may be rolled back. Nothing is kept if the question
  # failed, as in a transaction that the engine has rolled back.
  defp own(meta, changes) do
    case SchemaChanges.kept(changes) || look_up(meta, changes) do
      nil -> %{}
      kinds -> tap(kinds, &SchemaChanges.keep(changes, &1))
    end
  end

  # The Repo's own question: its policy is for the SQL of its callers.
  defp look_up(meta, changes) do
    {attached, params} =
      case if(changes, do: SchemaChanges.attached(changes), else: []) do
        [] -> {[], []}
        # JSON has no other text.
        names -> {@attached, [Enum.filter(names, &String.valid?/1)]}
      end

    case SQL.query(meta, [@sql, attached, ")"], params, log: false, telemetry_event: nil, policy: false) do
      {:ok, %{rows: rows}} -> rows |> Enum.filter(&of_all?(&1, changes)) |> by_name()
      # What the write itself would have raised; the connection is lost by it.
      {:error, %DBConnection.ConnectionError{} = error} -> raise error
      {:error, _} -> nil
    end
  end

  # What this connection alone has is not kept for the others.
  defp of_all?(_row, nil), do: true
  defp of_all?([schema | _], changes), do: EctoLibSql.SqlLexer.lower(schema) in changes.schemas

  # By database and name, and by `""` and name what a name without a database stands for.
  defp by_name(rows) do
    found = for row <- Enum.sort_by(rows, &place/1, :desc), do: row |> Enum.take(3) |> SchemaChanges.kind()
    unqualified = for {{_schema, name}, kind} <- found, do: {{"", name}, kind}
    found |> Map.new() |> Map.merge(Map.new(unqualified))
  end

  # The last one to be found counts, so the first one that SQLite looks at.
  defp place(["temp" | _]), do: -1
  defp place([_schema, _name, _type, sequence]), do: sequence

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
