defmodule LibsqlPort.Result do
  @moduledoc """
  What a statement gave.

    * `columns` – names; `[]` for a statement that yields no rows
    * `rows` – a list of lists. TEXT and BLOB are binaries byte for byte, NULL is `nil`, infinite reals are `:infinity`
      and `:neg_infinity`
    * `num_rows` – how many rows there are
    * `changes` – rows that this very statement inserted, updated or deleted
    * `last_insert_rowid` – of the connection
    * `tx_status` – the connection's transaction after the statement: `:none` (autocommit), `:open` (nothing touched
      yet), `:read` or `:write`
    * `server` – the URL of the server that answered, if that was one of `:replica_urls`; else `nil`
    * `stale` – `true` if that server was asked because the primary does not answer: what others have written may be missing, and what
      this program has written too
    * `age` – of a stale result, ms since the primary has last answered this program; `nil` if it never has
    * `times` – microseconds: `queue_us` before the statement's turn on its connection, `lock_us` waiting for the
      writer turn and for locks, `run_us` the rest; `nil` for one statement of a batch
  """

  defstruct columns: [],
            rows: [],
            num_rows: 0,
            changes: 0,
            last_insert_rowid: 0,
            tx_status: :none,
            server: nil,
            stale: false,
            age: nil,
            times: nil

  @type tx_status :: :none | :open | :read | :write
  @type value :: nil | integer | float | binary | :infinity | :neg_infinity
  @type times :: %{queue_us: non_neg_integer, lock_us: non_neg_integer, run_us: non_neg_integer}
  @type t :: %__MODULE__{
          columns: [String.t()],
          rows: [[value]],
          num_rows: non_neg_integer,
          changes: non_neg_integer,
          last_insert_rowid: integer,
          tx_status: tx_status,
          server: String.t() | nil,
          stale: boolean,
          age: non_neg_integer | nil,
          times: times | nil
        }

  @doc false
  # The payload of a `result` reply.
  @spec from_wire(tuple) :: t
  def from_wire({rows, columns, num_rows, changes, rowid, tx_status, queue_us, lock_us, run_us}) do
    %__MODULE__{
      columns: columns,
      rows: rows,
      num_rows: num_rows,
      changes: changes,
      last_insert_rowid: rowid,
      tx_status: tx_status(tx_status),
      times: %{queue_us: queue_us, lock_us: lock_us, run_us: run_us}
    }
  end

  # From a server that follows the one of the connection.
  def from_wire(
        {rows, columns, num_rows, changes, rowid, tx_status, queue_us, lock_us, run_us, server, stale, age}
      )
      when is_binary(server) and is_boolean(stale) and (is_integer(age) or age == nil) do
    result = from_wire({rows, columns, num_rows, changes, rowid, tx_status, queue_us, lock_us, run_us})
    %{result | server: server, stale: stale, age: age}
  end

  @doc false
  # An item of a `batch` reply; the transaction status is that after the whole batch.
  @spec from_item(tuple, tx_status) :: t
  def from_item({rows, columns, num_rows, changes, rowid}, tx_status) do
    %__MODULE__{
      columns: columns,
      rows: rows,
      num_rows: num_rows,
      changes: changes,
      last_insert_rowid: rowid,
      tx_status: tx_status
    }
  end

  @doc false
  @spec tx_status(0..3) :: tx_status
  def tx_status(0), do: :none
  def tx_status(1), do: :open
  def tx_status(2), do: :read
  def tx_status(3), do: :write
end
