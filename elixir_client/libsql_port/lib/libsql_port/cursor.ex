defmodule LibsqlPort.Cursor do
  @moduledoc """
  Reads a result chunk by chunk. `declare/4` opens a cursor, `fetch/3` gets the next rows, `close/3` ends it; a cursor
  from which the last row was fetched is closed already. `LibsqlPort.stream/4` does all of it, and keeps two fetches under
  way, so that the sidecar reads the next rows while these are worked on.

  A cursor outside a transaction holds the state of the database as it was when it was declared, until it is closed;
  meanwhile the WAL cannot be shortened.
  """

  alias LibsqlPort.{Connection, Error, Exchange, Options, Statement, Wire}

  @enforce_keys [:id, :connection, :columns]
  defstruct @enforce_keys

  @type t :: %__MODULE__{id: integer, connection: integer, columns: [String.t()]}

  @more_rows Wire.tag(:more_rows)
  @last_rows Wire.tag(:last_rows)

  # How many fetches are under way while a stream is read.
  @pipelined 2

  @doc """
  Opens a cursor.

      {:ok, cursor} = LibsqlPort.Cursor.declare(conn, "SELECT id FROM users", [])
  """
  @spec declare(Connection.t(), String.t() | Statement.t(), Connection.params(), keyword) ::
          {:ok, t} | {:error, Error.t()}
  def declare(conn, statement, params, options \\ []) do
    with {:ok, source} <- Connection.source(conn, statement),
         {:ok, params} <- Wire.params(params) do
      timeout = Connection.timeout(conn, options)
      payload = Wire.statement(conn.encoded_id, Options.timeout_ms(timeout), source, params, nil)

      # A statement that writes may be declared too (INSERT … RETURNING): then its text tells what a loss means.
      sql = if is_binary(statement), do: statement, else: statement.sql

      case Connection.run(conn, :declare, payload, {timeout, {:sql, sql}, sql, options}) do
        {:ok, _tag, {id, columns}, []} -> {:ok, %__MODULE__{id: id, connection: conn.id, columns: columns}}
        {:error, _} = error -> error
      end
    end
  end

  @doc """
  The next rows: `{:more, rows}`, or `{:done, rows}` with the last ones, after which the cursor is closed. Options:
  `chunk_rows:` and `chunk_bytes:`, the size of a chunk; by default as many rows as travel best, some 64 KiB.
  """
  @spec fetch(Connection.t(), t, keyword) :: {:more | :done, [[term]]} | {:error, Error.t()}
  def fetch(conn, cursor, options \\ []) do
    with :ok <- own(conn, cursor) do
      timeout = Connection.timeout(conn, options)
      about = {timeout, :cursor, nil, Keyword.drop(options, [:chunk_rows, :chunk_bytes])}
      rows(Connection.run(conn, :fetch, payload(conn, cursor, timeout, options), about))
    end
  end

  @doc "Closes a cursor. Closing one that is exhausted is no error."
  @spec close(Connection.t(), t, keyword) :: :ok | {:error, Error.t()}
  def close(conn, cursor, options \\ []) do
    with :ok <- own(conn, cursor),
         {:ok, _} <- Connection.ask(conn, :close_cursor, Wire.encode(cursor.id), {:none, nil, options}) do
      :ok
    end
  end

  defp own(%{id: id}, %__MODULE__{connection: id}), do: :ok

  defp own(_conn, _cursor) do
    {:error, Error.new(:unknown_cursor, "the cursor was declared on another connection")}
  end

  defp payload(conn, cursor, timeout, options) do
    Wire.fetch(
      conn.encoded_id,
      Options.timeout_ms(timeout),
      cursor.id,
      Keyword.get(options, :chunk_rows, 0),
      Keyword.get(options, :chunk_bytes, 0)
    )
  end

  defp rows({:ok, @more_rows, rows, []}), do: {:more, rows}
  defp rows({:ok, @last_rows, rows, []}), do: {:done, rows}
  defp rows({:error, _} = error), do: error

  # --- stream ---------------------------------------------------------------------------------------------------

  @doc false
  # `LibsqlPort.stream/4`: chunks of rows. Errors are raised, for a stream has no other way to tell them.
  @spec chunks(Connection.t(), String.t() | Statement.t(), Connection.params(), keyword) :: Enumerable.t()
  def chunks(conn, statement, params, options) do
    Stream.resource(
      fn -> start(conn, statement, params, options) end,
      &next/1,
      &stop/1
    )
  end

  defp start(conn, statement, params, options) do
    cursor =
      ok!(declare(conn, statement, params, Keyword.drop(options, [:chunk_rows, :chunk_bytes, :chunks])))

    start_fetching(
      %{conn: conn, cursor: cursor, options: options, pending: :queue.new(), open: true},
      @pipelined
    )
  end

  # `Stream.resource/3` tidies up after what follows, not after the start itself.
  defp start_fetching(state, 0), do: state

  defp start_fetching(state, fetches) do
    case send_fetch(state) do
      {:ok, state} ->
        start_fetching(state, fetches - 1)

      {:error, error} ->
        stop(state)
        raise error
    end
  end

  defp next(%{open: false} = state), do: {:halt, state}

  defp next(state) do
    {{:value, pending}, rest} = :queue.out(state.pending)
    timeout = Connection.timeout(state.conn, state.options)

    case Exchange.await(state.conn.handle, pending, timeout) do
      {:ok, frame, chunks} -> decoded(frame, chunks, asked_for_more(frame, %{state | pending: rest}))
      {:lost, lost} -> raise elem(Connection.lost(state.conn, lost, {timeout, :cursor, []}), 1)
    end
  end

  # The next fetch goes out before this chunk is decoded, so that the sidecar is never without one meanwhile.
  defp asked_for_more(frame, state) do
    if Wire.reply_tag(frame) == @more_rows, do: ok!(send_fetch(state)), else: state
  end

  defp decoded(frame, chunks, state) do
    case rows(Connection.decode(frame, chunks)) do
      {:more, rows} -> {[rows], state}
      {:done, []} -> {:halt, %{state | open: false}}
      {:done, rows} -> {[rows], %{state | open: false}}
      {:error, error} -> raise error
    end
  end

  defp send_fetch(%{conn: conn} = state) do
    timeout = Connection.timeout(conn, state.options)
    payload = payload(conn, state.cursor, timeout, state.options)

    case Exchange.send_off(conn.handle, conn.id, conn.encoded_id, Wire.tag(:fetch), payload, timeout) do
      {:ok, pending} -> {:ok, %{state | pending: :queue.in(pending, state.pending)}}
      {:lost, lost} -> Connection.lost(conn, lost, {timeout, :cursor, []})
    end
  end

  # The consumer has seen enough, or the cursor is exhausted, or `next/1` has raised; in the last case the state is the
  # one before it, and the first of the fetches has been received already.
  defp stop(state) do
    if state.open, do: close(state.conn, state.cursor)
    for pending <- :queue.to_list(state.pending), do: Exchange.discard(state.conn.handle, pending)
    :ok
  end

  defp ok!({:ok, value}), do: value
  defp ok!({:error, error}), do: raise(error)
end
