defmodule EctoLibSql.Health.Questions do
  @moduledoc false
  # What is asked for `EctoLibSql.Health`: each question in a process of its own, so that one that hangs delays no other. An answer is what the
  # question's function returns, or `{:error, reason}`: also if it raises, exits, or does not come in time. Called by the collector of a
  # check, which traps exits and ends with them.

  alias EctoLibSql.Direct

  @type target :: {query :: (String.t(), keyword -> term), meta :: map, pools :: list}
  @type about :: %{origin: map, mode: :local | :remote | :replica | nil, disk?: boolean}

  @doc """
  Asks everything that there is to ask of this target, and returns the answers by name. `left` are the milliseconds that each question is given,
  `deadline` the absolute time (monotonic milliseconds) after which none is waited for.
  """
  @spec ask(target, about, [pid], {left :: pos_integer, deadline :: integer}) :: %{atom => term}
  def ask(target, about, callers, {left, deadline}),
    do: target |> questions(about, left) |> asked(callers, deadline)

  defp questions({query, meta, pools}, %{origin: origin, mode: mode, disk?: disk?}, left) do
    lane? = Enum.any?(pools, fn {_pid, pool} -> pool.lane != nil end)

    [pool: fn -> select(query, [lane: false], left) end] ++
      if(lane?, do: [lane: fn -> select(query, [], left) end], else: []) ++
      if(origin.sidecar, do: of_sidecar(origin.sidecar, left), else: []) ++
      if(is_binary(origin.path), do: of_file(origin.path, disk?), else: []) ++
      of_place(mode, meta, left)
  end

  # Any connection of the pool knows it, whoever has it.
  defp of_place(:replica, meta, left) do
    ask = fn conn -> LibsqlPort.Replica.status(conn, timeout: left) end
    [{:replica, fn -> connection(meta, left, ask) end} | of_place(:remote, meta, left)]
  end

  defp of_place(:remote, meta, left),
    do: [of_servers: fn -> connection(meta, left, &LibsqlPort.status(&1, timeout: left)) end]

  defp of_place(_local_or_unknown, _meta, _left), do: []

  defp connection(meta, left, ask) do
    %{conn: conn} = Direct.state(%{meta | opts: [timeout: left] ++ meta.opts})
    with {:ok, status} <- ask.(conn), do: status
  end

  defp of_sidecar(sidecar, left) do
    [
      sidecar: fn -> timed(fn -> LibsqlPort.ping(sidecar, timeout: left) end) end,
      status: fn -> with({:ok, status} <- LibsqlPort.status(sidecar, timeout: left), do: status) end
    ]
  end

  defp of_file(path, disk?) do
    disk = if disk?, do: [disk: fn -> free(path) end], else: []
    [wal: fn -> size(path <> "-wal") end, files: fn -> identity(path) end] ++ disk
  end

  # One statement, which no metric counts as the application's.
  defp select(query, options, left) do
    options = [timeout: left, retry: false, log: false, telemetry_event: nil] ++ options
    timed(fn -> query.("SELECT 1", options) end)
  end

  defp timed(fun) do
    began = System.monotonic_time()

    case fun.() do
      {:error, error} -> {:error, error}
      _done -> {:ok, microseconds(began)}
    end
  end

  defp size(file) do
    case File.stat(file) do
      {:ok, %{size: size}} -> size
      # It is made by the first connection, and goes with the last.
      {:error, :enoent} -> 0
      {:error, _} -> nil
    end
  end

  @doc "What a file is, whatever its name: names may differ, by links in them."
  @spec identity(Path.t()) :: {non_neg_integer, non_neg_integer} | nil
  def identity(path) do
    case File.stat(path) do
      {:ok, stat} -> {stat.major_device, stat.inode}
      {:error, _} -> nil
    end
  end

  # No part of OTP that may be missing tells it, but every system with a shell does.
  defp free(path) do
    with df when is_binary(df) <- System.find_executable("df"),
         {text, 0} <- System.cmd(df, ["-Pk", Path.dirname(path)], stderr_to_stdout: true),
         [_head, line | _] <- String.split(text, "\n"),
         [_blocks, _used, free | _] <-
           Regex.run(~r/\s(\d+)\s+(\d+)\s+(-?\d+)\s+\d+%/, line, capture: :all_but_first) do
      max(String.to_integer(free), 0) * 1_024
    else
      _not_told -> nil
    end
  end

  # --- asking ---------------------------------------------------------------------------------------------------

  defp asked(questions, callers, deadline) do
    collector = self()

    asked =
      for {name, fun} <- questions, into: %{} do
        pid =
          spawn_link(fn ->
            Process.put(:"$callers", callers)
            send(collector, {:answer, name, answer(fun)})
          end)

        {name, pid}
      end

    answers(asked, %{}, deadline)
  end

  defp answer(fun) do
    {:told, fun.()}
  rescue
    error -> {:told, {:error, error}}
  catch
    _kind, reason -> {:told, {:error, reason}}
  end

  defp answers(asked, told, _deadline) when map_size(asked) == 0, do: told

  defp answers(asked, told, deadline) do
    receive do
      {:answer, name, {:told, answer}} ->
        answers(Map.delete(asked, name), Map.put(told, name, answer), deadline)
    after
      max(deadline - System.monotonic_time(:millisecond), 0) ->
        for {_name, pid} <- asked, do: Process.exit(pid, :kill)
        asked |> Map.new(fn {name, _pid} -> {name, {:error, :timeout}} end) |> Map.merge(told)
    end
  end

  defp microseconds(began),
    do: System.convert_time_unit(System.monotonic_time() - began, :native, :microsecond)
end
