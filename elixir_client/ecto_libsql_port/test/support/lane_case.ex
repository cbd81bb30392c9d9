defmodule EctoLibSql.LaneCase do
  @moduledoc false
  # For tests of the lane beside the pool: which connections are the lane's, and what ran on which.

  alias EctoLibSql.Lane.Slots
  alias EctoLibSql.TestRepo
  alias LibsqlPort.Connection

  @doc "The lane of a Repo, `nil` if it has none."
  def lane(repo \\ TestRepo.get_dynamic_repo()), do: Ecto.Adapter.lookup_meta(repo).opts[:lane]

  @doc "The connections of the lane that are open."
  def lane_conns(repo \\ TestRepo.get_dynamic_repo()) do
    for {slot, state} when is_integer(slot) <- :ets.tab2list(lane(repo).states), do: state.conn
  end

  @doc "The process that opens the connections of the lane."
  def connections(repo \\ TestRepo.get_dynamic_repo()),
    do: :ets.lookup_element(lane(repo).states, :connections, 2)

  @doc "Runs a function until it has run on the lane, as its statements become known and a connection is opened."
  def warm(fun) do
    wait_until(fn -> :lane in elem(where(fun), 1) end)
  end

  @doc """
  Runs a function. Returns its result, and for each statement of the calling process meanwhile whether it ran on the `:lane`
  or in the `:pool`. Other processes may open connections meanwhile.
  """
  def where(fun) do
    before = ids()
    test = self()
    ref = {__MODULE__, make_ref()}
    tell = fn _event, _times, about, _config -> if self() == test, do: send(test, {ref, about}) end
    :ok = :telemetry.attach(ref, [:libsql_port, :query, :stop], tell, nil)

    result =
      try do
        fun.()
      after
        :telemetry.detach(ref)
      end

    lane = before ++ ids()

    {result,
     for(%{request: :execute, connection: id} <- told(ref), do: if(id in lane, do: :lane, else: :pool))}
  end

  defp told(ref) do
    receive do
      {^ref, about} -> [about | told(ref)]
    after
      0 -> []
    end
  end

  defp ids, do: Enum.map(lane_conns(), & &1.id)

  @doc "How many requests the connections of the lane have had."
  def lane_requests do
    for(conn <- lane_conns(), {:ok, status} = Connection.connection_status(conn, []), do: status.requests)
    |> Enum.sum()
  end

  @doc "Waits for a condition, for as long as a test may take."
  def wait_until(condition) do
    if !condition.() do
      Process.sleep(1)
      wait_until(condition)
    end
  end

  @doc "Opens so many connections of the lane: as many callers at once."
  def open(count) do
    sql = "SELECT 1 AS of_the_lane"
    warm(fn -> TestRepo.query!(sql) end)

    wait_until(fn ->
      slots = lane()
      now = System.monotonic_time()
      leases = for _ <- 1..count, {:ok, slot, word, _, _} <- [Slots.lease(slots, now)], do: {slot, word}
      if length(leases) < count, do: Slots.grow(slots)
      for {slot, word} <- leases, do: Slots.release(slots, slot, word, System.monotonic_time())
      length(leases) == count
    end)
  end

  @doc "Starts a process that runs a statement without an end on the lane. Returns it when the statement runs."
  def endless(options \\ []) do
    sql = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c"
    known(sql)
    before = running()
    test = self()

    {pid, monitor} =
      spawn_monitor(fn ->
        send(test, {self(), TestRepo.query(sql, [], [timeout: 120_000] ++ options)})
      end)

    wait_until(fn -> Map.has_key?(Map.drop(running(), Map.keys(before)), pid) end)
    {pid, monitor}
  end

  @doc "Makes a statement known as one that leaves nothing behind, without running it."
  def known(sql) do
    open_one()
    slots = lane()

    if EctoLibSql.Lane.Texts.kind(slots.texts, sql) != :plain do
      {:ok, slot, word, state, _} = Slots.lease(slots, System.monotonic_time())
      :plain = EctoLibSql.Lane.Texts.ask(slots.texts, sql, [], state)
      Slots.release(slots, slot, word, System.monotonic_time())
    end
  end

  defp open_one, do: if(lane_conns() == [], do: open(1))

  @doc "The processes whose statements run on the lane, with the connection of each."
  def running do
    for conn <- lane_conns(), {_request, pid} <- Connection.requests(conn), into: %{}, do: {pid, conn}
  end
end
