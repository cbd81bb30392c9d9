defmodule LibsqlPort.Claims do
  @moduledoc false
  # What in the sidecar belongs to which process, so that it is given back when the process ends without doing so: a
  # connection, a transaction, cursors, prepared statements. Held by the process that owns the port, which learns of
  # each from the reply that opens or closes it on its way through: nobody sends a message for it, and a request that
  # opens nothing costs nothing.
  #
  # One monitor for each process, however much it holds. Pure but for the monitors.

  alias LibsqlPort.Wire

  @type key ::
          {connection :: integer, :connection | :opening | :transaction | {:cursor | :statement, integer}}

  # What a reply means: `{:claim, kind, owner}` – it opens something for that process; `{:release, kind}` – it ends it;
  # `{:exhaust, kind}` – it ends it if it is the last of its rows.
  @type claim ::
          {:claim, {:transaction, integer} | :cursor | :statement, pid}
          | {:release,
             :connection | :all | {:transaction, address :: binary} | {:cursor | :statement, integer}}
          | {:exhaust, {:cursor, integer}}

  defstruct processes: %{}, keys: %{}

  @type t :: %__MODULE__{
          processes: %{optional(pid) => {reference, MapSet.t(key)}},
          keys: %{optional(key) => {pid, detail :: term}}
        }

  @ok Wire.tag(:ok)
  @last_rows Wire.tag(:last_rows)
  @error Wire.tag(:error)
  @no_transaction LibsqlPort.ErrorCode.number(:no_transaction)

  @doc "Takes note that `pid` holds something. Whoever held it before does so no longer."
  @spec add(t, key, pid, term) :: t
  def add(claims, key, pid, detail \\ nil) do
    claims = drop(claims, key)
    {monitor, held} = Map.get_lazy(claims.processes, pid, fn -> {Process.monitor(pid), MapSet.new()} end)

    %{
      claims
      | processes: Map.put(claims.processes, pid, {monitor, MapSet.put(held, key)}),
        keys: Map.put(claims.keys, key, {pid, detail})
    }
  end

  @doc "It is not held any more."
  @spec drop(t, key) :: t
  def drop(claims, key) do
    case Map.pop(claims.keys, key) do
      {nil, _} -> claims
      {{pid, _detail}, keys} -> %{claims | keys: keys, processes: let_go(claims.processes, pid, key)}
    end
  end

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
    for {{^connection, kind} = key, _} <- claims.keys,
        what == :all or kind not in [:connection, :opening],
        reduce: claims,
        do: (claims -> drop(claims, key))
  end

  @doc "How many connections belong to a process."
  @spec connections(t) :: non_neg_integer
  def connections(claims), do: Enum.count(claims.keys, fn {{_, kind}, _} -> kind == :connection end)

  @doc "The connection of which something of this kind is held with this detail."
  @spec find(t, atom, term) :: integer | nil
  def find(claims, kind, detail) do
    Enum.find_value(claims.keys, fn {{connection, held}, {_pid, of}} ->
      if held == kind and of == detail, do: connection
    end)
  end

  @doc """
  The process has ended: what it held and has to be given back, each with its detail. A connection that has to be closed
  takes all that is in it along, whoever holds that.
  """
  @spec down(t, pid) :: {[{key, term}], t}
  def down(claims, pid) do
    case Map.fetch(claims.processes, pid) do
      {:ok, {_monitor, held}} -> Enum.reduce(held, {[], claims}, &down_one/2)
      :error -> {[], claims}
    end
  end

  defp down_one({connection, kind} = key, {given_back, claims}) do
    case claims.keys do
      %{^key => _} when kind in [:connection, :opening] ->
        given_back = Enum.reject(given_back, fn {{inside, _}, _} -> inside == connection end)
        {[{{connection, :connection}, nil} | given_back], drop_connection(claims, connection)}

      %{^key => {_pid, detail}} ->
        {[{key, detail} | given_back], drop(claims, key)}

      # It went with its connection.
      %{} ->
        {given_back, claims}
    end
  end

  @doc "Nothing is held: the run of the sidecar is over."
  @spec clear(t) :: t
  def clear(claims) do
    for {_pid, {monitor, _held}} <- claims.processes, do: Process.demonitor(monitor, [:flush])
    %__MODULE__{}
  end

  @doc """
  Reads a reply that its request has marked. Returns what is held now, and what has to be given back at once because the
  caller that asked for it has given up.
  """
  @spec reply(t, claim, {integer, pid | nil}, 0..255, binary) :: {t, [{key, term}]}
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

  def reply(claims, {:release, {:transaction, _address}}, {connection, _caller}, @ok, _frame),
    do: {drop(claims, {connection, :transaction}), []}

  # The engine has rolled it back before. Meanwhile the connection may be in a transaction of somebody else.
  def reply(claims, {:release, {:transaction, address}}, {connection, _caller}, @error, frame) do
    with {:ok, error} when is_tuple(error) and elem(error, 0) == @no_transaction <- payload(frame),
         true <- addressed?(claims, connection, address) do
      {drop(claims, {connection, :transaction}), []}
    else
      _other -> {claims, []}
    end
  end

  def reply(claims, {:release, kind}, {connection, _caller}, @ok, _frame),
    do: {drop(claims, {connection, kind}), []}

  def reply(claims, {:exhaust, kind}, {connection, _caller}, @last_rows, _frame),
    do: {drop(claims, {connection, kind}), []}

  def reply(claims, _claim, _request, _tag, _frame), do: {claims, []}

  # A request without a number, or with 0, is addressed to whatever transaction the connection is in.
  defp addressed?(claims, connection, address) do
    bare = Wire.encode(connection)

    case claims.keys do
      %{{^connection, :transaction} => {_pid, number}} ->
        address == bare or address in [Wire.address(bare, 0), Wire.address(bare, number)]

      %{} ->
        false
    end
  end

  # A reply that cannot be read holds nothing; its caller gets the error.
  defp claimed({:transaction, number}, _frame), do: {:ok, :transaction, number}

  defp claimed(kind, frame) do
    case payload(frame) do
      {:ok, {id, _description}} when is_integer(id) -> {:ok, {kind, id}, nil}
      _other -> :error
    end
  end

  defp payload(frame) do
    {:ok, Wire.payload(frame)}
  rescue
    _unreadable in [ArgumentError, MatchError] -> :error
  end

  @doc "The request that gives it back: its tag and payload."
  @spec give_back({key, term}) :: {atom, iodata}
  def give_back({{connection, kind}, detail}) do
    address = Wire.encode(connection)

    case kind do
      :transaction -> {:rollback, Wire.addressed(Wire.address(address, detail), 0)}
      {:cursor, id} -> {:close_cursor, Wire.addressed(address, 0, Wire.encode(id))}
      {:statement, id} -> {:close_statement, Wire.addressed(address, 0, Wire.encode(id))}
      :connection -> {:close, Wire.addressed(address, 0)}
    end
  end
end
