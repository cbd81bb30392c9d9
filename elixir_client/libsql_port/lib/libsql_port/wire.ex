defmodule LibsqlPort.Wire do
  @moduledoc false
  # The codec of docs/protocol.md: terms to frames, frames to terms. Pure: no process, no port, no state.
  #
  # A frame's body is the External Term `{Id, Tag, Payload}`. Its first ten bytes are fixed, so that the process
  # that owns the port routes by them alone, and requests are a hand-built header with the payload behind it:
  # a third of the price of `term_to_binary` of the whole tuple.

  alias LibsqlPort.Error

  @protocol 1
  @header_bytes 10
  @timeout_ms_max 2_147_483_647
  # Of a reply in parts so much is looked at: header, tuple, and an id.
  @head_bytes 32

  # Binaries of a request that are larger together travel by reference.
  @copied_bytes_max 4_096

  @requests [
    ping: 1,
    status: 2,
    connection_status: 3,
    open: 4,
    close: 5,
    execute: 6,
    query_one: 7,
    prepare: 8,
    describe: 9,
    execute_prepared: 10,
    close_statement: 11,
    declare: 12,
    fetch: 13,
    close_cursor: 14,
    begin: 15,
    commit: 16,
    rollback: 17,
    savepoint: 18,
    release: 19,
    rollback_to: 20,
    batch: 21,
    script: 22,
    reset: 23,
    cancel: 24,
    credit: 25,
    checkpoint: 26,
    answer: 27,
    subscribe: 28,
    unsubscribe: 29,
    changes_credit: 30,
    create_function: 32,
    drop_function: 33,
    set_policy: 36,
    set_hook: 37,
    remove_hook: 38,
    sync: 40,
    replication_status: 41,
    freeze: 42,
    flush: 43
  ]

  @replies [ok: 64, error: 65, result: 66, rows: 67, last_rows: 68, batch_reply: 69, part: 70, more_rows: 71]
  @events [
    hello: 96,
    connection_lost: 97,
    log: 98,
    call: 99,
    abandoned: 100,
    changes: 101,
    lagged: 102,
    hook: 103,
    policy_denied: 104,
    busy: 105,
    progress: 106,
    sync_event: 107,
    breaker: 108,
    freeze_event: 109,
    replica: 110
  ]

  @doc "The number of the protocol that this client speaks."
  @spec protocol() :: pos_integer
  def protocol, do: @protocol

  @doc "The number of a request, reply or event."
  @spec tag(atom) :: 0..255
  for {name, tag} <- @requests ++ @replies ++ @events do
    def tag(unquote(name)), do: unquote(tag)
  end

  @doc "Names and numbers of the requests."
  @spec requests() :: [{atom, 0..255}]
  def requests, do: @requests

  # --- requests -------------------------------------------------------------------------------------------------

  @doc "A frame's body: the fixed header in front of an encoded payload."
  @spec frame(non_neg_integer, 0..255, iodata) :: iodata
  def frame(id, tag, payload), do: [<<131, 104, 3, 98, id::32, 97, tag>>, payload]

  @doc "The size of a frame's body with this payload."
  @spec frame_size(iodata) :: non_neg_integer
  def frame_size(payload), do: :erlang.iolist_size(payload) + @header_bytes

  @doc "An External Term without its version byte, as it stands inside another one."
  @spec encode(term) :: binary
  def encode(term) do
    <<131, bare::binary>> = :erlang.term_to_binary(term)
    bare
  end

  @doc "The same, of a term whose binaries take so many bytes. If these are many they travel by reference, and nothing copies them."
  @spec encode(term, non_neg_integer) :: iodata
  def encode(term, size) when size < @copied_bytes_max, do: encode(term)

  def encode(term, _size) do
    [<<131, bare::binary>> | rest] = :erlang.term_to_iovec(term)
    [bare | rest]
  end

  @doc "A timeout as it travels: 0 for none. Raises for what is no timeout."
  @spec timeout_ms(pos_integer | :infinity) :: non_neg_integer
  def timeout_ms(timeout) when is_integer(timeout) and timeout > 0 and timeout <= @timeout_ms_max, do: timeout
  def timeout_ms(:infinity), do: 0

  def timeout_ms(other) do
    raise ArgumentError,
          "the option :timeout takes :infinity or milliseconds from 1 to #{@timeout_ms_max}, not #{inspect(other)}"
  end

  @typedoc "A time limit as it travels, alone or with the part of it that may be spent waiting for turn and locks."
  @type limit :: non_neg_integer | {non_neg_integer, non_neg_integer}

  @compile {:inline, limit: 1}
  defp limit(timeout_ms) when is_integer(timeout_ms), do: <<98, timeout_ms::32>>
  defp limit({timeout_ms, lock_ms}), do: <<104, 2, 98, timeout_ms::32, 98, lock_ms::32>>

  # A number of this bit names a transaction that everybody may join.
  @shared 0x80000000

  @doc """
  The address of a connection's transaction: what is sent to it runs inside of that one or not at all. 0 stands for
  whichever is open. `connection` is the encoded id.
  """
  @spec address(binary, non_neg_integer) :: binary
  # That of each statement in a transaction of the Ecto adapter.
  def address(connection, 0), do: <<104, 2, connection::binary, 97, 0>>
  def address(connection, transaction), do: <<104, 2, connection::binary, encode(transaction)::binary>>

  @doc "The number of a transaction that others on the connection may join, instead of waiting for its end."
  @spec shared(pos_integer) :: pos_integer
  def shared(transaction), do: transaction + @shared

  @doc "Whether others may join the transaction of this number."
  @spec shared?(non_neg_integer) :: boolean
  def shared?(transaction), do: transaction >= @shared

  @doc "The payload `{Connection, TimeoutMs}`; `connection` is an encoded id or an address."
  @spec addressed(binary, limit) :: binary
  def addressed(connection, timeout_ms) do
    <<104, 2, connection::binary, limit(timeout_ms)::binary>>
  end

  @doc "The payload `{Connection, TimeoutMs, Term}`, the last already encoded."
  @spec addressed(binary, limit, iodata) :: iodata
  def addressed(connection, timeout_ms, encoded) do
    [<<104, 3, connection::binary, limit(timeout_ms)::binary>>, encoded]
  end

  @doc "A binary as an External Term, without copying it."
  @spec binary(binary) :: iodata
  def binary(bytes), do: [<<109, byte_size(bytes)::32>>, bytes]

  @doc """
  The payload `{Connection, TimeoutMs, Sql, Params}`, or with a map of options behind them. `source` and `params` are
  encoded: the text or the number of a statement, and what `params/1` made.
  """
  @spec statement(binary, limit, iodata, iodata, map | nil) :: iodata
  def statement(connection, timeout_ms, source, params, nil) do
    [<<104, 4, connection::binary, limit(timeout_ms)::binary>>, source, params]
  end

  def statement(connection, timeout_ms, source, params, options) do
    [<<104, 5, connection::binary, limit(timeout_ms)::binary>>, source, params, encode(options)]
  end

  @doc "The payload `{Connection, TimeoutMs, Cursor, RowsMax, BytesMax}`."
  @spec fetch(binary, limit, integer, non_neg_integer, non_neg_integer) :: iodata
  def fetch(connection, timeout_ms, cursor, rows_max, bytes_max) do
    <<104, 5, connection::binary, limit(timeout_ms)::binary, encode(cursor)::binary, encode(rows_max)::binary,
      encode(bytes_max)::binary>>
  end

  @doc "The payload `{Connection, TimeoutMs, Atomic, [{Sql, Params}, …]}`; each statement is encoded."
  @spec batch(binary, limit, boolean, [iodata]) :: iodata
  def batch(connection, timeout_ms, atomic?, statements) do
    [<<104, 4, connection::binary, limit(timeout_ms)::binary>>, encode(atomic?), list(statements)]
  end

  defp list([]), do: <<106>>
  defp list(encoded), do: [<<108, length(encoded)::32>>, encoded, 106]

  @doc "The payload `{Connection, RequestId}`."
  @spec cancel(binary, pos_integer) :: iodata
  def cancel(connection, request), do: [<<104, 2, connection::binary>>, encode(request)]

  @doc "The payload `{Connection, Credits}`."
  @spec credit(binary, 0..255) :: binary
  def credit(connection, credits), do: <<104, 2, connection::binary, 97, credits>>

  @doc "The connection of an encoded address."
  @spec connection(binary) :: integer | nil
  def connection(<<104, 2, rest::binary>>), do: connection(rest)

  def connection(encoded) do
    with {connection, _transaction} <- integer(encoded), do: connection
  end

  @doc "The payload of an answer to a call: `{Connection, Call, Outcome}`, the outcome encoded."
  @spec answer(integer, integer, iodata) :: iodata
  def answer(connection, call, outcome), do: [<<104, 3, 98, connection::32, 98, call::32>>, outcome]

  @doc """
  The fields of a call that have a fixed place: connection, call, the request that runs, and the number of what is called.
  `nil` for a frame that is no call.
  """
  @spec call_head(binary) :: {integer, integer, integer, integer} | nil
  def call_head(
        <<_::binary-size(10), 104, 7, 98, connection::32, 98, call::32, 98, request::32, 98, callback::32,
          _::binary>>
      ),
      do: {connection, call, request, callback}

  def call_head(_other), do: nil

  @doc "The connection and the call of an `abandoned` event; `nil` for another frame."
  @spec abandoned(binary) :: {integer, integer} | nil
  def abandoned(<<_::binary-size(10), 104, 2, 98, connection::32, 98, call::32>>), do: {connection, call}
  def abandoned(_other), do: nil

  @doc "Whether a term is an SQL value, as a parameter and as the result of a function; if not, what it is."
  @spec value(term) :: :ok | {:error, String.t()}
  def value(value) when is_binary(value) or is_integer(value) or is_float(value), do: :ok
  def value(value) when value in [nil, true, false, :infinity, :neg_infinity], do: :ok
  def value({:blob, blob}) when is_binary(blob), do: :ok
  def value(other), do: {:error, "#{describe(other)}, which is no SQL value" <> mend(other, "return")}

  @doc """
  Encodes parameters: a list (positional), or a keyword list or a map (named).

  A list counts as named if each element is a pair with an atom or a binary in front and not every one is
  `{:blob, binary}`, which is a value. Only terms that are values are let through, because a process id or a
  function inside a frame would end the program: the wire knows no such terms.
  """
  @spec params(list | map) :: {:ok, iodata} | {:error, Error.t()}
  def params([]), do: {:ok, <<106>>}
  def params([{key, _} | _] = list) when is_atom(key) or is_binary(key), do: pairs(list)
  def params(list) when is_list(list), do: positional(list)

  def params(%{} = map) when not is_struct(map) do
    with {:ok, size} <- check_named(Map.to_list(map), 0), do: {:ok, encode(map, size)}
  end

  def params(other) do
    invalid_parameter("parameters are a list, a keyword list or a map, not #{describe(other)}")
  end

  defp pairs(list) do
    if named?(list) do
      map = Map.new(list)

      if map_size(map) == length(list) do
        with {:ok, size} <- check_named(list, 0), do: {:ok, encode(map, size)}
      else
        keys = Enum.map(list, &elem(&1, 0))
        [twice | _] = keys -- Enum.uniq(keys)
        {:error, Error.new(:parameter_name, "the parameter #{inspect(twice)} is given twice")}
      end
    else
      positional(list)
    end
  end

  defp named?(list), do: pairs?(list) and not Enum.all?(list, &match?({:blob, _}, &1))

  defp pairs?([{key, _} | rest]) when is_atom(key) or is_binary(key), do: pairs?(rest)
  defp pairs?([]), do: true
  defp pairs?(_other), do: false

  defp positional(list) do
    with {:ok, size} <- check_values(list, 1, 0), do: {:ok, encode(list, size)}
  end

  defguardp is_value(value) when is_integer(value) or is_float(value) or is_atom(value)

  # The size is that of the binaries alone.
  defp check_values([value | rest], place, size) when is_binary(value),
    do: check_values(rest, place + 1, size + byte_size(value))

  defp check_values([value | rest], place, size) when is_value(value),
    do: check_values(rest, place + 1, size)

  defp check_values([{:blob, blob} | rest], place, size) when is_binary(blob),
    do: check_values(rest, place + 1, size + byte_size(blob))

  defp check_values([], _place, size), do: {:ok, size}

  defp check_values([value | _], place, _size) do
    invalid_parameter("parameter #{place} is #{describe(value)}, which is no SQL value" <> mend(value))
  end

  defp check_values(_tail, _place, _size), do: invalid_parameter("the list of parameters is improper")

  defp check_named([{key, value} | rest], size) when is_binary(value) and (is_atom(key) or is_binary(key)),
    do: check_named(rest, size + byte_size(value))

  defp check_named([{key, value} | rest], size) when is_value(value) and (is_atom(key) or is_binary(key)),
    do: check_named(rest, size)

  defp check_named([{key, {:blob, blob}} | rest], size)
       when is_binary(blob) and (is_atom(key) or is_binary(key)),
       do: check_named(rest, size + byte_size(blob))

  defp check_named([], size), do: {:ok, size}

  defp check_named([{key, _value} | _], _size) when not is_atom(key) and not is_binary(key),
    do:
      {:error, Error.new(:parameter_name, "a parameter's name is an atom or a binary, not #{describe(key)}")}

  defp check_named([{key, value} | _], _size) do
    invalid_parameter(
      "the parameter #{inspect(key)} is #{describe(value)}, which is no SQL value" <> mend(value)
    )
  end

  # The kind of a term, never its content: parameters are not to appear in logs.
  defp describe(%module{}), do: "a %#{inspect(module)}{}"
  defp describe(term) when is_pid(term), do: "a process id"
  defp describe(term) when is_function(term), do: "a function"
  defp describe(term) when is_reference(term) or is_port(term), do: "a reference"
  defp describe({:blob, _}), do: "a :blob without a binary"
  defp describe(term) when is_tuple(term), do: "a tuple"
  defp describe(term) when is_map(term), do: "a map"
  defp describe(term) when is_list(term), do: "a list"
  defp describe(term) when is_binary(term), do: "a binary"
  defp describe(term) when is_bitstring(term), do: "a bit string"
  defp describe(term) when is_number(term), do: "a number"
  defp describe(_atom), do: "an atom"

  defp mend(value, verb \\ "bind")

  defp mend(%module{}, verb) when module in [Date, Time, DateTime, NaiveDateTime],
    do: "; #{verb} the text of #{inspect(module)}.to_iso8601/1"

  defp mend({:blob, _}, _verb), do: "; bytes are {:blob, binary}"

  defp mend(_value, _verb),
    do: "; values are nil, integers, floats, true, false, binaries and {:blob, binary}"

  defp invalid_parameter(message), do: {:error, Error.new(:invalid_parameter, message)}

  # --- replies --------------------------------------------------------------------------------------------------

  @doc "The tag of a frame, read from its place; `nil` if that is no frame."
  @spec reply_tag(binary) :: 0..255 | nil
  def reply_tag(<<131, 104, 3, 98, _id::32, 97, tag, _::binary>>), do: tag
  def reply_tag(_other), do: nil

  @doc "Decodes a frame's payload. Atoms are those that this client knows: the wire cannot fill the atom table."
  @spec payload(binary) :: term
  def payload(frame) do
    {_id, _tag, payload} = :erlang.binary_to_term(frame, [:safe])
    payload
  end

  @doc "The same for a frame that may hold anything: `:error` for a payload that cannot be decoded."
  @spec read_payload(binary) :: {:ok, term} | :error
  def read_payload(frame) do
    {:ok, payload(frame)}
  rescue
    _unreadable in [ArgumentError, MatchError] -> :error
  end

  @doc "The fields of a `part` frame; `nil` if they are not those."
  @spec part(binary) :: {0..2, binary} | nil
  def part(<<_::binary-size(10), 104, 2, 97, last, 109, size::32, bytes::binary-size(size)>>) when last <= 2,
    do: {last, bytes}

  def part(_other), do: nil

  @doc "Which part of a reply a `part` frame is, and the first bytes of what it bears; `nil` if it is none."
  @spec part_head(binary) :: {0..2, binary} | nil
  def part_head(<<_::binary-size(10), 104, 2, 97, last, 109, _size::32, bytes::binary>>) when last <= 2,
    do: {last, binary_part(bytes, 0, min(byte_size(bytes), @head_bytes))}

  def part_head(_other), do: nil

  @doc """
  The transaction's status in a `result` frame that has neither rows nor columns, as the result of each statement that
  begins or ends a transaction. `nil` for any other frame.
  """
  @spec empty_result_status(binary) :: non_neg_integer | nil
  def empty_result_status(<<_::binary-size(10), 104, 9, 106, 106, rest::binary>>) do
    with {_rows, rest} <- integer(rest), {_changes, rest} <- integer(rest), {_rowid, rest} <- integer(rest) do
      case rest do
        <<97, status, _::binary>> -> status
        _other -> nil
      end
    end
  end

  def empty_result_status(_other), do: nil

  @doc "The id in a frame of payload `{Id, Term}`, and the bytes of the term; `nil` for any other frame."
  @spec opened(binary) :: {integer, binary} | nil
  def opened(<<_::binary-size(10), 104, 2, rest::binary>>), do: integer(rest)
  def opened(_other), do: nil

  defp integer(<<97, value, rest::binary>>), do: {value, rest}
  defp integer(<<98, value::signed-32, rest::binary>>), do: {value, rest}

  defp integer(<<110, size, sign, digits::binary-size(size), rest::binary>>) do
    value = :binary.decode_unsigned(digits, :little)
    {if(sign == 0, do: value, else: -value), rest}
  end

  defp integer(_other), do: nil

  @doc """
  The number of rows in a frame of rows and the rows' bytes without list header and end, to be joined with those of
  others by `join_rows/1`. `nil` if the frame holds no list.
  """
  @spec bare_rows(binary) :: {non_neg_integer, binary} | nil
  def bare_rows(<<_::binary-size(10), 106>>), do: {0, <<>>}

  def bare_rows(<<_::binary-size(10), 108, count::32, rest::binary>>) when rest != <<>> do
    {count, binary_part(rest, 0, byte_size(rest) - 1)}
  end

  def bare_rows(_other), do: nil

  @doc """
  Decodes the rows of many chunks as one list. Decoding once costs a third of decoding each and appending, because
  the rows are allocated in one piece.
  """
  @spec join_rows([{non_neg_integer, binary}]) :: [[term]]
  def join_rows([]), do: []

  def join_rows(chunks) do
    {counts, bytes} = Enum.unzip(chunks)
    decode_rows(Enum.sum(counts), bytes)
  end

  defp decode_rows(0, _bytes), do: []

  defp decode_rows(count, bytes) do
    :erlang.binary_to_term(IO.iodata_to_binary([<<131, 108, count::32>>, bytes, 106]), [:safe])
  end

  @doc "The atoms that a frame may bring, so that they exist before the first one comes."
  @spec known_atoms() :: [atom]
  def known_atoms,
    do:
      [nil, true, false, :infinity, :neg_infinity, :error] ++
        [:scalar, :step, :value, :final, :drop, :open, :next, :close, :key]
end
