defmodule LibsqlPort.Guardian do
  @moduledoc false
  # Stands behind the process that owns the port. However that one ends, the table of requests in flight falls to the
  # guardian, who answers every waiting caller at once and sees to it that the program itself goes: its standard input
  # is closed by then, and if it is still there after `shutdown_grace`, it is killed.
  #
  # Talks to nobody while things go well. If it ends itself, the port's owner answers the callers and a new guardian ends
  # the program.

  use GenServer

  alias LibsqlPort.{InFlight, Life, OsProcess}

  @poll_ms 20
  @death_ms 2_000

  @doc false
  # The supervisor waits for the program to go, so it gives the guardian more than the grace.
  def child_spec({_registry, options} = argument) do
    %{
      id: __MODULE__,
      start: {__MODULE__, :start_link, [argument]},
      shutdown: options.shutdown_grace + 5_000
    }
  end

  def start_link(argument), do: GenServer.start_link(__MODULE__, argument)

  @doc "Names the program that a new run of the sidecar started, for the process that is to own its port."
  @spec watch(pid, OsProcess.identity(), pid) :: :ok
  def watch(guardian, identity, owner), do: GenServer.cast(guardian, {:watch, identity, owner})

  @doc "The program is to go: killed, if it is still there after the grace."
  @spec overdue(pid, OsProcess.identity()) :: :ok
  def overdue(guardian, identity), do: GenServer.cast(guardian, {:overdue, identity})

  @doc "The program has exited; nothing is left to be killed."
  @spec gone(pid, OsProcess.identity()) :: :ok
  def gone(guardian, identity), do: GenServer.cast(guardian, {:gone, identity})

  @impl true
  def init({registry, options}) do
    Process.flag(:trap_exit, true)
    Life.metadata(options.name, nil)
    :ets.insert(registry, {:guardian, self()})

    # The programs are in the registry too, which outlives a guardian: those of one that was killed are to go. It does not
    # outlive the supervisor; if that is killed, this process knows them.
    programs = for [program] <- :ets.match(registry, {{:program, :"$1"}}), into: %{}, do: {program, nil}
    state = %{registry: registry, grace: options.shutdown_grace, programs: programs, tables: %{}, owners: %{}}
    end_all(programs, state)
    {:ok, state}
  end

  # The owner is monitored from its first program on: it may be killed before any of them has said hello.
  defp note(program, owner, state) do
    state = put_in(state.programs[program], owner)
    state = update_in(state.owners, &Map.put_new_lazy(&1, owner, fn -> Process.monitor(owner) end))
    :ets.insert(state.registry, {{:program, program}})
    state
  rescue
    # The supervisor has ended, and its table with it.
    ArgumentError -> state
  end

  defp forget(program, state) do
    state = %{state | programs: Map.delete(state.programs, program)}
    :ets.delete(state.registry, {:program, program})
    state
  rescue
    ArgumentError -> state
  end

  defp end_all(programs, state), do: for({program, _owner} <- programs, do: end_later(program, state))

  defp of_owner(programs, owner), do: Map.filter(programs, fn {_program, of} -> of == owner end)

  defp end_later(program, state), do: Process.send_after(self(), {:end, program}, state.grace)

  @impl true
  def handle_cast({:watch, identity, owner}, state) do
    {:noreply, note(identity, owner, state)}
  end

  def handle_cast({:gone, identity}, state) do
    {:noreply, forget(identity, state)}
  end

  def handle_cast({:overdue, identity}, state) do
    end_later(identity, state)
    {:noreply, state}
  end

  # Without it nobody ends the programs of an owner that is killed: a stranger's message must not end it.
  def handle_cast(_other, state), do: {:noreply, state}

  @impl true
  def handle_call(_other, _from, state), do: {:reply, :unsupported, state}

  @impl true
  # The table comes before the port is closed: a caller may still enter itself and be told that its request was sent. So
  # the table stays until the port is gone, and what came meanwhile is answered then.
  def handle_info({:"ETS-TRANSFER", table, owner, {:in_flight, port}}, state) do
    InFlight.answer_all(table)
    state.programs |> of_owner(owner) |> end_all(state)
    {:noreply, put_in(state.tables[Port.monitor(port)], table)}
  end

  def handle_info({:sync, pid, ref}, state) when is_pid(pid) do
    send(pid, {ref, :synced})
    {:noreply, state}
  end

  # A caller that enters itself from here on finds the port closed and answers itself.
  def handle_info({:DOWN, monitor, :port, _port, _reason}, state) when is_map_key(state.tables, monitor) do
    {table, tables} = Map.pop!(state.tables, monitor)
    InFlight.answer_all(table)
    :ets.delete(table)
    {:noreply, %{state | tables: tables}}
  end

  # The owner of a program has ended.
  def handle_info({:DOWN, _monitor, :process, owner, _reason}, state) do
    state.programs |> of_owner(owner) |> end_all(state)
    {:noreply, %{state | owners: Map.delete(state.owners, owner)}}
  end

  def handle_info({:end, program}, state) do
    if is_map_key(state.programs, program), do: end_program(program)
    {:noreply, forget(program, state)}
  end

  def handle_info(_other, state), do: {:noreply, state}

  # The port's owner has ended before: the supervisor stops its children in the reverse order of their start.
  @impl true
  def terminate(_reason, state) do
    deadline = System.monotonic_time(:millisecond) + state.grace
    for {program, _owner} <- state.programs, do: await_end(program, deadline)
    :ok
  end

  defp await_end(program, deadline) do
    cond do
      not OsProcess.alive?(program) ->
        :ok

      System.monotonic_time(:millisecond) >= deadline ->
        end_program(program)

      true ->
        Process.sleep(@poll_ms)
        await_end(program, deadline)
    end
  end

  defp end_program({os_pid, _started} = program) do
    if OsProcess.alive?(program) do
      Life.overdue(os_pid)

      case OsProcess.kill(program) do
        :ok -> await_death(program, @death_ms)
        {:error, reason} -> Life.not_killed(os_pid, reason)
      end
    end
  end

  # A killed process holds its locks for as long as the kernel takes to tear it down.
  defp await_death(program, left_ms) do
    if left_ms > 0 and OsProcess.alive?(program) do
      Process.sleep(@poll_ms)
      await_death(program, left_ms - @poll_ms)
    end
  end
end
