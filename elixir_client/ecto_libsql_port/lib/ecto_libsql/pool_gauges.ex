defmodule EctoLibSql.PoolGauges do
  @moduledoc false
  # What a pool counts, and which of its connections have been checked out, by whom and since when. Written by the callers
  # of the pool in their own processes, so the pool's process does nothing for it; read by `EctoLibSql.PoolStatus`.
  #
  # The counts are those of `:counters`. The table has a row for each connection that was checked out, by its holder, the
  # table of `DBConnection` that goes from process to process with the connection: whose it is at this moment is asked of
  # the holder itself, so nothing is written when a connection comes back.
  #
  # A caller has the gauges in the state of the connection that it got. Whoever has only the pool finds them in the
  # dictionary of its process, which can be read however busy that process is.

  alias DBConnection.{ConnectionPool, Holder}

  require Holder

  @enforce_keys [:counts, :held, :threshold]
  @derive {Inspect, only: [:threshold]}
  defstruct @enforce_keys

  @typedoc "`threshold` is the `:queue_threshold`, in native units."
  @type t :: %__MODULE__{counts: :counters.counters_ref(), held: :ets.table(), threshold: non_neg_integer}
  @typedoc """
  What a pool leaves in its dictionary: its gauges, the queue of `DBConnection`, options, and where its connections lead to: to which
  sidecar, and to which database, as `EctoLibSql.ServerLocation` and `EctoLibSql.Options.path/1` name it.
  """
  @type pool :: %{
          gauges: t,
          queue: :ets.table(),
          size: pos_integer,
          size_max: pos_integer,
          queue_max: pos_integer | :infinity,
          lane: EctoLibSql.Lane.Slots.t() | nil,
          origin: %{
            sidecar: LibsqlPort.sidecar() | nil,
            place: EctoLibSql.ServerLocation.t() | nil,
            path: String.t() | :memory | :remote | nil
          }
        }
  @type name :: :checkouts | :waits | :drops | :timeouts

  @names [:checkouts, :waits, :drops, :timeouts]
  @threshold_ms 50
  # The key of a row that is none of a connection.
  @not_opened :not_opened

  @doc """
  The options with which a pool is started, or a call enters one, with `EctoLibSql.ObservedPool` in the place of
  DBConnection's own pool. The options that Ecto keeps of a Repo name DBConnection's.
  """
  @spec observed(keyword) :: keyword
  def observed(options) do
    case Keyword.get(options, :pool, ConnectionPool) do
      ConnectionPool -> [{:pool, EctoLibSql.ObservedPool} | options]
      _observed_or_foreign -> options
    end
  end

  @doc "Gauges at zero. The table belongs to the calling process, the pool."
  @spec new(keyword) :: t
  def new(options) do
    threshold = Keyword.get(options, :queue_threshold, @threshold_ms)

    %__MODULE__{
      counts: :counters.new(length(@names), [:write_concurrency]),
      held: :ets.new(__MODULE__, [:public, write_concurrency: true]),
      threshold: System.convert_time_unit(threshold, :millisecond, :native)
    }
  end

  @doc "Leaves them where `of/1` finds them. Called by the pool."
  @spec publish(pool) :: :ok
  def publish(pool) do
    Process.put(__MODULE__, pool)
    :ok
  end

  @doc "What the process of a pool has published; `nil` for another process. Sends the process no message."
  @spec of(pid) :: pool | nil
  def of(pid) do
    with {:dictionary, dictionary} <- Process.info(pid, :dictionary),
         {_, pool} <- List.keyfind(dictionary, __MODULE__, 0),
         do: pool
  end

  @doc "The calling process has got a connection that it asked for at `asked`. Returns how long it waited, 0 if not at all."
  @spec checked_out(t, Holder.t(), integer, boolean) :: non_neg_integer
  def checked_out(%__MODULE__{counts: counts, held: held}, holder, asked, waited?) do
    :counters.add(counts, 1, 1)
    if waited?, do: :counters.add(counts, 2, 1)
    since = if waited?, do: System.monotonic_time(), else: asked
    :ets.insert(held, {holder, self(), since})
    since - asked
  rescue
    # The pool has ended, and its table with it. The caller is told by the connection.
    ArgumentError -> 0
  end

  @doc """
  A connection was to be opened: by an error it was not, by `nil` it was. Only the last word is kept. Called in the processes of the
  connections, which may outlive the pool.
  """
  @spec opening(t | nil, Exception.t() | nil) :: :ok
  def opening(nil, _error), do: :ok

  def opening(%__MODULE__{held: held}, error) do
    if error, do: :ets.insert(held, {@not_opened, error}), else: :ets.delete(held, @not_opened)
    :ok
  rescue
    ArgumentError -> :ok
  end

  @doc "Why the last connection that was to be opened was not; `nil` if it was."
  @spec not_opened(t) :: Exception.t() | nil
  def not_opened(%__MODULE__{held: held}) do
    case :ets.lookup(held, @not_opened) do
      [{_key, error}] -> error
      [] -> nil
    end
  rescue
    ArgumentError -> nil
  end

  @doc "Adds one to a count."
  @spec count(t, name) :: :ok
  for {name, index} <- Enum.with_index(@names, 1) do
    def count(%__MODULE__{counts: counts}, unquote(name)), do: :counters.add(counts, unquote(index), 1)
  end

  @doc "All counts."
  @spec counts(t) :: %{name => non_neg_integer}
  def counts(%__MODULE__{counts: counts}) do
    for {name, index} <- Enum.with_index(@names, 1), into: %{}, do: {name, :counters.get(counts, index)}
  end

  @doc """
  The connections of a pool that were checked out at least once: for each the process that has it, which is the pool if it
  is free, since when it does, and its holder.
  """
  @spec rows(t) :: [{pid, integer | nil, Holder.t()}]
  def rows(%__MODULE__{held: held}) do
    for {holder, pid, since} <- :ets.tab2list(held), owner = owner(holder), is_pid(owner) do
      # Another process has just got it and not said so yet.
      {owner, if(owner == pid, do: since), holder}
    end
  end

  @doc "Whether the transaction of a connection is open, as its holder says."
  @spec in_transaction?(Holder.t()) :: boolean
  def in_transaction?(holder) do
    case state(holder) do
      %{begun: begun, status: status} -> begun or status == :transaction
      nil -> false
    end
  end

  @doc "The number of a connection in its sidecar, as its holder says; `nil` if it is no more."
  @spec connection(Holder.t()) :: integer | nil
  def connection(holder) do
    case state(holder) do
      %{conn: %{id: id}} -> id
      _none -> nil
    end
  end

  defp state(holder) do
    case :ets.lookup(holder, :conn) do
      [Holder.conn(state: %EctoLibSql.State{} = state)] -> state
      _no_more -> nil
    end
  rescue
    ArgumentError -> nil
  end

  @doc "Forgets connections that are closed, once there are as many of them as of others. Called by the pool now and then."
  @spec sweep(t, pos_integer) :: :ok
  def sweep(%__MODULE__{held: held}, size) do
    if :ets.info(held, :size) > 2 * size do
      for {holder, _pid, _since} <- :ets.tab2list(held),
          not is_pid(owner(holder)),
          do: :ets.delete(held, holder)
    end

    :ok
  end

  defp owner(holder), do: :ets.info(holder, :owner)
end
