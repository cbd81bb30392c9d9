defmodule EctoLibSql.Retry do
  @moduledoc false
  # What may be repeated, when, and how often. Two kinds of failures may: a single statement of which the server or the database says
  # that it did nothing, and a whole transaction that was not committed. What may have taken effect is never repeated.
  #
  # Pauses double and are spread over their whole length, so that many callers do not come back together. A budget bounds what
  # repeating adds: each call puts a tenth into it, each repetition takes one out, so that a server that fails under load gets a
  # tenth more, not twice as much. Everything ends with the caller's deadline. Called by `EctoLibSql`.

  alias EctoLibSql.{Error, Query}

  @attempts 4
  @base_ms 25
  @max_ms 1_000

  # In thousandths of a repetition.
  @whole 1_000
  @share 100
  @budget 10_000

  # Positions of `counters`.
  @left 1
  @retried 2
  @given_up 3

  @enforce_keys [:attempts, :base, :max, :counters]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          attempts: pos_integer,
          base: pos_integer,
          max: pos_integer,
          counters: :atomics.atomics_ref()
        }

  @statement [:busy, :remote_unavailable]
  @transaction [:busy, :locked, :transaction_lost, :remote_unavailable]

  @doc "What the option `:retry` says: `true`, `false`, or a keyword list. An error says what it takes."
  @spec of_option(term) :: {:ok, t | nil} | {:error, String.t()}
  def of_option(false), do: {:ok, nil}
  def of_option(true), do: of_option([])

  def of_option(options) do
    names = [:attempts, :base, :max]

    if Keyword.keyword?(options) and Keyword.keys(options) -- names == [] and
         Enum.all?(options, fn {_name, value} -> is_integer(value) and value > 0 end) do
      {:ok,
       %__MODULE__{
         attempts: options[:attempts] || @attempts,
         base: options[:base] || @base_ms,
         max: options[:max] || @max_ms,
         counters: counters()
       }}
    else
      {:error, takes()}
    end
  end

  @doc """
  Of a call: the one among its options, which are those of its Repo or pool too; `nil` inside of a transaction or a checkout, and for
  what is not a single statement, of which a part may have taken effect.
  """
  @spec of_call(DBConnection.conn(), Query.t(), keyword) :: t | nil
  def of_call(%DBConnection{}, _query, _options), do: nil

  def of_call(_pool, %Query{operation: :execute}, options) do
    case :lists.keyfind(:retry, 1, options) do
      {_name, %__MODULE__{} = retry} -> retry
      _none_or_off -> nil
    end
  end

  def of_call(_pool, _several_statements, _options), do: nil

  @doc """
  Of a transaction: as `given`, or by default as the Repo or the pool has it; the budget is theirs in any case. Raises for an option
  that is none.
  """
  @spec of_transaction!(term, t | false | nil) :: t | nil
  def of_transaction!(nil, default), do: default || nil

  def of_transaction!(given, default) do
    case of_option(given) do
      {:ok, nil} -> nil
      {:ok, retry} -> %{retry | counters: (default || retry).counters}
      {:error, takes} -> raise Error, code: :invalid_option, message: "the option :retry takes #{takes}"
    end
  end

  @doc "What the option takes."
  @spec takes() :: String.t()
  def takes, do: "true, false or a list of :attempts, :base and :max, each an integer, 1 or more"

  defp counters do
    counters = :atomics.new(3, signed: true)
    :atomics.put(counters, @left, @budget)
    counters
  end

  @doc "How often something was repeated, and how often it was not because the budget was spent."
  @spec counts(t) :: %{retried: non_neg_integer, given_up: non_neg_integer}
  def counts(%__MODULE__{counters: counters}),
    do: %{retried: :atomics.get(counters, @retried), given_up: :atomics.get(counters, @given_up)}

  @doc "Whether a statement outside of a transaction took no effect and may be sent again."
  @spec statement?(term) :: boolean
  def statement?(%Error{code: code}), do: code in @statement
  def statement?(_other), do: false

  @doc "Whether a transaction took no effect and may be run again."
  @spec transaction?(term) :: boolean
  def transaction?(%Error{code: code}), do: code in @transaction
  def transaction?(%DBConnection.ConnectionError{reason: reason}), do: reason == :sidecar_down
  def transaction?(_other), do: false

  @doc "Runs a statement that is no part of a transaction."
  @spec statement(t, keyword, (() -> result)) :: result when result: {:ok, term, term} | {:error, term}
  def statement(retry, options, fun) do
    attempt = fn ->
      case fun.() do
        {:error, error} = failed -> if statement?(error), do: {:again, failed}, else: failed
        done -> done
      end
    end

    run(retry, options, attempt, & &1)
  end

  @doc "Runs a transaction, whose failure may be raised or returned."
  @spec transaction(t | nil, keyword, (() -> result)) :: result
        when result: {:ok, term} | {:error, term} | tuple
  def transaction(nil, _options, fun), do: fun.()

  def transaction(retry, options, fun) do
    attempt = fn ->
      try do
        fun.()
      rescue
        error in [Error, DBConnection.ConnectionError] ->
          if transaction?(error),
            do: {:again, {:raised, error, __STACKTRACE__}},
            else: reraise(error, __STACKTRACE__)
      else
        {:error, error} = failed -> if transaction?(error), do: {:again, failed}, else: failed
        done -> done
      end
    end

    run(retry, options, attempt, fn
      {:raised, error, stacktrace} -> reraise(error, stacktrace)
      failed -> failed
    end)
  end

  @doc """
  Runs a function until it returns something else than `{:again, failure}`, or no repetition is left to it; then that failure's
  meaning, by `last`.
  """
  @spec run(t, keyword, (() -> result | {:again, failure}), (failure -> result)) :: result
        when result: var, failure: var
  def run(%__MODULE__{} = retry, options, fun, last) do
    put_in_budget(retry.counters)
    run(retry, options, fun, last, 1)
  end

  defp run(retry, options, fun, last, attempt) do
    with {:again, failure} <- fun.() do
      pause = pause(retry, attempt)

      if attempt < retry.attempts and in_time?(pause, options[:deadline]) and take(retry.counters) do
        :telemetry.execute([:ecto_libsql_port, :retry], %{attempt: attempt, wait_ms: pause}, %{
          error: shown(failure)
        })

        Process.sleep(pause)
        run(retry, options, fun, last, attempt + 1)
      else
        last.(failure)
      end
    end
  end

  defp shown({:raised, error, _stacktrace}), do: error
  defp shown({:error, error}), do: error

  # Somewhere between nothing and the doubled pause, and one millisecond at least.
  defp pause(%{base: base, max: max}, attempt),
    do: :rand.uniform(min(max, base * Bitwise.bsl(1, min(attempt - 1, 20))))

  # With some of it left for the attempt itself.
  defp in_time?(_pause, nil), do: true
  defp in_time?(pause, deadline), do: System.monotonic_time(:millisecond) + pause < deadline

  defp put_in_budget(counters) do
    if :atomics.get(counters, @left) < @budget, do: :atomics.add(counters, @left, @share)
  end

  defp take(counters) do
    if :atomics.sub_get(counters, @left, @whole) >= 0 do
      :atomics.add(counters, @retried, 1)
      true
    else
      :atomics.add(counters, @left, @whole)
      :atomics.add(counters, @given_up, 1)
      false
    end
  end
end
