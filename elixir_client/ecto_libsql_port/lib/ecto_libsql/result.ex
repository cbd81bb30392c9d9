defmodule EctoLibSql.Result do
  @moduledoc """
  What a statement gave.

    * `command` – the first word of the statement as an atom (`:select`, `:insert`, …; `:other` for rarer ones), or `nil`
    * `columns`, `rows` – names, and a list of lists; `nil` for a statement that yields no rows
    * `num_rows` – how many rows came back, or were inserted, updated or deleted
    * `changes` – rows that this statement inserted, updated or deleted
    * `last_insert_rowid` – of the connection
    * `times` – microseconds in the sidecar: `%{queue_us: _, lock_us: _, run_us: _}`, or `nil`
  """

  defstruct [:command, :columns, :rows, :times, num_rows: 0, changes: 0, last_insert_rowid: 0]

  @type t :: %__MODULE__{
          command: atom,
          columns: [String.t()] | nil,
          rows: [[term]] | nil,
          num_rows: non_neg_integer,
          changes: non_neg_integer,
          last_insert_rowid: integer,
          times: LibsqlPort.Result.times() | nil
        }

  @doc """
  A result made by hand, of `:command` (default `:other`), `:columns`, `:rows` and `:num_rows`.

      iex> EctoLibSql.Result.new(command: :select, columns: ["id"], rows: [[1]], num_rows: 1).rows
      [[1]]
  """
  @spec new(keyword) :: t
  def new(fields) do
    struct!(%__MODULE__{command: :other}, Keyword.take(fields, [:command, :columns, :rows, :num_rows]))
  end

  @doc false
  @spec new(LibsqlPort.Result.t(), atom) :: t
  def new(%LibsqlPort.Result{columns: []} = result, command) do
    %__MODULE__{
      command: command,
      num_rows: result.changes,
      changes: result.changes,
      last_insert_rowid: result.last_insert_rowid,
      times: result.times
    }
  end

  def new(%LibsqlPort.Result{} = result, command) do
    %__MODULE__{
      command: command,
      columns: result.columns,
      rows: result.rows,
      num_rows: result.num_rows,
      changes: result.changes,
      last_insert_rowid: result.last_insert_rowid,
      times: result.times
    }
  end

  @commands ~w(select insert update delete replace values with create drop alter pragma explain begin commit end
               rollback savepoint release attach detach analyze reindex vacuum)

  @doc false
  # The first word of a statement. Only its head is looked at.
  @spec command(String.t()) :: atom
  def command(<<char, rest::binary>>) when char in [?\s, ?\t, ?\n, ?\r], do: command(rest)

  for word <- @commands do
    size = byte_size(word)

    def command(<<word::binary-size(unquote(size)), rest::binary>>)
        when word in [unquote(word), unquote(String.upcase(word))] and
               (rest == "" or binary_part(rest, 0, 1) in [" ", "\t", "\n", "\r", ";", "("]),
        do: unquote(String.to_atom(word))
  end

  def command(_sql), do: :other
end
