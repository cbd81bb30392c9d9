defmodule LibsqlPort.Functions do
  @moduledoc false
  # The SQL functions of a sidecar and of its connections, by the numbers under which the program calls them. The table
  # belongs to the supervisor, so that those of the sidecar outlive each run of the program and the port's owner. The
  # owner alone writes; runners read.
  #
  # A row is `{number, connection, key, status, function}`. `connection` is 0 for one of the sidecar. A row is `:pending` until
  # the program has accepted the function. One of the sidecar that was replaced or dropped is `:retired`: a statement that
  # runs meanwhile still calls it.

  alias LibsqlPort.{CallChain, Function}

  @enforce_keys [:table, :flag]
  defstruct @enforce_keys

  @type t :: %__MODULE__{table: :ets.table(), flag: :atomics.atomics_ref()}

  # What a reply to `create_function` or `drop_function` means for the table.
  @type change ::
          {:created, pos_integer}
          | {:dropped, connection :: integer, key :: term}
          | {:renewed, Function.kind(), String.t()}

  @sidecar 0
  @numbers 2_147_483_647
  # So many of those that were replaced or dropped are kept for statements that still run.
  @retired_max 100

  @spec new() :: t
  def new do
    %__MODULE__{
      table: :ets.new(:libsql_port_functions, [:ordered_set, :public, {:read_concurrency, true}]),
      flag: :atomics.new(1, signed: false)
    }
  end

  @doc "Adds functions to a sidecar that is being started: its first run gets them too."
  @spec put(t, [Function.t()]) :: :ok
  def put(functions, list) do
    for function <- list do
      number = add(functions, @sidecar, function)
      settle(functions, {:created, number}, true)
    end

    :ok
  end

  @doc "Adds a function that the program is yet to accept; its number."
  @spec add(t, integer | {:opening, reference}, Function.t()) :: pos_integer
  def add(functions, connection, function) do
    number = next(functions.table)
    :ets.insert(functions.table, {number, connection, Function.key(function), :pending, function})
    CallChain.functions_exist()
    raise_flag(functions)
    number
  end

  defp next(table) do
    number = 1 + rem(:ets.update_counter(table, :number, 1, {:number, 0}), @numbers)
    if :ets.member(table, number), do: next(table), else: number
  end

  @doc "The program has answered."
  @spec settle(t, change, boolean) :: :ok
  def settle(%{table: table} = functions, {:created, number}, true) do
    with [{^number, connection, key, _pending, _function}] <- :ets.lookup(table, number) do
      end_others(table, connection, key, number)
      :ets.update_element(table, number, {4, :active})
    end

    raise_flag(functions)
  end

  def settle(functions, {:created, number}, false), do: withdraw(functions, number)

  def settle(functions, {:dropped, connection, key}, true) do
    end_others(functions.table, connection, key, nil)
    raise_flag(functions)
  end

  def settle(_functions, _change, _accepted?), do: :ok

  @doc "A function that was added before its connection had a number is that connection's."
  @spec adopt(t, pos_integer, integer) :: :ok
  def adopt(%{table: table}, number, connection) do
    :ets.update_element(table, number, [{2, connection}, {4, :active}])
    :ok
  end

  @doc "A function was not registered after all."
  @spec withdraw(t, pos_integer) :: :ok
  def withdraw(functions, number) do
    :ets.match_delete(functions.table, {number, :_, :_, :pending, :_})
    raise_flag(functions)
  end

  # A connection replaces and drops a function only while nothing runs on it.
  defp end_others(table, connection, key, number) do
    for [other] <- :ets.match(table, {:"$1", connection, key, :active, :_}), other != number do
      if connection == @sidecar,
        do: :ets.update_element(table, other, {4, :retired}),
        else: :ets.delete(table, other)
    end

    trim(table)
  end

  defp trim(table) do
    retired = :ets.match(table, {:"$1", :_, :_, :retired, :_})
    for [number] <- Enum.drop(retired, -@retired_max), do: :ets.delete(table, number)
  end

  @doc "A connection is gone, and its functions with it."
  @spec connection_ended(t, integer) :: :ok
  def connection_ended(functions, connection) do
    :ets.match_delete(functions.table, {:_, connection, :_, :_, :_})
    raise_flag(functions)
  end

  @doc "The run of the program is over: those of the sidecar stay."
  @spec run_ended(t) :: :ok
  def run_ended(functions) do
    :ets.select_delete(functions.table, [
      {{:_, :"$1", :_, :"$2", :_}, [{:orelse, {:"/=", :"$1", @sidecar}, {:"/=", :"$2", :active}}], [true]}
    ])

    raise_flag(functions)
  end

  @doc "The functions of the sidecar, with their numbers."
  @spec of_sidecar(t) :: [{pos_integer, Function.t()}]
  def of_sidecar(functions) do
    for [number, function] <- :ets.match(functions.table, {:"$1", @sidecar, :_, :active, :"$2"}),
        do: {number, function}
  end

  @doc "The kind under which something is registered; `nil` for what is not."
  @spec kind(t, integer, term) :: Function.kind() | nil
  def kind(functions, connection, key) do
    case :ets.match(functions.table, {:_, connection, key, :active, :"$1"}) do
      [[function] | _] -> function.kind
      [] -> nil
    end
  end

  @doc "The function of a number."
  @spec fetch(t, pos_integer) :: {:ok, Function.t()} | :error
  def fetch(functions, number) do
    case :ets.lookup(functions.table, number) do
      [{_number, _connection, _key, _status, function}] -> {:ok, function}
      [] -> :error
    end
  end

  # Callers look at the flag, to know whether their requests may lead to callbacks.
  defp raise_flag(functions) do
    # One row is the counter's.
    :atomics.put(functions.flag, 1, if(:ets.info(functions.table, :size) > 1, do: 1, else: 0))
  end

  @doc "Whether there are functions: one look at an atomic."
  @spec any?(:atomics.atomics_ref()) :: boolean
  def any?(flag), do: :atomics.get(flag, 1) != 0
end
