defmodule LibsqlPort.Runner do
  @moduledoc false
  # Runs the functions that a connection's statements call, one call after another, in the order in which the program has
  # sent them. Started by the port's owner at the first call, under the sidecar's supervisor, and linked to the owner. It
  # gets whole frames, decodes them here, and answers the program itself.
  #
  # Whoever wants to stop a call kills this process: it may be anywhere in code that is not ours. The owner then answers
  # what the program waits for, and starts another one for the next call.

  use GenServer, restart: :temporary, shutdown: :brutal_kill

  alias LibsqlPort.{
    AuthToken,
    Authorizer,
    Callback,
    CallChain,
    CommitHook,
    Enumeration,
    Fold,
    Function,
    Functions,
    Handle,
    InFlight,
    Wire
  }

  # After so much rest what the last calls have left in memory is given back.
  @idle_ms 1_000
  # Functions that were looked up are kept; those dropped meanwhile too, so there is an end to it.
  @kept_max 64

  @type argument :: %{
          owner: pid,
          handle: Handle.t(),
          connection: integer,
          functions: Functions.t(),
          # The greatest number of a group that a runner of this connection has begun.
          groups: :atomics.atomics_ref()
        }

  @spec start_link(argument) :: GenServer.on_start()
  def start_link(argument), do: GenServer.start_link(__MODULE__, argument)

  @doc "Hands a runner the frame of a call."
  @spec call(pid, binary) :: :ok
  def call(runner, frame) do
    send(runner, {:libsql_port_call, frame})
    :ok
  end

  @impl true
  def init(argument) do
    Process.link(argument.owner)

    {:ok,
     Map.merge(argument, %{
       request: nil,
       context: nil,
       chain: [],
       kept: %{},
       fold: %Fold{known: :atomics.get(argument.groups, 1)},
       cursors: %{}
     })}
  end

  @impl true
  def handle_info({:libsql_port_call, frame}, state) do
    state =
      case Wire.read_payload(frame) do
        {:ok, {_connection, call, request, number, kind, argument, left_ms}} when is_integer(left_ms) ->
          run({kind, argument}, call, number, of_request(request, state), left_ms)

        _unreadable ->
          {_connection, call, _request, _number} = Wire.call_head(frame)
          refuse(state, call, "the call cannot be read; is the program of this client's version?")
          state
      end

    {:noreply, state, @idle_ms}
  end

  # An enumeration is over; if it was killed or its code is linked to what has crashed, its call still waits.
  def handle_info({:DOWN, _monitor, :process, pid, reason}, state) do
    case Enum.find(state.cursors, fn {_cursor, {reader, _callback}} -> reader == pid end) do
      {cursor, {_pid, callback}} ->
        if reason != :normal, do: Callback.answer(callback, {:error, ended(reason)})
        {:noreply, %{state | cursors: Map.delete(state.cursors, cursor)}, @idle_ms}

      nil ->
        {:noreply, state, @idle_ms}
    end
  end

  def handle_info(:timeout, state), do: {:noreply, state, :hibernate}

  # A function may have made this process trap exits.
  def handle_info({:EXIT, owner, _reason}, %{owner: owner} = state), do: {:stop, :shutdown, state}

  # Left behind by a function.
  def handle_info(_other, state), do: {:noreply, state, @idle_ms}

  # Who has made the request is the same for all its calls.
  defp of_request(request, %{request: request} = state), do: state

  defp of_request(request, state) do
    context = InFlight.context(state.handle.table, request)
    chain = CallChain.enter(context, {state.handle.port, state.connection})
    %{state | request: request, context: context, chain: chain}
  end

  # --- notices --------------------------------------------------------------------------------------------------

  defp run({:drop, instance}, _call, _number, state, _left_ms),
    do: %{state | fold: Fold.drop(state.fold, instance)}

  defp run({:close, cursor}, _call, _number, state, _left_ms) do
    with %{^cursor => {pid, _callback}} <- state.cursors, do: Enumeration.close(pid)
    %{state | cursors: Map.delete(state.cursors, cursor)}
  end

  # --- calls ----------------------------------------------------------------------------------------------------

  defp run(what, call, number, state, left_ms) do
    case function(number, state) do
      {:ok, function, state} ->
        callback = %Callback{
          handle: state.handle,
          connection: state.connection,
          call: call,
          function: function
        }

        called(what, callback, state, left_ms)

      :error ->
        refuse(state, call, "the function was dropped while the statement ran")
        state
    end
  end

  defp function(number, %{kept: kept} = state) do
    case kept do
      %{^number => function} ->
        {:ok, function, state}

      _unknown ->
        with {:ok, function} <- Functions.fetch(state.functions, number) do
          kept = if map_size(kept) >= @kept_max, do: %{}, else: kept
          {:ok, function, %{state | kept: Map.put(kept, number, function)}}
        end
    end
  end

  defp called({:scalar, arguments}, callback, state, left_ms) do
    answered(callback, state, left_ms, fn -> Callback.value(apply_to(callback.function, arguments)) end)
    state
  end

  defp called({:key, [text]}, callback, state, left_ms) do
    answered(callback, state, left_ms, fn -> key(callback.function.fun.(text)) end)
    state
  end

  defp called({:commit, transactions}, callback, state, left_ms) do
    answered(callback, state, left_ms, fn -> CommitHook.decide(callback, transactions) end)
    state
  end

  defp called({:authorize, what}, callback, state, left_ms) do
    answered(callback, state, left_ms, fn -> Authorizer.decide(callback, what) end)
    state
  end

  defp called({:auth_token, _argument}, callback, state, left_ms) do
    answered(callback, state, left_ms, fn -> AuthToken.ask(callback) end)
    state
  end

  defp called({:step, {instance, ops}}, callback, state, left_ms) do
    folded(callback, state, left_ms, instance, ops, fn _accumulator -> {:ok, nil} end)
  end

  defp called({:value, {instance, ops}}, callback, state, left_ms) do
    folded(callback, state, left_ms, instance, ops, &Callback.value(callback.function.value.(&1)))
  end

  defp called({:final, {instance, ops}}, callback, state, left_ms) do
    finish = &Callback.value(callback.function.finish.(&1))
    state = folded(callback, state, left_ms, instance, ops, finish)
    %{state | fold: Fold.drop(state.fold, instance)}
  end

  defp called({:open, {cursor, arguments, rows_max}}, callback, state, left_ms) do
    pid = Enumeration.open(arguments, chunk(callback, rows_max, state, left_ms))
    Process.monitor(pid)
    %{state | cursors: Map.put(state.cursors, cursor, {pid, callback})}
  end

  defp called({:next, {cursor, rows_max}}, callback, state, left_ms) do
    case state.cursors do
      %{^cursor => {pid, _last}} ->
        Enumeration.next(pid, chunk(callback, rows_max, state, left_ms))
        put_in(state.cursors[cursor], {pid, callback})

      _lost ->
        Callback.answer(callback, {:error, "the process that read these rows has ended"})
        state
    end
  end

  defp called(_newer, callback, state, _left_ms) do
    refuse(state, callback.call, "this client does not know such a call; is the program of its version?")
    state
  end

  defp chunk(callback, rows_max, state, left_ms),
    do: %{callback: callback, rows_max: rows_max, context: state.context, left_ms: left_ms}

  defp answered(callback, state, left_ms, fun) do
    CallChain.begin(state.chain, left_ms)
    outcome = Callback.run(callback, fun)
    CallChain.finish()
    Callback.answer(callback, outcome)
  end

  # Rows enter and leave, then something is made of the accumulator.
  defp folded(callback, state, left_ms, instance, ops, make) do
    unless Fold.begun?(state.fold, instance), do: note_group(state.groups, instance)
    CallChain.begin(state.chain, left_ms)

    outcome =
      Callback.run(callback, fn ->
        case Fold.apply(state.fold, callback.function, instance, ops) do
          {:ok, accumulator, fold} -> {:ok, {make.(accumulator), fold}}
          {:error, _message} = failed -> failed
        end
      end)

    CallChain.finish()

    case outcome do
      {:ok, {outcome, fold}} ->
        Callback.answer(callback, outcome)
        %{state | fold: fold}

      {:error, message} ->
        Callback.answer(callback, outcome)
        %{state | fold: Fold.failed(state.fold, instance, message)}
    end
  end

  defp note_group(groups, instance) do
    if instance > :atomics.get(groups, 1), do: :atomics.put(groups, 1, instance)
  end

  # The usual numbers of arguments without `apply/2`.
  defp apply_to(%Function{arguments: -1, fun: fun}, arguments), do: fun.(arguments)
  defp apply_to(%Function{fun: fun}, [one]), do: fun.(one)
  defp apply_to(%Function{fun: fun}, [one, two]), do: fun.(one, two)
  defp apply_to(%Function{fun: fun}, arguments), do: apply(fun, arguments)

  # A sort key may be any bytes.
  defp key(key) when is_binary(key), do: {:ok, {:blob, key}}
  defp key(_other), do: {:error, "the key function of a collation must return a binary"}

  defp ended(reason), do: "the process that read the rows has ended: " <> Exception.format_exit(reason)

  defp refuse(state, call, message) do
    callback = %Callback{handle: state.handle, connection: state.connection, call: call, function: nil}
    Callback.answer(callback, {:error, message})
  end
end
