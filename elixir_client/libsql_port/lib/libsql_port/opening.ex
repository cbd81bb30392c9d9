defmodule LibsqlPort.Opening do
  @moduledoc false
  # How a connection is opened, and what is done while the sidecar is being started again. Called by `LibsqlPort.connect/2`.

  alias LibsqlPort.{Connection, Error, Options, Registration, Sidecar}

  @pause_ms 10

  @doc "Opens a connection by options that are checked."
  @spec open(LibsqlPort.sidecar(), Options.connection()) :: {:ok, Connection.t()} | {:error, Error.t()}
  def open(sidecar, options),
    do: open(sidecar, options, payload(options), {now() + options.connect_timeout, 1})

  # What is asked for a token has a number before the request is sent, which bears it.
  defp payload(%{token: nil} = options), do: Options.encoded(options)
  defp payload(%{token: function} = options), do: {function, &Options.encoded(options, &1)}

  # A sidecar that died after the request was sent is asked once more: opening changes nothing, and a dead pipe takes what
  # is sent for as long as nobody has noticed. Not again: a file that kills each sidecar must not use up the restarts.
  defp open(sidecar, options, payload, {deadline, chances}) do
    with {:ok, pid} <- LibsqlPort.Supervisor.sidecar(sidecar, deadline) do
      case open_at(pid, options, payload, deadline) do
        {:ok, handle, id, info} ->
          handle |> Connection.new(id, info, options) |> Registration.create_all(options.functions)

        {:error, _} = error ->
          error

        :ended when chances > 0 ->
          open(sidecar, options, payload, {deadline, chances - 1})

        :ended ->
          {:error, Error.new(:sidecar_down, "the sidecar ended while it opened the database")}

        # Nothing was sent, so nothing can have gone wrong: the sidecar is being replaced, or its pipe is full.
        :not_sent ->
          if now() < deadline do
            Process.sleep(@pause_ms)
            open(sidecar, options, payload, {deadline, chances})
          else
            LibsqlPort.Supervisor.late(sidecar)
          end
      end
    end
  end

  defp open_at(pid, options, payload, deadline) do
    key = make_ref()
    # The sidecar keeps the deadline; the grace is for its answer to arrive.
    wait = max(deadline - now(), 1) + 1_000

    try do
      Sidecar.open(pid, payload, options.owner, key, wait)
    catch
      :exit, {:timeout, _} ->
        Sidecar.abandon(pid, key)
        {:error, Error.new(:timeout, "the sidecar did not open the database in time")}

      :exit, {reason, _} when reason in [:noproc, :normal, :shutdown] ->
        :not_sent

      :exit, _ ->
        :ended
    else
      {:ok, _, id, _} = opened ->
        Sidecar.confirm(pid, id)
        opened

      other ->
        other
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
