defmodule LibsqlPort.InFlight do
  @moduledoc false
  # The requests that await a reply: a public table of
  # `{id, pid, ref, connection, claim, sql, context}`. `connection` is the
  # number of the connection, or `nil` for a request that `cancel` is not to find; `claim` says what the reply means for
  # `LibsqlPort.Claims`: whether it tells that a transaction is open, for a statement that is sent to none, and `nil` for
  # one that is sent to a transaction; `sql` is for the log if the program dies; `context` is what callbacks of the request
  # are to know of its caller, and `nil` where there are no functions.
  #
  # One rule makes stale messages impossible: **who takes the entry, sends or keeps the answer.** The port's owner
  # takes it for the reply that closes a request, the guardian when the sidecar died, the caller when it gives up.
  # Ids come from one counter for all runs of a sidecar; messages carry the caller's `ref`, so neither a second
  # sidecar nor a wrapped counter can be mistaken.
  #
  # An entry with `:kept` in the place of the reference belongs to a request that was sent ahead. The frames of its reply stay
  # in the table, as `{{:kept, id}, connection, frames}`, until somebody takes them; nothing comes to a mailbox unasked. That
  # row is made with the entry and never again, so who finds none knows that the reply was given up, and it is deleted with
  # its connection, because the process that should have taken it may have been killed.

  alias LibsqlPort.{CallChain, Claims, Request}

  @first_id 256
  @ids 2_147_483_648 - @first_id

  @type entry ::
          {pos_integer, pid | nil, reference | :kept | nil, integer | nil, Claims.claim() | nil,
           String.t() | nil, CallChain.context() | nil}

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
  @spec enter(:ets.table(), :atomics.atomics_ref(), reference | :kept, Request.t()) :: pos_integer | :gone
  def enter(table, ids, ref, request) do
    insert(table, ids, {self(), ref, request.connection, request.claim, request.sql, request.context})
  rescue
    ArgumentError -> :gone
  end

  @doc "Enters a request whose reply nobody waits for, but which means something. For the port's owner, during a run."
  @spec enter_for_claim(:ets.table(), :atomics.atomics_ref(), Claims.claim()) :: pos_integer
  def enter_for_claim(table, ids, claim), do: insert(table, ids, {nil, nil, nil, claim, nil, nil})

  defp insert(table, ids, {pid, ref, connection, claim, sql, context} = rest) do
    id = next_id(ids)

    # After two thousand million requests the counter starts anew and may meet one that is still waiting.
    entry = {id, pid, ref, connection, claim, sql, context}
    entered = if ref == :kept, do: [entry, {{:kept, id}, connection, []}], else: entry
    if :ets.insert_new(table, entered), do: id, else: insert(table, ids, rest)
  end

  @doc "Changes what the reply to a request means."
  @spec set_claim(:ets.table(), pos_integer, Claims.claim()) :: boolean
  def set_claim(table, id, claim), do: :ets.update_element(table, id, {5, claim})

  @doc "Takes an entry out; whoever gets it is the only one."
  @spec take(:ets.table(), pos_integer) :: entry | nil
  def take(table, id) do
    case :ets.take(table, id) do
      [entry] -> entry
      [] -> nil
    end
  rescue
    ArgumentError -> nil
  end

  @doc """
  The caller no longer waits: false if its entry had been taken before. An entry with a claim stays without a caller, so
  that what its reply opens after all is closed again.
  """
  @spec give_up(:ets.table(), pos_integer, Request.t()) :: boolean
  def give_up(table, id, %{claim: nil}), do: take(table, id) != nil

  def give_up(table, id, _request) do
    :ets.update_element(table, id, [{2, nil}, {3, nil}])
  rescue
    ArgumentError -> false
  end

  @doc "Gives a frame to whoever waits for it, or keeps it. For those who may answer: the port's owner, the guardian."
  @spec deliver(:ets.table(), entry, binary | :sidecar_down) :: :ok
  def deliver(_table, {_id, pid, ref, _, _, _, _}, frame) when is_reference(ref) do
    send(pid, {ref, frame})
    :ok
  end

  def deliver(table, {id, pid, :kept, _, _, _, _}, frame) when pid != nil do
    # Only one process delivers at a time. Whoever takes the row meanwhile gives the reply up.
    with [{key, _connection, frames}] <- :ets.lookup(table, {:kept, id}),
         do: :ets.update_element(table, key, {3, frames ++ [frame]})

    :ok
  end

  def deliver(_table, _nobody, _frame), do: :ok

  @doc "What was kept of a reply, the oldest frame first; `:gone` if it was given up, `:down` if the sidecar's run is over."
  @spec kept(:ets.table(), pos_integer) :: [binary | :sidecar_down] | :gone | :down
  def kept(table, id), do: frames(fn -> :ets.lookup(table, {:kept, id}) end)

  @doc "As `kept/2`. It is not kept any more, and nothing more of it will be."
  @spec take_kept(:ets.table(), pos_integer) :: [binary | :sidecar_down] | :gone | :down
  def take_kept(table, id), do: frames(fn -> :ets.take(table, {:kept, id}) end)

  defp frames(read) do
    case read.() do
      [{_key, _connection, frames}] -> frames
      [] -> :gone
    end
  rescue
    ArgumentError -> :down
  end

  @doc "Deletes what was kept for a connection. For the port's owner: the connection is closed."
  @spec forget_kept(:ets.table(), integer) :: true
  def forget_kept(table, connection), do: :ets.match_delete(table, {{:kept, :_}, connection, :_})

  @doc "What comes of the reply from now on is sent to the calling process; false if nothing more will come."
  @spec redirect(:ets.table(), pos_integer, reference) :: boolean
  def redirect(table, id, ref) do
    :ets.update_element(table, id, [{2, self()}, {3, ref}])
  rescue
    ArgumentError -> false
  end

  @doc "Looks an entry up and leaves it there, for a reply that does not close its request."
  @spec peek(:ets.table(), pos_integer) :: entry | nil
  def peek(table, id) do
    case :ets.lookup(table, id) do
      [entry] -> entry
      [] -> nil
    end
  end

  @doc "Whether the request still waits."
  @spec waiting?(:ets.table(), pos_integer) :: boolean
  def waiting?(table, id) do
    :ets.member(table, id)
  rescue
    ArgumentError -> false
  end

  @doc "What the callbacks of a request are to know of its caller; `nil` if it no longer waits or left nothing."
  @spec context(:ets.table(), pos_integer) :: CallChain.context() | nil
  def context(table, id) do
    :ets.lookup_element(table, id, 7)
  rescue
    ArgumentError -> nil
  end

  @doc "Ids and callers of a connection's requests."
  @spec of_connection(:ets.table(), integer) :: [{pos_integer, pid}]
  def of_connection(table, connection) do
    for {id, pid} <-
          :ets.select(table, [{{:"$1", :"$2", :_, connection, :_, :_, :_}, [], [{{:"$1", :"$2"}}]}]),
        pid != nil,
        do: {id, pid}
  rescue
    ArgumentError -> []
  end

  @doc "Ids and connections of a process's requests."
  @spec of_caller(:ets.table(), pid) :: [{pos_integer, integer | nil}]
  def of_caller(table, pid),
    do: :ets.select(table, [{{:"$1", pid, :_, :"$2", :_, :_, :_}, [], [{{:"$1", :"$2"}}]}])

  @doc "Whether nothing waits."
  @spec empty?(:ets.table()) :: boolean
  def empty?(table), do: :ets.info(table, :size) == 0

  @doc "The processes that wait."
  @spec callers(:ets.table()) :: [pid]
  def callers(table) do
    table
    |> :ets.select([{{:_, :"$1", :_, :_, :_, :_, :_}, [{:"/=", :"$1", nil}], [:"$1"]}])
    |> Enum.uniq()
  end

  @doc "The statement that each connection was at: of its requests the oldest, where it has a text."
  @spec running(:ets.table()) :: [{integer, String.t()}]
  def running(table) do
    table
    |> :ets.select([
      {{:"$1", :_, :_, :"$2", :_, :"$3", :_}, [{:is_integer, :"$2"}], [{{:"$1", :"$2", :"$3"}}]}
    ])
    |> Enum.sort()
    |> Enum.uniq_by(fn {_id, connection, _sql} -> connection end)
    |> Enum.flat_map(fn {_id, connection, sql} -> if sql, do: [{connection, sql}], else: [] end)
  end

  @doc "Tells everybody who waits that the sidecar has ended."
  @spec answer_all(:ets.table()) :: :ok
  def answer_all(table) do
    for id <- ids(table),
        entry when entry != nil <- [take(table, id)],
        do: deliver(table, entry, :sidecar_down)

    :ok
  end

  defp ids(table), do: :ets.select(table, [{{:"$1", :_, :_, :_, :_, :_, :_}, [], [:"$1"]}])
end
