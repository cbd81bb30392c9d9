defmodule LibsqlPort.Exchange do
  @moduledoc false
  # One request and its reply, in the process of the caller: enter the table, send the frame, wait, give up in time.
  # Knows frames and tags, but not what a request means: `LibsqlPort.Outcome` makes errors of what is `:lost`.
  #
  # A call costs the same in a process with a long mailbox: `make_ref/0` stands in `call/2`, and every receive of its
  # path gets the reference as an argument of its own, so that the compiler lets them skip the messages that were there
  # before (exchange_test.exs asks it). A reply that is awaited apart from its request, as a stream's are, does search
  # the mailbox.

  alias LibsqlPort.{CallChain, Error, Functions, Handle, InFlight, Remote, Reply, Request, Wire}

  # Why there is no reply: the port was closed before the request left; the pipe stayed full until the deadline; the
  # sidecar ended after the request was sent; it did not answer in time; its reply is none of this protocol; the request
  # is longer than it accepts, or was made of options that it does not take.
  @type lost ::
          :not_sent
          | :pipe_full
          | :down
          | :silent
          | :unreadable
          | {:too_large, size :: pos_integer, max :: pos_integer}
          | {:invalid, Error.t()}

  # A request that was sent and awaits its reply: its id, and the reference that its messages bear.
  @opaque pending :: {pos_integer, reference, Request.t()} | {:later, Request.t()}

  # One that was sent ahead, and whose reply is kept.
  @opaque ahead :: {pos_integer, Request.t()} | {:later, Request.t()}

  @rows Wire.tag(:rows)
  @part Wire.tag(:part)
  @slice_ms 15_000
  @retry_ms_max 10

  # Credits go out in pairs: two chunks fill the pipe while two more are paid for.
  @credits 2

  @doc """
  Sends a request and waits for its closing reply. `chunks` are the bare rows of the `rows` frames before it; each pair
  of them is paid for with two credits.
  """
  @spec call(Handle.t(), Request.t()) :: {:ok, frame :: binary, [Reply.chunk()]} | {:lost, lost}
  # What the calling process is inside of is known here alone.
  def call(%Handle{port: port} = handle, %Request{} = request) when node(port) != node() do
    case CallChain.refusal(handle, request.address) do
      nil -> Remote.call(handle, %{request | context: CallChain.context()})
      error -> {:lost, {:invalid, error}}
    end
  end

  def call(%Handle{} = handle, %Request{} = request) do
    ref = make_ref()

    case start(handle, ref, request) do
      {:lost, _} = lost ->
        lost

      id ->
        wait = wait(handle, request)

        receive do
          {^ref, <<_::binary-size(9), tag, _::binary>> = frame} when tag != @rows and tag != @part ->
            {:ok, frame, []}

          {^ref, reply} ->
            collect(ref, reply, gathering(handle, id, request, wait))
        after
          min(wait, @slice_ms) ->
            state = gathering(handle, id, request, wait)
            collect(ref, await_on(ref, state, rest(wait)), state)
        end
    end
  end

  @doc "The same in place of a caller on another node, at the handle's node."
  @spec serve(pid, Handle.t(), Request.t()) :: {:ok, frame :: binary, [Reply.chunk()]} | {:lost, lost}
  def serve(caller, handle, request) do
    Remote.stand_for(caller)
    call(handle, request)
  end

  @doc "Sends a request whose reply is fetched with `await/2`: that is how a cursor keeps two fetches under way."
  @spec send_off(Handle.t(), Request.t()) :: {:ok, pending} | {:lost, lost}
  # From another node nothing is sent ahead: the reply would come to a process there.
  def send_off(%Handle{port: port}, %Request{} = request) when node(port) != node(),
    do: {:ok, {:later, request}}

  def send_off(%Handle{} = handle, %Request{} = request) do
    ref = make_ref()

    case start(handle, ref, request) do
      {:lost, _} = lost -> lost
      id -> {:ok, {id, ref, request}}
    end
  end

  @doc "Waits for the reply to what `send_off/2` sent."
  @spec await(Handle.t(), pending) :: {:ok, binary, [Reply.chunk()]} | {:lost, lost}
  def await(handle, {:later, request}), do: call(handle, request)

  def await(handle, {id, ref, request}) do
    wait = wait(handle, request)
    state = gathering(handle, id, request, wait)
    collect(ref, await_on(ref, state, wait), state)
  end

  @doc """
  Gives up the reply to what `send_off/2` sent, whether it is still to come, in the mailbox, or received already.
  """
  @spec discard(Handle.t(), pending) :: :ok
  def discard(_handle, {:later, _request}), do: :ok

  def discard(handle, {id, ref, request}) do
    _ = InFlight.give_up(handle.table, id, request)
    settle(handle)
    flush(ref)
  end

  @doc """
  Sends a request whose reply is kept until `claim/2` asks for it or `drop/2` says that nobody will: one of them has to be
  called, in any process. Nothing comes to a mailbox unasked.
  """
  @spec send_ahead(Handle.t(), Request.t()) :: {:ok, ahead} | {:lost, lost}
  def send_ahead(%Handle{port: port}, %Request{} = request) when node(port) != node(),
    do: {:ok, {:later, request}}

  def send_ahead(%Handle{} = handle, %Request{} = request) do
    case start(handle, :kept, request) do
      {:lost, _} = lost -> lost
      id -> {:ok, {id, request}}
    end
  end

  @doc "The reply to what `send_ahead/2` sent, at once if it has come."
  @spec claim(Handle.t(), ahead) :: {:ok, binary, [Reply.chunk()]} | {:lost, lost}
  def claim(handle, {:later, request}), do: call(handle, request)

  def claim(handle, {id, request}) do
    # Most replies are a single frame, and here already.
    with [frame] when is_binary(frame) <- InFlight.kept(handle.table, id),
         true <- Wire.reply_tag(frame) not in [@rows, @part, nil],
         [^frame] <- InFlight.take_kept(handle.table, id) do
      {:ok, frame, []}
    else
      _more_or_gone -> claim_rest(handle, {id, make_ref(), request})
    end
  end

  @doc "Gives up what `send_ahead/2` sent. If it still runs, it is stopped."
  @spec drop(Handle.t(), ahead) :: :ok
  def drop(_handle, {:later, _request}), do: :ok

  def drop(handle, {id, request}) do
    waiting? = InFlight.give_up(handle.table, id, request)
    # Whatever the owner had in hand for it is in the table afterwards.
    settle(handle)
    if InFlight.take_kept(handle.table, id) in [[], :gone] and waiting?, do: stop(handle, id, request)
    :ok
  end

  @doc "Sends a frame that gets no reply or whose reply nobody wants. Not sent if the pipe is full or closed."
  @spec post(Handle.t(), pos_integer | nil, 0..255, iodata) :: :ok | :not_sent
  def post(%Handle{} = handle, id \\ nil, tag, payload) do
    case command(handle.port, Wire.frame(id || InFlight.next_id(handle.ids), tag, payload)) do
      true -> :ok
      _ -> :not_sent
    end
  end

  @doc "Sends an encoded frame, and waits while the pipe is full. For processes that nobody but the program waits for."
  @spec push(Handle.t(), iodata) :: :ok
  def push(handle, frame) do
    :erlang.port_command(handle.port, frame)
    :ok
  rescue
    # The program has ended, and what waited for this with it.
    ArgumentError -> :ok
  end

  @compile {:inline, with_context: 2, wait: 2}

  # --- sending --------------------------------------------------------------------------------------------------

  defp start(_handle, _ref, %Request{invalid: %Error{} = error}), do: {:lost, {:invalid, error}}

  defp start(handle, ref, request) do
    size = Wire.frame_size(request.payload)

    cond do
      size > handle.frame_bytes_max ->
        {:lost, {:too_large, size, handle.frame_bytes_max}}

      # No request may wait for itself: this is the one door that all of them pass.
      error = CallChain.refusal(handle, request.address) ->
        {:lost, {:invalid, error}}

      true ->
        case InFlight.enter(handle.table, handle.ids, ref, with_context(request, handle)) do
          :gone -> {:lost, :not_sent}
          id -> deliver(handle, id, ref, request)
        end
    end
  end

  # Callbacks that the request may lead to are told who has made it.
  defp with_context(request, handle) do
    if Functions.any?(handle.functions) and request.context == nil,
      do: %{request | context: CallChain.context()},
      else: request
  end

  defp deliver(handle, id, ref, request) do
    frame = Wire.frame(id, Wire.tag(request.name), request.payload)

    case command(handle.port, frame) do
      true -> id
      false -> deliver_later(handle, {id, ref}, frame, deadline(request.timeout), 1)
      :closed -> retract(handle, {id, ref}, :not_sent)
    end
  end

  # The pipe is full: the sidecar reads always, so this is a burst, or a sidecar that hangs. `:nosuspend` keeps the
  # caller's deadline its own; a suspended caller would wait as long as the pipe is full.
  defp deliver_later(handle, {id, _ref} = sent, frame, deadline, pause) do
    Process.sleep(pause)

    case command(handle.port, frame) do
      true ->
        id

      :closed ->
        retract(handle, sent, :not_sent)

      false ->
        if overdue?(deadline),
          do: retract(handle, sent, :pipe_full),
          else: deliver_later(handle, sent, frame, deadline, min(pause * 2, @retry_ms_max))
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
  defp wait(_handle, %{timeout: :infinity}), do: :infinity
  defp wait(handle, request), do: request.timeout + handle.reply_grace

  # Waits in slices, so that even an endless wait ends if the port's owner was killed between taking the entry and
  # sending the message: the one moment in which neither it nor the guardian can answer.
  defp await_on(ref, state, wait) do
    receive do
      {^ref, reply} -> reply
    after
      min(wait, @slice_ms) ->
        if wait > @slice_ms and InFlight.waiting?(state.handle.table, state.id),
          do: await_on(ref, state, rest(wait)),
          else: give_up(ref, state)
    end
  end

  # What is left to wait after one slice; `:infinity`, an atom, is greater than any number.
  defp rest(:infinity), do: :infinity
  defp rest(wait), do: max(wait - @slice_ms, 0)

  defp give_up(ref, %{handle: handle, id: id} = state) do
    if InFlight.give_up(handle.table, id, state.request) do
      # The owner may have looked the entry up for a chunk just before: after `settle` nothing is under way.
      settle(handle)
      flush(ref)
      stop(handle, id, state.request)
      {:lost, :silent}
    else
      settle(handle)

      receive do
        {^ref, reply} -> reply
      after
        0 -> {:lost, :down}
      end
    end
  end

  # The sidecar has overlooked the deadline; what may still run for nobody is told to stop.
  defp stop(_handle, _id, %{address: nil}), do: :ok
  defp stop(handle, id, request), do: post(handle, Wire.tag(:cancel), Wire.cancel(request.address, id))

  # Takes back an entry whose frame was not sent.
  defp retract(handle, {id, ref}, reason) do
    if InFlight.take(handle.table, id) == nil do
      settle(handle)
      flush(ref)
    end

    _ = InFlight.take_kept(handle.table, id)
    {:lost, reason}
  end

  # After this, whatever the owner or the guardian had in hand for the calling process is in its mailbox.
  defp settle(handle) do
    sync(handle.sidecar)
    sync(handle.guardian)
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

  defp gathering(handle, id, request, wait) do
    %{handle: handle, id: id, request: request, wait: wait, chunks: [], unpaid: 0, parts: [], kept: []}
  end

  # From here on the reply is sent to this process. What is in the table after `settle` came before, and is taken only then:
  # until then the owner may be adding to it.
  defp claim_rest(handle, {id, ref, request} = pending) do
    redirected? = InFlight.redirect(handle.table, id, ref)
    settle(handle)
    state = gathering(handle, id, request, wait(handle, request))

    case InFlight.take_kept(handle.table, id) do
      [frame | frames] ->
        collect(ref, frame, %{state | kept: frames})

      [] when redirected? ->
        more(ref, state)

      :down ->
        {:lost, :down}

      # A process that ends the connection has given the reply up.
      _gone ->
        if redirected?, do: discard(handle, pending)

        {:lost,
         {:invalid, Error.new(:connection_closed, "the connection was closed before the rows were read")}}
    end
  end

  defp collect(_ref, {:lost, _} = lost, _state), do: lost
  defp collect(_ref, :sidecar_down, _state), do: {:lost, :down}

  defp collect(ref, frame, state) do
    case Wire.reply_tag(frame) do
      @rows -> collect_rows(ref, Wire.bare_rows(frame), state)
      @part -> collect_part(ref, Wire.part(frame), state)
      nil -> unreadable(ref, state)
      _closing -> {:ok, frame, Enum.reverse(state.chunks)}
    end
  end

  defp collect_rows(ref, nil, state), do: unreadable(ref, state)

  defp collect_rows(ref, rows, state) do
    more(ref, pay(%{state | chunks: [rows | state.chunks], unpaid: state.unpaid + 1}))
  end

  defp collect_part(ref, {0, bytes}, state), do: more(ref, %{state | parts: [bytes | state.parts]})

  defp collect_part(ref, {_last, bytes}, state) do
    body = IO.iodata_to_binary(Enum.reverse([bytes | state.parts]))
    collect(ref, body, %{state | parts: []})
  end

  defp collect_part(ref, nil, state), do: unreadable(ref, state)

  # What else comes of this reply is no more wanted.
  defp unreadable(ref, state) do
    discard(state.handle, {state.id, ref, state.request})
    stop(state.handle, state.id, state.request)
    {:lost, :unreadable}
  end

  # A sidecar that sends is alive and keeps the deadline, so each frame starts the wait anew.
  defp more(ref, %{kept: []} = state), do: collect(ref, await_on(ref, state, state.wait), state)
  defp more(ref, %{kept: [frame | frames]} = state), do: collect(ref, frame, %{state | kept: frames})

  defp pay(%{unpaid: @credits, handle: handle, id: id, request: request} = state) do
    credit = Wire.frame(id, Wire.tag(:credit), Wire.credit(request.address, @credits))
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
