defmodule Ecto.Adapters.LibSql do
  @moduledoc """
  Ecto on libSQL, which runs in a program of its own.

      config :my_app, MyApp.Repo, database: "app.db"

      defmodule MyApp.Repo do
        use Ecto.Repo, otp_app: :my_app, adapter: Ecto.Adapters.LibSql
      end

  Each Repo starts and supervises its sidecar; the connections of its pool are connections of the sidecar. For the
  options see `EctoLibSql.Options`, for what an error says `EctoLibSql.Error`.

  ## What differs from other databases

    * Transactions begin with the right to write (`:immediate`), waiting for it in the order of arrival, so that none fails
      in its middle. `Repo.transaction(fun, mode: :deferred)` reads without waiting. `lock: "FOR UPDATE"` is accepted and
      means nothing, because the whole database is held.
    * A list behind `in` is one parameter, however long. `Repo.insert_all/3` makes as many statements as SQLite needs.
    * `like` and `ilike` are the same: LIKE ignores the case of ASCII letters, unless `case_sensitive_like: :on`.
      A backslash in a pattern stands for itself, as with ecto_sqlite3 and unlike PostgreSQL and MySQL: to look for a
      percent sign write `fragment("? LIKE ? ESCAPE '!'", post.title, ^"100!%")`.
    * `fragment("? REGEXP ?", post.title, ^"(?i)^draft")` matches a regular expression, in the syntax of Rust's crate `regex`.
    * `Repo.stream/2` gives each row once, although the loop writes to the same table: before the first write the rest of
      the rows is read and kept, in memory and beyond 1 MiB in a temporary file. `stream: :live` leaves that out.
      From the second chunk on, the next one is read while the loop works on this one; `read_ahead: false` leaves that out.
    * A prefix is the name of an attached database (option `:attach`).
    * Decimals are exact, also in SQL: the sidecar computes, compares and sorts those that Ecto knows to be decimals. They
      are stored in one form without trailing zeros. Quotients have 28 digits.
    * Times are stored in UTC without a zone, microseconds only where there are some, so that their text sorts as they do.
    * Values out of JSON columns (`post.meta["tags"]`) come back as what they are in JSON when selected.
    * Array columns are JSON; `in`, `push` and `pull` know them.
    * `update_all` and `delete_all` with joins return columns of the written table. Those of a joined source are refused,
      unless it is the written table again, or a subquery over it, joined by the primary key; what the update sets has
      its new value there.
    * Foreign keys are reported by name: the constraint's own, or Ecto's for one without a name.

  ## Migrations

  `modify`, `add_if_not_exists`, `remove_if_exists`, `rename index`, `create constraint` and `drop constraint` work; see
  `Ecto.Adapters.LibSql.Alter` for what they do and refuse, and `Ecto.Adapters.LibSql.DropTable` for `drop table`, which is
  refused while rows of other tables refer to the table. `create table` takes
  `options: [strict: true, without_rowid: true, random_rowid: true, fts5: true, rtree: true]`. Columns take `:collate`,
  `:check` (`%{name: _, expr: _}`) and `:generated`. A vector is `add :embedding, :"F32_BLOB(384)"`, its index
  `create index(:docs, [:embedding], using: :libsql_vector_idx)`.
  """

  use Ecto.Adapters.SQL, driver: :ecto_libsql_port

  @behaviour Ecto.Adapter.Storage
  @behaviour Ecto.Adapter.Structure

  alias Ecto.Adapters.LibSql.{
    Alter,
    CompileCheck,
    DropTable,
    EndedPool,
    IndexColumns,
    InsertAll,
    MigrationLock,
    Prepared,
    Quoting,
    SelectedTypes,
    Storage,
    Structure,
    TableKind,
    TypeCodec
  }

  alias EctoLibSql.{
    CallOptions,
    Lane,
    Options,
    Pool,
    PoolDefaults,
    Pools,
    Privileges,
    SchemaChanges,
    ServerLocation,
    StartOptions
  }

  # --- types ----------------------------------------------------------------------------------------------------

  @impl Ecto.Adapter
  defdelegate loaders(primitive, type), to: TypeCodec

  @impl Ecto.Adapter
  defdelegate dumpers(primitive, type), to: TypeCodec

  @impl Ecto.Adapter.Schema
  defdelegate autogenerate(type), to: TypeCodec

  # --- queries --------------------------------------------------------------------------------------------------

  @impl Ecto.Adapter.Queryable
  def prepare(operation, query), do: operation |> super(query) |> Prepared.mark(operation, query)

  @impl Ecto.Adapter.Queryable
  def execute(meta, query_meta, prepared, params, options) do
    {prepared, options, marks} = Prepared.unmark(prepared, options)
    no_prefixes!(meta, query_meta)

    writing(meta, options, marks.written, fn ->
      case TableKind.written(meta, marks.written) do
        :table ->
          {count, rows} = super(meta, query_meta, prepared, params, options)
          {count, SelectedTypes.load(rows, marks.types)}

        # The rows that its triggers were run for are counted by what they return.
        {:view, sql, select?} ->
          {count, rows} = super(meta, query_meta, {:nocache, {0, sql}}, params, options)
          {count, if(select?, do: SelectedTypes.load(rows, marks.types))}
      end
    end)
  end

  # A prefix names a database that the connection has attached, and a server attaches none.
  defp no_prefixes!(%{opts: opts} = meta, %{sources: sources}) when is_tuple(sources) do
    if :lists.keyfind(:server, 1, opts) == {:server, true},
      do:
        for(
          {table, _schema, prefix} when is_binary(table) <- Tuple.to_list(sources),
          do: no_prefix!(meta, prefix)
        )
  end

  defp no_prefixes!(_meta, _query_meta), do: :ok

  defp no_prefix!(_meta, nil), do: :ok

  defp no_prefix!(%{opts: opts}, prefix) do
    if opts[:server] do
      raise EctoLibSql.Error,
        code: :unsupported,
        message:
          "the prefix #{inspect(prefix)} names an attached database, and a database on a server has none attached. Start a Repo for " <>
            "each of the server's databases, with the option :namespace, and choose one by put_dynamic_repo/1"
    end
  end

  # With the connection that is asked what the source is, where connections differ.
  defp writing(_meta, _options, nil, write), do: write.()

  defp writing(meta, options, %{source: source} = written, write) do
    no_prefix!(meta, Map.get(written, :prefix))

    if TableKind.of_connection?(meta, source) and not checked_out?(meta),
      do: checkout(meta, Keyword.take(options, [:timeout, :deadline, :queue, :checkout_retries]), write),
      else: write.()
  end

  # Ecto's own is not overridable.
  defoverridable stream: 5

  @impl Ecto.Adapter.Queryable
  def stream(meta, query_meta, prepared, params, options) do
    {prepared, options, %{types: types}} = Prepared.unmark(prepared, options)
    # A query of Ecto's never writes. What is read beside writes is read when it is wanted.
    options = Keyword.put_new(options, :read_ahead, options[:stream] != :live)
    stream = super(meta, query_meta, prepared, params, options)

    if types == [],
      do: stream,
      else: Stream.map(stream, fn {count, rows} -> {count, SelectedTypes.load(rows, types)} end)
  end

  # --- rows -----------------------------------------------------------------------------------------------------

  @impl Ecto.Adapter.Schema
  def insert_all(meta, schema, header, rows, on_conflict, returning, placeholders, options) do
    rows =
      if is_list(rows), do: Enum.map(rows, &TypeCodec.generated_id(&1, schema.autogenerate_id)), else: rows

    writing(meta, options, schema, fn ->
      case TableKind.of(meta, schema.prefix, schema.source) do
        :table ->
          InsertAll.run(meta, schema, @conn, header, rows, on_conflict, returning, placeholders, options)

        kind ->
          TableKind.insert_all(
            kind,
            meta,
            schema,
            @conn,
            header,
            rows,
            on_conflict,
            returning,
            placeholders,
            options
          )
      end
    end)
  end

  @impl Ecto.Adapter.Schema
  def insert(meta, schema, params, on_conflict, returning, options) do
    params = TypeCodec.generated_id(params, schema.autogenerate_id)

    writing(meta, options, schema, fn ->
      case TableKind.of(meta, schema.prefix, schema.source) do
        :table -> super(meta, schema, params, on_conflict, returning, numbered(options, schema, returning))
        kind -> TableKind.insert(kind, meta, schema, @conn, params, on_conflict, returning, options)
      end
    end)
  end

  # A virtual table that was made since the kinds were looked up numbers its rows after RETURNING was read, which says -1
  # for the rowid and NULL for the key of an R*Tree. The connection knows the number when the statement has ended.
  defp numbered(options, schema, returning) do
    case Enum.find_index(returning, &numbered?(&1, schema)) do
      nil -> options
      place -> [{:returned_rowid, place} | options]
    end
  end

  defp numbered?(:rowid, _schema), do: true
  defp numbered?(name, %{autogenerate_id: {_field, name, :id}}), do: true
  defp numbered?(_name, _schema), do: false

  @impl Ecto.Adapter.Schema
  def update(meta, schema, fields, filters, returning, options) do
    writing(meta, options, schema, fn ->
      case TableKind.of(meta, schema.prefix, schema.source) do
        :table -> super(meta, schema, fields, filters, returning, options)
        kind -> TableKind.update(kind, meta, schema, @conn, fields, filters, returning, options)
      end
    end)
  end

  @impl Ecto.Adapter.Schema
  def delete(meta, schema, filters, returning, options) do
    writing(meta, options, schema, fn ->
      case TableKind.of(meta, schema.prefix, schema.source) do
        :table -> super(meta, schema, filters, returning, options)
        kind -> TableKind.delete(kind, meta, schema, @conn, filters, returning, options)
      end
    end)
  end

  # --- pool -----------------------------------------------------------------------------------------------------

  defoverridable init: 1

  # The pools of `:pool_count` are Ecto's; around them stands the one sidecar that they share.
  @impl Ecto.Adapter
  def init(config) do
    config = config |> ServerLocation.hidden() |> Keyword.put_new(:sidecar_name, sidecar_name(config))

    case {StartOptions.check(config), Keyword.get(config, :pool_count, 1)} do
      {:ok, 1} ->
        config = shared(config)
        {:ok, %{start: {Pool, :start_link, arguments}} = child, meta} = super(config)
        {:ok, %{child | start: {Pool, :start_link_for_repo, arguments}}, beside_shared(meta, config)}

      {:ok, _count} ->
        config =
          config
          |> Keyword.reject(&(&1 == {:sidecar, nil}))
          |> Options.anchored()
          |> Pool.named_memory()
          |> shared()

        {:ok, child, meta} =
          ([lane_elsewhere: true] ++ config)
          |> Keyword.put_new(:sidecar, Pool.sidecar_options(config)[:name])
          |> Keyword.delete(:sidecar_options)
          |> super()

        {:ok, Pools.child_spec({child, config}), beside_shared(meta, config)}

      # Ecto would raise errors of its own functions for some of them, so it gets none of them; the start refuses.
      {{:error, error}, _count} ->
        {:ok, child, meta} = super(Keyword.take(config, [:repo]) ++ [telemetry_prefix: []])
        {:ok, %{child | start: {Pool, :refuse, [error]}}, meta}
    end
  end

  # What all connections of the Repo share. It is found by the options that Ecto adds to those of each call.
  defp shared(config) do
    config = Keyword.put(config, :schema_changes, SchemaChanges.new(attached(config)))
    config = Keyword.put(config, :repeated, repeated(config))

    case Lane.new(config) do
      nil -> config
      lane -> Keyword.put(config, :lane_ref, lane)
    end
  end

  defp attached(config) do
    attach = config[:attach]
    if Keyword.keyword?(attach), do: Keyword.keys(attach), else: []
  end

  # What belongs to each call of the Repo, and is not among what Ecto adds to it.
  defp repeated(config) do
    place = if ServerLocation.server?(config), do: [server: true], else: []
    PoolDefaults.repeated(config) ++ place ++ Keyword.take(config, [:migration_lock_lease, :checkout_retries])
  end

  defp beside_shared(meta, config) do
    ignored = Keyword.take(config, [:ignored_options])
    repeated = config[:repeated]
    meta = %{meta | opts: ignored ++ [{:schema_changes, config[:schema_changes]} | repeated ++ meta.opts]}

    case config[:lane_ref] do
      nil -> meta
      lane -> %{meta | opts: [{:lane, lane} | meta.opts]}
    end
  end

  # By it a Repo's sidecar is found in the observer and in logs.
  defp sidecar_name(config) do
    name = Keyword.get(config, :name, config[:repo])
    if is_atom(name) and name != nil, do: Module.concat(name, Sidecar)
  end

  # --- checkouts and transactions -------------------------------------------------------------------------------

  # Those of `Ecto.Adapters.SQL`, with the deadline and the checks of `EctoLibSql.transaction/3` and `checkout/3`.
  defoverridable transaction: 3

  @impl Ecto.Adapter.Transaction
  def transaction(meta, options, fun) do
    EndedPool.check!(meta)
    options = transaction_options(meta, options)

    cond do
      in_transaction?(meta) -> privileged(meta, options, fn -> super(meta, options, fun) end)
      checked_out?(meta) -> outermost(meta, fn -> super(meta, options, fun) end)
      true -> outermost(meta, fn -> EndedPool.inside(meta, fn -> super(meta, options, fun) end) end)
    end
  end

  defp outermost(meta, transaction) do
    TableKind.know(meta)

    try do
      transaction.()
    after
      TableKind.transaction_ended(meta)
    end
  end

  # A part of a checkout or a transaction has a connection to mark; the outermost one begins with its options.
  defp privileged(meta, options, fun), do: Privileges.around(options, &mark(meta, &1, options), fun)

  defp mark(meta, operation, options),
    do: Ecto.Adapters.SQL.query(meta, %EctoLibSql.Query{operation: operation}, [], options)

  defp transaction_options(%{pid: pool} = meta, options) do
    if checked_out?(meta),
      do: tap(options, &EctoLibSql.transaction_options(pool, ignored(meta) ++ &1)),
      else:
        EctoLibSql.transaction_options(pool, options ++ Keyword.take(meta.opts, [:timeout, :ignored_options]))
  end

  defp ignored(meta), do: Keyword.take(meta.opts, [:ignored_options])

  @impl Ecto.Adapter
  def checkout(meta, options, fun) do
    CallOptions.check!(:checkout, ignored(meta) ++ options)

    if checked_out?(meta) do
      privileged(meta, options, fn -> super(meta, options, fun) end)
    else
      EndedPool.check!(meta)
      options = EctoLibSql.Deadline.enter(options ++ Keyword.take(meta.opts, [:timeout]))
      run = fn attempt -> Ecto.Adapters.SQL.checkout(meta, options, fn -> attempt.(meta) end) end
      mark = &mark(&1, &2, options)
      EndedPool.inside(meta, fn -> EctoLibSql.checked_out(run, mark, fn _meta -> fun.() end) end)
    end
  end

  # --- migrations -----------------------------------------------------------------------------------------------

  @impl Ecto.Adapter.Migration
  def supports_ddl_transaction?, do: true

  @impl Ecto.Adapter.Migration
  defdelegate lock_for_migrations(meta, options, fun), to: MigrationLock, as: :run

  @impl Ecto.Adapter.Migration
  def execute_ddl(meta, definition, options) do
    no_prefix!(meta, prefix(definition))
    IndexColumns.check!(meta, definition, options)

    try do
      if is_tuple(definition),
        do: CompileCheck.run(meta, definition, options, fn -> command(meta, definition, options) end),
        else: execute_sql(meta, definition, [pragmas: :refused] ++ options)
    after
      TableKind.forget(meta)
    end
  end

  defp prefix(definition) when is_tuple(definition) do
    case elem(definition, 1) do
      %{prefix: prefix} -> prefix
      _other -> nil
    end
  end

  defp prefix(_sql), do: nil

  # What is there already needs no right to create it: so the migrator finds nothing to do under a policy.
  defp command(meta, {:create_if_not_exists, named, _} = definition, options) do
    execute_sql(meta, definition, options)
  rescue
    error in EctoLibSql.Error ->
      if error.code == :not_authorized and there?(meta, named),
        do: {:ok, []},
        else: reraise(error, __STACKTRACE__)
  end

  defp command(meta, definition, options) do
    cond do
      Alter.needed?(definition) -> Alter.run(meta, definition, options)
      DropTable.needed?(definition) -> DropTable.run(meta, definition, options)
      true -> execute_sql(meta, definition, options)
    end
  end

  defp there?(meta, %{prefix: prefix, name: name}) do
    schema = Quoting.name(prefix || "main")

    sql = [
      "SELECT count(*) FROM ",
      schema,
      ".sqlite_schema WHERE type IN ('table', 'view', 'index') AND name = ?1 COLLATE NOCASE"
    ]

    Ecto.Adapters.SQL.query!(meta, sql, [to_string(name)], policy: false, log: false).rows == [[1]]
  end

  defp execute_sql(meta, definition, options),
    do: Ecto.Adapters.SQL.execute_ddl(meta, @conn, definition, options)

  # --- storage and structure ------------------------------------------------------------------------------------

  @impl Ecto.Adapter.Storage
  defdelegate storage_up(options), to: Storage, as: :up

  @impl Ecto.Adapter.Storage
  defdelegate storage_down(options), to: Storage, as: :down

  @impl Ecto.Adapter.Storage
  defdelegate storage_status(options), to: Storage, as: :status

  @impl Ecto.Adapter.Structure
  defdelegate structure_dump(default, config), to: Structure, as: :dump

  @impl Ecto.Adapter.Structure
  defdelegate structure_load(default, config), to: Structure, as: :load

  @impl Ecto.Adapter.Structure
  defdelegate dump_cmd(arguments, options, config), to: Structure, as: :command
end
