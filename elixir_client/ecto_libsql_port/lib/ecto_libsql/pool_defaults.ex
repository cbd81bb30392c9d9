defmodule EctoLibSql.PoolDefaults do
  @moduledoc false
  # What the options of a pool say of its calls. Ecto adds such options of a Repo to those of each call; a pool of
  # `EctoLibSql.start_link/1` has them here, by its process, in the same form. Called by `EctoLibSql`.

  alias EctoLibSql.{Retry, ServerLocation}

  # Those that calls have too.
  @of_calls [:timeout, :checkout_retries, :ignored_options, :pool, :ownership_timeout]

  @doc "Makes the table. It belongs to the calling process."
  @spec start() :: :ok
  def start do
    :ets.new(__MODULE__, [:named_table, :public, read_concurrency: true])
    :ok
  end

  @doc "Keeps those of a pool that was started with these options. A Repo's are with Ecto."
  @spec put(pid, keyword) :: :ok
  def put(pool, options) do
    for {other, _} <- :ets.tab2list(__MODULE__), not alive?(other), do: :ets.delete(__MODULE__, other)
    :ets.insert_new(__MODULE__, {pool, repeated(options) ++ Keyword.take(options, @of_calls)})
    :ok
  rescue
    # The application is not started, so nobody keeps anything.
    ArgumentError -> :ok
  end

  defp alive?(pid), do: node(pid) != node() or Process.alive?(pid)

  @doc """
  What is repeated of the calls of a Repo or a pool with these options, as options of each call: single statements where a server may
  be out of reach, or if that is asked for, and transactions of those who ask for it.
  """
  @spec repeated(keyword) :: keyword
  def repeated(options) do
    server? = ServerLocation.server?(options)
    {:ok, retry} = Retry.of_option(Keyword.get(options, :retry, true))
    statements = if server? or Keyword.has_key?(options, :retry), do: [retry: retry || false], else: []
    statements ++ [retries: retry || false]
  end

  @doc "The options of a call, with those of its pool behind them. Those of a Repo's call are complete."
  @spec added(DBConnection.conn(), keyword) :: keyword
  def added(%DBConnection{}, options), do: options

  def added(pool, options) do
    # Of a Repo `:retries` is always there, and every call comes by here.
    if :lists.keymember(:retries, 1, options), do: options, else: options ++ of(pool)
  end

  @doc "Those of a pool; none of one that was not started here."
  @spec of(GenServer.server()) :: keyword
  def of(pool) do
    :ets.lookup_element(__MODULE__, pid(pool), 2)
  rescue
    ArgumentError -> []
  end

  defp pid(pool) when is_pid(pool), do: pool
  defp pid(pool), do: GenServer.whereis(pool)

  @doc "The same, and what is repeated of one that was not started here."
  @spec complete(GenServer.server()) :: keyword
  def complete(pool) do
    with [] <- of(pool) do
      with pid when is_pid(pid) <- pid(pool), do: put(pid, [])
      with [] <- of(pool), do: repeated([])
    end
  end
end
