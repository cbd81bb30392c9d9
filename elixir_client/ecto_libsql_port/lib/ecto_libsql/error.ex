defmodule EctoLibSql.Error do
  @moduledoc """
  What went wrong, as data. Match on `code`; `message` is for people.

    * `code` – one of `LibsqlPort.ErrorCode`, such as `:constraint_unique`, `:timeout`, `:busy`, `:sql_error`
    * `message` – in words
    * `sqlite_code` – SQLite's extended result code, or `nil`
    * `constraint` – for a broken constraint `%{kind, table, columns, index, name}`, else `nil`. `name` is the real name of
      the index, check or foreign key where there is one
    * `denial` – what the connection's policy denied, `%{action, object, column, database, through, rule}`, else `nil`; see
      `LibsqlPort.Policy`
    * `offset` – the byte of the statement at which the error was seen, or `nil`
    * `statement` – the statement, unless the option `show_statement: false` of the Repo hides it

  A lost sidecar is a `DBConnection.ConnectionError`, whose `reason` is `:sidecar_down` if nothing of the request took
  effect, or `:outcome_unknown` if a write may or may not have been committed.
  """

  defexception [:code, :message, :sqlite_code, :constraint, :denial, :offset, :statement]

  @type t :: %__MODULE__{
          code: LibsqlPort.ErrorCode.t(),
          message: String.t(),
          sqlite_code: integer | nil,
          constraint: LibsqlPort.Error.constraint() | nil,
          denial: LibsqlPort.Policy.denial() | nil,
          offset: non_neg_integer | nil,
          statement: String.t() | nil
        }

  @impl true
  def message(%__MODULE__{statement: nil} = error), do: text("#{error.message} (#{error.code})")

  def message(%__MODULE__{statement: statement} = error) do
    text("#{error.message} (#{error.code})\n\n    #{marked(statement, error.offset)}")
  end

  @doc false
  # Bytes that are not UTF-8, such as those of a refused name, are written as `<<255>>`: a message goes into logs, JSON and
  # pages, which take text.
  @spec text(binary) :: String.t()
  def text(message) do
    if String.valid?(message),
      do: message,
      else:
        message |> String.chunk(:valid) |> Enum.map_join(&if(String.valid?(&1), do: &1, else: inspect(&1)))
  end

  # A mark under the place, if the statement has one line and is not too long to be looked over.
  defp marked(statement, offset) when is_integer(offset) and byte_size(statement) < 200 do
    if String.contains?(statement, "\n") or offset > byte_size(statement) do
      statement
    else
      column = statement |> binary_part(0, offset) |> String.length()
      statement <> "\n    " <> String.duplicate(" ", column) <> "^"
    end
  end

  defp marked(statement, _offset), do: statement

  @doc false
  @spec new(LibsqlPort.Error.t(), String.t() | nil) :: t
  def new(%LibsqlPort.Error{} = error, statement) do
    %__MODULE__{
      code: error.code,
      message: error.message,
      sqlite_code: error.sqlite_code,
      constraint: error.constraint,
      denial: error.denial,
      offset: error.offset,
      statement: statement
    }
  end

  @doc false
  # Whether the engine does not compile a statement, for what it says or for a function that is not there.
  @spec uncompilable?(%{:code => LibsqlPort.ErrorCode.t(), optional(atom) => term}) :: boolean
  def uncompilable?(%{code: code}), do: code in [:sql_error, :unknown_function]

  @doc """
  Whether a constraint was broken.

      iex> EctoLibSql.Error.constraint_violation?(%EctoLibSql.Error{code: :constraint_unique, message: "taken"})
      true
  """
  @spec constraint_violation?(t) :: boolean
  def constraint_violation?(%__MODULE__{code: code}) do
    code |> Atom.to_string() |> String.starts_with?("constraint")
  end

  @doc """
  The column that broke a constraint, the first if it has several; `nil` for another error. `constraint` says more.

      iex> error = %EctoLibSql.Error{code: :constraint_unique, message: "taken", constraint: %{columns: ["email"]}}
      iex> EctoLibSql.Error.constraint_name(error)
      "email"
  """
  @spec constraint_name(t) :: String.t() | nil
  def constraint_name(%__MODULE__{constraint: %{columns: [column | _]}}), do: column
  def constraint_name(%__MODULE__{}), do: nil
end
