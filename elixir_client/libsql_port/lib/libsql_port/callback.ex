defmodule LibsqlPort.Callback do
  @moduledoc false
  # One call of a function that is not ours: runs it, and makes of whatever happens an answer that the program can take.
  # Called by `LibsqlPort.Runner` and `LibsqlPort.Enumeration`, in the process that runs the function.

  alias LibsqlPort.{AuthToken, Exchange, Function, Handle, InFlight, Telemetry, Wire}

  @enforce_keys [:handle, :connection, :call, :function]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          handle: Handle.t(),
          connection: integer,
          # 0: a notice, nobody waits for an answer.
          call: non_neg_integer,
          function: Function.t() | nil
        }

  @type outcome :: {:ok, term} | {:error, String.t()}

  @answer Wire.tag(:answer)
  @message_bytes_max 1_024

  @doc "Runs code of an application; what it raises, throws or exits with becomes a message, and an event."
  @spec run(t, (() -> {:ok, term} | {:error, String.t()})) :: {:ok, term} | {:error, String.t()}
  def run(callback, fun) do
    fun.()
  catch
    kind, reason ->
      {message, reason, stacktrace} = told(callback.function, kind, reason, __STACKTRACE__)
      failed(callback, kind, reason, stacktrace)
      {:error, message}
  end

  defp told(%Function{kind: :auth_token}, kind, reason, stacktrace),
    do: AuthToken.failed(kind, reason, stacktrace)

  defp told(_function, kind, reason, stacktrace),
    do: {message(kind, reason, stacktrace), reason, stacktrace}

  defp failed(%{handle: handle, function: function} = callback, kind, reason, stacktrace) do
    Telemetry.event([:callback, :exception], %{}, %{
      os_pid: handle.os_pid,
      connection: callback.connection,
      function: function && function.name,
      kind: kind,
      reason: reason,
      stacktrace: stacktrace
    })
  end

  defp message(:error, reason, stacktrace),
    do: Exception.message(Exception.normalize(:error, reason, stacktrace))

  defp message(:throw, value, _stacktrace), do: "the function threw " <> inspect(value)
  defp message(:exit, reason, _stacktrace), do: "the function exited: " <> Exception.format_exit(reason)

  @doc "An SQL value that a function has returned."
  @spec value(term) :: outcome
  def value(term) do
    case Wire.value(term) do
      :ok -> {:ok, term}
      {:error, what} -> {:error, "the function returned " <> what}
    end
  end

  @doc "Sends the answer, if somebody waits for one. Of a term that is no SQL value it has to be said what its binaries take."
  @spec answer(t, outcome, non_neg_integer | nil) :: :ok
  def answer(callback, outcome, bytes \\ nil)
  def answer(%{call: 0}, _outcome, _bytes), do: :ok

  def answer(%{handle: handle} = callback, outcome, bytes) do
    payload = payload(callback, encoded(outcome, bytes))
    size = Wire.frame_size(payload)

    payload =
      if size > handle.frame_bytes_max do
        message =
          "the result takes #{size} bytes, and the sidecar's frame_bytes_max is #{handle.frame_bytes_max}"

        payload(callback, encoded({:error, message}))
      else
        payload
      end

    frame = Wire.frame(InFlight.next_id(handle.ids), @answer, payload)
    Exchange.push(handle, frame)
  end

  defp payload(callback, encoded), do: Wire.answer(callback.connection, callback.call, encoded)

  @doc "An outcome as it travels. Large binaries are not copied, so that one which is too large is refused at once."
  @spec encoded(outcome, non_neg_integer | nil) :: iodata
  def encoded(outcome, bytes \\ nil)
  def encoded({:ok, value}, bytes), do: Wire.encode({:ok, value}, bytes || size(value))
  def encoded({:error, message}, _bytes), do: Wire.encode({:error, cut(message)})

  defp size(value) when is_binary(value), do: byte_size(value)
  defp size({:blob, blob}), do: byte_size(blob)
  defp size(_small), do: 0

  defp cut(message) when byte_size(message) <= @message_bytes_max, do: valid(message)
  defp cut(message), do: message |> binary_part(0, @message_bytes_max) |> valid()

  # A message goes into logs and JSON, which take text.
  defp valid(message) do
    if String.valid?(message),
      do: message,
      else: message |> String.chunk(:valid) |> Enum.filter(&String.valid?/1) |> Enum.join()
  end
end
