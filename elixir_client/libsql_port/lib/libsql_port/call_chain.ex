defmodule LibsqlPort.CallChain do
  @moduledoc false
  # Which connections wait for the calling process. A process that runs a callback notes here the connection that waits for
  # it, those that wait for the request which has called it, and until when. `LibsqlPort.Exchange` asks before it sends: a
  # request to one of these connections would wait for itself. `LibsqlPort.Request` asks how much time is left.
  #
  # A Task below such a process is found by its `$callers`. Where no function was ever created in this VM, both questions are
  # one look at a persistent term.

  alias LibsqlPort.{Error, Handle, Wire}

  @key :libsql_port_call
  @existing {__MODULE__, :functions}

  @type link :: {port, connection :: integer}
  @type deadline :: integer | :infinity
  @type t :: {[link], deadline}

  # What a request leaves in the table of requests, for the callbacks that it may lead to.
  @type context :: {callers :: [pid], logger :: map | nil, [link]}

  @doc "From now on there may be callbacks in this VM."
  @spec functions_exist() :: :ok
  def functions_exist, do: :persistent_term.put(@existing, true)

  @compile {:inline, current: 0}
  @doc "The calls that the calling process is inside of; `nil` for none."
  @spec current() :: t | nil
  def current do
    if :persistent_term.get(@existing, false) do
      case Process.get(@key) do
        nil -> inherited(Process.get(:"$callers", []))
        call -> call
      end
    end
  end

  defp inherited(callers) when is_list(callers), do: Enum.find_value(callers, &of/1)
  defp inherited(_other), do: nil

  defp of(pid) when is_pid(pid) and node(pid) == node() do
    with {:dictionary, dictionary} <- Process.info(pid, :dictionary),
         {@key, call} <- List.keyfind(dictionary, @key, 0) do
      call
    else
      _ended_or_no_callback -> nil
    end
  end

  defp of(_elsewhere), do: nil

  @doc "What is left of a timeout inside of a callback: never more than is left to the callback."
  @spec within(pos_integer | :infinity) :: pos_integer | :infinity
  def within(timeout) do
    case current() do
      {_chain, deadline} when deadline != :infinity -> min(timeout, max(deadline - now(), 1))
      _none -> timeout
    end
  end

  @doc "The error of a request to a connection that waits for the calling process; `nil` for any other request."
  @spec refusal(Handle.t(), binary | nil) :: Error.t() | nil
  def refusal(_handle, nil), do: nil

  def refusal(handle, address) do
    with {chain, _deadline} <- current(),
         true <- {handle.port, Wire.connection(address)} in chain do
      Error.new(
        :callback_reentered,
        "the connection waits for the callback in which it is used; use another connection there"
      )
    else
      _not_waiting -> nil
    end
  end

  @doc "What the callbacks of a request are to know of the process that makes it."
  @spec context() :: context
  def context do
    callers =
      case Process.get(:"$callers") do
        callers when is_list(callers) -> [self() | callers]
        _none -> [self()]
      end

    {callers, metadata(), chain(current())}
  end

  defp chain({chain, _deadline}), do: chain
  defp chain(nil), do: []

  defp metadata do
    case :logger.get_process_metadata() do
      :undefined -> nil
      metadata -> metadata
    end
  end

  @doc "The calling process runs a callback for a request with this context: `$callers`, Logger metadata, the chain."
  @spec enter(context | nil, link) :: [link]
  def enter(nil, link), do: enter({[], nil, []}, link)

  def enter({callers, metadata, chain}, link) do
    Process.put(:"$callers", callers)
    if metadata, do: :logger.set_process_metadata(metadata), else: :logger.unset_process_metadata()
    [link | chain]
  end

  @doc "The calling process is inside of a call, which ends after so many milliseconds; 0 for no limit."
  @spec begin([link], non_neg_integer) :: :ok
  def begin(chain, left_ms) do
    Process.put(@key, {chain, if(left_ms == 0, do: :infinity, else: now() + left_ms)})
    :ok
  end

  @doc "The call is over."
  @spec finish() :: :ok
  def finish do
    Process.delete(@key)
    :ok
  end

  defp now, do: System.monotonic_time(:millisecond)
end
