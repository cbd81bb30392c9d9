defmodule EctoLibSql.PoolStatus do
  @moduledoc """
  What a pool is doing: the result of `EctoLibSql.pool_status/1`. Times are in milliseconds.

    * `pools` – how many pools the numbers are of: those of `:pool_count` are added up
    * `size_max` – how many connections there may be, `:pool_size`
    * `size` – how many there are now: as many, or from `:pool_size_min` on as many as are needed. They are:
      * `checked_out` – in use
      * `idle` – open and free
      * `opening` – the rest: being opened or closed, or, for a moment once a second, being checked
    * `holders` – the processes that use a connection, the longest first. For each:
      * `pid`
      * `name` – its registered name, else its label (`Process.set_label/1`), else the function in which it began as
        `{module, function, arity}`; `nil` if it has ended meanwhile
      * `held_ms` – for how long it has had the connection
      * `in_transaction` – whether a transaction is open on it
    * `waiting` – processes that wait for a connection
    * `longest_wait_ms` – how long the first of them has waited; 0 if there is none
    * `queue_max` – how many may wait, the option `:queue_max`
    * counts since the pool was started:
      * `checkouts` – connections that callers got
      * `waits` – how many of these callers had to wait
      * `drops` – calls that got none: dropped from the queue, or refused
      * `timeouts` – connections that were taken from a process because its time was up
    * `lane` – the connections beside the pool (see `EctoLibSql.Options`), `nil` if the pool has no lane:
      * `size` – how many there may be
      * `open`, `busy` – how many there are, and how many of them run a statement
      * `runs` – statements that took the lane since the start
      * `fallbacks` – statements that took the pool because no connection of the lane was free

  The numbers are read one after the other, while the pool works. They need not fit each other exactly.

  ## Events

  For `:telemetry`, in the process of the caller. Times are in native units.

  | event | when | measurements | metadata |
  |---|---|---|---|
  | `[:ecto_libsql_port, :pool, :wait]` | a caller got a connection after it had waited for longer than `:queue_threshold` | `duration` | `pool`, `repo` |
  | `[:ecto_libsql_port, :pool, :drop]` | a caller got none | `duration` | `pool`, `repo`, `reason` and `error` |

  `pool` is the pool as the caller knows it, a process or a name, and `repo` is `nil` without Ecto. `error` is the
  `DBConnection.ConnectionError` that the caller gets, `reason` the one in it: `:queue_timeout` if it was dropped from the
  queue, `:queue_full` if `:queue_max` others waited already, `:error` if it has `queue: false` or its time was up.
  """

  alias EctoLibSql.{Error, PoolGauges}
  alias EctoLibSql.Lane.Slots

  defstruct pools: 0,
            size: 0,
            size_max: 0,
            checked_out: 0,
            idle: 0,
            opening: 0,
            holders: [],
            waiting: 0,
            longest_wait_ms: 0,
            queue_max: :infinity,
            checkouts: 0,
            waits: 0,
            drops: 0,
            timeouts: 0,
            lane: nil

  @type holder :: %{
          pid: pid,
          name: atom | mfa | term | nil,
          held_ms: non_neg_integer,
          in_transaction: boolean
        }
  @type lane :: %{
          size: pos_integer,
          open: non_neg_integer,
          busy: non_neg_integer,
          runs: non_neg_integer,
          fallbacks: non_neg_integer
        }
  @type t :: %__MODULE__{
          pools: non_neg_integer,
          size: non_neg_integer,
          size_max: non_neg_integer,
          checked_out: non_neg_integer,
          idle: non_neg_integer,
          opening: non_neg_integer,
          holders: [holder],
          waiting: non_neg_integer,
          longest_wait_ms: non_neg_integer,
          queue_max: pos_integer | :infinity,
          checkouts: non_neg_integer,
          waits: non_neg_integer,
          drops: non_neg_integer,
          timeouts: non_neg_integer,
          lane: lane | nil
        }

  # Of several pools.
  @added [
    :pools,
    :size,
    :size_max,
    :checked_out,
    :idle,
    :opening,
    :waiting,
    :checkouts,
    :waits,
    :drops,
    :timeouts
  ]
  # Who is named in an error.
  @named_max 5

  @doc false
  @spec of(term) :: {:ok, t} | {:error, Error.t()}
  def of(repo_or_pool) do
    with :none <- repo_or_pool |> pools() |> of_pools(), do: {:error, no_pool(repo_or_pool)}
  end

  @doc false
  # Of pools that were found already; `:none` for no pool, and one that has ended.
  @spec of_pools([{pid, PoolGauges.pool()}]) :: {:ok, t} | :none
  def of_pools([]), do: :none

  def of_pools(pools) do
    {:ok, pools |> Enum.map(&read/1) |> Enum.reduce(&add/2)}
  rescue
    # It has ended while it was read, and its tables with it.
    ArgumentError -> :none
  end

  @doc false
  # Of the pool of this process; `nil` if it is none.
  @spec of_pool(pid) :: t | nil
  def of_pool(pid) do
    with %{} = pool <- PoolGauges.of(pid), do: read({pid, pool})
  rescue
    # It has just ended.
    ArgumentError -> nil
  end

  # --- whose status ---------------------------------------------------------------------------------------------

  @doc false
  # The processes of the pools of a Repo or pool on this node, with what each has published.
  @spec pools(term) :: [{pid, PoolGauges.pool()}]
  def pools(repo_or_pool) do
    with [] <- repo_or_pool |> whereis() |> published(), do: repo_or_pool |> of_repo() |> published()
  end

  defp published(pids), do: for(pid <- pids, %{} = pool <- [PoolGauges.of(pid)], do: {pid, pool})

  @doc false
  # What Ecto keeps of a Repo: of its module, or of the name or pid of a dynamic one. `nil` if there is none, or it has ended.
  @spec repo(term) :: map | nil
  def repo(repo) do
    repo =
      if is_atom(repo) and Code.ensure_loaded?(repo) and function_exported?(repo, :get_dynamic_repo, 0),
        do: repo.get_dynamic_repo(),
        else: repo

    Ecto.Adapter.lookup_meta(repo)
  rescue
    _ in [RuntimeError, ArgumentError, FunctionClauseError] -> nil
  end

  defp of_repo(repo) do
    case repo(repo) do
      %{partition_supervisor: {name, count}} ->
        Enum.flat_map(0..(count - 1), &whereis({:via, PartitionSupervisor, {name, &1}}))

      %{pid: pool} ->
        [pool]

      nil ->
        []
    end
  end

  defp whereis(name) do
    case GenServer.whereis(name) do
      pid when is_pid(pid) and node(pid) == node() -> [pid]
      _none_or_elsewhere -> []
    end
  rescue
    _ in [ArgumentError, FunctionClauseError] -> []
  end

  defp no_pool(asked) do
    %Error{
      code: :invalid_request,
      message:
        "#{inspect(asked)} is no Repo or pool of this node that runs and has a status. One in the sandbox or with another " <>
          ":pool has none"
    }
  end

  # --- status ---------------------------------------------------------------------------------------------------

  defp read({pid, %{gauges: gauges, queue: queue, size: size} = pool}) do
    now = System.monotonic_time()
    {free, waiting} = queue(queue)
    rows = PoolGauges.rows(gauges)
    # `nil` sorts behind all times: it has only just begun.
    held = for({owner, _since, _holder} = row <- rows, owner != pid, do: row) |> Enum.sort_by(&elem(&1, 1))
    # One that was given back a moment ago is not in the queue yet.
    idle = for({^pid, _since, holder} <- rows, do: holder) |> Enum.concat(free) |> Enum.uniq() |> length()

    %__MODULE__{
      pools: 1,
      size: size,
      size_max: pool.size_max,
      checked_out: length(held),
      idle: idle,
      opening: max(size - idle - length(held), 0),
      holders: Enum.map(held, &holder(&1, now)),
      waiting: length(waiting),
      longest_wait_ms: longest(waiting),
      queue_max: pool.queue_max,
      lane: pool.lane && Slots.status(pool.lane)
    }
    |> Map.merge(PoolGauges.counts(gauges))
  end

  # A row is a connection since when it is free, or a call since when it waits. One whose process has ended stays until
  # its turn.
  defp queue(queue) do
    rows = :ets.tab2list(queue)
    free = for {{_since, holder}} <- rows, do: holder
    {free, for({{since, _number, {pid, _ref}}} <- rows, Process.alive?(pid), do: since)}
  end

  defp longest([]), do: 0
  defp longest([first | _]), do: max(System.monotonic_time(:millisecond) - first, 0)

  defp holder({pid, since, holder}, now) do
    held = if since, do: System.convert_time_unit(max(now - since, 0), :native, :millisecond), else: 0
    %{pid: pid, name: name(pid), held_ms: held, in_transaction: PoolGauges.in_transaction?(holder)}
  end

  defp name(pid) do
    case Process.info(pid, :registered_name) do
      {:registered_name, []} -> label(pid) || initial_call(pid)
      {:registered_name, name} -> name
      nil -> nil
    end
  end

  # From OTP 27 on.
  defp label(pid) do
    if function_exported?(:proc_lib, :get_label, 1) do
      case apply(:proc_lib, :get_label, [pid]) do
        :undefined -> nil
        label -> label
      end
    end
  end

  # A process of `:proc_lib`, such as a GenServer or a Task, keeps its own.
  defp initial_call(pid) do
    with {:dictionary, dictionary} <- Process.info(pid, :dictionary),
         {_, {_module, _function, _arity} = call} <- List.keyfind(dictionary, :"$initial_call", 0) do
      call
    else
      _plain_or_ended -> with {:initial_call, call} <- Process.info(pid, :initial_call), do: call
    end
  end

  defp add(one, other) do
    Map.merge(one, other, fn
      key, a, b when key in @added -> a + b
      :longest_wait_ms, a, b -> max(a, b)
      :holders, a, b -> Enum.sort_by(a ++ b, & &1.held_ms, :desc)
      _same, a, _b -> a
    end)
  end

  # --- in words -------------------------------------------------------------------------------------------------

  @doc false
  # What is added to the error of a call that got no connection.
  @spec explain(t) :: String.t()
  def explain(%__MODULE__{} = status) do
    "#{status.checked_out} of #{status.size} connections are in use, and #{calls(status.waiting)}" <>
      held_by(status.holders) <> opening(status.opening)
  end

  defp calls(1), do: "1 call waits"
  defp calls(count), do: "#{count} calls wait"

  defp held_by([]), do: "."

  defp held_by(holders) do
    {named, others} = Enum.split(holders, @named_max)

    lines =
      Enum.map(
        named,
        &"\n  * #{who(&1)} for #{&1.held_ms} ms#{if &1.in_transaction, do: ", in a transaction"}"
      )

    more = if others == [], do: "", else: "\n  * and #{length(others)} more"

    ". They are held by:\n#{lines}#{more}\n\n" <>
      "A process that holds a connection for long keeps it from the others: keep transactions and checkouts short. " <>
      "EctoLibSql.pool_status/1 tells this at any time."
  end

  defp opening(0), do: ""
  defp opening(count), do: " #{count} are being opened: see the log if that does not end."

  defp who(%{pid: pid, name: nil}), do: inspect(pid)

  defp who(%{pid: pid, name: {module, function, arity}})
       when is_atom(module) and is_atom(function) and is_integer(arity),
       do: "#{inspect(pid)} (#{Exception.format_mfa(module, function, arity)})"

  defp who(%{pid: pid, name: name}), do: "#{inspect(pid)} (#{inspect(name)})"
end
