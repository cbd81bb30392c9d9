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
  #   * `in_transaction?` – whether the caller knows of an open transaction around it. Such a request is addressed to that
  #     transaction, so that it runs inside of it or not at all
  #   * `claim` – what the reply opens or ends for a process; see `LibsqlPort.Claims`
  #   * `context` – what callbacks of the request are to know of its caller; see `LibsqlPort.CallChain`

  alias LibsqlPort.{CallChain, Claims, Error, Options, Statement, Wire}

  # In a process that runs the function of `LibsqlPort.transaction/3`: the connections that it has a transaction on, with
  # their addresses. It is inside, whichever struct of the connection it uses.
  @inside :libsql_port_inside

  @enforce_keys [:name, :payload, :timeout]
  defstruct [
    :name,
    :connection,
    :address,
    :payload,
    :timeout,
    :sql,
    :invalid,
    :claim,
    :context,
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
          claim: Claims.claim() | nil,
          context: CallChain.context() | nil,
          in_transaction?: boolean
        }

  # What these functions read of a `LibsqlPort.Connection`, which builds on this module.
  @typep connection :: %{
           optional(atom) => term,
           id: integer | nil,
           address: binary,
           handle: LibsqlPort.Handle.t(),
           timeout: timeout_ms,
           transaction: reference | nil,
           show_statement: boolean
         }

  @doc "A request with the payload `{Connection, TimeoutMs}`."
  @spec new(connection, atom, keyword) :: t
  def new(conn, name, options), do: build(conn, name, options, &Wire.addressed/2)

  @doc "A request with the payload `{Connection, TimeoutMs, Term}`, the last already encoded."
  @spec new(connection, atom, iodata, keyword) :: t
  def new(conn, name, encoded, options),
    do: build(conn, name, options, &Wire.addressed(&1, &2, encoded))

  @doc "A request that ends the transaction that it is addressed to."
  @spec ends_transaction(connection, :commit | :rollback, keyword) :: t
  def ends_transaction(conn, name, options) do
    case new(conn, name, options) do
      %{claim: nil, address: address} = request -> %{request | claim: {:status, self(), address}}
      request -> request
    end
  end

  @doc "A request with a statement behind the timeout, which is encoded as `source`."
  @spec text(connection, atom, {iodata, String.t() | Statement.t()}, keyword) :: t
  def text(conn, name, {source, statement}, options) do
    %{new(conn, name, source, options) | sql: shown(conn, statement)}
  end

  @doc "A request that runs a statement: `{Connection, TimeoutMs, Source, Params}`, with limits of the result if there are any."
  @spec statement(connection, atom, {iodata, String.t() | Statement.t()}, iodata, keyword) :: t
  def statement(conn, name, {source, statement}, params, options) do
    with {:ok, timeout} <- timeout(conn, name, options) do
      {address, in_transaction?, claim} = address(conn, options)

      # Built at once, because this is what nearly every request is.
      %__MODULE__{
        name: name,
        connection: conn.id,
        address: address,
        payload: Wire.statement(address, limit(timeout, options), source, params, limits(options)),
        timeout: timeout,
        sql: shown(conn, statement),
        effect: effect(statement),
        claim: claim,
        in_transaction?: in_transaction?
      }
    end
  end

  @doc "A request for the next rows of a cursor."
  @spec fetch(connection, integer, keyword) :: t
  def fetch(conn, cursor, options) do
    request =
      build(conn, :fetch, options, fn address, timeout_ms ->
        rows = Keyword.get(options, :chunk_rows, 0)
        bytes = Keyword.get(options, :chunk_bytes, 0)
        Wire.fetch(address, timeout_ms, cursor, rows, bytes)
      end)

    %{request | effect: :cursor, claim: {:exhaust, {:cursor, cursor}}}
  end

  @doc "A batch of encoded statements."
  @spec batch(connection, iodata, keyword) :: t
  def batch(conn, statements, options) do
    payload = &Wire.batch(&1, &2, Keyword.get(options, :atomic, true), statements)

    with %__MODULE__{invalid: nil} = request <- build(conn, :batch, options, payload) do
      # Each statement of one that is not atomic may be a COMMIT.
      atomic? = Keyword.get(options, :atomic, true)
      effect = if atomic? and request.in_transaction?, do: :none, else: :write
      %{request | effect: effect, claim: batch_claim(request.claim, atomic?)}
    end
  end

  # One that is atomic leaves the transaction as it was, unless it fails.
  defp batch_claim({:status, caller, nil}, true), do: {:status_of_error, caller}
  defp batch_claim(claim, _atomic?), do: claim

  @doc "A request that stops another one. Entered under no connection: `LibsqlPort.cancel/1` must not find itself."
  @spec cancel(connection, pos_integer, keyword) :: t
  def cancel(conn, id, options) do
    request = build(conn, :cancel, options, fn address, _timeout_ms -> Wire.cancel(address, id) end)
    %{request | connection: nil}
  end

  @doc "A request to the sidecar itself."
  @spec to_sidecar(atom, term, timeout_ms, keyword) :: t
  def to_sidecar(name, term, default_timeout, options) do
    with {:ok, timeout} <- timeout(%{timeout: default_timeout}, name, options) do
      %__MODULE__{name: name, payload: Wire.encode(term), timeout: timeout}
    end
  end

  @doc """
  The request opens something of this kind: for the calling process, for the one that the option `:owner` names, or with
  `nil` for nobody, so that nobody gives it back.
  """
  @spec opens(t, {:transaction, integer} | :cursor | :statement | {:subscription, integer | nil}, keyword) ::
          t
  def opens(%__MODULE__{invalid: nil} = request, kind, options) do
    %{request | claim: claim(kind, Keyword.get(options, :owner, :caller))}
  end

  def opens(request, _kind, _options), do: request

  # Of a transaction it is known also that it is nobody's, or it would be taken for one of whoever comes next.
  defp claim({:transaction, _} = kind, nil), do: {:claim, kind, nil}
  defp claim(_kind, nil), do: nil
  defp claim(kind, :caller), do: {:claim, kind, self()}
  defp claim(kind, owner), do: {:claim, kind, owner}

  # --- transactions ---------------------------------------------------------------------------------------------

  @doc "Runs a function in whose process all requests on this connection are inside the transaction of `conn`."
  @spec inside(connection, (() -> result)) :: result when result: var
  def inside(conn, fun) do
    before = Process.get(@inside, [])
    Process.put(@inside, [{{conn.handle.port, conn.id}, conn.address} | before])

    try do
      fun.()
    after
      if before == [], do: Process.delete(@inside), else: Process.put(@inside, before)
    end
  end

  @doc "The address of the transaction that the calling process runs on this connection, by whichever struct of it."
  @spec current(connection) :: binary | nil
  def current(conn) do
    case Process.get(@inside) do
      nil -> nil
      all -> current(all, {conn.handle.port, conn.id})
    end
  end

  defp current(all, connection) do
    case List.keyfind(all, connection, 0) do
      {_, address} -> address
      nil -> nil
    end
  end

  # Where the request goes, whether a transaction is known to be open there, and what the reply of a request tells that may
  # begin or end one: nothing, if it can only run inside of the one that it is addressed to.
  defp address(%{transaction: nil} = conn, options) do
    case current(conn) do
      nil ->
        if given(options, :in_transaction, false),
          do: {Wire.address(conn.address, 0), true, {:status, self(), nil}},
          else: {conn.address, false, {:status, self(), nil}}

      address ->
        {address, true, nil}
    end
  end

  defp address(conn, _options), do: {conn.address, true, nil}

  # What may begin or end a transaction, beside statements and BEGIN itself.
  @tell_status [:script, :batch, :commit, :rollback, :savepoint, :release, :rollback_to]

  # `payload` makes it of the address and the timeout in ms.
  defp build(conn, name, options, payload) do
    with {:ok, timeout} <- timeout(conn, name, options) do
      {address, in_transaction?, claim} = address(conn, options)

      %__MODULE__{
        name: name,
        connection: conn.id,
        address: address,
        payload: payload.(address, limit(timeout, options)),
        timeout: timeout,
        claim: if(name in @tell_status, do: claim),
        in_transaction?: in_transaction?
      }
    end
  end

  # The door through which every request's options go. A request that was given others, or wrong values, is made all the
  # same: it carries the error, and nobody sends it.
  # Inside of a callback it gets no more time than is left to that.
  defp timeout(conn, _name, []), do: {:ok, CallChain.within(conn.timeout)}

  defp timeout(conn, name, options) do
    case Options.request(name, options) do
      :ok ->
        {:ok, CallChain.within(given(options, :timeout, conn.timeout))}

      {:error, error} ->
        %__MODULE__{name: name, payload: [], timeout: conn.timeout, invalid: error}
    end
  end

  # The time limit as it travels.
  defp limit(timeout, []), do: Wire.timeout_ms(timeout)

  defp limit(timeout, options) do
    case given(options, :lock_timeout, nil) do
      nil -> Wire.timeout_ms(timeout)
      lock_timeout -> {Wire.timeout_ms(timeout), lock_timeout}
    end
  end

  # `Keyword.get/3`, without two more calls in the way of every request.
  @compile {:inline, given: 3, limit: 2, limits: 1, shown: 2, effect: 1}
  defp given(options, name, default) do
    case :lists.keyfind(name, 1, options) do
      {_name, value} -> value
      false -> default
    end
  end

  # Ceilings of the result travel as a map of options; without one there is none, which is the common and the cheap case.
  defp limits(options), do: limits(options, nil)

  defp limits([{name, value} | rest], limits)
       when name in [:rows_max, :bytes_max, :live, :defensive, :policy, :consistency] do
    # The first of a name holds.
    limits(rest, Map.put_new(limits || %{}, name, value))
  end

  defp limits([{:max_lag, value} | rest], limits),
    do: limits(rest, Map.put_new(limits || %{}, :max_lag_ms, value))

  defp limits([_ | rest], limits), do: limits(rest, limits)
  defp limits([], limits), do: limits

  # Telemetry and logs are not to see what the connection hides.
  defp shown(%{show_statement: false}, _statement), do: nil
  defp shown(_conn, %Statement{sql: sql}), do: sql
  defp shown(_conn, sql), do: sql

  defp effect(%Statement{description: %{read_only: true}, sql: sql}), do: {:read_only, sql}
  defp effect(%Statement{sql: sql}), do: {:sql, sql}
  defp effect(sql), do: {:sql, sql}
end
