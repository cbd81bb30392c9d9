defmodule Scaling do
  # What all axes share: a sidecar of their own, files with rows, and what the system says about the sidecar's process.
  @moduledoc false

  @timeout_ms 300_000
  # So many rows for each statement that fills a table, so that the log does not grow as large as the file.
  @rows_at_once 1_000_000
  @select "SELECT id, short, value, long, empty, bytes FROM bulk WHERE id = ?1"

  defstruct [:directory, :quick?]

  def start(directory) do
    # A run's own log lines are no part of the tables.
    Logger.configure(level: :error)
    %__MODULE__{directory: directory, quick?: Bench.quick?()}
  end

  @doc "Calls the function with the name of a new sidecar, which ends with it."
  def with_sidecar(options \\ [], fun) do
    name = :"Scaling.Sidecar#{System.unique_integer([:positive])}"
    {:ok, supervisor} = Supervisor.start_link([{LibsqlPort, [name: name] ++ options}], strategy: :one_for_one)

    try do
      fun.(name)
    after
      Supervisor.stop(supervisor)
    end
  end

  def connect(sidecar, database, options \\ []) do
    {:ok, conn} = LibsqlPort.connect(sidecar, [database: database, timeout: @timeout_ms] ++ options)
    conn
  end

  @doc """
  The path of a file with a table `bulk` of so many rows of six columns: integer, text of 20, float, text of 50, NULL, blob
  of 32, with the keys 2, 4, 6 and so on. It is made if it is not there.
  """
  def bulk(scaling, rows) do
    path = Path.join(scaling.directory, "bulk.#{rows}.db")
    unless File.exists?(path), do: with_sidecar(&fill(&1, path, rows))
    path
  end

  @doc "Reads one row of such a table, by a key that exists."
  def select(conn, rows) do
    id = 2 * :rand.uniform(rows)
    {:ok, %{rows: [[^id, _, _, _, _, _]]}} = LibsqlPort.query(conn, @select, [id])
  end

  @doc "Bytes that such a file takes for each row, with its log."
  def bulk_row_bytes, do: 300

  defp fill(sidecar, path, rows) do
    conn = connect(sidecar, path)

    {:ok, _} =
      LibsqlPort.script(
        conn,
        "CREATE TABLE bulk (id INTEGER PRIMARY KEY, short TEXT, value REAL, long TEXT, empty TEXT, bytes BLOB)"
      )

    for first <- 1..rows//@rows_at_once do
      {:ok, _} =
        LibsqlPort.query(
          conn,
          """
          INSERT INTO bulk
          WITH RECURSIVE number (i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM number WHERE i < ?2)
          SELECT 2 * i, printf('%020d', i), i / 7.0, printf('%050d', i), NULL, zeroblob(32) FROM number
          """,
          [first, min(first + @rows_at_once - 1, rows)]
        )

      {:ok, _} = LibsqlPort.checkpoint(conn, mode: :truncate)
    end

    :ok = LibsqlPort.close(conn)
  end

  @doc "So many calls, one after the other, in microseconds for each on average."
  def average(calls, fun),
    do: Bench.Statistics.time(fn -> Enum.each(1..calls, fn _ -> fun.() end) end) / calls

  @doc "How often to repeat what handles `size`, so that about `work` is done, at most `most` times."
  def repetitions(size, work, most), do: work |> div(max(size, 1)) |> max(1) |> min(most)

  @doc """
  Runs the functions in turns, as `Bench.Statistics.in_turns/2`, and adds to each figure the processor time of the VM and the
  sidecar together: a neighbour's load makes a call take longer, but hardly makes it more work. A function returns its
  figure and how many operations it did.
  """
  def in_turns(sidecar, rounds, funs) do
    Bench.Statistics.in_turns(
      rounds,
      for fun <- funs do
        fn ->
          before = processor(sidecar)
          {figure, operations} = fun.()
          {figure, per_operation(before, processor(sidecar), operations)}
        end
      end
    )
  end

  @doc "Microseconds for each operation; nil where the system does not tell."
  def per_operation(before, now, operations), do: if(before && now, do: (now - before) / operations)

  @doc "Microseconds of processor time that the VM and the sidecar have used."
  def processor(sidecar) do
    {vm_ms, _} = :erlang.statistics(:runtime)
    {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)

    # https://docs.kernel.org/filesystems/proc.html, section 1.1; a tick is 10 ms on every Linux that the VM runs on.
    with {:ok, text} <- File.read("/proc/#{os_pid}/stat"),
         [_, fields] <- String.split(text, ") ", parts: 2) do
      [user, system] = fields |> String.split() |> Enum.slice(11, 2) |> Enum.map(&String.to_integer/1)
      vm_ms * 1_000 + (user + system) * 10_000
    else
      _ -> nil
    end
  end

  @doc "Resident memory, its peak since `forget_peak/1`, threads and open files of the sidecar; nil for what is not told."
  def process(sidecar) do
    {:ok, %{os_pid: os_pid, rss: rss}} = LibsqlPort.status(sidecar)
    status = File.read("/proc/#{os_pid}/status")

    %{
      rss: rss,
      peak: line(status, "VmHWM", 1_024),
      threads: line(status, "Threads", 1),
      files: files(os_pid)
    }
  end

  @doc "Lets the peak of the sidecar's memory count from now on, where the system can."
  def forget_peak(sidecar) do
    {:ok, %{os_pid: os_pid}} = LibsqlPort.status(sidecar)
    # https://docs.kernel.org/filesystems/proc.html, section 1.1: 5 resets the peak.
    _ = File.write("/proc/#{os_pid}/clear_refs", "5")
    :ok
  end

  defp line({:ok, text}, name, unit) do
    case Regex.run(~r/^#{name}:\s+(\d+)/m, text) do
      [_, number] -> String.to_integer(number) * unit
      nil -> nil
    end
  end

  defp line({:error, _}, _name, _unit), do: nil

  defp files(os_pid) do
    case File.ls("/proc/#{os_pid}/fd") do
      {:ok, names} -> length(names)
      {:error, _} -> nil
    end
  end
end
