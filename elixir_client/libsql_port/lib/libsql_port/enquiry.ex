defmodule LibsqlPort.Enquiry do
  @moduledoc false
  # What the sidecar itself is asked, be it named or known by one of its connections. Called by `LibsqlPort`.

  alias LibsqlPort.{Connection, Error, Exchange, Handle, Outcome, Reply, Request}

  @doc "Sends a request that is addressed to no connection, and returns what is answered."
  @spec ask(Connection.t() | LibsqlPort.sidecar(), :ping | :status, keyword) ::
          {:ok, term} | {:error, Error.t()}
  def ask(target, name, options) do
    request = Request.to_sidecar(name, nil, 5_000, options)

    with {:ok, handle} <- handle(target, request.timeout) do
      case Exchange.call(handle, request) do
        {:ok, frame, chunks} -> answer(Reply.read(name, frame, chunks), request)
        {:lost, lost} -> {:error, Outcome.error(lost, request)}
      end
    end
  end

  defp answer({:ok, value, _times}, _request), do: {:ok, value}
  defp answer({:error, _} = error, _request), do: error
  defp answer(:unreadable, request), do: {:error, Outcome.error(:unreadable, request)}

  defp handle(%Connection{handle: %Handle{} = handle}, _timeout), do: {:ok, handle}
  defp handle(sidecar, :infinity), do: LibsqlPort.Supervisor.handle(sidecar, :infinity)
  defp handle(sidecar, timeout), do: LibsqlPort.Supervisor.handle(sidecar, now() + timeout)

  defp now, do: System.monotonic_time(:millisecond)
end
