defmodule LibsqlPort.Request do
  @moduledoc false
  # One request, made once by `LibsqlPort.Connection` or `LibsqlPort.Cursor` and passed on to `LibsqlPort.Exchange`
  # (which sends it), `LibsqlPort.Outcome` (which says what a lost reply means) and `LibsqlPort.Telemetry`. Pure.
  #
  #   * `name` – as in `LibsqlPort.Wire`, such as `:execute`
  #   * `connection` – the id under which the request is found by `LibsqlPort.Connection.requests/1`; `nil` for one that
  #     is not to be found there, or that is for the sidecar itself
  #   * `address` – the connection as it is encoded on the wire; `nil` for a request to the sidecar itself
  #   * `payload` – encoded
  #   * `timeout` – ms or `:infinity`
  #   * `effect` – what the request may make durable: `:none`, `:cursor` (it goes on with a cursor), `:write` (it may
  #     commit). Of `{:sql, text}`, `{:read_only, text}` (which SQLite calls read-only) and `{:script, text}` the text tells
  #   * `sql` – the text, for telemetry and for logs
  #   * `invalid` – the error, for a request that was given options that it does not take: it is never sent
  #   * `in_transaction?` – whether the caller knows of an open transaction around it

  alias LibsqlPort.{Error, Options, Statement, Wire}

  @enforce_keys [:name, :payload, :timeout]
  defstruct [
    :name,
    :connection,
    :address,
    :payload,
    :timeout,
    :sql,
    :invalid,
    effect: :none,
    in_transaction?: false
  ]

  @type effect :: :none | :cursor | :write | {:sql | :read_only | :script, String.t()}
  @type timeout_ms :: pos_integer | :infinity

  @type t :: %__MODULE__{
          name: atom,
          connection: integer | nil,
          address: binary | nil,
          payload: iodata,
          timeout: timeout_ms,
          sql: String.t() | nil,
          invalid: Error.t() | nil,
          effect: effect,
          in_transaction?: boolean
        }

  # What these functions read of a `LibsqlPort.Connection`, which builds on this module.
  @typep connection :: %{
           optional(atom) => term,
           id: integer | nil,
           encoded_id: binary,
           timeout: timeout_ms,
           transaction: reference | nil
         }

  @doc "A request with the payload `{Connection, TimeoutMs}`."
  @spec new(connection, atom, keyword) :: t
  def new(conn, name, options) do
    with {:ok, timeout} <- timeout(conn, name, options) do
      build(conn, name, options, timeout, Wire.addressed(conn.encoded_id, Wire.timeout_ms(timeout)))
    end
  end

  @doc "A request with the payload `{Connection, TimeoutMs, Term}`, the last already encoded."
  @spec new(connection, atom, iodata, keyword) :: t
  def new(conn, name, encoded, options) do
    with {:ok, timeout} <- timeout(conn, name, options) do
      payload = Wire.addressed(conn.encoded_id, Wire.timeout_ms(timeout), encoded)
      build(conn, name, options, timeout, payload)
    end
  end

  @doc "A request that runs a statement: `{Connection, TimeoutMs, Source, Params}`, with limits of the result if there are any."
  @spec statement(connection, atom, {iodata, String.t() | Statement.t()}, binary, keyword) :: t
  def statement(conn, name, {source, statement}, params, options) do
    with {:ok, timeout} <- timeout(conn, name, options) do
      # Built at once, because this is what nearly every request is.
      %__MODULE__{
        name: name,
        connection: conn.id,
        address: conn.encoded_id,
        payload: Wire.statement(conn.encoded_id, Wire.timeout_ms(timeout), source, params, limits(options)),
        timeout: timeout,
        sql: sql(statement),
        effect: effect(statement),
        in_transaction?: in_transaction?(conn, options)
      }
    end
  end

  @doc "A request for the next rows of a cursor."
  @spec fetch(connection, integer, keyword) :: t
  def fetch(conn, cursor, options) do
    with {:ok, timeout} <- timeout(conn, :fetch, options) do
      rows = Keyword.get(options, :chunk_rows, 0)
      bytes = Keyword.get(options, :chunk_bytes, 0)
      payload = Wire.fetch(conn.encoded_id, Wire.timeout_ms(timeout), cursor, rows, bytes)
      %{build(conn, :fetch, options, timeout, payload) | effect: :cursor}
    end
  end

  @doc "A batch of encoded statements."
  @spec batch(connection, iodata, keyword) :: t
  def batch(conn, statements, options) do
    with {:ok, timeout} <- timeout(conn, :batch, options) do
      atomic? = Keyword.get(options, :atomic, true)
      payload = Wire.batch(conn.encoded_id, Wire.timeout_ms(timeout), atomic?, statements)
      request = build(conn, :batch, options, timeout, payload)
      # Each statement of one that is not atomic may be a COMMIT.
      effect = if atomic? and request.in_transaction?, do: :none, else: :write
      %{request | effect: effect}
    end
  end

  @doc "A request that stops another one. Entered under no connection: `LibsqlPort.cancel/1` must not find itself."
  @spec cancel(connection, pos_integer, keyword) :: t
  def cancel(conn, id, options) do
    with {:ok, timeout} <- timeout(conn, :cancel, options) do
      payload = Wire.cancel(conn.encoded_id, id)
      %{build(conn, :cancel, options, timeout, payload) | connection: nil}
    end
  end

  @doc "A request to the sidecar itself."
  @spec to_sidecar(atom, term, timeout_ms, keyword) :: t
  def to_sidecar(name, term, default_timeout, options) do
    with {:ok, timeout} <- timeout(%{timeout: default_timeout}, name, options) do
      %__MODULE__{name: name, payload: Wire.encode(term), timeout: timeout}
    end
  end

  defp build(conn, name, options, timeout, payload) do
    %__MODULE__{
      name: name,
      connection: conn.id,
      address: conn.encoded_id,
      payload: payload,
      timeout: timeout,
      in_transaction?: in_transaction?(conn, options)
    }
  end

  # The door through which every request's options go. A request that was given others, or wrong values, is made all the
  # same: it carries the error, and nobody sends it.
  defp timeout(conn, _name, []), do: {:ok, conn.timeout}

  defp timeout(conn, name, options) do
    case Options.request(name, options) do
      :ok ->
        {:ok, Keyword.get(options, :timeout, conn.timeout)}

      {:error, error} ->
        %__MODULE__{name: name, payload: [], timeout: conn.timeout, invalid: error}
    end
  end

  defp in_transaction?(%{transaction: nil}, []), do: false
  defp in_transaction?(%{transaction: nil}, options), do: Keyword.get(options, :in_transaction, false)
  defp in_transaction?(_conn, _options), do: true

  # Ceilings of the result travel as a map of options; without one there is none, which is the common and the cheap case.
  defp limits([]), do: nil

  defp limits(options) do
    limits = for name <- [:rows_max, :bytes_max, :live], value = options[name], do: {name, value}
    if limits == [], do: nil, else: Map.new(limits)
  end

  defp sql(%Statement{sql: sql}), do: sql
  defp sql(sql), do: sql

  defp effect(%Statement{description: %{read_only: true}, sql: sql}), do: {:read_only, sql}
  defp effect(%Statement{sql: sql}), do: {:sql, sql}
  defp effect(sql), do: {:sql, sql}
end
