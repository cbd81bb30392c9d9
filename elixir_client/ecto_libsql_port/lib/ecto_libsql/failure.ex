defmodule EctoLibSql.Failure do
  @moduledoc false
  # The driver's errors as `DBConnection` and its callers get them: what is said, and whether the connection can go on.
  # Called by `EctoLibSql.Protocol`.

  alias EctoLibSql.{Deadline, Error, State}

  # The connection is of no further use, and why: its sidecar has ended, or somebody has closed it.
  @lost %{
    sidecar_down: :sidecar_down,
    not_sent: :sidecar_down,
    outcome_unknown: :outcome_unknown,
    connection_closed: :connection_closed,
    unknown_connection: :connection_closed
  }
  @closed [:connection_closed, :unknown_connection]

  # The connection has a file open that is no longer at its path: only a new one finds the file that is there now.
  @displaced [:file_replaced]

  # With these a server has rolled the transaction back for a reason that stays. What follows in it is answered `:transaction_lost`, which
  # is for a loss that may not come again.
  @ending [:forbidden, :cannot_open]

  @doc "Whether the connection is lost with this error."
  @spec lost?(LibsqlPort.Error.t()) :: boolean
  def lost?(%LibsqlPort.Error{code: code}), do: is_map_key(@lost, code)

  @doc "The answer to a request that failed."
  @spec answer(LibsqlPort.Error.t(), String.t() | nil, keyword, State.t()) ::
          {:error | :disconnect, Exception.t(), State.t()}
  def answer(%LibsqlPort.Error{code: code} = error, sql, options, state) do
    told = exception(error, sql, options, state)
    state = State.engine_status(state, error.tx_status)
    useless? = lost?(error) or code in @displaced or code in state.disconnect_on
    action = if useless?, do: :disconnect, else: :error
    {action, told, ended(error, state)}
  end

  defp ended(%{code: code} = error, %State{begun: true} = state) when code in @ending,
    do: %{state | ended_by: error}

  defp ended(_error, state), do: state

  @doc "What the caller is told."
  @spec exception(LibsqlPort.Error.t(), String.t() | nil, keyword, State.t()) :: Exception.t()
  def exception(
        %LibsqlPort.Error{code: :transaction_lost},
        sql,
        _options,
        %State{ended_by: %{} = cause} = state
      ) do
    message = "the transaction is over with what was answered before in it: " <> cause.message
    Error.new(%{cause | message: message, offset: nil}, shown(sql, state))
  end

  def exception(%LibsqlPort.Error{code: code} = error, sql, options, state) do
    cond do
      # The pool closes the connection of a call whose deadline has passed, and so stops what runs on it.
      code in @closed and Deadline.passed?(options, state) ->
        Error.new(%{error | code: :timeout, message: "the time was up; " <> error.message}, shown(sql, state))

      lost?(error) ->
        lost(error)

      true ->
        Error.new(error, shown(sql, state))
    end
  end

  @doc "The error of a lost connection."
  @spec lost(LibsqlPort.Error.t()) :: DBConnection.ConnectionError.t()
  def lost(%LibsqlPort.Error{code: code} = error) do
    %DBConnection.ConnectionError{message: Exception.message(error), reason: Map.fetch!(@lost, code)}
  end

  @doc "A statement was to run in a transaction that is over."
  @spec rolled_back(String.t() | nil, State.t()) :: Error.t()
  def rolled_back(sql, state) do
    message =
      "the transaction is over before its end: the database has rolled it back, or a statement in it has ended it; " <>
        "nothing else runs in it"

    Error.new(LibsqlPort.Error.new(:no_transaction, message), shown(sql, state))
  end

  @doc "A transaction was begun by hand and would have stayed open on a connection that the next caller gets."
  @spec left_open(String.t() | nil, State.t()) :: Error.t()
  def left_open(sql, state) do
    message =
      "a transaction was left open on a connection that goes back to the pool, and was rolled back; use transaction/2, " <>
        "or checkout/2 around a transaction that is begun and ended by hand"

    Error.new(LibsqlPort.Error.new(:transaction_open, message), shown(sql, state))
  end

  @doc "The statement, unless the option `:show_statement` hides it."
  @spec shown(String.t() | nil, State.t()) :: String.t() | nil
  def shown(sql, %State{show_statement: true}), do: sql
  def shown(_sql, _state), do: nil
end
