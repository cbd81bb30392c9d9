defmodule LibsqlPort.Life do
  @moduledoc false
  # What becomes of a sidecar and its connections, told to `Logger` and as life-cycle events of `LibsqlPort.Telemetry`.
  # Called by the processes that see it happen; decides nothing.

  require Logger

  alias LibsqlPort.{Error, Policy, Telemetry}

  # `Logger` puts `:elixir` in front of a domain that is given with the message, and in place of a process's own.
  @domain [domain: [:libsql_port]]
  # How many statements the log names when a program has ended, and how much of each.
  @logged_statements 5
  @logged_bytes 500

  @levels %{"error" => :error, "warn" => :warning, "info" => :info, "debug" => :debug}

  @doc "Gives the messages of the calling process their metadata."
  @spec metadata(term, pos_integer | nil) :: :ok
  def metadata(name, os_pid), do: Logger.metadata(sidecar: name, os_pid: os_pid)

  @doc "A program has said hello."
  @spec started(map, map) :: :ok
  def started(sidecar, hello) do
    Telemetry.event([:sidecar, :started], %{}, Map.merge(sidecar, %{version: hello["version"]}))
  end

  @doc """
  A program has ended, broke the protocol or no longer answers. The log names the statement that each of some connections
  was at: any of them may be the one that ended it.
  """
  @spec lost(map, String.t(), non_neg_integer, [{integer, String.t()}]) :: :ok
  def lost(sidecar, what, connections, running) do
    Logger.error("libsql_port: the sidecar #{label(sidecar)} #{what}#{statements(running)}", @domain)
    Telemetry.event([:sidecar, :lost], %{connections: connections}, Map.put(sidecar, :reason, what))
  end

  @doc "A connection was opened."
  @spec opened(map, integer, String.t() | nil) :: :ok
  def opened(sidecar, connection, database) do
    metadata = Map.merge(sidecar, %{connection: connection, database: database})
    Telemetry.event([:connection, :opened], %{}, metadata)
  end

  @doc "A connection is gone: `:closed` by a call, `:owner_down`, or `:lost` by a bug in the program."
  @spec closed(map, integer, :closed | :owner_down | :lost) :: :ok
  def closed(sidecar, connection, reason) do
    metadata = Map.merge(sidecar, %{connection: connection, reason: reason})
    Telemetry.event([:connection, :closed], %{}, metadata)
  end

  @doc "A bug ended a connection."
  @spec connection_lost(map, integer, integer, String.t()) :: :ok
  def connection_lost(sidecar, connection, code, message) do
    Logger.error(
      "libsql_port: connection #{connection} of #{label(sidecar)} was lost: #{message} (code #{code})",
      @domain
    )

    closed(sidecar, connection, :lost)
  end

  @doc "The policy of a connection has denied something, and `left_out` more that are not told one by one."
  @spec policy_denied(map, integer, tuple, non_neg_integer) :: :ok
  def policy_denied(sidecar, connection, denial, left_out) do
    metadata = sidecar |> Map.merge(Policy.denial(denial)) |> Map.put(:connection, connection)
    Telemetry.event([:policy, :denied], %{count: 1, left_out: left_out}, metadata)
  end

  @doc "Requests to a server fail at once from now on (`:open`), are about to be tried (`:half_open`), or are sent again (`:closed`)."
  @spec breaker(map, String.t(), atom, map) :: :ok
  def breaker(sidecar, url, state, %{failures: failures} = more) do
    metadata = Map.merge(sidecar, %{url: url, state: state, reason: more.reason})

    Telemetry.event(
      [:breaker, :changed],
      %{failures: failures, since: more.since, probe: more.probe},
      metadata
    )
  end

  @doc "A replica is not synced any more, for this reason, or is again (`nil`)."
  @spec replica(map, String.t(), Error.t() | nil) :: :ok
  def replica(sidecar, database, nil),
    do: Telemetry.event([:replica, :synced], %{}, Map.put(sidecar, :database, database))

  def replica(sidecar, database, error),
    do: Telemetry.event([:replica, :failing], %{}, Map.merge(sidecar, %{database: database, error: error}))

  @doc "A program outlived its input and is killed."
  @spec overdue(pos_integer) :: :ok
  def overdue(os_pid) do
    Logger.warning("libsql_port: the sidecar #{os_pid} did not end with its input; killing it", @domain)
  end

  @doc "A program cannot be killed."
  @spec not_killed(pos_integer, String.t()) :: :ok
  def not_killed(os_pid, reason) do
    Logger.error("libsql_port: the sidecar #{os_pid} cannot be killed: #{reason}", @domain)
  end

  @doc "A program could not be started again, or said no hello."
  @spec not_started(map, Exception.t()) :: :ok
  def not_started(sidecar, error) do
    message =
      "libsql_port: the sidecar #{label(sidecar)} cannot be started again: #{Exception.message(error)}"

    Logger.error(message, @domain)
  end

  @doc "The program sent an event that cannot be read."
  @spec unreadable_event(map) :: :ok
  def unreadable_event(sidecar) do
    Logger.warning("libsql_port: the sidecar #{label(sidecar)} sent an event that cannot be read", @domain)
  end

  @doc "A program that was started again did not take a function."
  @spec not_renewed(map, String.t(), Exception.t() | nil) :: :ok
  def not_renewed(sidecar, name, error) do
    why = if error, do: Exception.message(error), else: "its answer cannot be read"

    Logger.error(
      "libsql_port: the sidecar #{label(sidecar)} does not take the function #{inspect(name)}: #{why}",
      @domain
    )
  end

  @doc "A line of the program's own log."
  @spec line(term) :: :ok
  def line({severity, line}) when is_binary(severity) and is_binary(line) do
    Logger.log(Map.get(@levels, severity, :info), "libsql_port: #{line}", @domain)
  end

  def line(_newer), do: :ok

  defp statements([]), do: ""

  defp statements(running) do
    "; running on connection" <> Enum.map_join(Enum.take(running, @logged_statements), ";", &statement/1)
  end

  defp statement({connection, sql}) when byte_size(sql) > @logged_bytes do
    " #{connection}: #{inspect(binary_part(sql, 0, @logged_bytes))} (#{byte_size(sql)} bytes)"
  end

  defp statement({connection, sql}), do: " #{connection}: #{inspect(sql)}"

  defp label(%{name: nil, os_pid: os_pid}), do: "#{os_pid}"
  defp label(%{name: name, os_pid: os_pid}), do: "#{inspect(name)} (#{os_pid})"
end
