defmodule LibsqlPort.Changes.Options do
  @moduledoc false
  # The options of a subscription, checked, and as they travel. Pure.

  alias LibsqlPort.{Error, OptionCheck}

  @defaults %{
    tables: nil,
    operations: [:insert, :update, :delete],
    values: :none,
    columns: nil,
    changed_columns: nil,
    hooks: [],
    progress_interval: 1000,
    changes: true,
    subscriber: nil,
    pending_bytes_max: 1_048_576,
    pending_messages_max: 1000,
    demand: :auto,
    transform: nil,
    timeout: 15_000
  }

  @type t :: %{
          tables: [String.t()] | nil,
          operations: [atom],
          values: :none | :new | :old_and_new,
          columns: [String.t()] | nil,
          changed_columns: [String.t()] | nil,
          hooks: [atom],
          progress_interval: pos_integer,
          changes: boolean,
          subscriber: pid,
          pending_bytes_max: pos_integer,
          pending_messages_max: pos_integer,
          demand: :auto | :manual,
          transform: (map -> map | nil) | nil,
          timeout: pos_integer | :infinity
        }

  @bytes_max 1_073_741_824

  @spec new(keyword) :: {:ok, t} | {:error, Error.t()}
  def new(options) do
    if Keyword.keyword?(options),
      do: Enum.reduce_while(options, {:ok, %{@defaults | subscriber: self()}}, &put/2),
      else: invalid("the options of a subscription are a keyword list, not #{inspect(options)}")
  end

  defp put({key, value}, {:ok, options}) when is_map_key(@defaults, key) do
    case valid(key, value) do
      true -> {:cont, {:ok, Map.put(options, key, value)}}
      allowed -> {:halt, invalid("#{inspect(key)} of a subscription takes #{allowed}, not #{inspect(value)}")}
    end
  end

  defp put({key, _value}, _options) do
    known = Map.keys(@defaults)
    has = Enum.map_join(known, ", ", &inspect/1)

    {:halt,
     invalid("a subscription has no option #{inspect(key)}#{OptionCheck.hint(key, known)}; it has #{has}")}
  end

  @doc "`true`, or in words what an option takes that was given something else."
  @spec valid(atom, term) :: true | String.t()
  def valid(key, nil) when key in [:tables, :columns, :changed_columns], do: true

  def valid(key, value) when key in [:tables, :columns, :changed_columns] do
    OptionCheck.list_of?(value, &(is_binary(&1) and String.valid?(&1))) or "a list of strings"
  end

  def valid(:operations, value), do: some_of(value, [:insert, :update, :delete])
  def valid(:hooks, value), do: some_of(value, [:commit, :rollback, :wal, :busy, :progress, :sync, :freeze])
  def valid(:progress_interval, value), do: between(value, 10, 2_147_483_647)

  def valid(:values, value),
    do: value in [:none, :new, :old_and_new] or ":none, :new or :old_and_new"

  def valid(:changes, value), do: is_boolean(value) or "true or false"
  def valid(:subscriber, value), do: is_pid(value) or "a pid"
  def valid(:demand, value), do: value in [:auto, :manual] or ":auto or :manual"
  def valid(:transform, value), do: is_nil(value) or is_function(value, 1) or "a function of one argument"
  def valid(:timeout, :infinity), do: true
  def valid(:timeout, value), do: between(value, 1, 2_147_483_647)
  def valid(:pending_bytes_max, value), do: between(value, 1, @bytes_max)
  def valid(:pending_messages_max, value), do: between(value, 1, @bytes_max)

  defp some_of(value, choices) do
    OptionCheck.list_of?(value, &(&1 in choices)) or
      "a list of some of #{Enum.map_join(choices, ", ", &inspect/1)}"
  end

  defp between(value, min, max),
    do: (is_integer(value) and value in min..max) or "an integer from #{min} to #{max}"

  defp invalid(message), do: {:error, Error.new(:invalid_option, message)}

  @doc "The options as they travel."
  @spec to_wire(t) :: map
  def to_wire(options) do
    events = if options.changes, do: [:changes | options.hooks], else: options.hooks

    map = %{
      operations: options.operations,
      values: options.values,
      events: events,
      progress_interval: options.progress_interval,
      bytes_max: options.pending_bytes_max
    }

    for key <- [:tables, :columns, :changed_columns], options[key] != nil, reduce: map do
      map -> Map.put(map, key, options[key])
    end
  end
end
