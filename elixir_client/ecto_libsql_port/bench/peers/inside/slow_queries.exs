defmodule Peers.SlowQueries do
  # More slow queries than the machine has cores or the VM has dirty I/O threads: does anybody else notice? All on one
  # pool, with connections to spare. They end by themselves, since not every adapter can stop one.
  @moduledoc false
  alias Peers.{Measure, Repo, RepoGet}

  @queries 11
  @pool 16
  @timeout 600_000
  @count "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT count(*) FROM n"

  def run(quick?) do
    {:ok, pool} = Repo.start_link(name: nil, pool_size: @pool)
    main = Repo.put_dynamic_repo(pool)

    try do
      measure(pool, Measure.setting(quick?, 1_000_000, 200_000))
    after
      Repo.put_dynamic_repo(main)
      Supervisor.stop(pool)
    end
  end

  defp measure(pool, up_to) do
    file = Path.join(Application.fetch_env!(:peers, :directory), "file")
    File.write!(file, :binary.copy("x", 4_096))
    read = fn -> %{size: 4_096} = %{size: byte_size(File.read!(file))} end
    RepoGet.get()

    started = System.monotonic_time()
    slow = for _ <- 1..@queries, do: Task.async(fn -> slow(pool, up_to, started) end)
    {reads, gets} = alternate(read, &RepoGet.get/0, slow, {[], []})
    ended = Task.await_many(slow, :infinity)
    [Enum.max(reads), Enum.max(gets), Enum.max(ended)]
  end

  # Microseconds from the common start to its end.
  defp slow(pool, up_to, started) do
    Repo.put_dynamic_repo(pool)
    %{rows: [[^up_to]]} = Repo.sql!(@count, [up_to], timeout: @timeout)
    System.convert_time_unit(System.monotonic_time() - started, :native, :microsecond)
  end

  defp alternate(read, get, slow, {reads, gets} = samples) do
    if Enum.any?(slow, &Process.alive?(&1.pid)) do
      taken = {[Measure.checked(read, & &1) | reads], [Measure.checked(get, & &1) | gets]}
      # A pause of no fixed length, so that the samples do not fall into step with the system's scheduler.
      Process.sleep(:rand.uniform(3))
      alternate(read, get, slow, taken)
    else
      samples
    end
  end
end
