defmodule LibsqlPort.Run do
  @moduledoc false
  # One run of the program after the other: how it is started, what its hello makes of the owner's state, and what is left behind when it
  # ends. Called in the process that owns the port, by `LibsqlPort.Sidecar`, which gets the messages that are sent here.

  alias LibsqlPort.{
    Claims,
    Error,
    Exchange,
    Function,
    Functions,
    Guardian,
    Handle,
    Handshake,
    InFlight,
    Life,
    Restart,
    Runners,
    Wire
  }

  @retry_ms 10

  @doc "The first start, which is the supervisor's: its error is the answer of `LibsqlPort.start_link/1`."
  @spec first(map) :: {:ok, map} | {:stop, Error.t()}
  def first(state) do
    with {:ok, port, identity, early} <- open(state),
         {:ok, hello} <- Handshake.await_hello(port, early, state.options.start_timeout) do
      {:ok, running(port, identity, hello, state)}
    else
      {:error, %Error{} = error} -> {:stop, error}
    end
  end

  defp open(%{guardian: guardian, options: options}) do
    owner = self()
    Handshake.open(options, &Guardian.watch(guardian, &1, owner))
  end

  @doc "The state of an owner without a program."
  @spec idle(map) :: map
  # `port` and `table` stand beside the handle, because the routing clause matches on them for each frame.
  def idle(state) do
    Map.merge(state, %{
      port: nil,
      table: nil,
      handle: nil,
      identity: nil,
      started_at: nil,
      renewal: nil,
      starting: nil,
      answered: true,
      opening: %{},
      unknown: [],
      claims: %Claims{}
    })
  end

  defp running(port, identity, hello, state) do
    handle = %Handle{
      port: port,
      table: InFlight.new(state.guardian, port),
      ids: state.ids,
      sidecar: self(),
      guardian: state.guardian,
      os_pid: if(identity, do: elem(identity, 0), else: hello["os_pid"]),
      frame_bytes_max: Map.get(hello, "frame_bytes_max", 16_777_216),
      reply_grace: state.options.reply_grace,
      functions: state.functions.flag
    }

    about = %{name: state.options.name, os_pid: handle.os_pid}
    Life.metadata(about.name, about.os_pid)
    runs = :ets.update_counter(state.registry, :runs, 1, {:runs, 0})
    Life.started(Map.put(about, :restart, runs > 1), hello)

    state = %{
      idle(state)
      | port: port,
        table: handle.table,
        runners: %{state.runners | handle: handle},
        about: about,
        identity: identity,
        started_at: System.monotonic_time(:millisecond)
    }

    functions = Functions.of_sidecar(state.functions)
    hooks = Enum.count(functions, fn {_number, function} -> function.kind == :commit end)
    if hooks > 0, do: Process.send_after(self(), {:not_renewed, port}, state.options.start_timeout)
    ready(handle, functions, %{state | renewal: %{handle: handle, hooks: hooks, sent?: false}})
  end

  @doc "Makes the handle known, once the program has been sent these functions and has taken the hooks among them."
  @spec ready(Handle.t(), list, map) :: map
  # The program learns of the sidecar's functions before it gets the first request of a caller: nobody has the handle yet. A hook that
  # it does not take would let everything pass, so its answer is waited for.
  def ready(handle, functions, state) do
    case renew(functions, handle, state) do
      [] ->
        published(%{state | renewal: %{state.renewal | sent?: true}})

      unsent ->
        Process.send_after(self(), {:ready, handle, unsent}, @retry_ms)
        state
    end
  end

  defp published(%{renewal: %{handle: handle, hooks: 0, sent?: true}} = state) do
    heartbeat(handle.port, state.options.heartbeat)
    %{state | handle: handle, renewal: nil}
  end

  defp published(state), do: state

  @doc "The program has answered to what it was sent before the first request of a caller."
  @spec renewed(Function.kind(), String.t(), :ok | Error.t() | nil, map) :: map
  def renewed(:commit, _name, :ok, %{renewal: %{hooks: hooks} = renewal} = state),
    do: published(%{state | renewal: %{renewal | hooks: hooks - 1}})

  def renewed(:commit, name, error, %{renewal: %{}} = state) do
    Life.not_renewed(state.about, name, error)
    broke_off("did not take its commit hook, without which it would commit what that refuses", state)
  end

  def renewed(_function, _name, :ok, state), do: state

  # A statement that needs it fails.
  def renewed(_function, name, error, state) do
    Life.not_renewed(state.about, name, error)
    state
  end

  # Returns those for which the pipe was too full.
  defp renew([], _handle, _state), do: []

  defp renew([{number, function} | rest] = functions, handle, state) do
    id =
      InFlight.enter_for_claim(state.table, handle.ids, {:function, {:renewed, function.kind, function.name}})

    payload = Wire.addressed(Wire.encode(0), 0, Wire.encode(Function.wire(function, number)))

    {request, _ended} = Function.requests(function.kind)

    case Exchange.post(handle, id, Wire.tag(request), payload) do
      :ok ->
        renew(rest, handle, state)

      :not_sent ->
        InFlight.take(state.table, id)
        functions
    end
  end

  @doc "Starts the program again: without waiting for its hello, so that this process answers meanwhile."
  @spec again(map) :: map
  def again(state) do
    case open(state) do
      {:ok, port, identity, early} ->
        timer = Process.send_after(self(), {:no_hello, port}, state.options.start_timeout)
        started_at = System.monotonic_time(:millisecond)
        early(early, port, %{state | starting: {port, identity, timer}, started_at: started_at})

      {:error, error} ->
        failed_start(error, state)
    end
  end

  defp early([], _port, state), do: state

  defp early([first | rest], port, state) do
    Handshake.again(port, rest)
    first_message(first, state)
  end

  @doc "What comes first from a program that is being started: its hello, or its end."
  @spec first_message(term, map) :: map
  def first_message(message, %{starting: {port, identity, timer}} = state) do
    Process.cancel_timer(timer)

    case Handshake.hello(port, message) do
      {:ok, hello} ->
        running(port, identity, hello, state)

      {:error, error} ->
        if identity, do: Guardian.overdue(state.guardian, identity)
        failed_start(error, state)
    end
  end

  defp failed_start(error, state) do
    Life.not_started(state.about, error)
    start_again(idle(state), 0)
  end

  @doc "The program has ended, or is to end, for this reason."
  @spec broke_off(String.t(), map) :: map
  # The table comes to the guardian before the port is closed: see there.
  def broke_off(what, state) do
    Life.lost(state.about, what, Claims.connections(state.claims), InFlight.running(state.table))
    hand_over(state)
    for {_ref, %{from: from}} when from != nil <- state.opening, do: GenServer.reply(from, :ended)
    _ = Claims.clear(state.claims)
    Functions.run_ended(state.functions)
    state = %{state | runners: Runners.run_ended(state.runners)}
    start_again(idle(state), System.monotonic_time(:millisecond) - state.started_at)
  end

  defp hand_over(%{port: port, table: table, guardian: guardian}) do
    :ets.give_away(table, guardian, {:in_flight, port})
    Handshake.close(port)
  rescue
    # The guardian has ended, and so will this process.
    ArgumentError -> leave(port, table)
  end

  @doc "Closes the port and answers all who wait. What is sent to a closed port is answered by its sender."
  @spec leave(port, :ets.table()) :: :ok
  def leave(port, table) do
    Handshake.close(port)
    InFlight.answer_all(table)
  end

  defp start_again(state, lived_ms) do
    {pause, restart} = Restart.next(state.restart, lived_ms)
    start_in(pause, %{state | restart: restart})
  end

  @doc "Starts the program in so many milliseconds."
  @spec start_in(non_neg_integer, map) :: map
  def start_in(pause, state) do
    Process.send_after(self(), :start, pause)
    state
  end

  @doc "Has the owner ask the program for a sign of life after the interval."
  @spec heartbeat(port, pos_integer | :infinity) :: term
  def heartbeat(_port, :infinity), do: :ok
  def heartbeat(port, interval), do: Process.send_after(self(), {:heartbeat, port}, interval)
end
