defmodule EctoLibSql.Lane do
  @moduledoc false
  # The way of a single statement past the pool. A statement that leaves nothing behind needs no connection of its own, so
  # it is sent from the caller's process to one of a few connections that all callers share, one at a time, without
  # `DBConnection`'s checkout, which costs as much as the statement. Called by `EctoLibSql` for each call that enters a pool.
  #
  # Whoever finds no connection free, asks for one more and takes the pool: nobody waits here, so no statement stands behind
  # a slow one. What runs here, runs by `EctoLibSql.Protocol.handle_execute/4` as it does behind a checkout, and the caller
  # gets the same errors and log entries.
  #
  # A connection here has no state that a caller could rely on, so the lane is for Repos whose calls cannot rely on that of
  # the pool either: those with more than one connection to the same database. See `new/1`.

  alias DBConnection.LogEntry
  alias EctoLibSql.Lane.{Slots, Texts}
  alias EctoLibSql.{Protocol, Query, Result, ServerLocation}

  require Logger

  @type t :: Slots.t()

  # Each step of a call.
  @compile {:inline, kind: 2, known: 2, prepared: 2, decoded: 2, release: 2}

  @idle_timeout 30_000
  # More callers at once than a small pool has connections are common, and a connection that nobody needs is not opened.
  @size_min 32

  @doc """
  The lane of a Repo with these options, without connections yet; `nil` if it has none: switched off, behind a pool that is
  not `DBConnection`'s own, with options of their own for each connection (`:configure`), with a database on a server, where a
  statement takes far longer than its way through the pool, or, unless the options ask for it, with a single connection, whose
  temporary tables and pragmas are those of all calls.
  """
  @spec new(keyword) :: t | nil
  def new(options) do
    connections = Keyword.get(options, :pool_size, 10) * Keyword.get(options, :pool_count, 1)
    lane = Keyword.get(options, :lane, connections > 1)
    pool = Keyword.get(options, :pool, DBConnection.ConnectionPool)

    if lane && pool == DBConnection.ConnectionPool && !options[:configure] && !ServerLocation.remote?(options) do
      given = if lane == true, do: [], else: lane
      Slots.new(given[:size] || max(connections, @size_min), given[:idle_timeout] || @idle_timeout)
    end
  end

  @doc "The connections that are open are replaced within `interval` milliseconds, once nobody uses them."
  @spec disconnect_all(t | nil, non_neg_integer) :: :ok
  def disconnect_all(nil, _interval), do: :ok
  def disconnect_all(lane, interval), do: Slots.tell(lane, {:retire, System.monotonic_time(), interval})

  @doc "Closes the lane, or opens it again. When it is closed, no call takes it any more."
  @spec switch(t | nil, boolean) :: :ok
  def switch(nil, _on?), do: :ok
  def switch(lane, on?), do: Slots.switch(lane, on?)

  @doc """
  Runs a statement, and returns what `DBConnection` would; `:pool` if it has to, as nothing has been sent then.
  """
  @spec run(:execute | :prepare_execute, DBConnection.conn(), Query.t(), term, keyword) ::
          {:ok, Query.t(), Result.t()} | {:error, Exception.t()} | :pool
  def run(_call, %DBConnection{}, _query, _params, _options), do: :pool

  def run(call, _pool, %Query{operation: :execute} = query, params, options) do
    case :lists.keyfind(:lane, 1, options) do
      {_name, %Slots{} = lane} -> enter(lane, call, query, params, options)
      _none_or_off -> :pool
    end
  end

  def run(_call, _pool, _query, _params, _options), do: :pool

  defp enter(lane, call, query, params, options) do
    checkout = System.monotonic_time()

    with {:ok, lease, encoded, state, idle_since} <- lease(lane, query, params, options, checkout) do
      entry = %LogEntry{call: call, query: query, params: params, idle_time: max(checkout - idle_since, 0)}
      lease |> execute(prepared(call, query), encoded, options, state, entry, checkout) |> known(lane)
    end
  end

  # A connection for a statement that may run on any.
  defp lease(lane, query, params, options, now) do
    with kind when kind in [:plain, :once] <- kind(lane, query),
         {:ok, encoded} <- encode(params),
         {:ok, slot, word, state, idle_since} <- Slots.lease(lane, now) do
      if kind == :plain or Texts.ask(lane.texts, query.statement, options, state) == :plain do
        Slots.count(lane, :run)
        {:ok, {lane, slot, word}, encoded, state, idle_since}
      else
        Slots.release(lane, slot, word, System.monotonic_time())
        :pool
      end
    else
      :room ->
        Slots.count(lane, :fallback)
        Slots.grow(lane)
        :pool

      :none ->
        Slots.count(lane, :fallback)
        :pool

      _other ->
        :pool
    end
  rescue
    # The Repo has been stopped, and its tables with it. The pool says so.
    ArgumentError -> :pool
  end

  # A query that has run here says so, and Ecto keeps that with the query. Then nothing is looked up.
  defp known({:ok, %{lane: id}, _result} = ran, %{id: id}), do: ran
  defp known({:ok, query, result}, lane), do: {:ok, %{query | lane: lane.id}, result}
  defp known(not_run, _lane), do: not_run

  defp kind(%{id: id}, %{lane: id}), do: :plain
  defp kind(lane, query), do: Texts.kind(lane.texts, query.statement)

  # What cannot be encoded, `DBConnection` says to the caller in its own way.
  defp encode(params) do
    {:ok, Query.encode(params)}
  catch
    _kind, _reason -> :error
  end

  defp prepared(:execute, query), do: query
  defp prepared(:prepare_execute, query), do: %{query | command: Result.command(query.statement)}

  defp execute(lease, query, encoded, options, state, entry, checkout) do
    execute = System.monotonic_time()
    answer = protocol(query, encoded, options, state)
    done = System.monotonic_time()
    entry = %{entry | pool_time: execute - checkout, connection_time: done - execute}

    case answer do
      {:ok, query, result, _state} ->
        release(lease, done)
        decode(query, result, options, entry, done)

      {:error, error, _state} ->
        release(lease, done)
        log({:error, error}, options, entry)

      # The process that opens the connections has crashed, and they were closed with it. Nothing has taken effect.
      {:disconnect, %DBConnection.ConnectionError{reason: :connection_closed} = error, _state} ->
        lost(lease, error)
        :pool

      {:disconnect, error, _state} ->
        lost(lease, error)
        log({:error, error}, options, entry)

      # Not sent.
      {:disconnect_and_retry, error, _state} ->
        lost(lease, error)
        :pool

      {:raised, kind, reason, stack} ->
        lost(lease, failure(kind, reason, stack))
        raised(kind, reason, stack, options, entry)
    end
  end

  defp protocol(query, encoded, options, state) do
    Protocol.handle_execute(query, encoded, options, state)
  catch
    kind, reason -> {:raised, kind, reason, __STACKTRACE__}
  end

  defp decode(query, result, options, entry, done) do
    case decode(query, result) do
      {:raised, kind, reason, stack} ->
        raised(kind, reason, stack, options, decoded(entry, done))

      result ->
        log({:ok, query, result}, options, decoded(entry, done))
    end
  end

  defp decode(query, result) do
    Query.decode(query, result)
  catch
    kind, reason -> {:raised, kind, reason, __STACKTRACE__}
  end

  defp decoded(entry, done), do: %{entry | decode_time: System.monotonic_time() - done}

  defp raised(kind, reason, stack, options, entry) do
    log({:error, failure(kind, reason, stack)}, options, entry)
    :erlang.raise(kind, reason, stack)
  end

  defp failure(kind, reason, stack) do
    message = "an exception was raised: " <> Exception.format(kind, reason, stack)
    %DBConnection.ConnectionError{message: message}
  end

  defp release({lane, slot, word}, now), do: Slots.release(lane, slot, word, now)
  defp lost({lane, slot, word}, error), do: Slots.lost(lane, slot, word, error)

  # --- log ------------------------------------------------------------------------------------------------------

  defp log(result, options, entry) do
    case :lists.keyfind(:log, 1, options) do
      {_name, log} when log != nil -> logged(result, log, %{entry | result: result})
      _none -> result
    end
  end

  # As with the pool, a function that raises is none of the caller's business.
  defp logged(result, log, entry) do
    case log do
      {module, function, arguments} -> apply(module, function, [entry | arguments])
      fun -> fun.(entry)
    end

    result
  catch
    kind, reason ->
      stack = __STACKTRACE__

      Logger.error(
        fn ->
          "an exception was raised logging #{inspect(entry)}: " <> Exception.format(kind, reason, stack)
        end,
        crash_reason: {if(kind == :throw, do: {:nocatch, reason}, else: reason), stack}
      )

      result
  end
end
