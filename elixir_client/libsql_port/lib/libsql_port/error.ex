defmodule LibsqlPort.Error do
  @moduledoc """
  What went wrong, as data. Match on `code`; `message` is for people.

    * `code` – one of `LibsqlPort.ErrorCode`
    * `message`
    * `number` – the code's number, which tells an `:unknown` one
    * `sqlite_code` – SQLite's extended result code, or `nil`
    * `constraint` – for a broken constraint `%{kind, table, columns, index, name}`, else `nil`
    * `denial` – what the connection's policy denied, `%{action, object, column, database, through, rule}`, else `nil` (see
      `LibsqlPort.Policy`)
    * `offset` – the byte of the SQL text at which the error was seen, or `nil`
    * `index` – the place of the statement in a batch, from 0, or `nil`
    * `tx_status` – the state of the transaction after the error (see `LibsqlPort.Result`), or `nil` where unknown

  Three codes speak about a sidecar that was lost: with `:not_sent` the request never left, so it may be repeated on a new
  connection; with `:sidecar_down` (and with `:timeout`) nothing of it took effect, and an open transaction is rolled back;
  with `:outcome_unknown` a write may have been committed or not, and only the database can tell.
  """

  alias LibsqlPort.{ErrorCode, Policy}

  defexception [:code, :message, :number, :sqlite_code, :constraint, :denial, :offset, :index, :tx_status]

  @type constraint :: %{
          kind:
            :unique
            | :primary_key
            | :not_null
            | :check
            | :foreign_key
            | :rowid
            | :trigger
            | :datatype
            | :other,
          table: String.t() | nil,
          columns: [String.t()],
          index: String.t() | nil,
          name: String.t() | nil
        }

  @type t :: %__MODULE__{
          code: ErrorCode.t(),
          message: String.t(),
          number: pos_integer,
          sqlite_code: integer | nil,
          constraint: constraint | nil,
          denial: Policy.denial() | nil,
          offset: non_neg_integer | nil,
          index: non_neg_integer | nil,
          tx_status: LibsqlPort.Result.tx_status() | nil
        }

  @impl true
  def message(%__MODULE__{code: code, number: number, message: message}) do
    name = if code == :unknown, do: "unknown code #{number}", else: code
    "#{message} (#{name})"
  end

  @doc """
  An error that this client itself reports.

      iex> LibsqlPort.Error.new(:sidecar_down, "the sidecar ended").code
      :sidecar_down
  """
  @spec new(ErrorCode.t(), String.t()) :: t
  def new(code, message) do
    %__MODULE__{code: code, number: ErrorCode.number(code), message: message}
  end

  @doc false
  # The payload of an error reply, or of a failed item of a batch.
  @spec from_wire(tuple) :: t
  def from_wire({number, message, sqlite_code, constraint, offset, tx_status, index}) do
    %__MODULE__{
      code: ErrorCode.name(number),
      number: number,
      message: message,
      sqlite_code: sqlite_code,
      constraint: constraint(constraint),
      denial: denial(constraint),
      offset: offset,
      tx_status: tx_status && LibsqlPort.Result.tx_status(tx_status),
      index: index
    }
  end

  # In the place of a constraint.
  defp denial(denial) when tuple_size(denial) == 6, do: Policy.denial(denial)
  defp denial(_constraint), do: nil

  defp constraint(nil), do: nil
  defp constraint(denial) when tuple_size(denial) == 6, do: nil

  defp constraint({kind, table, columns, index, name}) do
    %{kind: kind(kind), table: table, columns: columns, index: index, name: name}
  end

  for kind <- [:unique, :primary_key, :not_null, :check, :foreign_key, :rowid, :trigger, :datatype] do
    defp kind(unquote(Atom.to_string(kind))), do: unquote(kind)
  end

  defp kind(_other), do: :other
end
