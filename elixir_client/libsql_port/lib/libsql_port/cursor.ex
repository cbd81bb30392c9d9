defmodule LibsqlPort.Cursor do
  @moduledoc """
  Reads a result chunk by chunk. `declare/4` opens a cursor, `fetch/3` gets the next rows, `close/3` ends it; a cursor
  from which the last row was fetched is closed already. `LibsqlPort.stream/4` does all of it, and keeps two fetches under
  way, so that the sidecar reads the next rows while these are worked on.

  A cursor outside a transaction holds the state of the database as it was when it was declared, until it is closed;
  meanwhile the WAL cannot be shortened.
  """

  alias LibsqlPort.{Connection, Error, Exchange, Options, Outcome, Reply, Request, Statement, Wire}

  @enforce_keys [:id, :connection, :columns]
  defstruct @enforce_keys

  @type t :: %__MODULE__{id: integer, connection: integer, columns: [String.t()]}

  @typedoc false
  @opaque ahead :: {Exchange.ahead(), Request.t()}

  @more_rows Wire.tag(:more_rows)

  # How many fetches are under way while a stream is read.
  @pipelined 2

  @doc """
  Opens a cursor. It gives each row once, as it is when something is first written on the same connection: before that,
  the sidecar reads the rest of the rows and keeps them, in memory and beyond 1 MiB in a temporary file. With `live: true`
  it reads on beside what is written, and may give a row twice or leave it out.

      {:ok, cursor} = LibsqlPort.Cursor.declare(conn, "SELECT id FROM users", [])
  """
  @spec declare(Connection.t(), String.t() | Statement.t(), Connection.params(), keyword) ::
          {:ok, t} | {:error, Error.t()}
  def declare(conn, statement, params, options \\ []) do
    with {:ok, {id, columns}} <- Connection.declare(conn, statement, params, options) do
      {:ok, %__MODULE__{id: id, connection: conn.id, columns: columns}}
    end
  end

  @doc """
  The next rows: `{:more, rows}`, or `{:done, rows}` with the last ones, after which the cursor is closed. Options:
  `chunk_rows:` and `chunk_bytes:`, the size of a chunk; by default as many rows as travel best, some 64 KiB.
  """
  @spec fetch(Connection.t(), t, keyword) :: {:more | :done, [[term]]} | {:error, Error.t()}
  def fetch(conn, cursor, options \\ []) do
    with :ok <- own(conn, cursor),
         {:ok, rows} <- Connection.run(conn, Request.fetch(conn, cursor.id, options)) do
      rows
    end
  end

  @doc false
  # Asks for the next rows before somebody wants them: the sidecar reads them meanwhile, and what is sent to the connection after
  # this waits for them. `fetched/2` or `drop/2` has to follow.
  @spec fetch_ahead(Connection.t(), t, keyword) :: {:ok, ahead} | {:error, Error.t()}
  def fetch_ahead(conn, cursor, options) do
    request = Request.fetch(conn, cursor.id, options)

    case Exchange.send_ahead(conn.handle, request) do
      {:ok, ahead} -> {:ok, {ahead, request}}
      {:lost, lost} -> {:error, Outcome.error(lost, request)}
    end
  end

  @doc false
  @spec fetched(Connection.t(), ahead) :: {:more | :done, [[term]]} | {:error, Error.t()}
  def fetched(conn, {ahead, request}) do
    with {:ok, rows} <- Connection.claim(conn, request, ahead), do: rows
  end

  @doc false
  @spec drop(Connection.t(), ahead) :: :ok
  def drop(conn, {ahead, _request}), do: Exchange.drop(conn.handle, ahead)

  @doc "Closes a cursor. Closing one that is exhausted is no error."
  @spec close(Connection.t(), t, keyword) :: :ok | {:error, Error.t()}
  def close(conn, cursor, options \\ []) do
    with :ok <- own(conn, cursor),
         request = Request.new(conn, :close_cursor, Wire.encode(cursor.id), options),
         {:ok, _} <- Connection.run(conn, %{request | claim: {:release, {:cursor, cursor.id}}}) do
      :ok
    end
  end

  defp own(%{id: id}, %__MODULE__{connection: id}), do: :ok

  defp own(_conn, _cursor) do
    {:error, Error.new(:unknown_cursor, "the cursor was declared on another connection")}
  end

  # --- stream ---------------------------------------------------------------------------------------------------

  @doc false
  # `LibsqlPort.stream/4`: rows, or chunks of them. Errors are raised, for a stream has no other way to tell them.
  @spec stream(Connection.t(), String.t() | Statement.t(), Connection.params(), keyword) :: Enumerable.t()
  def stream(conn, statement, params, options) do
    case Options.request(:stream, options) do
      :ok ->
        {chunks?, options} = Keyword.pop(options, :chunks, false)
        chunks = chunks(conn, statement, params, options)
        if chunks?, do: chunks, else: Stream.flat_map(chunks, & &1)

      {:error, error} ->
        Stream.resource(fn -> raise error end, &{:halt, &1}, & &1)
    end
  end

  defp chunks(conn, statement, params, options) do
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
      %{
        conn: conn,
        cursor: cursor,
        options: Keyword.drop(options, [:live, :owner]),
        pending: :queue.new(),
        open: true
      },
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
    {{:value, {pending, request}}, rest} = :queue.out(state.pending)

    case Exchange.await(state.conn.handle, pending) do
      {:ok, frame, chunks} -> decoded(frame, chunks, request, asked_for_more(frame, %{state | pending: rest}))
      {:lost, lost} -> raise Outcome.error(lost, request)
    end
  end

  # The next fetch goes out before this chunk is decoded, so that the sidecar is never without one meanwhile.
  defp asked_for_more(frame, state) do
    if Wire.reply_tag(frame) == @more_rows, do: ok!(send_fetch(state)), else: state
  end

  defp decoded(frame, chunks, request, state) do
    case Reply.read(:fetch, frame, chunks) do
      {:ok, {:more, rows}, _times} -> {[rows], state}
      {:ok, {:done, []}, _times} -> {:halt, %{state | open: false}}
      {:ok, {:done, rows}, _times} -> {[rows], %{state | open: false}}
      {:error, error} -> raise error
      :unreadable -> raise Outcome.error(:unreadable, request)
    end
  end

  defp send_fetch(%{conn: conn} = state) do
    request = Request.fetch(conn, state.cursor.id, state.options)

    case Exchange.send_off(conn.handle, request) do
      {:ok, pending} -> {:ok, %{state | pending: :queue.in({pending, request}, state.pending)}}
      {:lost, lost} -> {:error, Outcome.error(lost, request)}
    end
  end

  # The consumer has seen enough, or the cursor is exhausted, or `next/1` has raised; in the last case the state is the
  # one before it, and the first of the fetches has been received already.
  defp stop(state) do
    if state.open, do: close(state.conn, state.cursor)
    for {pending, _request} <- :queue.to_list(state.pending), do: Exchange.discard(state.conn.handle, pending)
    :ok
  end

  defp ok!({:ok, value}), do: value
  defp ok!({:error, error}), do: raise(error)
end
