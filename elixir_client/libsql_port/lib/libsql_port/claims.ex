defmodule LibsqlPort.Claims do
  @moduledoc false
  # What in the sidecar belongs to which process, so that it is given back when the process ends without doing so: a
  # connection, a transaction, cursors, prepared statements. Held by the process that owns the port, which learns of
  # each from the reply that opens or closes it on its way through: nobody sends a message for it, and a request that
  # opens nothing sends none.
  #
  # One monitor for each process, however much it holds. What is held stands under its connection, so that nothing here
  # takes longer because other connections are many. Pure but for the monitors.

  alias LibsqlPort.{ErrorCode, Functions, Wire}

  @type kind :: :connection | :opening | :transaction | {:cursor | :statement | :subscription, integer}
  # A subscription is of no connection: it is held under `nil`.
  @type key :: {connection :: integer | nil, kind}

  # What a reply means:
  #
  #   * `{:claim, kind, owner}` – it opens something for that process; with `nil` for nobody. A subscription to the main
  #     database of a connection names that one: with it a private database ends
  #   * `{:status, caller, address}` – it tells whether a transaction is open. `address` is that of the numbered
  #     transaction which the request was sent to, or `nil`
  #   * `{:status_of_error, caller}` – it does so if it is an error
  #   * `{:release, kind}` – it ends something
  #   * `{:exhaust, kind}` – it ends it if it is the last of its rows
  #   * `{:asked, connection, caller}` – it is the answer to `{:ask, connection, caller}`
  #   * `{:function, change}` – it tells of a function: of `LibsqlPort.Functions`, not looked at here
  #   * `{:closed, connection}` – it is the answer to the port owner's own `close`
  #   * `{:part, claim, tag, head}` – it comes in parts, of which the first said so much
  @type claim ::
          {:claim, {:transaction, integer} | :cursor | :statement | {:subscription, integer | nil}, pid | nil}
          | {:status, pid, address :: binary | nil}
          | {:status_of_error, pid}
          | {:release, :connection | :all | {:cursor | :statement | :subscription, integer}}
          | {:exhaust, {:cursor, integer}}
          | {:asked, integer, pid | nil}
          | {:function, Functions.change()}
          | {:closed, integer}
          | {:swept, pos_integer}
          | {:part, claim, tag :: 0..255 | nil, head :: binary}

  # What is left to do after a reply: give back what nobody wants, or ask for a connection's status.
  @type left :: {key, term} | {:ask, connection :: integer, pid | nil}

  defstruct processes: %{}, held: %{}

  @type t :: %__MODULE__{
          processes: %{optional(pid) => {reference, MapSet.t(key)}},
          held: %{optional(connection :: integer | nil) => %{optional(kind) => {pid | nil, detail :: term}}}
        }

  @ok Wire.tag(:ok)
  @last_rows Wire.tag(:last_rows)
  @error Wire.tag(:error)
  @result Wire.tag(:result)
  @batch Wire.tag(:batch_reply)
  @no_transaction ErrorCode.number(:no_transaction)

  # After these a cursor is still open: its fetch did not get as far as the cursor.
  @before_fetch Enum.map([:timeout, :cancelled, :connection_closed, :no_transaction], &ErrorCode.number/1)

  # What a database is called that its connection alone has.
  @private ":memory:"

  # The number of a transaction that was begun by SQL text, which has none.
  @by_hand 0

  @doc "Takes note that `pid` holds something; `nil` for nobody. Whoever held it before does so no longer."
  @spec add(t, key, pid | nil, term) :: t
  def add(claims, key, pid, detail \\ nil)

  def add(claims, key, nil, detail), do: claims |> drop(key) |> put(key, {nil, detail})

  def add(claims, key, pid, detail) do
    claims = claims |> drop(key) |> put(key, {pid, detail})
    {monitor, keys} = Map.get_lazy(claims.processes, pid, fn -> {Process.monitor(pid), MapSet.new()} end)
    %{claims | processes: Map.put(claims.processes, pid, {monitor, MapSet.put(keys, key)})}
  end

  defp put(claims, {connection, kind}, holder) do
    %{claims | held: Map.update(claims.held, connection, %{kind => holder}, &Map.put(&1, kind, holder))}
  end

  # Who holds it, and its detail; `nil` if it is not held.
  defp holder(claims, {connection, kind}) do
    case claims.held do
      %{^connection => %{^kind => holder}} -> holder
      %{} -> nil
    end
  end

  @doc "The process that has the subscription of this id; `nil` if none has."
  @spec subscriber(t, integer) :: pid | nil
  def subscriber(claims, id) do
    with {pid, _detail} <- holder(claims, {nil, {:subscription, id}}), do: pid
  end

  @doc "The subscriptions to the private database of a connection: the process of each, and its id."
  @spec private(t, connection :: integer) :: [{pid, integer}]
  def private(claims, connection) do
    for {{:subscription, id}, {pid, ^connection}} <- Map.get(claims.held, nil, %{}), do: {pid, id}
  end

  @doc "It is not held any more."
  @spec drop(t, key) :: t
  def drop(claims, key) do
    case holder(claims, key) do
      nil ->
        claims

      {pid, _detail} ->
        %{claims | held: without(claims.held, key), processes: let_go(claims.processes, pid, key)}
    end
  end

  defp without(held, {connection, kind}) do
    kinds = held |> Map.fetch!(connection) |> Map.delete(kind)
    if kinds == %{}, do: Map.delete(held, connection), else: %{held | connection => kinds}
  end

  defp let_go(processes, nil, _key), do: processes

  defp let_go(processes, pid, key) do
    {monitor, held} = Map.fetch!(processes, pid)
    held = MapSet.delete(held, key)

    if MapSet.size(held) == 0 do
      Process.demonitor(monitor, [:flush])
      Map.delete(processes, pid)
    else
      Map.put(processes, pid, {monitor, held})
    end
  end

  @doc "Nothing of the connection is held any more; with `:inside` the connection itself stays."
  @spec drop_connection(t, integer, :all | :inside) :: t
  def drop_connection(claims, connection, what \\ :all) do
    for {kind, _holder} <- Map.get(claims.held, connection, %{}),
        what == :all or kind not in [:connection, :opening],
        reduce: claims,
        do: (claims -> drop(claims, {connection, kind}))
  end

  @doc "How many connections belong to a process."
  @spec connections(t) :: non_neg_integer
  def connections(claims), do: Enum.count(claims.held, fn {_, kinds} -> is_map_key(kinds, :connection) end)

  @doc "The connection of which something of this kind is held with this detail."
  @spec find(t, kind, term) :: integer | nil
  def find(claims, kind, detail) do
    Enum.find_value(claims.held, fn
      {connection, %{^kind => {_pid, ^detail}}} -> connection
      _other -> nil
    end)
  end

  @doc """
  The process has ended: what it held and has to be given back, each with its detail. A connection that has to be closed
  takes all that is in it along, whoever holds that.
  """
  @spec down(t, pid) :: {[{key, term}], t}
  def down(claims, pid) do
    case Map.fetch(claims.processes, pid) do
      {:ok, {_monitor, keys}} -> given_back(claims, keys)
      :error -> {[], claims}
    end
  end

  defp given_back(claims, keys) do
    closed = for {connection, kind} <- keys, kind in [:connection, :opening], uniq: true, do: connection
    claims = Enum.reduce(closed, claims, &drop_connection(&2, &1))
    # The others went with their connections.
    left = for key <- keys, {_pid, detail} <- [holder(claims, key)], do: {key, detail}
    claims = Enum.reduce(left, claims, fn {key, _detail}, claims -> drop(claims, key) end)
    {for(connection <- closed, do: {{connection, :connection}, nil}) ++ left, claims}
  end

  @doc "Nothing is held: the run of the sidecar is over."
  @spec clear(t) :: t
  def clear(claims) do
    for {_pid, {monitor, _keys}} <- claims.processes, do: Process.demonitor(monitor, [:flush])
    %__MODULE__{}
  end

  @doc """
  Reads a reply that its request has marked. Returns what is held now, and what is left to do: for example to give back
  what a caller asked for that has given up. `frame` may be the head of a reply that came in parts.
  """
  @spec reply(t, claim, {integer, pid | nil}, 0..255 | nil, binary) :: {t, [left]}
  def reply(claims, {:claim, kind, owner}, {connection, caller}, @ok, frame) do
    case claimed(kind, frame) do
      {:ok, key, detail} when caller == nil -> {claims, [{{connection, key}, detail}]}
      {:ok, key, detail} -> {add(claims, {connection, key}, owner, detail), []}
      :error -> {claims, []}
    end
  end

  def reply(claims, {:release, :connection}, {connection, _caller}, @ok, _frame),
    do: {drop_connection(claims, connection), []}

  def reply(claims, {:release, :all}, {connection, _caller}, @ok, _frame),
    do: {drop_connection(claims, connection, :inside), []}

  def reply(claims, {:release, kind}, {connection, _caller}, @ok, _frame),
    do: {drop(claims, {connection, kind}), []}

  # A statement without columns may have begun or ended a transaction, as BEGIN does.
  def reply(claims, {:exhaust, kind}, {connection, _caller}, @last_rows, _frame) do
    left =
      case holder(claims, {connection, kind}) do
        {pid, :no_columns} -> [{:ask, connection, pid}]
        _other -> []
      end

    {drop(claims, {connection, kind}), left}
  end

  def reply(claims, {:exhaust, kind}, {connection, _caller}, @error, frame) do
    case error(frame) do
      {code, status} when status != nil and code not in @before_fetch ->
        {drop(claims, {connection, kind}), ask_if_over(claims, connection, status)}

      {_code, status} ->
        {claims, ask_if_over(claims, connection, status)}

      :error ->
        {claims, []}
    end
  end

  def reply(claims, {:status_of_error, _caller}, {connection, _pid}, @error, frame) do
    case error(frame) do
      {_code, status} -> {claims, ask_if_over(claims, connection, status)}
      :error -> {claims, []}
    end
  end

  def reply(claims, {:status, caller, nil}, {connection, pid}, tag, frame) do
    case status(tag, frame) do
      :unknown -> {claims, [{:ask, connection, caller}]}
      0 -> no_transaction(claims, connection, caller)
      status when status in 1..3 -> transaction_open(claims, connection, caller, pid)
      _none -> {claims, []}
    end
  end

  # Of a transaction that has a number nothing but its own end is of interest.
  def reply(claims, {:status, _caller, address}, {connection, _pid}, tag, frame) do
    if ends?(tag, frame) and addressed?(claims, connection, address),
      do: {drop(claims, {connection, :transaction}), []},
      else: {claims, []}
  end

  def reply(claims, {:asked, connection, caller}, _request, @ok, frame) do
    case Wire.read_payload(frame) do
      {:ok, %{"tx_status" => 0}} -> {drop_shared(claims, connection), []}
      {:ok, %{"tx_status" => status}} when status in 1..3 -> {add_by_hand(claims, connection, caller), []}
      _other -> {claims, []}
    end
  end

  def reply(claims, _claim, _request, _tag, _frame), do: {claims, []}

  @doc "What a reply means after a part of it that does not close the request; `head` are the part's first bytes."
  @spec part(claim | nil, 0..1, binary) :: claim | nil
  def part(nil, _last, _head), do: nil
  def part({:part, claim, _tag, _head}, 1, _more), do: claim
  def part({:part, _claim, _tag, _head} = claim, 0, _more), do: claim
  def part(claim, 1, _head), do: claim
  def part(claim, 0, head), do: {:part, claim, Wire.reply_tag(head), head}

  # --- transactions ---------------------------------------------------------------------------------------------

  # Replies of one connection may come in another order than their requests ran, if several processes have sent them. What
  # one process is told is in order: each of its requests waited for the reply before.

  # No transaction is open, says a request that was addressed to none or to whichever is open. While one is held for
  # somebody, such requests wait, so that this one ran before.
  defp no_transaction(claims, connection, caller) do
    case transaction(claims, connection) do
      nil ->
        {claims, []}

      {holder, number} ->
        cond do
          exclusive?(number) -> {claims, []}
          holder == caller -> {drop(claims, {connection, :transaction}), []}
          true -> {claims, [{:ask, connection, caller}]}
        end
    end
  end

  # One is open, and if nobody holds it, it is the caller who has begun it.
  defp transaction_open(claims, connection, _caller, nil) do
    if held?(claims, connection),
      do: {claims, []},
      else: {claims, [{{connection, :transaction}, @by_hand}]}
  end

  defp transaction_open(claims, connection, caller, _pid), do: {add_by_hand(claims, connection, caller), []}

  defp add_by_hand(claims, connection, caller) do
    if held?(claims, connection),
      do: claims,
      else: add(claims, {connection, :transaction}, caller, @by_hand)
  end

  # What is held for somebody has ended if another transaction is open.
  defp held?(claims, connection) do
    case transaction(claims, connection) do
      {_holder, number} -> not exclusive?(number)
      nil -> false
    end
  end

  defp transaction(claims, connection), do: holder(claims, {connection, :transaction})

  defp drop_shared(claims, connection),
    do: if(held?(claims, connection), do: drop(claims, {connection, :transaction}), else: claims)

  # The engine has rolled back what somebody else may hold.
  defp ask_if_over(claims, connection, 0) do
    if held?(claims, connection) do
      {holder, _number} = transaction(claims, connection)
      [{:ask, connection, holder}]
    else
      []
    end
  end

  defp ask_if_over(_claims, _connection, _status), do: []

  defp exclusive?(number), do: number != @by_hand and not Wire.shared?(number)

  defp addressed?(claims, connection, address) do
    case transaction(claims, connection) do
      {_holder, number} -> address == Wire.address(Wire.encode(connection), number)
      nil -> false
    end
  end

  # --- replies --------------------------------------------------------------------------------------------------

  # The transaction's status after a request; `nil` if its reply is of no interest, `:unknown` if it cannot be read here.
  defp status(@result, frame), do: Wire.empty_result_status(frame)
  # The results may be long, and the status is behind them.
  defp status(@batch, _frame), do: :unknown

  defp status(@ok, frame) do
    case Wire.read_payload(frame) do
      {:ok, status} when is_integer(status) -> status
      {:ok, {_statements, _changes, status}} when is_integer(status) -> status
      _other -> :unknown
    end
  end

  defp status(@error, frame) do
    case error(frame) do
      {_code, status} -> status
      :error -> :unknown
    end
  end

  defp status(_tag, _frame), do: nil

  defp ends?(@ok, _frame), do: true
  defp ends?(@error, frame), do: match?({@no_transaction, _status}, error(frame))
  defp ends?(_tag, _frame), do: false

  # Code and status; no status if the request did not run.
  defp error(frame) do
    case Wire.read_payload(frame) do
      {:ok, {code, _, _, _, _, status, _}} when is_integer(status) or status == nil -> {code, status}
      _other -> :error
    end
  end

  # A reply that cannot be read holds nothing; its caller gets the error.
  defp claimed({:transaction, number}, _frame), do: {:ok, :transaction, number}

  defp claimed({:subscription, connection}, frame) do
    case Wire.read_payload(frame) do
      {:ok, {id, {_sequence, @private}}} when is_integer(id) -> {:ok, {:subscription, id}, connection}
      {:ok, {id, _shared}} when is_integer(id) -> {:ok, {:subscription, id}, nil}
      _unreadable -> :error
    end
  end

  defp claimed(kind, frame) do
    case Wire.opened(frame) do
      {id, <<106, _::binary>>} when kind == :cursor -> {:ok, {kind, id}, :no_columns}
      {id, _description} -> {:ok, {kind, id}, nil}
      nil -> :error
    end
  end

  @doc "The request that gives it back: its tag and payload."
  @spec give_back({key, term}) :: {atom, iodata}
  def give_back({{connection, kind}, detail}) do
    address = Wire.encode(connection)

    case kind do
      :transaction -> {:rollback, Wire.addressed(Wire.address(address, detail), 0)}
      {:cursor, id} -> {:close_cursor, Wire.addressed(address, 0, Wire.encode(id))}
      {:statement, id} -> {:close_statement, Wire.addressed(address, 0, Wire.encode(id))}
      {:subscription, id} -> {:unsubscribe, Wire.encode({id})}
      :connection -> {:close, Wire.addressed(address, 0)}
    end
  end
end
