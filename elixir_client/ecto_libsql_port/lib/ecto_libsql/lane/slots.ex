defmodule EctoLibSql.Lane.Slots do
  @moduledoc false
  # The connections of a lane as its callers see them: which are open, which are free, and the state of each. Shared by
  # `EctoLibSql.Lane`, which takes them, and `EctoLibSql.Lane.Connections`, which opens and closes them. Sends no message on
  # the way of a call.
  #
  # A slot is a word of an `:atomics` array. Whoever swaps the word holds the slot:
  #
  #   * 0 – no connection
  #   * a time, two bits to the left – free since then
  #   * the same with bit 0 – leased since then
  #   * with bits 0 and 1 – leased, to be closed afterwards
  #
  # A lease is given back by swapping its own word, so one that was taken away meanwhile is not given back. Two leases of a
  # slot never have the same word, because time has passed between them.
  #
  # Behind the words of the slots stand two flags: whether a connection is being opened, and whether `Connections` looks at
  # the leases. Behind them, a cache line for each scheduler: the slot that was given back there last. It is tried first, so
  # that a busy lane is not searched from its start for each call, through words that other schedulers are writing to.
  # The tables belong to the process that called `new/2`, which is the supervisor of the Repo.

  import Bitwise

  @enforce_keys [:id, :ref, :size, :schedulers, :base, :states, :texts, :holders, :idle_timeout, :counts]
  @derive {Inspect, only: [:size]}
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          id: pos_integer,
          ref: :atomics.atomics_ref(),
          size: pos_integer,
          schedulers: pos_integer,
          base: integer,
          states: :ets.table(),
          holders: :ets.table(),
          texts: EctoLibSql.Lane.Texts.t(),
          idle_timeout: pos_integer,
          counts: :counters.counters_ref()
        }
  @type slot :: pos_integer
  @typedoc "The word of a slot."
  @type word :: non_neg_integer
  @typedoc "A time of `System.monotonic_time/0`."
  @type time :: integer

  @compile {:inline, stamp: 2, last: 1, time: 2}

  @leased 1
  @closing 2
  @marks 3
  # Of 64 bytes.
  @words_of_line 8

  @doc "Slots without a connection."
  @spec new(pos_integer, pos_integer) :: t
  def new(size, idle_timeout) do
    schedulers = :erlang.system_info(:schedulers)

    %__MODULE__{
      id: System.unique_integer([:positive]),
      ref: :atomics.new(size + 2 + (schedulers + 1) * @words_of_line, signed: false),
      size: size,
      schedulers: schedulers,
      base: System.monotonic_time() - 1,
      states: :ets.new(__MODULE__, [:public, read_concurrency: true]),
      # Apart, because each lease writes to it.
      holders: :ets.new(__MODULE__, [:public, write_concurrency: true]),
      texts: EctoLibSql.Lane.Texts.new(),
      idle_timeout: idle_timeout,
      counts: :counters.new(2, [:write_concurrency])
    }
  end

  # --- callers --------------------------------------------------------------------------------------------------

  @doc """
  Leases the slot that was given back last on this scheduler, or the first free one. Returns its state and since when it has
  been free. `:none` if none is free, `:room` if there could be one more.
  """
  @spec lease(t, time) :: {:ok, slot, word, EctoLibSql.State.t(), time} | :none | :room
  def lease(%{ref: ref} = slots, now) do
    word = stamp(slots, now) ||| @leased

    with slot when slot > 0 <- :atomics.get(ref, last(slots)),
         free when free != 0 and (free &&& @marks) == 0 <- :atomics.get(ref, slot),
         :ok <- :atomics.compare_exchange(ref, slot, free, word),
         {:ok, _, _, _, _} = lease <- leased(slots, slot, word, free, :none) do
      lease
    else
      _taken -> lease(slots, 1, word, :none)
    end
  end

  # The first one: so the few that are needed are used often, and the others grow idle and are closed.
  defp lease(%{size: size}, slot, _word, rest) when slot > size, do: rest

  defp lease(%{ref: ref} = slots, slot, word, rest) do
    free = :atomics.get(ref, slot)

    cond do
      free == 0 ->
        lease(slots, slot + 1, word, :room)

      (free &&& @marks) == 0 and :atomics.compare_exchange(ref, slot, free, word) == :ok ->
        leased(slots, slot, word, free, rest)

      true ->
        lease(slots, slot + 1, word, rest)
    end
  end

  defp leased(slots, slot, word, free, rest) do
    case :ets.lookup(slots.states, slot) do
      [{_slot, state}] ->
        :ets.insert(slots.holders, {slot, word, self()})
        if :atomics.get(slots.ref, slots.size + 2) == 0, do: wake(slots)
        {:ok, slot, word, state, time(slots, free)}

      # It is closed at this moment.
      [] ->
        lease(slots, slot + 1, word, rest)
    end
  end

  @doc "The process that has the lease of this word; `nil` if it was killed before it could say so."
  @spec holder(t, slot, word) :: pid | nil
  def holder(slots, slot, word) do
    case :ets.lookup(slots.holders, slot) do
      [{_slot, leased, pid}] when leased == word or (leased ||| @closing) == word -> pid
      _of_an_earlier_lease -> nil
    end
  end

  @doc "Gives a lease back."
  @spec release(t, slot, word, time) :: :ok
  def release(%{ref: ref} = slots, slot, word, now) do
    with seen when is_integer(seen) <- :atomics.compare_exchange(ref, slot, word, stamp(slots, now)) do
      if seen == (word ||| @closing), do: tell(slots, {:released, slot, seen})
      :ok
    else
      :ok -> :atomics.put(ref, last(slots), slot)
    end
  end

  # Where the scheduler of the calling process keeps the slot; dirty ones share a place.
  defp last(%{size: size, schedulers: schedulers}) do
    scheduler = :erlang.system_info(:scheduler_id)
    size + 2 + if(scheduler > schedulers, do: 1, else: scheduler * @words_of_line)
  end

  @doc "The connection of a leased slot is of no further use. The lease is not given back."
  @spec lost(t, slot, word, Exception.t()) :: :ok
  def lost(slots, slot, word, error), do: tell(slots, {:lost, slot, word, error})

  @doc "Asks for one more connection, unless one is being opened."
  @spec grow(t) :: :ok
  def grow(%{ref: ref, size: size} = slots) do
    if :atomics.get(ref, size + 1) == 0 and :atomics.compare_exchange(ref, size + 1, 0, 1) == :ok,
      do: tell(slots, :grow),
      else: :ok
  end

  @doc "Counts a statement that ran here, or one that took the pool because no slot was free."
  @spec count(t, :run | :fallback) :: :ok
  def count(%{counts: counts}, :run), do: :counters.add(counts, 1, 1)
  def count(%{counts: counts}, :fallback), do: :counters.add(counts, 2, 1)

  @doc "How many slots there are, how many are open and leased, and the counts."
  @spec status(t) :: EctoLibSql.PoolStatus.lane()
  def status(%{ref: ref, size: size, counts: counts}) do
    open = for slot <- 1..size, word = :atomics.get(ref, slot), word != 0, do: word

    %{
      size: size,
      open: length(open),
      busy: Enum.count(open, &leased?/1),
      runs: :counters.get(counts, 1),
      fallbacks: :counters.get(counts, 2)
    }
  end

  defp wake(%{ref: ref, size: size} = slots) do
    if :atomics.compare_exchange(ref, size + 2, 0, 1) == :ok, do: tell(slots, :wake), else: :ok
  end

  @doc "Sends a message to the process that opens and closes the connections, if it runs."
  @spec tell(t, term) :: :ok
  def tell(slots, message) do
    case :ets.lookup(slots.states, :connections) do
      [{_, pid}] -> send(pid, {:lane, message})
      [] -> nil
    end

    :ok
  rescue
    # The Repo has been stopped, and its tables with it.
    ArgumentError -> :ok
  end

  @doc "Whether the lane is to have connections."
  @spec on?(t) :: boolean
  def on?(slots), do: :ets.lookup(slots.states, :off) == []

  @doc "Says so. Returns when it is so: without connections, those that are leased are closed when they are given back."
  @spec switch(t, boolean) :: :ok
  def switch(slots, on?) do
    # Also for the process that comes after this one.
    if on?, do: :ets.delete(slots.states, :off), else: :ets.insert(slots.states, {:off})

    with [{_, pid}] <- :ets.lookup(slots.states, :connections),
         do: GenServer.call(pid, {:switch, on?}, :infinity)

    :ok
  rescue
    # The Repo has been stopped, and its tables with it.
    ArgumentError -> :ok
  catch
    # The process has ended, and its connections with it.
    :exit, _reason -> :ok
  end

  # --- connections ----------------------------------------------------------------------------------------------

  @doc "Makes the calling process the one that is told. Whatever was open before is not any more."
  @spec own(t) :: :ok
  def own(%{ref: ref} = slots) do
    # First, so that what is told from now on is not lost.
    :ets.insert(slots.states, {:connections, self()})
    for slot <- 1..slots.size, do: take(slots, slot)
    for flag <- 1..2, do: :atomics.put(ref, slots.size + flag, 0)
    :ok
  end

  @doc "Offers a connection to callers."
  @spec open(t, slot, EctoLibSql.State.t()) :: :ok
  def open(slots, slot, state) do
    # Each lease copies it. What runs here changes no schema.
    :ets.insert(slots.states, {slot, %{state | schema_changes: nil}})
    :atomics.put(slots.ref, slot, stamp(slots, System.monotonic_time()))
  end

  @doc "Takes a slot away from callers, leased or not. A lease is not given back then. Returns the word that it had."
  @spec take(t, slot) :: word
  def take(slots, slot) do
    word = :atomics.exchange(slots.ref, slot, 0)
    :ets.delete(slots.states, slot)
    word
  end

  @doc "Takes a slot away if it still has this word."
  @spec take(t, slot, word) :: boolean
  def take(slots, slot, word) do
    taken? = :atomics.compare_exchange(slots.ref, slot, word, 0) == :ok
    if taken?, do: :ets.delete(slots.states, slot)
    taken?
  end

  @doc "Takes a slot away if the lease of this word holds it, also if it is to be closed after that."
  @spec take_lease(t, slot, word) :: boolean
  def take_lease(slots, slot, word), do: take(slots, slot, word) or take(slots, slot, word ||| @closing)

  @doc "Takes a slot away now, or when its lease is given back: `:later`."
  @spec retire(t, slot) :: :now | :later
  def retire(slots, slot) do
    word = :atomics.get(slots.ref, slot)

    cond do
      not leased?(word) -> if take(slots, slot, word), do: :now, else: retire(slots, slot)
      :atomics.compare_exchange(slots.ref, slot, word, word ||| @closing) == :ok -> :later
      true -> retire(slots, slot)
    end
  end

  @doc "The word of a slot."
  @spec word(t, slot) :: word
  def word(slots, slot), do: :atomics.get(slots.ref, slot)

  @doc "Whether a word is that of a lease."
  @spec leased?(word) :: boolean
  def leased?(word), do: (word &&& @leased) != 0

  @doc "Since when a slot has been free or leased."
  @spec time(t, word) :: time
  def time(slots, word), do: (word >>> 2) + slots.base

  @doc "No connection is being opened any more."
  @spec grown(t) :: :ok
  def grown(slots), do: :atomics.put(slots.ref, slots.size + 1, 0)

  @doc "From now on the next lease is told, with `:wake`; or it is not."
  @spec sleep(t, boolean) :: :ok
  def sleep(slots, asleep?), do: :atomics.put(slots.ref, slots.size + 2, if(asleep?, do: 0, else: 1))

  defp stamp(slots, now), do: (now - slots.base) <<< 2
end
