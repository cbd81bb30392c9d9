defmodule EctoLibSql.Deadline do
  @moduledoc false
  # One deadline from the call to the engine. `DBConnection` counts a call's timeout from the moment it asks the pool for a
  # connection; the sidecar counts a request's from the moment it arrives. So a call that enters the pool gets the
  # absolute time here, `DBConnection` keeps to it, and each request is given what is left of it.
  #
  # The sidecar's part ends a little before `DBConnection`'s: the statement is stopped, its caller told `:timeout`, and the
  # connection stays usable. `DBConnection` would take it away.

  alias EctoLibSql.{Error, PoolGauges, State}

  # The default of `DBConnection`.
  @timeout 15_000
  # A call that was never sent because its connection's sidecar has ended is tried on the next one of the pool. As many may
  # be of that sidecar as the pool has; each is replaced when it is met, and the deadline bounds the whole.
  @retries 1_000
  @early_ms_max 100

  @typedoc "A process or name of a pool, or a connection that is checked out."
  @type conn :: DBConnection.conn()

  @doc """
  The options of a transaction. One that has to check a connection out gets its deadline, and `single: true`, by which
  `EctoLibSql.Protocol` knows that the connection goes back to the pool afterwards.
  """
  @spec entering(conn, keyword) :: keyword
  def entering(conn, options), do: checking_out(conn, limited(conn, options))

  @doc "The same for a single statement, which may pass the pool: without what the pool alone reads, see `checking_out/2`."
  @spec limited(conn, keyword) :: keyword
  def limited(%DBConnection{}, options), do: options
  def limited(_pool, options), do: [{:single, true} | limited(options)]

  @doc "The options of a call that takes a connection of the pool now."
  @spec checking_out(conn, keyword) :: keyword
  def checking_out(%DBConnection{}, options), do: options
  def checking_out(_pool, options), do: checking_out(options)

  defp checking_out(options),
    do: options |> PoolGauges.observed() |> Keyword.put_new(:checkout_retries, @retries)

  @doc "How often a call is tried on another connection."
  @spec retries() :: pos_integer
  def retries, do: @retries

  @doc "The options of a checkout or transaction that begins at the pool."
  @spec enter(keyword) :: keyword
  def enter(options), do: options |> limited() |> checking_out()

  # In front of one that was given: of two options of a name the first one holds.
  defp limited(options) do
    case given(options, :timeout) || @timeout do
      :infinity -> options
      timeout -> [{:deadline, earliest(now() + timeout, given(options, :deadline))} | options]
    end
  end

  @doc "The options of a call of several attempts, which end all together when one would."
  @spec overall(keyword, keyword) :: keyword
  def overall(options, defaults) do
    case options[:timeout] || defaults[:timeout] || @timeout do
      timeout when is_integer(timeout) ->
        Keyword.put(options, :deadline, earliest(now() + timeout, options[:deadline]))

      # What is no time is refused by the call.
      _endless_or_wrong ->
        options
    end
  end

  @doc "What is left for a request, as the driver's `:timeout`."
  @spec left(keyword, State.t()) :: {:ok, keyword} | :overdue
  def left(options, %State{} = state) do
    case {given(options, :timeout), deadline(options, state)} do
      {nil, nil} -> {:ok, []}
      {timeout, nil} -> {:ok, [timeout: early(timeout)]}
      {timeout, deadline} -> timeout |> earliest(deadline - now()) |> within()
    end
  end

  defp within(left) when left <= 0, do: :overdue
  defp within(left), do: {:ok, [timeout: early(left)]}

  defp early(:infinity), do: :infinity
  defp early(timeout), do: max(timeout - min(div(timeout, 10) + 1, @early_ms_max), 1)

  @doc "Whether the time of a call is up."
  @spec passed?(keyword, State.t()) :: boolean
  def passed?(options, state) do
    deadline = deadline(options, state)
    deadline != nil and now() >= deadline
  end

  defp deadline(options, state) do
    options |> given(:deadline) |> earliest(state.deadline) |> earliest(state.checkout_deadline)
  end

  # `Keyword.get/2`, without two more calls in the way of every statement.
  @compile {:inline, given: 2, earliest: 2, deadline: 2, within: 1, early: 1, now: 0}
  defp given(options, name) do
    case :lists.keyfind(name, 1, options) do
      {_name, value} -> value
      false -> nil
    end
  end

  # `nil` and `:infinity` are no limits; as atoms they are greater than any number.
  defp earliest(one, other) when is_integer(one) or is_integer(other), do: min(one, other)
  defp earliest(one, _other), do: one

  @doc """
  The error of a call as its caller gets it. If its time was up before a connection was free, or while it was taken,
  `DBConnection` has an error of its own, without a reason; nothing was sent then.
  """
  @spec told(Exception.t(), keyword) :: Exception.t()
  def told(%DBConnection.ConnectionError{reason: :error} = error, options) do
    deadline = options[:deadline]
    if deadline != nil and now() >= deadline, do: timed_out(error.message), else: error
  end

  def told(error, _options), do: error

  defp timed_out(message) do
    %Error{code: :timeout, message: "the time was up before the request could run: #{message}"}
  end

  # Not by `System`, which looks the unit up.
  defp now, do: :erlang.monotonic_time(:millisecond)
end
