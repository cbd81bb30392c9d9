defmodule LibsqlPort.InFlight do
  @moduledoc false
  # The requests that await a reply: a public table of `{id, pid, ref, connection}`, `connection` being the number of
  # the connection, or `nil` for a request that `cancel` is not to find.
  #
  # One rule makes stale messages impossible: **who takes the entry, sends or keeps the answer.** The port's owner
  # takes it for the reply that closes a request, the guardian when the sidecar died, the caller when it gives up.
  # Ids come from one counter for all runs of a sidecar; messages carry the caller's `ref`, so neither a second
  # sidecar nor a wrapped counter can be mistaken.

  @first_id 256
  @ids 2_147_483_648 - @first_id

  @type entry :: {pos_integer, pid, reference, integer | nil}

  @doc "A table that falls to `heir` when the calling process ends, with word of the port that it belongs to."
  @spec new(pid, port | nil) :: :ets.table()
  def new(heir, port) do
    heir = {:heir, heir, {:in_flight, port}}
    :ets.new(:libsql_port_in_flight, [:set, :public, {:write_concurrency, true}, heir])
  end

  @doc "The counter behind the ids."
  @spec new_ids() :: :atomics.atomics_ref()
  def new_ids, do: :atomics.new(1, signed: false)

  @doc "An id, from 256 to 2147483647, without an entry: for what awaits no reply."
  @spec next_id(:atomics.atomics_ref()) :: pos_integer
  def next_id(ids), do: @first_id + rem(:atomics.add_get(ids, 1, 1), @ids)

  @doc "Enters the calling process under a new id. `:gone` if the sidecar's run is over."
  @spec enter(:ets.table(), :atomics.atomics_ref(), reference, integer | nil) :: pos_integer | :gone
  def enter(table, ids, ref, connection) do
    id = next_id(ids)

    # After two thousand million requests the counter starts anew and may meet one that is still waiting.
    if :ets.insert_new(table, {id, self(), ref, connection}),
      do: id,
      else: enter(table, ids, ref, connection)
  rescue
    ArgumentError -> :gone
  end

  @doc "Takes an entry out; whoever gets it is the only one."
  @spec take(:ets.table(), pos_integer) :: {:ok, pid, reference} | :none
  def take(table, id) do
    case :ets.take(table, id) do
      [{_id, pid, ref, _connection}] -> {:ok, pid, ref}
      [] -> :none
    end
  rescue
    ArgumentError -> :none
  end

  @doc "Looks an entry up and leaves it there, for a reply that does not close its request."
  @spec peek(:ets.table(), pos_integer) :: {:ok, pid, reference} | :none
  def peek(table, id) do
    case :ets.lookup(table, id) do
      [{_id, pid, ref, _connection}] -> {:ok, pid, ref}
      [] -> :none
    end
  end

  @doc "Whether the request still waits."
  @spec waiting?(:ets.table(), pos_integer) :: boolean
  def waiting?(table, id) do
    :ets.member(table, id)
  rescue
    ArgumentError -> false
  end

  @doc "Ids and callers of a connection's requests."
  @spec of_connection(:ets.table(), integer) :: [{pos_integer, pid}]
  def of_connection(table, connection) do
    :ets.select(table, [{{:"$1", :"$2", :_, connection}, [], [{{:"$1", :"$2"}}]}])
  rescue
    ArgumentError -> []
  end

  @doc "All ids."
  @spec ids(:ets.table()) :: [pos_integer]
  def ids(table), do: :ets.select(table, [{{:"$1", :_, :_, :_}, [], [:"$1"]}])
end
