defmodule LibsqlPort.Sidecar do
  @moduledoc false
  # Owns the port. For each frame it reads ten bytes, takes the caller's entry out of the table and passes the frame
  # on undecoded: about a microsecond. No query waits for it, and it waits for nothing; what it is asked directly is
  # rare (open a connection, hand out the handle).
  #
  # It gives back what belonged to processes that have ended (`LibsqlPort.Claims`). When the program has ended, broke the
  # protocol or does not answer its heartbeat, it leaves the table of waiting callers to the guardian, who answers them,
  # and starts the program again, as `LibsqlPort.Restart` says when: so the end of a program is no failure that a
  # supervisor counts.

  use GenServer, shutdown: 5_000

  alias LibsqlPort.{
    Callers,
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
    Outcome,
    Reply,
    Request,
    Restart,
    Run,
    Runners,
    Status,
    Wire
  }

  alias LibsqlPort.Changes.Event

  @heartbeat_id 1
  @retry_ms 10

  # How often is looked who waits, to be told when one of them ends.
  @look_ms 100
  # How often entries are looked for that no reply will take.
  @sweep_ms 5_000

  @ok Wire.tag(:ok)
  @rows Wire.tag(:rows)
  @part Wire.tag(:part)
  @connection_lost Wire.tag(:connection_lost)
  @log Wire.tag(:log)
  @call Wire.tag(:call)
  @abandoned Wire.tag(:abandoned)
  @changes Enum.map([:changes, :lagged, :hook, :busy, :progress, :sync_event, :freeze_event], &Wire.tag/1)
  @policy_denied Wire.tag(:policy_denied)
  @breaker Wire.tag(:breaker)
  @replica Wire.tag(:replica)

  def start_link(argument), do: GenServer.start_link(__MODULE__, argument)

  @doc "The handle of the present run; `:down` between two."
  @spec handle(pid, timeout) :: Handle.t() | :down
  def handle(sidecar, timeout), do: GenServer.call(sidecar, :handle, timeout)

  @doc """
  Opens a connection on behalf of the caller: the process that will have to close it is thus the one that learns of it
  first, even if the caller is killed meanwhile.
  """
  @spec open(pid, iodata | {Function.t(), (pos_integer -> iodata)}, pid | nil, reference, pos_integer) ::
          {:ok, Handle.t(), integer, map} | {:error, Error.t()} | :not_sent
  def open(sidecar, payload, owner, key, timeout) do
    GenServer.call(sidecar, {:open, payload, owner, key}, timeout)
  end

  @doc "The caller of `open/5` has the answer."
  @spec confirm(pid, integer) :: :ok
  def confirm(sidecar, connection), do: GenServer.cast(sidecar, {:confirm, connection})

  @doc "The caller of `open/5` no longer waits: its connection is to be closed, as soon as it is there."
  @spec abandon(pid, reference) :: :ok
  def abandon(sidecar, key), do: GenServer.cast(sidecar, {:abandon, key})

  @doc """
  Gives a function the number by which the program is to call it, and the handle of the present run. The reply to the request
  that registers it says whether it stays.
  """
  @spec enlist(pid, integer, Function.t(), timeout) :: {:ok, pos_integer, Handle.t()} | :down
  def enlist(sidecar, connection, function, timeout),
    do: GenServer.call(sidecar, {:enlist, connection, function}, timeout)

  @doc "The request that registers a function was not sent."
  @spec withdraw(pid, pos_integer) :: :ok
  def withdraw(sidecar, number), do: GenServer.cast(sidecar, {:withdraw, number})

  @doc "Under which kind something is registered, and the handle of the present run."
  @spec registered(pid, integer, term, timeout) :: {:ok, Function.kind() | nil, Handle.t()} | :down
  def registered(sidecar, connection, key, timeout),
    do: GenServer.call(sidecar, {:registered, connection, key}, timeout)

  # --- runs of the program --------------------------------------------------------------------------------------

  @impl true
  def init({registry, options}) do
    Process.flag(:trap_exit, true)
    [{:guardian, guardian}] = :ets.lookup(registry, :guardian)
    [{:ids, ids}] = :ets.lookup(registry, :ids)
    [{:functions, functions}] = :ets.lookup(registry, :functions)
    [{:runners, runners}] = :ets.lookup(registry, :runners)
    # Those of connections ended with an owner before this one.
    Functions.run_ended(functions)
    Process.send_after(self(), :look, @look_ms)
    Process.send_after(self(), :sweep, @sweep_ms)
    about = %{name: options.name, os_pid: nil}
    restart = Restart.new(options)

    state =
      Run.idle(%{
        options: options,
        registry: registry,
        guardian: guardian,
        ids: ids,
        functions: functions,
        runners: Runners.new(runners, functions),
        callers: %Callers{},
        restart: restart,
        about: about
      })

    # The first start is the supervisor's: its error is the answer of `start_link/1`. One after this very process was
    # killed must not be, or the supervisor would count it.
    if :ets.insert_new(registry, {:started}), do: Run.first(state), else: {:ok, Run.start_in(0, state)}
  end

  # Ended by its supervisor. If the guardian is there, the table falls to it in any case.
  @impl true
  def terminate(_reason, %{port: nil, starting: nil}), do: :ok
  def terminate(_reason, %{port: nil, starting: {port, _identity, _timer}}), do: Handshake.close(port)
  def terminate(_reason, %{port: port, table: table}), do: Run.leave(port, table)

  # A crash report shows the last message, and a request to open may bear a token.
  @doc false
  def format_status(%{message: {:"$gen_call", from, {:open, _payload, owner, key}}} = status),
    do: %{status | message: {:"$gen_call", from, {:open, :hidden, owner, key}}}

  def format_status(status), do: status

  # --- frames ---------------------------------------------------------------------------------------------------

  @impl true
  def handle_info(
        {port, {:data, <<131, 104, 3, 98, id::32, 97, tag, _::binary>> = frame}},
        %{port: port} = state
      ) do
    route(id, tag, frame, state)
  end

  def handle_info({port, {:data, frame}}, %{port: port} = state) do
    {:noreply, Run.broke_off("sent #{byte_size(frame)} bytes that are no frame", state)}
  end

  def handle_info({port, {:exit_status, status}}, %{port: port} = state) do
    if state.identity, do: Guardian.gone(state.guardian, state.identity)
    {:noreply, Run.broke_off("ended, #{Handshake.exit_status(status)}", state)}
  end

  def handle_info({:EXIT, port, reason}, %{port: port} = state) do
    {:noreply, Run.broke_off("closed its pipes (#{inspect(reason)})", state)}
  end

  def handle_info({port, message}, %{starting: {port, _, _}} = state) do
    {:noreply, Run.first_message(message, state)}
  end

  def handle_info({:EXIT, port, reason}, %{starting: {port, _, _}} = state) do
    {:noreply, Run.first_message({:exit, reason}, state)}
  end

  def handle_info({:no_hello, port}, %{starting: {port, _, _}} = state) do
    {:noreply, Run.first_message({:silent, state.options.start_timeout}, state)}
  end

  def handle_info(:start, state), do: {:noreply, Run.again(state)}

  def handle_info({:sync, pid, ref}, state) when is_pid(pid) do
    send(pid, {ref, :synced})
    {:noreply, state}
  end

  def handle_info({ref, reply}, %{opening: opening} = state) when is_map_key(opening, ref) do
    {request, opening} = Map.pop!(opening, ref)
    {:noreply, opened(reply, request, %{state | opening: opening})}
  end

  def handle_info({:DOWN, monitor, :process, _pid, reason}, %{runners: %{monitors: monitors}} = state)
      when is_map_key(monitors, monitor) do
    {runners, answers} = Runners.down(state.runners, monitor, reason)
    {:noreply, answer_all(answers, %{state | runners: runners})}
  end

  def handle_info({:DOWN, monitor, :process, pid, _reason}, state) do
    {waited?, callers} = Callers.down(state.callers, monitor, pid)
    {held, claims} = Claims.down(state.claims, pid)
    state = %{state | claims: claims, callers: callers}
    if waited? or held != [], do: cancel_all(pid, state)

    for {{connection, kind}, _} = claim <- held do
      give_back(claim, state)
      if kind == :connection, do: Life.closed(state.about, connection, :owner_down)
    end

    {:noreply, state}
  end

  def handle_info({:give_back, table, claim}, %{table: table} = state) do
    give_back(claim, state)
    {:noreply, state}
  end

  def handle_info({:answer, table, answers}, %{table: table} = state),
    do: {:noreply, answer_all(answers, state)}

  def handle_info({:ready, %{port: port} = handle, functions}, %{port: port} = state) do
    {:noreply, Run.ready(handle, functions, state)}
  end

  def handle_info({:not_renewed, port}, %{port: port, handle: nil} = state),
    do:
      {:noreply,
       Run.broke_off("has not taken its commit hook within #{state.options.start_timeout} ms", state)}

  def handle_info(:look, state) do
    Process.send_after(self(), :look, @look_ms)
    {:noreply, %{state | callers: Callers.look(state.callers, state.table)}}
  end

  def handle_info(:sweep, state) do
    Process.send_after(self(), :sweep, @sweep_ms)
    {:noreply, if(state.handle, do: sweep(state), else: state)}
  end

  def handle_info({:heartbeat, port}, %{port: port, answered: false} = state) do
    {:noreply, Run.broke_off("has answered nothing for #{state.options.heartbeat} ms", state)}
  end

  # A pipe that is full says nothing about the program's health; the next beat will.
  def handle_info({:heartbeat, port}, %{port: port} = state) do
    Run.heartbeat(port, state.options.heartbeat)
    sent = Exchange.post(state.handle, @heartbeat_id, Wire.tag(:ping), Wire.encode(nil))
    {:noreply, %{state | answered: if(sent == :ok, do: false, else: full(state))}}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp route(0, tag, frame, state), do: {:noreply, event(tag, frame, state)}
  defp route(@heartbeat_id, _tag, _frame, state), do: {:noreply, %{state | answered: true}}

  defp route(id, @part, frame, state), do: {:noreply, part(Wire.part_head(frame), id, frame, state)}

  defp route(id, tag, frame, %{table: table} = state) do
    entry = if tag == @rows, do: InFlight.peek(table, id), else: InFlight.take(table, id)

    case entry do
      {_id, _pid, _ref, _connection, nil, _sql, _context} ->
        InFlight.deliver(table, entry, frame)
        {:noreply, state}

      nil ->
        {:noreply, state}

      entry ->
        InFlight.deliver(table, entry, frame)
        {:noreply, replied(entry, tag, frame, state)}
    end
  end

  # What a reply means is said by its first part, and holds from the last one on.
  defp part({2, head}, id, frame, state) do
    case InFlight.take(state.table, id) do
      nil ->
        state

      {_id, _pid, _ref, _connection, claim, _sql, _context} = entry ->
        InFlight.deliver(state.table, entry, frame)

        case claim do
          nil -> state
          {:part, claim, tag, head} -> replied(put_elem(entry, 4, claim), tag, head, state)
          _whole -> replied(entry, Wire.reply_tag(head), head, state)
        end
    end
  end

  defp part(part, id, frame, state) do
    with {_id, _pid, _ref, _connection, claim, _sql, _context} = entry <- InFlight.peek(state.table, id) do
      InFlight.deliver(state.table, entry, frame)
      with {last, head} <- part, do: keep_part(id, claim, Claims.part(claim, last, head), state)
    end

    state
  end

  defp keep_part(_id, claim, claim, _state), do: :ok
  defp keep_part(id, _before, claim, state), do: InFlight.set_claim(state.table, id, claim)

  defp replied({_id, _pid, _ref, _connection, {:function, change}, _sql, _context}, tag, frame, state) do
    Functions.settle(state.functions, change, tag == @ok)

    case change do
      {:renewed, kind, name} -> Run.renewed(kind, name, if(tag == @ok, do: :ok, else: error(frame)), state)
      _by_a_caller -> state
    end
  end

  defp replied({_id, _pid, _ref, _connection, {:swept, id}, _sql, _context}, _tag, frame, state) do
    if Reply.read(:cancel, frame, []) == {:ok, true, nil}, do: state, else: swept(id, state)
  end

  defp replied({_id, _pid, _ref, _connection, {:closed, connection}, _sql, _context}, _tag, _frame, state),
    do: connection_ended(connection, state)

  defp replied({_id, pid, _ref, connection, claim, _sql, _context}, tag, frame, state) do
    {claims, left} = Claims.reply(state.claims, claim, {connection, pid}, tag, frame)
    if claim == {:release, :connection} and tag == @ok, do: Life.closed(state.about, connection, :closed)
    Enum.each(left, &give_back(&1, state))
    state = %{state | claims: claims}
    # A close that is late goes on.
    if claim == {:release, :connection}, do: connection_ended(connection, state), else: state
  end

  defp error(frame) do
    case Reply.read(:create_function, frame, []) do
      {:error, error} -> error
      _unreadable -> nil
    end
  end

  defp connection_ended(connection, state) do
    for {pid, id} <- Claims.private(state.claims, connection),
        do: send(pid, {:libsql_port_connection_ended, id})

    InFlight.forget_kept(state.table, connection)
    Functions.connection_ended(state.functions, connection)
    %{state | runners: Runners.connection_ended(state.runners, connection)}
  end

  # What was seen of a full pipe; `false` if that is what was seen at the beat before, so that nothing has moved.
  defp full(%{port: port, answered: before}) do
    seen = {:full, :erlang.port_info(port, :input), :erlang.port_info(port, :queue_size)}
    seen != before and seen
  end

  # The frame goes to the process that runs the function, undecoded.
  defp event(@call, frame, state) do
    case Runners.call(state.runners, frame) do
      :handed -> state
      {runners, answers} -> answer_all(answers, %{state | runners: runners})
    end
  end

  defp event(@abandoned, frame, state) do
    {runners, runner} = Runners.abandoned(state.runners, frame)
    if runner, do: cancel_all(runner, state)
    %{state | runners: runners}
  end

  # Its subscriber reads it.
  defp event(tag, frame, state) when tag in @changes do
    subscription = Event.subscription(frame)
    pid = subscription && Claims.subscriber(state.claims, subscription)
    if pid, do: send(pid, {:libsql_port_event, subscription, tag, frame})
    state
  end

  defp event(tag, frame, state)
       when tag in [@connection_lost, @log, @policy_denied, @breaker, @replica] do
    case {tag, Wire.read_payload(frame)} do
      {@log, {:ok, line}} ->
        Life.line(line)
        state

      {@policy_denied, {:ok, {connection, denial, left_out}}}
      when is_integer(connection) and tuple_size(denial) == 6 and is_integer(left_out) ->
        Life.policy_denied(state.about, connection, denial, left_out)
        state

      {@breaker, {:ok, {url, breaker, failures, reason, since, probe}}}
      when is_binary(url) and breaker in [:closed, :open, :half_open] and is_integer(failures) ->
        Life.breaker(state.about, url, breaker, %{
          failures: failures,
          reason: reason,
          since: since,
          probe: probe
        })

        state

      {@replica, {:ok, {database, failure}}} when is_binary(database) ->
        Life.replica(state.about, database, Status.failure(failure))
        state

      {@connection_lost, {:ok, {connection, code, message}}}
      when is_integer(connection) and is_integer(code) and is_binary(message) ->
        Life.connection_lost(state.about, connection, code, message)
        connection_ended(connection, %{state | claims: Claims.drop_connection(state.claims, connection)})

      _unreadable ->
        Life.unreadable_event(state.about)
        state
    end
  end

  defp event(_newer, _frame, state), do: state

  # In place of a process that has ended. The port's owner must not wait for a full pipe.
  defp answer_all(answers, state) do
    case Enum.drop_while(answers, &(Runners.post(state.runners, &1) == :ok)) do
      [] -> :ok
      unsent -> Process.send_after(self(), {:answer, state.table, unsent}, @retry_ms)
    end

    state
  end

  # --- what processes leave behind ------------------------------------------------------------------------------

  # The port's owner must not wait for a full pipe.
  defp give_back(left, state) do
    if post_left(left, state) == :not_sent,
      do: Process.send_after(self(), {:give_back, state.table, left}, @retry_ms)
  end

  defp post_left({:ask, connection, caller}, %{handle: handle} = state) do
    id = InFlight.enter_for_claim(state.table, handle.ids, {:asked, connection, caller})
    payload = Wire.addressed(Wire.encode(connection), 0)

    with :not_sent <- Exchange.post(handle, id, Wire.tag(:connection_status), payload) do
      InFlight.take(state.table, id)
      :not_sent
    end
  end

  # What else is held of a connection is given up when the program says that it is closed.
  defp post_left({{connection, :connection}, nil} = claim, %{handle: handle} = state) do
    id = InFlight.enter_for_claim(state.table, handle.ids, {:closed, connection})
    {name, payload} = Claims.give_back(claim)

    with :not_sent <- Exchange.post(handle, id, Wire.tag(name), payload) do
      InFlight.take(state.table, id)
      :not_sent
    end
  end

  defp post_left(claim, state) do
    {name, payload} = Claims.give_back(claim)
    Exchange.post(state.handle, Wire.tag(name), payload)
  end

  # One that is not sent runs into its own deadline.
  defp cancel_all(_pid, %{handle: nil}), do: :ok

  defp cancel_all(pid, state) do
    for {id, connection} when connection != nil <- InFlight.of_caller(state.table, pid) do
      Exchange.post(state.handle, Wire.tag(:cancel), Wire.cancel(Wire.encode(connection), id))
    end
  end

  # A process that was killed between its entry and its frame has left an entry that no reply will take. A cancellation that the
  # pipe had no room for is sent once more.
  defp sweep(%{table: table, handle: handle} = state) do
    for pid <- InFlight.callers(table),
        node(pid) == node(),
        not Process.alive?(pid),
        {id, connection} when connection != nil <- InFlight.of_caller(table, pid) do
      asked = InFlight.enter_for_claim(table, handle.ids, {:swept, id})
      cancel = Wire.cancel(Wire.encode(connection), id)
      if Exchange.post(handle, asked, Wire.tag(:cancel), cancel) == :not_sent, do: InFlight.take(table, asked)
    end

    %{state | unknown: Enum.filter(state.unknown, &InFlight.waiting?(table, &1))}
  end

  # The program does not know the request, or its connection no more. A reply that was on its way then has come when it says so again, a sweep later.
  defp swept(id, %{unknown: unknown} = state) do
    if id in unknown do
      InFlight.take(state.table, id)
      %{state | unknown: List.delete(unknown, id)}
    else
      %{state | unknown: [id | unknown]}
    end
  end

  # --- connections ----------------------------------------------------------------------------------------------

  @impl true
  def handle_call(:handle, _from, state), do: {:reply, state.handle || :down, state}

  def handle_call({:open, _payload, _owner, _key}, _from, %{handle: nil} = state) do
    {:reply, :not_sent, state}
  end

  def handle_call({:open, payload, owner, key}, from, state) do
    handle = state.handle
    ref = make_ref()
    {payload, token} = numbered(payload, ref, state)
    id = InFlight.enter(handle.table, handle.ids, ref, %{connection: nil, claim: nil, sql: nil, context: nil})

    case Exchange.post(handle, id, Wire.tag(:open), payload) do
      :ok ->
        {:noreply, put_in(state.opening[ref], %{from: from, owner: owner, key: key, token: token})}

      :not_sent ->
        InFlight.take(handle.table, id)
        without_token(token, state)
        {:reply, :not_sent, state}
    end
  end

  def handle_call({tag, _connection, _what}, _from, %{handle: nil} = state)
      when tag in [:enlist, :registered],
      do: {:reply, :down, state}

  def handle_call({:enlist, connection, function}, _from, state) do
    {:reply, {:ok, Functions.add(state.functions, connection, function), state.handle}, state}
  end

  def handle_call({:registered, connection, key}, _from, state) do
    {:reply, {:ok, Functions.kind(state.functions, connection, key), state.handle}, state}
  end

  # Every process of a sidecar depends on this one: a stranger's call must not end it.
  def handle_call(_other, _from, state) do
    {:reply, {:error, Error.new(:unsupported, "the owner of a sidecar is asked through LibsqlPort only")},
     state}
  end

  @impl true
  def handle_cast({:confirm, connection}, state) do
    {:noreply, %{state | claims: Claims.drop(state.claims, {connection, :opening})}}
  end

  def handle_cast({:abandon, key}, state) do
    case Claims.find(state.claims, :opening, key) do
      nil ->
        opening = Map.new(state.opening, fn {ref, request} -> {ref, abandoned(request, key)} end)
        {:noreply, %{state | opening: opening}}

      connection ->
        give_back({{connection, :connection}, nil}, state)
        {:noreply, %{state | claims: Claims.drop_connection(state.claims, connection)}}
    end
  end

  def handle_cast({:withdraw, number}, state) do
    Functions.withdraw(state.functions, number)
    {:noreply, state}
  end

  def handle_cast(_other, state), do: {:noreply, state}

  defp abandoned(%{key: key} = request, key), do: %{request | from: nil}
  defp abandoned(request, _key), do: request

  # The program may ask for a token before it has answered, so the function has its number by then. It becomes the connection's.
  defp numbered({function, payload}, ref, state) do
    number = Functions.add(state.functions, {:opening, ref}, function)
    {payload.(number), number}
  end

  defp numbered(payload, _ref, _state), do: {payload, nil}

  defp without_token(nil, _state), do: :ok
  defp without_token(number, state), do: Functions.withdraw(state.functions, number)

  # The sidecar has died with the request; whoever opens connections asks once more.
  defp opened(:sidecar_down, request, state) do
    answer(request.from, :ended)
    state
  end

  defp opened(frame, request, state) do
    case Reply.read(:open, frame, []) do
      {:ok, {connection, info}, _times} ->
        if request.token, do: Functions.adopt(state.functions, request.token, connection)
        adopt(connection, info, request, state)

      {:error, error} ->
        without_token(request.token, state)
        answer(request.from, {:error, error})
        state

      :unreadable ->
        without_token(request.token, state)
        opening = Request.to_sidecar(:open, nil, :infinity, [])
        answer(request.from, {:error, Outcome.error(:unreadable, opening)})
        state
    end
  end

  defp adopt(connection, _info, %{from: nil}, state) do
    give_back({{connection, :connection}, nil}, state)
    state
  end

  # Until its caller has it, the connection is the caller's as well, whoever is to own it: both may have ended by now.
  defp adopt(connection, info, %{from: {caller, _tag}} = request, state) do
    Life.opened(state.about, connection, info["path"])
    answer(request.from, {:ok, state.handle, connection, info})
    claims = Claims.add(state.claims, {connection, :opening}, caller, request.key)
    claims = if request.owner, do: Claims.add(claims, {connection, :connection}, request.owner), else: claims
    %{state | claims: claims}
  end

  defp answer(nil, _reply), do: :ok
  defp answer(from, reply), do: GenServer.reply(from, reply)
end
