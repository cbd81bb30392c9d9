defmodule EctoLibSql.CallOptions do
  @moduledoc false
  # Checks the options of a call before it enters the pool. DBConnection takes them as they are: a `:timeout` of 1.5 raises
  # after the connection was taken and never gives it back, a `:queue` that is no boolean ends the pool. Unknown names are
  # passed over, because calls bear those of Ecto, its telemetry and the application. Called by `EctoLibSql`.
  #
  # An option has an effect on what the call runs, or is refused: `:max_rows` bounds a stream's chunks, not the rows of a statement, and given to a
  # transaction it would be taken for that of all streams in it. `:policy` and `:defensive` of a transaction or a checkout hold for all their
  # statements (`EctoLibSql.Privileges`).

  alias EctoLibSql.Error
  alias EctoLibSql.Lane.Slots

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
    lane: "false, in a call"
  ]

  @of_streams [:max_rows, :chunk_bytes, :stream, :read_ahead]

  # What none of the call's statements would be run with.
  @refused %{transaction: @of_streams, checkout: @of_streams ++ [:mode, :lock_timeout]}

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

  @doc "The same, of a statement: an option that has an effect on streams alone is one of these errors too."
  @spec check_statement(term) :: :ok | {:error, Error.t()}
  def check_statement(options), do: with(:ok <- check(options), do: of_no_stream(options))

  # As above, every call comes by here.
  for name <- @of_streams do
    defp of_no_stream([{unquote(name), _value} | _rest]),
      do: no_effect(unquote(name), "statement", "a stream")
  end

  defp of_no_stream([_option | rest]), do: of_no_stream(rest)
  defp of_no_stream([]), do: :ok

  @doc "Raises that error, also for an option without effect on a transaction or a checkout."
  @spec check!(:transaction | :checkout, term) :: :ok
  def check!(call, options) do
    check!(options)

    for {name, _value} <- options, name in Map.fetch!(@refused, call) do
      with {:error, error} <- no_effect(name, call, "the calls in it"), do: raise(error)
    end

    :ok
  end

  defp no_effect(name, call, whose),
    do: error("the option #{inspect(name)} has no effect on a #{call}: give it to #{whose}")

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

  for {name, _takes} <- @takes do
    defp unfit([{unquote(name), _value} = wrong | _rest]), do: wrong
  end

  defp unfit([{name, _value} | rest]) when is_atom(name), do: unfit(rest)
  defp unfit([]), do: nil
  defp unfit(_no_keyword_list), do: :none

  defp error(message), do: {:error, %Error{code: :invalid_option, message: message}}
end
