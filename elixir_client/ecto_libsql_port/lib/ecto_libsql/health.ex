defmodule EctoLibSql.Health do
  @moduledoc """
  Whether a Repo can do its work at this moment: the result of `EctoLibSql.health/2`, made for the check of a load balancer
  (`EctoLibSql.HealthPlug`). All of it is numbers, atoms, strings, lists and maps.

    * `healthy?` – whether there are no `reasons`
    * `reasons` – what is wrong, a list of
      * `:not_running` – there is no such Repo or pool on this node
      * `:sidecar_down` – the sidecar has ended
      * `:sidecar_silent` – the sidecar does not answer in time: it hangs, or is being started again
      * `:pool_exhausted` – no connection of the pool became free in time
      * `:timeout` – the database did not answer in time
      * `:server_unavailable` – the database's server cannot be reached
      * `:unauthorized` – the server refuses the token
      * `:database_error` – the database answers with an error; `paths` has its code
      * `:disk_low`, `:wal_large`, `:writer_held`, `:pool_waits` – a limit of the options is exceeded
      * `:breaker_open` – requests to the primary are held back, because too many have failed
      * `:replica_stale` – the replica's last sync is older than `:replica_age_max`
    * `mode` – `:local`, `:remote` or `:replica`: where the database is; `nil` if that is not known, as in the sandbox
    * `took_us` – how long the check took, microseconds
    * `paths` – how long `SELECT 1` takes on each way to the database, a list of maps with
      * `path` – `:pool`, by a connection of the pool; `:lane`, by one of the lane, if there is one; `:sidecar`, to the sidecar alone,
        without a statement
      * `latency_us` – microseconds, `nil` if it failed
      * `error` – `nil`, or the code of the error (`LibsqlPort.ErrorCode`, or the reason of a `DBConnection.ConnectionError`)
    * `pool` – `size`, `size_max`, `checked_out`, `idle`, `waiting`, `longest_wait_ms`, `queue_max` and `drops`, as in
      `EctoLibSql.PoolStatus`; `nil` without a pool that has a status
    * `sidecar` – `os_pid`, `uptime_ms`, `connections`, `queued_requests`, `memory_bytes` and `rss_bytes`; `nil` if it does not
      answer
    * `writer` – who may write to the file: `connection` (its number; `nil` if nobody writes), `holder` (the process that has this
      connection, a text) and `held_ms` (since when it has it), `nil` for what is none of the pool's, and `waiting` (how many
      connections wait for the turn). `nil` without a file
    * `wal` – `bytes` and `pages` of the write-ahead log; `nil` without a file
    * `disk` – `free_bytes` of the file system with the database; `nil` without a file, or if it cannot be asked
    * `servers` – one map for each server of the database, the primary first: `url`, `role` (`:primary` or `:replica`), `latency_us`,
      `breaker` (`:closed`, `:open` or `:half_open`), `reason` (of its last failure, a text), `answered_ms` (since its last answer) and
      `frames_behind` (the primary, by what both have said last). What is not known is `nil`
    * `replica` – of an embedded replica, `age_ms` (of the last sync that succeeded), `syncing`, `frames_behind` (what the server had more when
      it was asked last) and `error` (the code of the last sync's); `nil` of others. It reads without the server, so that it cannot be
      reached is no reason by itself
  """

  alias EctoLibSql.{Error, KnownOptions, PoolGauges, PoolStatus}
  alias EctoLibSql.Health.Questions
  alias LibsqlPort.ServerUrl

  @enforce_keys [:healthy?]
  defstruct healthy?: false,
            reasons: [],
            mode: nil,
            took_us: 0,
            paths: [],
            pool: nil,
            sidecar: nil,
            writer: nil,
            wal: nil,
            disk: nil,
            servers: [],
            replica: nil

  @type reason ::
          :not_running
          | :sidecar_down
          | :sidecar_silent
          | :pool_exhausted
          | :timeout
          | :server_unavailable
          | :unauthorized
          | :database_error
          | :disk_low
          | :wal_large
          | :writer_held
          | :pool_waits
          | :breaker_open
          | :replica_stale

  @type t :: %__MODULE__{
          healthy?: boolean,
          reasons: [reason],
          mode: :local | :remote | :replica | nil,
          took_us: non_neg_integer,
          paths: [%{path: :pool | :lane | :sidecar, latency_us: non_neg_integer | nil, error: atom | nil}],
          pool: map | nil,
          sidecar: map | nil,
          writer: map | nil,
          wal: %{bytes: non_neg_integer | nil, pages: non_neg_integer | nil} | nil,
          disk: %{free_bytes: non_neg_integer} | nil,
          servers: [map],
          replica: map | nil
        }

  @timeout_ms 1_000
  @disk_free_min 16_777_216
  # For bringing the answers together, out of the caller's time.
  @early_ms_max 50
  @of_pool [:size, :size_max, :checked_out, :idle, :waiting, :longest_wait_ms, :queue_max, :drops]

  # `EctoLibSql.query/4`, which knows this module.
  @typep query :: (DBConnection.conn(), String.t(), [], keyword -> {:ok, term} | {:error, Exception.t()})

  @doc "The same as a map that a JSON library encodes; with `details: false` only what a stranger may know."
  @spec to_map(t, details: boolean) :: map
  def to_map(%__MODULE__{} = health, options \\ []) do
    told = %{healthy: health.healthy?, reasons: health.reasons}

    if Keyword.get(options, :details, true),
      do: health |> Map.from_struct() |> Map.delete(:healthy?) |> Map.merge(told),
      else: told
  end

  @doc false
  # The names of the options, for whoever passes them on.
  @spec options() :: [atom]
  def options, do: Keyword.keys(known())

  @doc false
  # Raises an `EctoLibSql.Error` for an option that is none.
  @spec check!(keyword) :: map
  def check!(options) do
    KnownOptions.check!("health/2", options, known())
  rescue
    error in LibsqlPort.Error -> reraise Error.new(error, nil), __STACKTRACE__
  end

  defp known do
    limit = {nil, &(is_nil(&1) or (is_integer(&1) and &1 >= 0)), "an integer, 0 or more, or nil"}

    [
      timeout: KnownOptions.positive(@timeout_ms),
      disk_free_min: put_elem(limit, 0, @disk_free_min),
      wal_bytes_max: limit,
      writer_held_max: limit,
      pool_wait_max: limit,
      replica_age_max: limit
    ]
  end

  @doc false
  # What is asked runs in processes of its own, so that the caller waits no longer than it wants to, whatever hangs. Their collector
  # tells by the reason of its end: what comes too late goes nowhere.
  @spec check(term, keyword, query) :: t
  def check(repo_or_pool, options, query) do
    limits = check!(options)
    began = System.monotonic_time()
    # The Repo that the calling process has chosen, and whose connection it has in a sandbox.
    target = target(repo_or_pool, query)
    callers = [self() | Process.get(:"$callers") || []]
    {pid, monitor} = spawn_monitor(fn -> exit({:health, collect(target, limits, callers)}) end)

    health =
      receive do
        {:DOWN, ^monitor, :process, ^pid, {:health, health}} -> health
        {:DOWN, ^monitor, :process, ^pid, _killed} -> %__MODULE__{healthy?: false, reasons: [:timeout]}
      after
        limits.timeout ->
          Process.demonitor(monitor, [:flush])
          Process.exit(pid, :kill)
          %__MODULE__{healthy?: false, reasons: [:timeout]}
      end

    %{health | took_us: microseconds(began)}
  end

  defp target(repo_or_pool, query) do
    pools = PoolStatus.pools(repo_or_pool)
    meta = PoolStatus.repo(repo_or_pool)

    cond do
      meta != nil ->
        {&Ecto.Adapters.SQL.query(meta, &1, [], &2), meta, pools}

      pools != [] ->
        pool = pools |> hd() |> elem(0)
        {&query.(pool, &1, [], Keyword.drop(&2, [:log, :telemetry_event])), %{pid: pool, opts: []}, pools}

      true ->
        :none
    end
  rescue
    # It has ended meanwhile.
    ArgumentError -> :none
  end

  # --- collecting -----------------------------------------------------------------------------------------------

  defp collect(:none, _limits, _callers), do: %__MODULE__{healthy?: false, reasons: [:not_running]}

  defp collect({_query, _meta, pools} = target, limits, callers) do
    Process.flag(:trap_exit, true)
    left = limits.timeout - min(@early_ms_max, div(limits.timeout, 5))
    deadline = System.monotonic_time(:millisecond) + left
    origin = origin(pools)
    # As it is without what is asked here.
    pool = pool(pools)
    asked = %{origin: origin, mode: mode(origin.place), disk?: limits.disk_free_min not in [nil, 0]}
    answers = Questions.ask(target, asked, callers, {left, deadline})
    health(answers, pools, pool, origin, limits)
  end

  defp origin([{_pid, %{origin: origin}} | _]), do: origin
  defp origin([]), do: %{sidecar: nil, place: nil, path: nil}

  # --- what they come to ----------------------------------------------------------------------------------------

  defp health(answers, pools, pool, origin, limits) do
    status = if is_map(answers[:status]), do: answers.status
    file = file(status, answers[:files])

    health = %__MODULE__{
      healthy?: false,
      mode: mode(origin.place),
      paths: for(name <- [:pool, :lane, :sidecar], answers[name], do: path(name, answers[name])),
      pool: pool && Map.take(pool, @of_pool),
      sidecar: status && sidecar(status),
      writer: if(is_binary(origin.path), do: writer(file, pools)),
      wal: if(is_binary(origin.path), do: %{bytes: number(answers[:wal]), pages: file[:wal_pages]}),
      disk: if(is_integer(answers[:disk]), do: %{free_bytes: answers.disk}),
      servers: servers(origin.place, answers[:pool], answers[:of_servers]),
      replica: if(mode(origin.place) == :replica, do: of_replica(answers[:replica]))
    }

    reasons = Enum.uniq(of_paths(answers, pool) ++ of_limits(health, limits))
    %{health | reasons: reasons, healthy?: reasons == []}
  end

  defp mode({kind, _address}), do: kind
  defp mode(place), do: place

  defp path(name, {:ok, latency}), do: %{path: name, latency_us: latency, error: nil}
  defp path(name, {:error, error}), do: %{path: name, latency_us: nil, error: code(error)}

  defp code(%Error{code: code}), do: code
  defp code(%LibsqlPort.Error{code: code}), do: code
  defp code(%DBConnection.ConnectionError{reason: reason}), do: reason
  defp code(reason) when is_atom(reason), do: reason
  defp code(_other), do: :error

  defp pool(pools) do
    case PoolStatus.of_pools(pools) do
      {:ok, status} -> status
      :none -> nil
    end
  end

  defp sidecar(status) do
    %{
      os_pid: status[:os_pid],
      uptime_ms: status[:uptime],
      connections: status[:connections],
      queued_requests: status[:queued_requests],
      memory_bytes: status[:memory],
      rss_bytes: status[:rss]
    }
  end

  defp file(nil, _identity), do: %{}
  defp file(_status, identity) when not is_tuple(identity), do: %{}

  defp file(status, identity),
    do: Enum.find(status.files, %{}, &(is_binary(&1[:path]) and Questions.identity(&1.path) == identity))

  defp writer(file, _pools) when file == %{}, do: nil

  defp writer(file, pools) do
    {holder, held_ms} = holder(file[:writer], pools)
    %{connection: file[:writer], holder: holder, held_ms: held_ms, waiting: file[:waiting]}
  end

  defp holder(nil, _pools), do: {nil, nil}

  defp holder(connection, pools) do
    now = System.monotonic_time()

    Enum.find_value(pools, {nil, nil}, fn {pool, %{gauges: gauges}} ->
      Enum.find_value(PoolGauges.rows(gauges), fn {owner, since, holder} ->
        if owner != pool and PoolGauges.connection(holder) == connection,
          do: {inspect(owner), since && System.convert_time_unit(max(now - since, 0), :native, :millisecond)}
      end)
    end)
  rescue
    # The pool has ended while it was read.
    ArgumentError -> {nil, nil}
  end

  defp of_replica(%{log: _} = status) do
    %{
      age_ms: status.age,
      syncing: status.syncing,
      frames_behind: behind(%{replication_index: status.server_index}, %{replication_index: status.index}),
      error: status.error && code(status.error)
    }
  end

  defp of_replica(_not_told), do: %{age_ms: nil, syncing: nil, frames_behind: nil, error: nil}

  @doc false
  # What the sidecar says of the servers (`LibsqlPort.status/2`); the latency of the primary is that of the pool's statement, but for a
  # replica's, which reads its file. Where it says nothing, the primary alone is known, by its address.
  @spec servers(EctoLibSql.ServerLocation.t() | nil, term, term) :: [map]
  def servers({kind, address}, answer, status) do
    latency = if kind == :remote and match?({:ok, _}, answer), do: elem(answer, 1)

    case {status, ServerUrl.parse(address)} do
      {%{servers: [_ | _] = servers}, _address} -> Enum.map(servers, &server(&1, latency, servers))
      {_nothing, {:ok, %{url: url}}} -> [server(%{url: url, role: :primary}, latency, [])]
      {_nothing, {:error, _}} -> []
    end
  end

  def servers(_local, _answer, _status), do: []

  defp server(server, latency, servers) do
    primary? = server.role == :primary

    %{
      url: server.url,
      role: server.role,
      latency_us: if(primary?, do: latency, else: server[:latency]),
      breaker: server[:breaker],
      reason: server[:reason],
      answered_ms: server[:answered],
      frames_behind: if(primary?, do: nil, else: behind(List.first(servers), server))
    }
  end

  # As far as both have told it last. Of two runs of a server these numbers say nothing, so more than the primary has is nothing.
  defp behind(%{replication_index: primary}, %{replication_index: own})
       when is_integer(primary) and is_integer(own),
       do: max(primary - own, 0)

  defp behind(_primary, _server), do: nil

  defp number(number) when is_integer(number), do: number
  defp number(_none), do: nil

  # --- reasons --------------------------------------------------------------------------------------------------

  # What the sidecar says of itself tells more than what the ways through it do.
  defp of_paths(answers, pool) do
    case of_sidecar(answers[:sidecar]) do
      [] ->
        exhausted(answers[:pool], pool) || Enum.flat_map([answers[:pool], answers[:lane]], &of_statement/1)

      reasons ->
        reasons
    end
  end

  # That the time was up says nothing of the database if all connections were taken.
  defp exhausted({:error, error}, %{checked_out: all, size: all}) when all > 0,
    do: if(code(error) == :timeout, do: [:pool_exhausted])

  defp exhausted(_answer, _pool), do: nil

  defp of_sidecar({:error, error}),
    do: [if(code(error) == :timeout, do: :sidecar_silent, else: :sidecar_down)]

  defp of_sidecar(_up_or_not_asked), do: []

  defp of_statement({:error, error}), do: [reason(code(error))]
  defp of_statement(_answered), do: []

  defp reason(code) when code in [:sidecar_down, :outcome_unknown, :connection_closed, :not_sent],
    do: :sidecar_down

  defp reason(code) when code in [:queue_timeout, :queue_full, :error], do: :pool_exhausted
  defp reason(:timeout), do: :timeout
  defp reason(:remote_unavailable), do: :server_unavailable
  defp reason(code) when code in [:unauthorized, :forbidden], do: :unauthorized
  defp reason(_other), do: :database_error

  defp of_limits(health, limits) do
    for {reason, true} <- [
          disk_low: below?(health.disk[:free_bytes], limits.disk_free_min),
          wal_large: above?(health.wal[:bytes], limits.wal_bytes_max),
          writer_held: above?(health.writer[:held_ms], limits.writer_held_max),
          pool_waits: above?(health.pool[:longest_wait_ms], limits.pool_wait_max),
          breaker_open: health.mode == :remote and match?([%{breaker: :open} | _], health.servers),
          replica_stale: above?(health.replica[:age_ms], limits.replica_age_max)
        ],
        do: reason
  end

  defp above?(number, limit), do: is_integer(number) and is_integer(limit) and number > limit
  defp below?(number, limit), do: is_integer(number) and is_integer(limit) and number < limit

  defp microseconds(began),
    do: System.convert_time_unit(System.monotonic_time() - began, :native, :microsecond)
end
