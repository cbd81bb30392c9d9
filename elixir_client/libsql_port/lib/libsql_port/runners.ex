defmodule LibsqlPort.Runners do
  @moduledoc false
  # Which runner works for which connection: the port owner's part of a call. It reads the fields that have a fixed place and
  # sends the frame on. Held by the port's owner, for one run of the program.
  #
  # The supervisor of the runners is this module's as well.

  use DynamicSupervisor

  alias LibsqlPort.{Callback, Exchange, Functions, Handle, Runner, Wire}

  # `groups` outlives a runner: see `LibsqlPort.Fold`. The number of the last call is beside the map, so that a call changes nothing
  # that the owner holds: its state is a large map.
  defstruct [:supervisor, :functions, :handle, of: %{}, groups: %{}, monitors: %{}]

  @type t :: %__MODULE__{
          supervisor: pid,
          functions: Functions.t(),
          handle: Handle.t() | nil,
          of: %{
            optional(connection :: integer) => %{pid: pid, monitor: reference, last: :atomics.atomics_ref()}
          },
          groups: %{optional(connection :: integer) => :atomics.atomics_ref()},
          monitors: %{optional(reference) => connection :: integer}
        }

  # An answer that the program still waits for.
  @type answer :: {connection :: integer, call :: pos_integer, outcome :: iodata}

  @answer Wire.tag(:answer)

  @spec start_link({:ets.table(), map}) :: Supervisor.on_start()
  def start_link({registry, _options}), do: DynamicSupervisor.start_link(__MODULE__, registry)

  @impl true
  def init(registry) do
    :ets.insert(registry, {:runners, self()})
    DynamicSupervisor.init(strategy: :one_for_one)
  end

  @doc "The runners of a sidecar; none before the program runs."
  @spec new(pid, Functions.t()) :: t
  def new(supervisor, functions), do: %__MODULE__{supervisor: supervisor, functions: functions}

  @doc "Hands a call to the runner of its connection, or starts one and returns what has to be answered because there is none."
  @spec call(t, binary) :: :handed | {t, [answer]}
  def call(runners, frame) do
    case Wire.call_head(frame) do
      {connection, call, _request, _number} ->
        case runners.of do
          %{^connection => runner} -> handed(runner, call, frame)
          # What has no runner holds nothing that a notice could be about.
          _none when call == 0 -> :handed
          _none -> first_call(runners, connection, call, frame)
        end

      nil ->
        :handed
    end
  end

  defp first_call(runners, connection, call, frame) do
    groups = Map.get_lazy(runners.groups, connection, &no_group/0)

    case start(runners, connection, groups) do
      {:ok, pid} ->
        runner = %{pid: pid, monitor: Process.monitor(pid), last: :atomics.new(1, signed: false)}
        handed(runner, call, frame)

        {%{
           runners
           | of: Map.put(runners.of, connection, runner),
             monitors: Map.put(runners.monitors, runner.monitor, connection),
             groups: Map.put(runners.groups, connection, groups)
         }, []}

      :error ->
        {runners,
         [{connection, call, Callback.encoded({:error, "no process can be started to run the function"})}]}
    end
  end

  defp handed(runner, call, frame) do
    # One call of a connection at most waits for its answer.
    if call != 0, do: :atomics.put(runner.last, 1, call)
    Runner.call(runner.pid, frame)
    :handed
  end

  # The numbers of groups begin at 0.
  defp no_group do
    groups = :atomics.new(1, signed: true)
    :atomics.put(groups, 1, -1)
    groups
  end

  defp start(%{handle: handle} = runners, connection, groups) do
    argument = %{
      owner: self(),
      handle: handle,
      connection: connection,
      functions: runners.functions,
      groups: groups
    }

    case DynamicSupervisor.start_child(runners.supervisor, {Runner, argument}) do
      {:ok, pid} -> {:ok, pid}
      _refused -> :error
    end
  catch
    :exit, _supervisor_ended -> :error
  end

  @doc "Nobody waits for a call any more: the process that works on it is ended. Returns it, if there is one."
  @spec abandoned(t, binary) :: {t, pid | nil}
  def abandoned(runners, frame) do
    with {connection, call} <- Wire.abandoned(frame),
         %{^connection => %{last: last, pid: pid}} <- runners.of,
         ^call <- :atomics.get(last, 1) do
      {ended(runners, connection), pid}
    else
      _none -> {runners, nil}
    end
  end

  @doc "A process has ended: if it was a runner, what the program may still wait for is to be answered."
  @spec down(t, reference, term) :: {t, [answer]} | :other
  def down(runners, monitor, reason) do
    case runners.monitors do
      %{^monitor => connection} ->
        call = :atomics.get(Map.fetch!(runners.of, connection).last, 1)
        message = "the process that ran the function has ended: " <> Exception.format_exit(reason)
        outcome = Callback.encoded({:error, message})
        # It may have been answered: then the program drops this.
        {ended(runners, connection), if(call == 0, do: [], else: [{connection, call, outcome}])}

      _other ->
        :other
    end
  end

  @doc "A connection is gone."
  @spec connection_ended(t, integer) :: t
  def connection_ended(runners, connection) do
    runners = if is_map_key(runners.of, connection), do: ended(runners, connection), else: runners
    %{runners | groups: Map.delete(runners.groups, connection)}
  end

  @doc "The run of the program is over."
  @spec run_ended(t) :: t
  def run_ended(runners) do
    for {connection, _runner} <- runners.of, do: ended(runners, connection)
    %{runners | handle: nil, of: %{}, groups: %{}, monitors: %{}}
  end

  # A runner may be in code that is not ours, so nobody asks it to end. Its supervisor kills it, which so reports no crash;
  # another process waits for that.
  defp ended(%{supervisor: supervisor} = runners, connection) do
    {%{pid: pid, monitor: monitor}, of} = Map.pop!(runners.of, connection)
    Process.demonitor(monitor, [:flush])
    Process.unlink(pid)
    spawn(fn -> DynamicSupervisor.terminate_child(supervisor, pid) end)
    %{runners | of: of, monitors: Map.delete(runners.monitors, monitor)}
  end

  @doc "Sends an answer in place of a runner. Not sent if the pipe is full."
  @spec post(t, answer) :: :ok | :not_sent
  def post(%{handle: nil}, _answer), do: :ok

  def post(%{handle: handle}, {connection, call, outcome}),
    do: Exchange.post(handle, @answer, Wire.answer(connection, call, outcome))
end
