defmodule LibsqlPort.Changes.Outbox do
  @moduledoc false
  # The way from a subscription to its subscriber: how many messages may go now, and those that wait. Held by the subscription's
  # process. Returns how many bytes of messages have gone, and never drops one: what may wait here is bounded by the sidecar, which
  # sends no more than it has room for.
  #
  # With `demand: :manual` as many go as were asked for. Else as many as the subscriber's mailbox takes before it holds
  # `messages_max`: it is looked at when that many have gone, so a subscriber that keeps up is looked at once in so many messages. One
  # that has no room is looked at again and again, ever more rarely. The mailbox of a process on another node is asked for, and
  # nothing goes until the answer is there.

  # The first pause between two looks, and the longest.
  @look_ms 1
  @look_ms_max 50

  @enforce_keys [:subscriber, :messages_max, :manual?]
  # `looking`: nil, `:later` (a timer is set), or what an answer of another node is known by.
  defstruct [
    :subscriber,
    :messages_max,
    :manual?,
    looking: nil,
    pause: @look_ms,
    room: 0,
    queue: :queue.new()
  ]

  @type t :: %__MODULE__{
          subscriber: pid,
          messages_max: pos_integer,
          manual?: boolean,
          looking: nil | :later | :erpc.request_id(),
          pause: pos_integer,
          room: non_neg_integer,
          queue: :queue.queue({term, non_neg_integer})
        }

  @spec new(LibsqlPort.Changes.Options.t()) :: t
  def new(options) do
    %__MODULE__{
      subscriber: options.subscriber,
      messages_max: options.pending_messages_max,
      manual?: options.demand == :manual
    }
  end

  @doc "A message that takes so many bytes is sent as soon as it may, behind those that wait."
  @spec put(t, term, non_neg_integer) :: {t, sent_bytes :: non_neg_integer}
  def put(outbox, message, bytes),
    do: deliver(%{outbox | queue: :queue.in({message, bytes}, outbox.queue)}, 0)

  @doc "So many more are asked for."
  @spec demand(t, pos_integer) :: {t, sent_bytes :: non_neg_integer}
  def demand(%{manual?: true} = outbox, count), do: deliver(%{outbox | room: outbox.room + count}, 0)
  def demand(outbox, _count), do: {outbox, 0}

  @doc "What a message to the subscription's process means for its outbox; `:other` if it is none of its own."
  @spec told(t, term) :: {t, sent_bytes :: non_neg_integer} | :other
  def told(%{looking: nil}, _message), do: :other
  def told(%{looking: :later} = outbox, :look), do: deliver(%{outbox | looking: nil}, 0)
  def told(%{looking: :later}, _message), do: :other

  def told(outbox, message) do
    case :erpc.check_response(message, outbox.looking) do
      {:response, {:message_queue_len, waiting}} -> deliver(seen(%{outbox | looking: nil}, waiting), 0)
      {:response, :undefined} -> {%{outbox | looking: nil}, 0}
      :no_response -> :other
    end
  catch
    # A node that cannot be asked, as one of C: its processes are taken to keep up. If it is lost, the subscriber's end is told.
    _kind, _reason -> deliver(seen(%{outbox | looking: nil}, 0), 0)
  end

  @doc "Whether all has gone."
  @spec empty?(t) :: boolean
  def empty?(outbox), do: :queue.is_empty(outbox.queue)

  @doc "What waits takes no room of the sidecar any more."
  @spec forget_bytes(t) :: t
  def forget_bytes(outbox),
    do: %{outbox | queue: :queue.filter(fn {message, _bytes} -> [{message, 0}] end, outbox.queue)}

  # One that waits is given room by the look before it is taken out.
  defp deliver(%{room: 0} = outbox, bytes) do
    if outbox.manual? or outbox.looking != nil or empty?(outbox) do
      {outbox, bytes}
    else
      outbox = look(outbox)
      if outbox.room == 0, do: {outbox, bytes}, else: deliver(outbox, bytes)
    end
  end

  defp deliver(outbox, bytes) do
    case :queue.out(outbox.queue) do
      {:empty, _queue} ->
        {outbox, bytes}

      {{:value, {message, size}}, queue} ->
        send(outbox.subscriber, message)
        deliver(%{outbox | queue: queue, room: outbox.room - 1}, bytes + size)
    end
  end

  defp look(%{subscriber: pid} = outbox) when node(pid) == node() do
    case Process.info(pid, :message_queue_len) do
      {:message_queue_len, waiting} -> seen(outbox, waiting)
      # Its end is on the way to this process.
      nil -> outbox
    end
  end

  defp look(%{subscriber: pid} = outbox) do
    %{outbox | looking: :erpc.send_request(node(pid), :erlang, :process_info, [pid, :message_queue_len])}
  end

  defp seen(%{messages_max: max} = outbox, waiting) when waiting < max,
    do: %{outbox | room: max - waiting, pause: @look_ms}

  defp seen(%{pause: pause} = outbox, _waiting) do
    Process.send_after(self(), :look, pause)
    %{outbox | looking: :later, pause: min(pause * 2, @look_ms_max)}
  end
end
