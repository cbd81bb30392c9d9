defmodule LibsqlPort.Registration do
  @moduledoc false
  # Registers and drops SQL functions and hooks, on behalf of a caller: the port's owner gives the function a number, the program is
  # told, and its reply settles what the owner's table says. Called by `LibsqlPort`.

  alias LibsqlPort.{Connection, Error, Exchange, Function, Outcome, Reply, Request, Sidecar, Wire}

  # The request itself, on a sidecar.
  @timeout_ms 15_000

  @type target :: Connection.t() | Supervisor.supervisor()

  # After these the request was not sent, or nobody has heard of it.
  @unsent [:not_sent, :frame_too_large, :invalid_option, :callback_reentered, :pipe_full]

  @doc "Registers what the option `:functions` may hold."
  @spec create(target, Function.spec()) :: :ok | {:error, Error.t()}
  def create(target, spec) do
    with {:ok, function} <- Function.new(spec), do: register(target, function)
  end

  @doc "Registers a hook."
  @spec set(target, Function.t()) :: :ok | {:error, Error.t()}
  def set(target, %Function{} = hook), do: register(target, hook)

  @doc "Removes the hook of this kind; whether there was one."
  @spec remove(target, :commit | :authorizer) :: {:ok, boolean} | {:error, Error.t()}
  def remove(target, kind), do: unregister(target, %Function{kind: kind, name: Atom.to_string(kind)})

  @doc "Registers functions on a connection that has just been opened; an error closes it."
  @spec create_all(Connection.t(), [Function.t()]) :: {:ok, Connection.t()} | {:error, Error.t()}
  def create_all(conn, functions) do
    Enum.find_value(functions, {:ok, conn}, fn function ->
      with {:error, error} <- register(conn, function) do
        _ = Connection.close(conn, [])
        {:error, error}
      else
        :ok -> nil
      end
    end)
  end

  defp register(%Connection{} = conn, function) do
    owner = conn.handle.sidecar

    with {:ok, number, _handle} <-
           asked(fn -> Sidecar.enlist(owner, conn.id, function, wait(conn.timeout)) end) do
      encoded = Wire.encode(Function.wire(function, number))
      request = Request.new(conn, created(function), encoded, [])

      case Connection.run(conn, %{request | claim: {:function, {:created, number}}}) do
        {:ok, nil} -> :ok
        {:error, error} -> withdrawn(owner, number, error)
      end
    end
  end

  defp register(sidecar, function) do
    on_sidecar(sidecar, now() + @timeout_ms, fn owner, left ->
      with {:ok, number, handle} <- Sidecar.enlist(owner, 0, function, left) do
        encoded = Wire.encode(Function.wire(function, number))

        case exchange(handle, created(function), encoded, {:created, number}) do
          {:ok, nil} -> :ok
          {:error, error} -> withdrawn(owner, number, error)
        end
      end
    end)
  end

  @doc "Drops what is registered under this name and number of arguments; whether there was something."
  @spec drop(target, Function.kind(), Function.name(), Function.arity_of_call()) ::
          {:ok, boolean} | {:error, Error.t()}
  def drop(target, kind, name, arity) do
    with {:ok, function} <- Function.named(kind, name, arity), do: unregister(target, function)
  end

  defp unregister(%Connection{} = conn, function) do
    owner = conn.handle.sidecar
    key = Function.key(function)

    with {:ok, kind, _handle} <- asked(fn -> Sidecar.registered(owner, conn.id, key, wait(conn.timeout)) end) do
      request = Request.new(conn, ended(function), dropped(function, kind), [])
      Connection.run(conn, %{request | claim: {:function, {:dropped, conn.id, key}}})
    end
  end

  defp unregister(sidecar, function) do
    key = Function.key(function)

    on_sidecar(sidecar, now() + @timeout_ms, fn owner, left ->
      with {:ok, kind, handle} <- Sidecar.registered(owner, 0, key, left),
           do: exchange(handle, ended(function), dropped(function, kind), {:dropped, 0, key})
    end)
  end

  defp created(function), do: function.kind |> Function.requests() |> elem(0)
  defp ended(function), do: function.kind |> Function.requests() |> elem(1)

  # By its name and its number of arguments; the form of a table function asks for columns, whatever they are.
  defp dropped(%Function{kind: kind}, _kind) when kind in [:commit, :authorizer], do: Wire.encode(kind)

  defp dropped(function, kind) do
    columns = if function.kind == :table, do: ["dropped"], else: []
    function = %{function | kind: kind || function.kind, columns: columns}
    Wire.encode(Function.wire(function, 0))
  end

  # The table of functions is to be what the program has, also where the reply comes too late for this caller: so it goes by
  # the reply itself, and this is for requests that never were.
  defp withdrawn(owner, number, %Error{code: code} = error) do
    if code in @unsent, do: Sidecar.withdraw(owner, number)
    {:error, error}
  end

  defp exchange(handle, name, encoded, change) do
    request = %Request{
      name: name,
      address: Wire.encode(0),
      payload: Wire.addressed(Wire.encode(0), @timeout_ms, encoded),
      timeout: @timeout_ms,
      claim: {:function, change}
    }

    case Exchange.call(handle, request) do
      {:ok, frame, chunks} -> answer(Reply.read(name, frame, chunks), request)
      {:lost, lost} -> {:error, Outcome.error(lost, request)}
    end
  end

  defp answer({:ok, value, _times}, _request), do: {:ok, value}
  defp answer({:error, _} = error, _request), do: error
  defp answer(:unreadable, request), do: {:error, Outcome.error(:unreadable, request)}

  # Registering twice is as good as once, so a sidecar that is being started again is asked again.
  defp on_sidecar(sidecar, deadline, fun) do
    with {:ok, owner} <- LibsqlPort.Supervisor.sidecar(sidecar, deadline) do
      case asked(fn -> fun.(owner, max(deadline - now(), 1)) end) do
        {:error, %Error{code: code}} when code in [:not_sent, :sidecar_down] ->
          LibsqlPort.Supervisor.again(sidecar, deadline, &on_sidecar(&1, &2, fun))

        other ->
          other
      end
    end
  end

  defp asked(fun) do
    case fun.() do
      :down -> {:error, Error.new(:not_sent, "the sidecar has ended; the request was not sent")}
      other -> other
    end
  catch
    :exit, {:timeout, _} -> {:error, Error.new(:timeout, "the process that owns the port does not answer")}
    :exit, _ended -> {:error, Error.new(:not_sent, "the sidecar has ended; the request was not sent")}
  end

  defp wait(:infinity), do: :infinity
  defp wait(timeout), do: timeout

  defp now, do: System.monotonic_time(:millisecond)
end
