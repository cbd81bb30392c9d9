defmodule EctoLibSql.Changes.Broadcaster do
  @moduledoc """
  Broadcasts the changes of a Repo's schemas through Phoenix.PubSub, or by a function.

      children = [
        MyApp.Repo,
        {Phoenix.PubSub, name: MyApp.PubSub},
        {EctoLibSql.Changes.Broadcaster,
         repo: MyApp.Repo,
         pubsub: MyApp.PubSub,
         watch: [
           {MyApp.City, :inserted},
           {MyApp.City, :updated, trigger_columns: [:name], extra_columns: [:country_id], label: :city_renamed},
           {MyApp.City, :deleted}
         ]}
      ]

  Each change becomes a message `{identifier, row}`, where the identifier is `{MyApp.City, :inserted}` or the label, and the row a map
  of the primary key's fields and those of `:extra_columns`, such as `%{id: 7, country_id: 3}`. Values are not broadcast unless asked
  for: a receiver reads the row, and may find a later version of it, or none.

  When changes may have been missed, the message is `{identifier, :resync}`, and a receiver reads anew what it keeps. It comes, to those who have
  subscribed without a filter,

    * after each start of the broadcaster, the first one included, when it has subscribed to the changes of the Repo and before any of them is
      broadcast: what was committed while it was not there is in what receivers read then, and what is committed later is told. It is not
      known to a process whether another one has ended before it, or how
    * when the feed says that it has left something out, or the schema has changed (`EctoLibSql.Changes`)

  A process receives them after `subscribe/2`, all of them or those of one row:

      EctoLibSql.Changes.Broadcaster.subscribe(MyApp.PubSub, {MyApp.City, :inserted})
      EctoLibSql.Changes.Broadcaster.subscribe(MyApp.PubSub, :city_renamed, id: 7)
      EctoLibSql.Changes.Broadcaster.subscribe(MyApp.PubSub, :city_renamed, country_id: 3)

  ## Options

    * `:repo` – the Repo: its module, or the name or process of a running dynamic one; required. With a module it is the dynamic Repo of the
      process that starts the broadcaster, or `:dynamic_repo`
    * `:dynamic_repo` – the name or process of the dynamic Repo of that module
    * `:watch` – a list of `{schema, event}` or `{schema, event, options}`, with an event of `:inserted`, `:updated`, `:deleted`;
      required. Its options are
        * `:label` – an atom that takes the place of `{schema, event}` in topics and messages
        * `:trigger_columns` – of `:updated`; fields: an update counts only if it gives one of them another value
        * `:extra_columns` – fields whose values the messages bear, and by which may be subscribed if they have a text: those of maps, lists
          and structs without `String.Chars` are in messages, and have no topic
    * `:pubsub` – the name of the application's Phoenix.PubSub
    * `:broadcast` – in its place, a function of a topic and a message
    * `:name` – of the process

  One process per node broadcasts what the sidecar of that node commits; with Phoenix.PubSub every node hears of it.
  """

  use GenServer

  alias EctoLibSql.{Changes, KnownOptions, RepoInstance}
  alias LibsqlPort.Changes.Ended
  alias LibsqlPort.OptionCheck

  @whose "EctoLibSql.Changes.Broadcaster"
  @operations %{inserted: :insert, updated: :update, deleted: :delete}
  @events ":inserted, :updated or :deleted"

  @elsewhere [
    trigger_columns:
      "Updates have :trigger_columns: whether a row is inserted or deleted depends on no column"
  ]

  @typedoc "What has happened to a row."
  @type event :: :inserted | :updated | :deleted
  @typedoc "What messages are about: the identifier that a watcher has by its schema and event, or its label."
  @type subject :: {module, event} | atom

  @doc false
  # Several may run under one supervisor.
  def child_spec(options) do
    id = if Keyword.keyword?(options), do: {options[:repo], options[:dynamic_repo], options[:name]}
    %{super(options) | id: {__MODULE__, id}}
  end

  @doc """
  Starts it under a supervisor, or by `start_supervised/1` in a test. Returns an error of code `:invalid_option` for what is no such option,
  before anything is started.

  ## Examples

      {:ok, broadcaster} =
        EctoLibSql.Changes.Broadcaster.start_link(
          repo: MyApp.Repo,
          pubsub: MyApp.PubSub,
          watch: [{MyApp.City, :inserted}, {MyApp.City, :updated, extra_columns: [:country_id]}]
        )

  With a function in the place of Phoenix.PubSub:

      test = self()
      broadcast = fn topic, message -> send(test, {topic, message}) end

      {:ok, broadcaster} =
        EctoLibSql.Changes.Broadcaster.start_link(
          repo: MyApp.Repo,
          broadcast: broadcast,
          watch: [{MyApp.City, :inserted}]
        )

      {"ecto_libsql:MyApp.City:inserted", {{MyApp.City, :inserted}, :resync}} = receive(do: (told -> told))
      MyApp.Repo.insert!(%MyApp.City{id: 7, name: "Sucre"})
      {"ecto_libsql:MyApp.City:inserted", {{MyApp.City, :inserted}, %{id: 7}}} = receive(do: (told -> told))
      {"ecto_libsql:MyApp.City:inserted:id:7", _message} = receive(do: (told -> told))
      :ok = GenServer.stop(broadcaster)
  """
  @spec start_link(keyword) :: GenServer.on_start() | {:error, Exception.t()}
  def start_link(options) do
    with {:ok, checked} <- KnownOptions.check(@whose, options, known()),
         {:ok, instance} <- RepoInstance.of(checked.repo, checked.dynamic_repo),
         {:ok, broadcast} <- broadcast(checked),
         {:ok, watchers} <- watchers(checked.watch) do
      GenServer.start_link(__MODULE__, {instance, broadcast, watchers}, Keyword.take(options, [:name]))
    end
  end

  defp known do
    [
      repo: {:required, &(&1 != nil), "a Repo"},
      dynamic_repo: {nil, &(is_atom(&1) or is_pid(&1)), "the name or process of a Repo"},
      watch: {:required, &(&1 != [] and OptionCheck.list?(&1)), "a list such as [{MyApp.City, :inserted}]"},
      pubsub: {nil, &is_atom/1, "the name of a Phoenix.PubSub"},
      broadcast: {nil, &(is_nil(&1) or is_function(&1, 2)), "a function of a topic and a message"},
      name: {nil, &(is_atom(&1) or is_tuple(&1)), "the name of a process"}
    ]
  end

  @doc """
  Subscribes the calling process to the messages of `identifier`, a `{schema, event}` or a label; with `id: 7`, or another field of the
  primary key or of `:extra_columns`, to those of such rows. A filter is of one field, by its value after the change; rows in which it
  is `nil` have no topic of their own. Needs Phoenix.PubSub.

  Returns what `Phoenix.PubSub.subscribe/2` does. Raises a `LibsqlPort.Error` of code `:invalid_option` for an event that is none, and for
  another filter. Nobody can tell whether a broadcaster watches what is subscribed to.

  ## Examples

      :ok = EctoLibSql.Changes.Broadcaster.subscribe(MyApp.PubSub, {MyApp.City, :inserted}, country_id: 3)

      receive do
        {{MyApp.City, :inserted}, %{id: id, country_id: 3}} -> MyApp.Repo.get(MyApp.City, id)
      end
  """
  @spec subscribe(atom, subject, keyword) :: :ok | {:error, term}
  def subscribe(pubsub, identifier, filter \\ []) do
    # Not a dependency: whoever uses it has it.
    apply(Phoenix.PubSub, :subscribe, [pubsub, topic(identifier, filter)])
  end

  @doc """
  The topic of an identifier's messages, or of those of the rows with this value.

      iex> EctoLibSql.Changes.Broadcaster.topic({MyApp.City, :inserted})
      "ecto_libsql:MyApp.City:inserted"

      iex> EctoLibSql.Changes.Broadcaster.topic(:city_renamed, id: 7)
      "ecto_libsql:city_renamed:id:7"
  """
  @spec topic(subject, keyword) :: String.t()
  def topic(identifier, filter \\ [])

  def topic({schema, event}, filter) when is_atom(schema) and is_map_key(@operations, event),
    do: topic_of("#{inspect(schema)}:#{event}", filter)

  def topic(label, filter) when is_atom(label) and label != nil, do: topic_of(label, filter)

  def topic(other, _filter) do
    raise LibsqlPort.Error.new(
            :invalid_option,
            "#{@whose}: an identifier is {schema, event} with an event of #{@events}, or a label, not #{inspect(other)}"
          )
  end

  defp topic_of(label, []), do: "ecto_libsql:#{label}"

  defp topic_of(label, [{field, value}] = filter) when is_atom(field) do
    if text?(value), do: "ecto_libsql:#{label}:#{field}:#{value}", else: no_filter(filter)
  end

  defp topic_of(_label, filter), do: no_filter(filter)

  # A list may have one, or may raise.
  defp text?(value),
    do: not is_nil(value) and not is_list(value) and String.Chars.impl_for(value) != nil

  defp no_filter(filter) do
    raise LibsqlPort.Error.new(
            :invalid_option,
            "#{@whose}: a filter is one field with a value that is not nil and has a text, such as [id: 7], not #{inspect(filter)}"
          )
  end

  # --- its process ----------------------------------------------------------------------------------------------

  @impl true
  def init({instance, broadcast, watchers}) do
    case subscribe_all(RepoInstance.enter(instance), watchers) do
      {:ok, by_subscription} ->
        {:ok, %{broadcast: broadcast, watchers: by_subscription}, {:continue, :subscribed}}

      {:error, reason} ->
        {:stop, reason}
    end
  end

  # What is committed from here on is in the mailbox, and is told after that.
  @impl true
  def handle_continue(:subscribed, state) do
    state.watchers |> Map.values() |> Enum.uniq_by(& &1.identifier) |> Enum.each(&resync(&1, state.broadcast))
    {:noreply, state}
  end

  defp broadcast(%{broadcast: nil, pubsub: nil}),
    do: invalid("needs `pubsub: MyApp.PubSub`, or `broadcast:` with a function of a topic and a message")

  defp broadcast(%{broadcast: nil, pubsub: pubsub}) do
    if Code.ensure_loaded?(Phoenix.PubSub),
      do: {:ok, fn topic, message -> apply(Phoenix.PubSub, :broadcast, [pubsub, topic, message]) end},
      else:
        invalid(
          "`pubsub:` needs Phoenix.PubSub: add :phoenix_pubsub to the dependencies, or give `broadcast:`"
        )
  end

  defp broadcast(%{broadcast: broadcast, pubsub: nil}), do: {:ok, broadcast}
  defp broadcast(_both), do: invalid("takes `pubsub:` or `broadcast:`, not both")

  defp watchers(list) do
    Enum.reduce_while(list, {:ok, []}, fn given, {:ok, watchers} ->
      case watcher(given) do
        {:ok, watcher} -> {:cont, {:ok, [watcher | watchers]}}
        error -> {:halt, error}
      end
    end)
  end

  defp watcher({schema, event}), do: watcher({schema, event, []})

  defp watcher({schema, event, options}) when is_map_key(@operations, event) do
    with {:ok, checked} <- KnownOptions.check("#{@whose}: a watcher", options, of_watcher(event), @elsewhere),
         :ok <- Changes.schemas?([schema]),
         {:ok, _} <- Changes.columns([schema], checked[:trigger_columns], "#{@whose}: :trigger_columns"),
         {:ok, _} <- Changes.columns([schema], checked.extra_columns, "#{@whose}: :extra_columns") do
      {:ok,
       %{
         schema: schema,
         event: event,
         identifier: checked.label || {schema, event},
         trigger: checked[:trigger_columns],
         extra: checked.extra_columns || []
       }}
    end
  end

  defp watcher(other) do
    invalid(
      "a watcher is {schema, event} or {schema, event, options} with an event of #{@events}, not #{inspect(other)}"
    )
  end

  defp of_watcher(event) do
    trigger = if event == :updated, do: [trigger_columns: KnownOptions.some_names()], else: []
    [label: {nil, &is_atom/1, "an atom"}, extra_columns: KnownOptions.names([])] ++ trigger
  end

  defp subscribe_all(repo, watchers) do
    Enum.reduce_while(watchers, {:ok, %{}}, fn watcher, {:ok, subscriptions} ->
      case Changes.subscribe(repo, watcher.schema, feed_options(watcher)) do
        {:ok, subscription} -> {:cont, {:ok, Map.put(subscriptions, subscription, watcher)}}
        error -> {:halt, error}
      end
    end)
  end

  defp feed_options(watcher) do
    [operations: [@operations[watcher.event]], values: values(watcher)] ++
      if(watcher.extra == [], do: [], else: [fields: watcher.extra]) ++
      if(watcher.event == :updated and watcher.trigger, do: [changed_fields: watcher.trigger], else: [])
  end

  # The key comes without values; what is deleted has no others than those before.
  defp values(%{extra: []}), do: :none
  defp values(%{event: :deleted}), do: :old_and_new
  defp values(_watcher), do: :new

  @impl true
  def handle_info(%Changes{subscription: subscription, changes: changes}, state) do
    case state.watchers do
      %{^subscription => watcher} -> Enum.each(changes, &send_out(&1, watcher, state.broadcast))
      _unknown -> :ok
    end

    {:noreply, state}
  end

  # Its supervisor starts it again, and it subscribes anew.
  def handle_info(%Ended{error: error}, state), do: {:stop, error, state}
  def handle_info(_other, state), do: {:noreply, state}

  defp resync(%{identifier: identifier}, broadcast), do: broadcast.(topic(identifier), {identifier, :resync})

  defp send_out(%{operation: operation}, watcher, broadcast) when operation in [:schema, :resync],
    do: resync(watcher, broadcast)

  defp send_out(change, %{identifier: identifier, extra: extra}, broadcast) do
    row = Map.merge(Map.take(change.new || change.old || %{}, extra), change.key)
    message = {identifier, row}
    broadcast.(topic(identifier), message)
    for {field, value} <- row, text?(value), do: broadcast.(topic(identifier, [{field, value}]), message)
  end

  defp invalid(message) do
    KnownOptions.invalid("#{@whose}: #{message}")
  end
end
