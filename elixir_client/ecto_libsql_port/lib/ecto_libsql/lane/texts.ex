defmodule EctoLibSql.Lane.Texts do
  @moduledoc false
  # Which statements may run on any connection, because they leave nothing behind on it: SELECT, VALUES, INSERT, REPLACE,
  # UPDATE and DELETE. The engine says so: it compiles the text where its grammar allows nothing else, behind a common table
  # expression (`WITH … <text>`), or as a subquery (`SELECT EXISTS (<text>)`) if the text begins with WITH itself. Any other
  # statement is a syntax error there, and is not compiled: PRAGMA, which would take effect, BEGIN, ATTACH, CREATE.
  #
  # A connection may have databases of its own: the one of temporary tables, and those in memory that `:attach` names.
  # `:after_connect` makes tables there, and what is written into them stays on the connection. Which databases a statement
  # writes the engine says too, by the instructions of EXPLAIN.
  #
  # What the grammar says of a text does not change with the schema, so it is kept. A text that did not compile is asked about
  # again after a while: a table may have been missing. One that was seen only once is not asked about at all.
  #
  # The table is bounded by generations: a text that is used moves to the current one; when that is full, what was not used
  # during the one before is forgotten.

  alias EctoLibSql.{Deadline, State}
  alias LibsqlPort.Connection

  @enforce_keys [:table, :ref]
  defstruct @enforce_keys

  @type t :: %__MODULE__{table: :ets.table(), ref: :atomics.atomics_ref()}
  @typedoc "`:plain` leaves nothing behind; `:other` may; `:once` is unknown and was seen once, `:new` never."
  @type kind :: :plain | :other | :once | :new

  # Longer ones take so much time to compile and run that a checkout does not matter.
  @bytes_max 16_384
  # Texts of a generation; two are kept.
  @generation 512
  @ask_again_ms 60_000

  # The main database is never a connection's own: such a Repo has no lane.
  @own_databases "SELECT seq FROM pragma_database_list WHERE seq > 0 AND file = '' UNION SELECT 1"

  # Positions in `ref`.
  @current 1
  @count 2

  @doc "An empty table. Belongs to the calling process."
  @spec new() :: t
  def new do
    options = [:public, read_concurrency: true, write_concurrency: true]
    %__MODULE__{table: :ets.new(__MODULE__, options), ref: :atomics.new(2, signed: false)}
  end

  @doc "What is known of a text. Notes that it was seen."
  @spec kind(t, String.t()) :: kind
  def kind(_texts, sql) when byte_size(sql) > @bytes_max, do: :other

  def kind(%{table: table, ref: ref} = texts, sql) do
    current = :atomics.get(ref, @current)

    case :ets.lookup(table, sql) do
      [{_sql, kind, ^current}] ->
        kind(kind)

      [{_sql, kind, _earlier}] ->
        put(texts, sql, kind)
        kind(kind)

      [] ->
        put(texts, sql, :once)
        :new
    end
  end

  defp kind({:other, until}), do: if(System.monotonic_time(:millisecond) < until, do: :other, else: :once)
  defp kind(kind), do: kind

  @doc "Asks the engine about a text, on a connection that nobody else uses. `:once` if it could not be asked."
  @spec ask(t, String.t(), keyword, State.t()) :: :plain | :other | :once
  def ask(texts, sql, options, state) do
    case compile([~s|WITH "ecto_libsql lane"(x) AS (VALUES(1)) |, sql], options, state) do
      {:error, %{code: code}} when code in [:sql_error, :unknown_function] ->
        # The bracket stands in a line of its own: the text may end with a comment.
        ["SELECT EXISTS (", sql, "\n)"] |> compile(options, state) |> note(texts, sql)

      {:ok, %{read_only: false} = description} ->
        description |> written(sql, options, state) |> note(texts, sql)

      answer ->
        note(answer, texts, sql)
    end
  end

  # `:own` if it writes to a database that only this connection has.
  defp written(%{parameters: parameters}, sql, options, state) do
    nothing = List.duplicate(nil, length(parameters))

    with {:ok, %{rows: own}} <- rows(@own_databases, [], options, state),
         {:ok, %{rows: program}} <- rows("EXPLAIN " <> sql, nothing, options, state) do
      if Enum.any?(program, fn [_address, opcode, database, write? | _] ->
           opcode == "Transaction" and write? == 1 and [database] in own
         end),
         do: :own,
         else: {:ok, :written}
    end
  end

  defp rows(sql, params, options, state) do
    with {:ok, left} <- Deadline.left(options, state), do: Connection.execute(state.conn, sql, params, left)
  end

  defp compile(sql, options, state) do
    with {:ok, left} <- Deadline.left(options, state),
         do: Connection.describe(state.conn, IO.iodata_to_binary(sql), left)
  end

  defp note({:ok, _description}, texts, sql), do: put(texts, sql, :plain)
  defp note(:own, texts, sql), do: other(texts, sql)

  # What the engine refuses to compile: whatever it is, the pool's connection says it to the caller.
  defp note({:error, %{code: code}}, texts, sql)
       when code in [
              :sql_error,
              :unknown_function,
              :multiple_statements,
              :invalid_request,
              :not_authorized,
              :limit_exceeded
            ],
       do: other(texts, sql)

  defp note(_lost_or_overdue, _texts, _sql), do: :once

  defp other(texts, sql) do
    put(texts, sql, {:other, System.monotonic_time(:millisecond) + @ask_again_ms})
    :other
  end

  defp put(%{table: table, ref: ref}, sql, kind) do
    count = :atomics.add_get(ref, @count, 1)
    if count >= @generation, do: begin(table, ref, count)
    :ets.insert(table, {sql, kind, :atomics.get(ref, @current)})
    kind
  end

  # One of those who find the generation full begins the next.
  defp begin(table, ref, count) do
    if :atomics.compare_exchange(ref, @count, count, 0) == :ok do
      current = :atomics.add_get(ref, @current, 1)
      :ets.select_delete(table, [{{:_, :_, :"$1"}, [{:<, :"$1", current - 1}], [true]}])
    end
  end
end
