defmodule EctoLibSql.CallOptions do
  @moduledoc false
  # Checks the options of a call before it enters the pool. DBConnection takes them as they are: a `:timeout` of 1.5 raises
  # after the connection was taken and never gives it back, a `:queue` that is no boolean ends the pool. Unknown names are
  # passed over, because calls bear those of Ecto, its telemetry and the application. Called by `EctoLibSql`.
  #
  # Options that bound the chunks of a stream (`:max_rows`, `:chunk_bytes`, `:stream`, `:read_ahead`) change no rows, so all other calls pass
  # them over: a Repo's `default_options/1` gives them to every call. A checkout refuses what its calls would not be run with though they were
  # told to be safer by it. `:policy` and `:defensive` of a transaction or a checkout hold for all their statements (`EctoLibSql.Privileges`).

  alias EctoLibSql.Error
  alias EctoLibSql.Lane.Slots
  alias EctoLibSql.Retry

  @takes [
    timeout: "milliseconds or :infinity",
    deadline: "a time of System.monotonic_time(:millisecond) or nil",
    queue: "true or false",
    checkout_retries: "an integer, 0 or more",
    max_rows: "an integer, 1 or more",
    chunk_bytes: "an integer, 0 or more",
    stream: ":live or nil",
    read_ahead: "true or false",
    policy: "false, in a call",
    defensive: "true or false",
    lane: "false, in a call",
    retry: "false, in a call"
  ]

  # What none of a checkout's statements would be run with. No defaults of a Repo reach checkouts.
  @refused_by_checkouts [:mode, :lock_timeout]

  @doc "Returns `:ok`, or an error of code `:invalid_option` that names the option and what it takes."
  @spec check(term) :: :ok | {:error, Error.t()}
  def check(options) do
    case unfit(options) do
      nil ->
        :ok

      {name, value} when is_atom(name) ->
        error("the option #{inspect(name)} takes #{@takes[name]}, not #{inspect(value)}")

      _other ->
        error("options are a keyword list, not #{inspect(options)}")
    end
  end

  @doc "Raises that error, also for an option without effect on a checkout."
  @spec check!(:transaction | :checkout, term) :: :ok
  def check!(:transaction, options), do: check!(options)

  def check!(:checkout, options) do
    check!(options)

    for {name, _value} <- options, name in @refused_by_checkouts do
      with {:error, error} <-
             error("the option #{inspect(name)} has no effect on a checkout: give it to the calls in it"),
           do: raise(error)
    end

    :ok
  end

  @doc "Raises that error."
  @spec check!(term) :: :ok
  def check!(options), do: with({:error, error} <- check(options), do: raise(error))

  # The first one that is wrong. Every call comes by here, so nothing is looked up.
  defp unfit([{:timeout, value} | rest]) when is_integer(value) or value == :infinity, do: unfit(rest)
  defp unfit([{:deadline, value} | rest]) when is_integer(value) or value == nil, do: unfit(rest)
  defp unfit([{:queue, value} | rest]) when is_boolean(value), do: unfit(rest)
  defp unfit([{:checkout_retries, value} | rest]) when is_integer(value) and value >= 0, do: unfit(rest)
  defp unfit([{:max_rows, value} | rest]) when is_integer(value) and value > 0, do: unfit(rest)
  defp unfit([{:chunk_bytes, value} | rest]) when is_integer(value) and value >= 0, do: unfit(rest)
  defp unfit([{:stream, value} | rest]) when value in [:live, nil], do: unfit(rest)
  defp unfit([{:read_ahead, value} | rest]) when is_boolean(value), do: unfit(rest)
  defp unfit([{:policy, false} | rest]), do: unfit(rest)
  defp unfit([{:defensive, value} | rest]) when is_boolean(value), do: unfit(rest)

  # What is no `false` is the lane itself, put here by the adapter.
  defp unfit([{:lane, value} | rest]) when value == false or is_struct(value, Slots), do: unfit(rest)
  defp unfit([{:retry, value} | rest]) when value == false or is_struct(value, Retry), do: unfit(rest)

  for {name, _takes} <- @takes do
    defp unfit([{unquote(name), _value} = wrong | _rest]), do: wrong
  end

  defp unfit([{name, _value} | rest]) when is_atom(name), do: unfit(rest)
  defp unfit([]), do: nil
  defp unfit(_no_keyword_list), do: :none

  defp error(message), do: {:error, %Error{code: :invalid_option, message: message}}
end
