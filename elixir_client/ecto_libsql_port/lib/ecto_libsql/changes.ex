defmodule EctoLibSql.Changes do
  @moduledoc """
  The change feed of a Repo: after each commit, the subscriber gets one message that tells which rows of a schema it has changed,
  with values loaded by the schema's types.

      {:ok, subscription} = EctoLibSql.Changes.subscribe(MyApp.Repo, MyApp.City)

      receive do
        %EctoLibSql.Changes{changes: [%{operation: :insert, new: %MyApp.City{name: name}}]} -> name
      end

  Changes by all connections of the Repo's sidecar are told, also those by raw SQL, by triggers and by foreign keys. Those of other
  programs, and of other nodes with a sidecar of their own, are not. Nothing is told of what is rolled back. `LibsqlPort.Changes`
  documents the feed; this module adds schemas.

  ## Messages

  `%EctoLibSql.Changes{}` has the fields `subscription` and `repo`, `sequence` (the transaction's number), and `changes`, a list in
  the order in which they were made of maps with

    * `operation` – `:insert`, `:update` or `:delete`
    * `schema` – the schema module
    * `key` – the primary key's fields with their values after the change, or before it if the row is deleted
    * `old_key` – the same before, if an update has changed them, else `nil`
    * `new` – the struct after the change; `nil` for a deletion, and with `values: :none`
    * `old` – the struct before the change; `nil` unless asked for by `values: :old_and_new`, and for an insert
    * `unloaded` – fields whose value the schema's type does not take, mostly `[]`. They are in the struct as they are stored

  A change with the operation `:schema` or `:resync` is passed on as `LibsqlPort.Changes` gives it: rows may have changed that are
  not told. When the feed ends by itself, `%LibsqlPort.Changes.Ended{}` comes.
  """

  alias Ecto.Adapters.SQL.Sandbox
  alias EctoLibSql.Changes.{Loader, Tables}
  alias EctoLibSql.{Direct, KnownOptions, RepoInstance, SqlLexer}
  alias LibsqlPort.Changes, as: Feed
  alias LibsqlPort.OptionCheck

  @enforce_keys [:subscription, :repo, :sequence, :changes]
  defstruct [:subscription, :repo, :sequence, :changes]

  @typedoc "A changed row; its keys are described above."
  @type change :: %{
          required(:operation) => :insert | :update | :delete,
          required(:schema) => module,
          required(:key) => map,
          required(:old_key) => map | nil,
          required(:new) => struct | nil,
          required(:old) => struct | nil,
          required(:unloaded) => [atom]
        }

  @typedoc "The message of a transaction."
  @type t :: %__MODULE__{
          subscription: Feed.subscription(),
          repo: module,
          sequence: non_neg_integer,
          changes: [change | Feed.change()]
        }

  @typedoc "A Repo's module, whose dynamic Repo is that of the calling process, or the name or process of one that runs."
  @type repo :: module | atom | pid

  @passed_on [:operations, :values, :subscriber, :pending_bytes_max, :pending_messages_max, :demand, :timeout]

  # What the driver calls otherwise.
  @elsewhere [
    tables: "Those of the schemas are told",
    columns: "Write :fields, with the names of the schema",
    changed_columns: "Write :changed_fields, with the names of the schema",
    transform: "LibsqlPort.Changes.subscribe/2 takes it",
    hooks: "LibsqlPort.Changes.subscribe/2 takes it",
    changes: "LibsqlPort.Changes.subscribe/2 takes it",
    progress_interval: "LibsqlPort.Changes.subscribe/2 takes it"
  ]

  @doc """
  Subscribes the calling process to the changes of one schema, or of several, in the Repo's database.

  The Repo is its module (with `put_dynamic_repo/1` the calling process's dynamic Repo), or the name or process of a running one. In
  `Ecto.Adapters.SQL.Sandbox` nothing is committed, so nothing is told but what `unboxed_run/2` writes.

  ## Options

    * `:operations` – a list of some of `:insert`, `:update` and `:delete`; by default all
    * `:values` – `:new` (the default), `:old_and_new` or `:none`
    * `:fields` – the fields whose values are told; the structs have these and those of the primary key, which are always told. The others
      have the schema's defaults there. By default all
    * `:changed_fields` – an update is told only if it gives one of these fields another value
    * `:subscriber`, `:pending_bytes_max`, `:pending_messages_max`, `:demand`, `:timeout` – as in `LibsqlPort.Changes.subscribe/2`

  With several schemas `:fields` and `:changed_fields` may name fields of any of them. A change of a table that two of them have is told once
  for each.

  A schema's `@schema_prefix` is the name of an attached database: the subscription is to the table there, whatever other connections call that
  database. All connections of the Repo have it, by `:attach` or `:after_connect`. Schemas of two databases need a subscription each.

  Returns `{:ok, subscription}`, where the subscription is a process that each message names, or `{:error, error}`: a `LibsqlPort.Error`
  of code `:invalid_option` for what is no such option, no Repo or no schema with a table of its own (a view or a virtual table is none), for a
  prefix that is no database of the Repo's connections, or what asking the sidecar gives, such as `:sidecar_down`.

  ## Examples

      {:ok, subscription} =
        EctoLibSql.Changes.subscribe(MyApp.Repo, [MyApp.City, MyApp.Country], operations: [:insert, :delete])

      receive do
        %EctoLibSql.Changes{subscription: ^subscription, changes: changes} ->
          for %{operation: operation, schema: schema, key: key} <- changes, do: {operation, schema, key}
      end

      :ok = EctoLibSql.Changes.unsubscribe(subscription)
  """
  @spec subscribe(repo, module | [module, ...], keyword) ::
          {:ok, Feed.subscription()} | {:error, Exception.t()}
  def subscribe(repo, schemas, options \\ []) do
    with {:ok, checked} <- KnownOptions.check("a subscription", options, known(), @elsewhere),
         {:ok, schemas} <- each_once(schemas),
         :ok <- schemas?(schemas),
         {:ok, prefix} <- prefix(schemas),
         {:ok, columns} <- columns(schemas, checked.fields, ":fields", &with_key/1),
         {:ok, changed_columns} <- columns(schemas, checked.changed_fields, ":changed_fields"),
         {:ok, {module, _} = instance} <- RepoInstance.of(repo),
         {:ok, source} <- source(instance),
         {:ok, source} <- Tables.source(instance, source, prefix, schemas) do
      loader = Loader.new(module, schemas)

      [values: :new]
      |> Keyword.merge(Keyword.take(options, @passed_on))
      |> Keyword.merge(
        tables: Enum.map(schemas, & &1.__schema__(:source)),
        columns: columns,
        changed_columns: changed_columns,
        transform: &message(&1, module, loader)
      )
      |> then(&Feed.subscribe(source, &1))
    end
  end

  defp each_once(schemas) do
    if is_list(schemas) and not OptionCheck.list?(schemas),
      do: KnownOptions.invalid("#{inspect(schemas)} is no list of schemas"),
      else: {:ok, schemas |> List.wrap() |> Enum.uniq()}
  end

  # The defaults of what is passed on are the driver's.
  defp known do
    [fields: KnownOptions.some_names(), changed_fields: KnownOptions.some_names()] ++
      Enum.map(@passed_on, &{&1, &1 |> KnownOptions.of_driver(nil) |> KnownOptions.not_empty()})
  end

  @doc """
  Ends a subscription. No message of it comes after this has returned, and those in the calling process's mailbox are removed. Returns
  `:ok`, also if it has ended already.

  ## Examples

      {:ok, subscription} = EctoLibSql.Changes.subscribe(MyApp.Repo, MyApp.City)
      :ok = EctoLibSql.Changes.unsubscribe(subscription)
  """
  @spec unsubscribe(Feed.subscription()) :: :ok
  defdelegate unsubscribe(subscription), to: Feed

  @doc """
  Asks for `count` more messages of a subscription with `demand: :manual`. Returns `:ok` at once.

  ## Examples

      {:ok, subscription} = EctoLibSql.Changes.subscribe(MyApp.Repo, MyApp.City, demand: :manual)
      :ok = EctoLibSql.Changes.demand(subscription, 10)
  """
  @spec demand(Feed.subscription(), pos_integer) :: :ok
  defdelegate demand(subscription, count \\ 1), to: Feed

  @doc """
  The messages of a subscription as a stream, which subscribes when it is begun and unsubscribes when it is left. Takes the options
  of `subscribe/3` except `:subscriber` and `:demand`, for which it raises a `LibsqlPort.Error` of code `:invalid_option`; a failure to
  subscribe is raised when the stream is begun. It ends when the feed does, as when the Repo is stopped.

  ## Examples

      MyApp.Repo
      |> EctoLibSql.Changes.stream(MyApp.City, operations: [:insert])
      |> Stream.flat_map(& &1.changes)
      # Beside inserts there are `:resync` and `:schema`, which have no struct.
      |> Stream.filter(&(&1.operation == :insert))
      |> Enum.each(&IO.puts(&1.new.name))
  """
  @spec stream(repo, module | [module, ...], keyword) :: Enumerable.t()
  def stream(repo, schemas, options \\ []) do
    Feed.of_stream!(options, [:subscriber, :demand])

    Feed.messages(fn options_of_stream ->
      subscribe(repo, schemas, Keyword.merge(options, options_of_stream))
    end)
  end

  @doc """
  Whether a message says that transactions are not told in full, so that whoever keeps a copy has to read it anew. A change of the schema
  alone is none.

  ## Examples

      iex> message = %EctoLibSql.Changes{subscription: self(), repo: MyApp.Repo, sequence: 2, changes: [%{operation: :resync, reason: :lagged, from: 1, to: 2}]}
      iex> EctoLibSql.Changes.resync?(message)
      true
      iex> EctoLibSql.Changes.resync?(%{message | changes: [%{operation: :schema}]})
      false
  """
  @spec resync?(t) :: boolean
  defdelegate resync?(message), to: Feed

  @doc false
  # What to subscribe to for a Repo: its database by name, or the connection that has it for itself.
  @spec source(RepoInstance.t()) :: {:ok, Feed.source()} | {:error, Exception.t()}
  def source({_module, dynamic}) do
    meta = Ecto.Adapter.lookup_meta(dynamic)

    # Where a process owns no connection of the sandbox, the feed listens to the database all the same.
    case connection(meta) ||
           Sandbox.unboxed_run(GenServer.whereis(dynamic), fn -> Direct.connection(meta) end) do
      {_sidecar, %{path: ":memory:"} = conn} -> {:ok, conn}
      {sidecar, %{path: path}} -> {:ok, {:database, sidecar, path}}
    end
  rescue
    error -> {:error, error}
  end

  defp connection(meta) do
    Direct.connection(meta)
  rescue
    DBConnection.OwnershipError -> nil
  end

  defp message(%Feed{} = feed, repo, loader) do
    %__MODULE__{
      subscription: feed.subscription,
      repo: repo,
      sequence: feed.sequence,
      changes: Enum.flat_map(feed.changes, &Loader.changes(&1, loader))
    }
  end

  defp message(hook, _repo, _loader), do: hook

  @doc false
  # Whether these are schemas of tables.
  @spec schemas?([term]) :: :ok | {:error, Exception.t()}
  def schemas?([]),
    do: KnownOptions.invalid("no schema is named; give a module that uses Ecto.Schema, or a list of such")

  def schemas?(schemas) do
    Enum.find_value(schemas, :ok, fn schema ->
      cond do
        not schema?(schema) ->
          KnownOptions.invalid(
            "#{inspect(schema)} is no schema; give a module that uses Ecto.Schema, or a list of such"
          )

        schema.__schema__(:source) == nil ->
          KnownOptions.invalid("#{inspect(schema)} is an embedded schema, which has no table")

        true ->
          nil
      end
    end)
  end

  defp schema?(schema),
    do: is_atom(schema) and Code.ensure_loaded?(schema) and function_exported?(schema, :__schema__, 1)

  # A feed is of one database.
  defp prefix(schemas) do
    case Enum.uniq_by(schemas, &SqlLexer.lower(&1.__schema__(:prefix) || "main")) do
      [schema] ->
        {:ok, schema.__schema__(:prefix) || "main"}

      [one, other | _] ->
        KnownOptions.invalid(
          "#{inspect(one)} and #{inspect(other)} are in different databases, by their @schema_prefix: subscribe to each by itself"
        )
    end
  end

  @doc false
  # The columns of these fields, which `option` names; an error if one of them is of no schema.
  @spec columns([module], [atom] | nil, String.t(), ([module] -> [atom])) ::
          {:ok, [String.t()] | nil} | {:error, Exception.t()}
  def columns(schemas, fields, option, more \\ fn _schemas -> [] end)
  def columns(_schemas, nil, _option, _more), do: {:ok, nil}

  def columns(schemas, fields, option, more) do
    known =
      for schema <- schemas, field <- schema.__schema__(:fields), do: {field, Loader.column(schema, field)}

    case Enum.reject(fields, &Enum.any?(known, fn {field, _} -> field == &1 end)) do
      [] ->
        wanted = fields ++ more.(schemas)
        {:ok, for({field, column} <- known, field in wanted, uniq: true, do: column)}

      [other | _] ->
        of = Enum.map_join(schemas, ", ", &inspect/1)
        KnownOptions.invalid("#{option} names #{inspect(other)}, which is no field of #{of}")
    end
  end

  # A struct without its key is of no use to the Repo.
  defp with_key(schemas), do: Enum.flat_map(schemas, & &1.__schema__(:primary_key))
end
