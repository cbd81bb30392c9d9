defmodule LibsqlPort.Handshake do
  @moduledoc false
  # Starts the program and reads its first frame. Runs in the process that is to own the port. Whatever the program does
  # instead of saying hello becomes an error that tells what it did.
  #
  # A port has one mode for all its life, so the hello comes through `{:packet, 4}` as everything after it, and a program
  # that says something else may declare a frame of up to 4 GiB. The VM allocates that much address space and touches none
  # of it until bytes arrive; it is free again when the port is closed, at the latest after `start_timeout`.

  alias LibsqlPort.{Error, Executable, OsProcess, Wire}

  # The port refuses more (or suspends, without `:nosuspend`) while its queue holds the second figure, until it is
  # down at the first. The default of 8 kB makes a caller with one large request wait for no reason.
  @queue_bytes {512 * 1024, 1024 * 1024}
  @hello Wire.tag(:hello)
  @protocol_max 2_147_483_647
  @version_bytes_max 100

  @doc """
  Starts the program and makes the calling process the owner of its port. `watch` is told the program's identity before
  that. `early` are the messages that the port has sent so far, to be read before what is in the mailbox.

  The program is started by a process of its own, which nobody knows and so nobody kills: whoever kills the caller while it
  starts a program leaves none behind that `watch` has not heard of. The identity is `nil` if the program has ended.
  """
  @spec open(map, (OsProcess.identity() -> term)) ::
          {:ok, port, OsProcess.identity() | nil, early :: [term]} | {:error, Error.t()}
  def open(options, watch) do
    with {:ok, path} <- Executable.find(options.executable) do
      owner = self()
      {pid, monitor} = spawn_monitor(fn -> exit({:opened, open_for(owner, path, options, watch)}) end)

      receive do
        {:DOWN, ^monitor, :process, ^pid, {:opened, opened}} -> opened
        {:DOWN, ^monitor, :process, ^pid, reason} -> cannot_start(path, inspect(reason))
      end
    end
  end

  # The port is handed over before this process ends.
  defp open_for(owner, path, options, watch) do
    Process.flag(:trap_exit, true)

    with {:ok, port} <- spawn_program(path, options) do
      # Asked at once: a program that has exited no longer has a number.
      identity = identity(port)
      if identity, do: watch.(identity)
      hand_over(port, owner)
      {:ok, port, identity, early(port)}
    end
  end

  defp hand_over(port, owner) do
    Port.connect(port, owner)
    Process.unlink(port)
  rescue
    # The program has ended, which its messages say, or the owner has, and the port goes with this process.
    ArgumentError -> :ok
  end

  defp early(port) do
    receive do
      {^port, message} -> [message | early(port)]
      {:EXIT, ^port, reason} -> [{:exit, reason} | early(port)]
    after
      0 -> []
    end
  end

  defp spawn_program(path, options) do
    settings = [
      {:packet, 4},
      :binary,
      :exit_status,
      :use_stdio,
      {:busy_limits_port, @queue_bytes},
      {:args, Executable.arguments(options)},
      {:env, Executable.environment(options)}
    ]

    {:ok, Port.open({:spawn_executable, path}, settings)}
  rescue
    error in [ErlangError, ArgumentError] -> cannot_start(path, Exception.message(error))
  end

  defp cannot_start(path, why),
    do: {:error, Error.new(:executable_not_found, "#{path} cannot be started: #{why}")}

  defp identity(port) do
    case Port.info(port, :os_pid) do
      {:os_pid, os_pid} -> OsProcess.identity(os_pid)
      nil -> nil
    end
  end

  @doc "Waits for the hello. Closes the port if something else comes, or nothing."
  @spec await_hello(port, [term], pos_integer) :: {:ok, map} | {:error, Error.t()}
  def await_hello(port, [first | rest], _timeout) do
    again(port, rest)
    hello(port, first)
  end

  def await_hello(port, [], timeout) do
    receive do
      {^port, message} -> hello(port, message)
      {:EXIT, ^port, reason} -> hello(port, {:exit, reason})
    after
      timeout -> hello(port, {:silent, timeout})
    end
  end

  @doc "Sends the calling process what came of a port before it was its owner."
  @spec again(port, [term]) :: :ok
  def again(port, messages), do: Enum.each(messages, &send(self(), as_sent(port, &1)))

  defp as_sent(port, {:exit, reason}), do: {:EXIT, port, reason}
  defp as_sent(port, message), do: {port, message}

  @doc "Reads the first message of a port. Closes it if that is no hello of this protocol."
  @spec hello(port, {:data, binary} | {:exit_status, integer} | {:exit, term} | {:silent, pos_integer}) ::
          {:ok, map} | {:error, Error.t()}
  def hello(port, message) do
    with {:error, _} = error <- first(message) do
      close(port)
      error
    end
  end

  defp first({:data, <<131, 104, 3, 98, 0::32, 97, @hello, _::binary>> = frame}), do: read_hello(frame)
  defp first({:data, frame}), do: down("sent something else than a hello: #{excerpt(frame)}")

  # A program that refuses its arguments, or is none, has said why on standard error: it had nowhere else to say it.
  defp first({:exit_status, status}) do
    down("ended before it said hello, #{start_status(status)}")
  end

  # The port may close before the program's exit status has come.
  defp first({:exit, reason}) do
    down(
      "closed its output before it said hello (#{inspect(reason)}); if it says nothing on standard error, it is no program, " <>
        "or one for another processor or another C library"
    )
  end

  defp first({:silent, timeout}), do: down("said no hello within #{timeout} ms")

  # The program is a stranger until its hello is read: what cannot be decoded is its fault, not a crash of ours.
  defp read_hello(frame) do
    case Wire.read_payload(frame) do
      {:ok, {protocol, info}} when protocol in 0..@protocol_max and is_map(info) ->
        check(protocol, fields(info))

      {:ok, _other} ->
        down("sent a hello of another form")

      :error ->
        down("sent a hello that cannot be read")
    end
  end

  # A field of another type is none: what is counted with must be a number, what stands in a message a short text.
  defp fields(info) do
    Map.filter(info, fn
      {"frame_bytes_max", bytes} ->
        is_integer(bytes) and bytes > 0

      {"os_pid", os_pid} ->
        is_integer(os_pid) and os_pid > 0

      {"version", version} ->
        is_binary(version) and byte_size(version) <= @version_bytes_max and String.valid?(version)

      _other ->
        true
    end)
  end

  defp check(protocol, info) do
    if protocol == Wire.protocol() do
      {:ok, info}
    else
      {:error,
       Error.new(
         :protocol_mismatch,
         "the sidecar speaks protocol #{protocol} (program version #{info["version"] || "unknown"}), " <>
           "this client protocol #{Wire.protocol()} (libsql_port #{client_version()})"
       )}
    end
  end

  defp client_version do
    case :application.get_key(:libsql_port, :vsn) do
      {:ok, version} -> List.to_string(version)
      :undefined -> "unknown"
    end
  end

  defp down(message), do: {:error, Error.new(:sidecar_down, "the sidecar " <> message)}

  defp excerpt(frame), do: inspect(binary_part(frame, 0, min(byte_size(frame), 40)))

  @doc "Closes a port, and takes what it has sent out of the mailbox."
  @spec close(port) :: :ok
  def close(port) do
    Port.close(port)
  rescue
    ArgumentError -> true
  after
    drain(port)
  else
    true -> :ok
  end

  defp drain(port) do
    receive do
      {^port, _} -> drain(port)
      {:EXIT, ^port, _} -> drain(port)
    after
      0 -> :ok
    end
  end

  # What starts programs for the VM ends with the system's error number if it cannot, as Linux and macOS count them: 2 no such
  # file (of the interpreter, or of the loader that the C library brings), 8 no format that the system runs.
  defp start_status(2) do
    "exit status 2 (bad arguments, which its message on standard error names; without a message, the program is built for " <>
      "another C library)"
  end

  defp start_status(8), do: "exit status 8 (the file is no program, or one for another processor)"
  defp start_status(status), do: exit_status(status)

  @doc "What an exit status says, in words."
  @spec exit_status(non_neg_integer) :: String.t()
  def exit_status(0), do: "exit status 0 (end of input)"
  def exit_status(2), do: "exit status 2 (bad arguments)"
  def exit_status(70), do: "exit status 70 (a bug in the program)"
  def exit_status(71), do: "exit status 71 (the system refused something at start)"
  def exit_status(74), do: "exit status 74 (its output could not be written)"
  def exit_status(75), do: "exit status 75 (a request could not be stopped within stuck_limit)"
  def exit_status(76), do: "exit status 76 (broken frame)"
  def exit_status(status) when status > 128, do: "killed by signal #{status - 128}"
  def exit_status(status), do: "exit status #{status}"
end
