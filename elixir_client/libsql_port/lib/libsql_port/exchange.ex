defmodule LibsqlPort.Exchange do
  @moduledoc false
  # One request and its reply, in the process of the caller: enter the table, send the frame, wait, give up in time.
  # Knows frames and tags, but not what a request means: `LibsqlPort.Outcome` makes errors of what is `:lost`.
  #
  # `make_ref/0` and the first `receive` stand in one function, so that the compiler lets the receive skip all
  # messages that were in the mailbox before: a call costs the same in a process with a long queue.

  alias LibsqlPort.{Handle, InFlight, Wire}

  # Why there is no reply: the port was closed before the request left; the pipe stayed full until the deadline; the
  # sidecar ended after the request was sent; it did not answer in time; the request is longer than it accepts.
  @type lost :: :not_sent | :pipe_full | :down | :silent | {:too_large, pos_integer}
  @type timeout_ms :: pos_integer | :infinity
  # Id, the caller's reference, and the connection's encoded id, `nil` for a request to the sidecar itself.
  @type pending :: {pos_integer, reference, binary | nil}

  @rows 67
  @part 70
  @slice_ms 15_000
  @retry_ms_max 10

  @doc """
  Sends a request and waits for its closing reply. `chunks` are the bare rows of the `rows` frames before it; each pair
  of them is paid for with two credits.
  """
  @spec call(Handle.t(), integer | nil, binary | nil, 0..255, iodata, timeout_ms) ::
          {:ok, frame :: binary, chunks :: [{non_neg_integer, binary}]} | {:lost, lost}
  def call(%Handle{} = handle, connection, encoded_connection, tag, payload, timeout) do
    ref = make_ref()

    case start(handle, connection, {ref, encoded_connection}, tag, payload, timeout) do
      {:lost, _} = lost ->
        lost

      {_id, ^ref, _} = pending ->
        wait = wait(handle, timeout)

        receive do
          {^ref, <<_::binary-size(9), tag, _::binary>> = frame} when tag != @rows and tag != @part ->
            {:ok, frame, []}

          {^ref, reply} ->
            collect(reply, gathering(handle, pending, wait))
        after
          min(wait, @slice_ms) -> handle |> await_on(pending, rest(wait)) |> collected(handle, pending, wait)
        end
    end
  end

  @doc "Sends a request whose reply is fetched with `await/3`: that is how a cursor keeps two fetches under way."
  @spec send_off(Handle.t(), integer, binary, 0..255, iodata, timeout_ms) :: {:ok, pending} | {:lost, lost}
  def send_off(%Handle{} = handle, connection, encoded_connection, tag, payload, timeout) do
    case start(handle, connection, {make_ref(), encoded_connection}, tag, payload, timeout) do
      {:lost, _} = lost -> lost
      pending -> {:ok, pending}
    end
  end

  @doc "Waits for the reply to what `send_off/6` sent."
  @spec await(Handle.t(), pending, timeout_ms) ::
          {:ok, binary, [{non_neg_integer, binary}]} | {:lost, lost}
  def await(handle, pending, timeout) do
    wait = wait(handle, timeout)
    handle |> await_on(pending, wait) |> collected(handle, pending, wait)
  end

  @doc """
  Gives up the reply to what `send_off/6` sent, whether it is still to come, in the mailbox, or received already.
  """
  @spec discard(Handle.t(), pending) :: :ok
  def discard(handle, {id, ref, _}) do
    _ = InFlight.take(handle.table, id)
    settle(handle)
    flush(ref)
  end

  @doc "Sends a frame that gets no reply or whose reply nobody wants. Not sent if the pipe is full or closed."
  @spec post(Handle.t(), pos_integer | nil, 0..255, iodata) :: :ok | :not_sent
  def post(%Handle{} = handle, id \\ nil, tag, payload) do
    case command(handle.port, Wire.frame(id || InFlight.next_id(handle.ids), tag, payload)) do
      true -> :ok
      _ -> :not_sent
    end
  end

  # --- sending --------------------------------------------------------------------------------------------------

  defp start(handle, connection, {ref, encoded_connection}, tag, payload, timeout) do
    size = Wire.frame_size(payload)

    if size > handle.frame_bytes_max do
      {:lost, {:too_large, size}}
    else
      case InFlight.enter(handle.table, handle.ids, ref, connection) do
        :gone -> {:lost, :not_sent}
        id -> deliver(handle, {id, ref, encoded_connection}, Wire.frame(id, tag, payload), timeout)
      end
    end
  end

  defp deliver(handle, pending, frame, timeout) do
    case command(handle.port, frame) do
      true -> pending
      false -> deliver_later(handle, pending, frame, deadline(timeout), 1)
      :closed -> retract(handle, pending, :not_sent)
    end
  end

  # The pipe is full: the sidecar reads always, so this is a burst, or a sidecar that hangs. `:nosuspend` keeps the
  # caller's deadline its own; a suspended caller would wait as long as the pipe is full.
  defp deliver_later(handle, pending, frame, deadline, pause) do
    Process.sleep(pause)

    case command(handle.port, frame) do
      true ->
        pending

      :closed ->
        retract(handle, pending, :not_sent)

      false ->
        if overdue?(deadline),
          do: retract(handle, pending, :pipe_full),
          else: deliver_later(handle, pending, frame, deadline, min(pause * 2, @retry_ms_max))
    end
  end

  defp command(port, frame) do
    :erlang.port_command(port, frame, [:nosuspend])
  rescue
    ArgumentError -> :closed
  end

  defp deadline(:infinity), do: :infinity
  defp deadline(timeout), do: System.monotonic_time(:millisecond) + timeout

  defp overdue?(:infinity), do: false
  defp overdue?(deadline), do: System.monotonic_time(:millisecond) >= deadline

  # --- waiting --------------------------------------------------------------------------------------------------

  # The sidecar keeps the deadline; the grace on top is the time that its answer may take to get here.
  defp wait(_handle, :infinity), do: :infinity
  defp wait(handle, timeout), do: timeout + handle.reply_grace

  # Waits in slices, so that even an endless wait ends if the port's owner was killed between taking the entry and
  # sending the message: the one moment in which neither it nor the guardian can answer.
  defp await_on(handle, {id, ref, _} = pending, wait) do
    receive do
      {^ref, reply} -> reply
    after
      min(wait, @slice_ms) ->
        if wait > @slice_ms and InFlight.waiting?(handle.table, id),
          do: await_on(handle, pending, rest(wait)),
          else: give_up(handle, pending)
    end
  end

  # What is left to wait after one slice; `:infinity`, an atom, is greater than any number.
  defp rest(:infinity), do: :infinity
  defp rest(wait), do: max(wait - @slice_ms, 0)

  defp give_up(handle, {id, ref, _} = pending) do
    case InFlight.take(handle.table, id) do
      {:ok, _, _} ->
        # The owner may have looked the entry up for a chunk just before: after `settle` nothing is under way.
        settle(handle)
        flush(ref)
        stop(handle, pending)
        {:lost, :silent}

      :none ->
        settle(handle)

        receive do
          {^ref, reply} -> reply
        after
          0 -> {:lost, :down}
        end
    end
  end

  # The sidecar has overlooked the deadline; what may still run for nobody is told to stop.
  defp stop(_handle, {_id, _ref, nil}), do: :ok

  defp stop(handle, {id, _ref, connection}) do
    post(handle, Wire.tag(:cancel), [<<104, 2>>, connection, Wire.encode(id)])
  end

  # Takes back an entry whose frame was not sent.
  defp retract(handle, {id, ref, _}, reason) do
    if InFlight.take(handle.table, id) == :none do
      settle(handle)
      flush(ref)
    end

    {:lost, reason}
  end

  # After this, whatever the owner or the guardian had in hand for the calling process is in its mailbox.
  defp settle(handle) do
    if sync(handle.sidecar) == :down, do: sync(handle.guardian)
    :ok
  end

  defp sync(pid) do
    monitor = Process.monitor(pid)
    send(pid, {:sync, self(), monitor})

    receive do
      {^monitor, :synced} ->
        Process.demonitor(monitor, [:flush])
        :ok

      {:DOWN, ^monitor, :process, _, _} ->
        :down
    end
  end

  defp flush(ref) do
    receive do
      {^ref, _} -> flush(ref)
    after
      0 -> :ok
    end
  end

  # --- replies of several frames --------------------------------------------------------------------------------

  defp gathering(handle, pending, wait) do
    %{handle: handle, pending: pending, wait: wait, chunks: [], unpaid: 0, parts: []}
  end

  defp collected({:lost, _} = lost, _handle, _pending, _wait), do: lost
  defp collected(reply, handle, pending, wait), do: collect(reply, gathering(handle, pending, wait))

  defp collect(:sidecar_down, _state), do: {:lost, :down}

  defp collect(frame, state) do
    case Wire.reply_tag(frame) do
      @rows -> more(pay(%{state | chunks: [Wire.bare_rows(frame) | state.chunks], unpaid: state.unpaid + 1}))
      @part -> collect_part(Wire.part(frame), state)
      _closing -> {:ok, frame, Enum.reverse(state.chunks)}
    end
  end

  defp collect_part({0, bytes}, state), do: more(%{state | parts: [bytes | state.parts]})

  defp collect_part({_last, bytes}, state) do
    body = IO.iodata_to_binary(Enum.reverse([bytes | state.parts]))
    collect(body, %{state | parts: []})
  end

  # A sidecar that sends is alive and keeps the deadline, so each frame starts the wait anew.
  defp more(state) do
    case await_on(state.handle, state.pending, state.wait) do
      {:lost, _} = lost -> lost
      reply -> collect(reply, state)
    end
  end

  # Credits go out in pairs: two chunks fill the pipe while two more are paid for.
  defp pay(%{unpaid: 2, handle: handle, pending: {id, _ref, connection}} = state) do
    credit = Wire.frame(id, Wire.tag(:credit), <<104, 2, connection::binary, 97, 2>>)
    pay_until(handle.port, credit, deadline(state.wait), 1)
    %{state | unpaid: 0}
  end

  defp pay(state), do: state

  # A credit that cannot be delivered is not an error of its own: the wait for the next chunk tells what happened.
  defp pay_until(port, credit, deadline, pause) do
    if command(port, credit) == false and not overdue?(deadline) do
      Process.sleep(pause)
      pay_until(port, credit, deadline, min(pause * 2, @retry_ms_max))
    end
  end
end
