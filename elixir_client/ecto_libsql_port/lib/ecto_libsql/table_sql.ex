defmodule EctoLibSql.TableSql do
  @moduledoc false
  # The text of a CREATE TABLE, as sqlite_schema keeps it, taken apart into byte ranges. Called where a table is altered
  # and where a failed foreign key is named.
  #
  #     {:ok, table} = TableSql.parse(sql)
  #     TableSql.slice(table, column.range)                   the text of a column, comments inside included
  #     TableSql.edit(table, [{range, replacement}, …])       the text with these ranges replaced
  #
  # Nothing is put together from tokens: an edit replaces ranges and every other byte stays. A range is `{at, size}`; it
  # begins with the first byte of a token and ends with the last byte of one. What lies between the ranges of two items is
  # spaces, comments and one comma. SQLite has accepted the text, so it is not checked again; a text that cannot be read,
  # or one of a virtual table, is an error.

  alias EctoLibSql.SqlLexer
  alias EctoLibSql.TableSql.{Clause, Column, Grammar}

  @enforce_keys [:text, :name, :name_range, :open, :close, :columns, :constraints, :options]
  defstruct @enforce_keys

  @type range :: {at :: non_neg_integer, size :: non_neg_integer}
  @type clause :: %Clause{}
  @type column :: %Column{}
  @typedoc """
  `open` and `close` are the bytes of the parentheses. `options` are the words behind them, in lower case, such as
  `["strict", "without rowid"]`.
  """
  @type t :: %__MODULE__{
          text: String.t(),
          name: String.t(),
          name_range: range,
          open: non_neg_integer,
          close: non_neg_integer,
          columns: [column],
          constraints: [clause],
          options: [String.t()]
        }

  # --- reading ------------------------------------------------------------------------------------------------------

  @doc "Takes the text apart."
  @spec parse(String.t()) :: {:ok, t} | {:error, :virtual | :unreadable}
  def parse(sql) do
    with {:ok, fields} <- Grammar.parse(sql), do: {:ok, struct!(__MODULE__, [text: sql] ++ fields)}
  end

  @doc "A name in the form in which SQLite compares names: only ASCII letters have a case."
  @spec lower(String.t()) :: String.t()
  defdelegate lower(name), to: SqlLexer

  @doc "Returns the names in a text that can be names of columns, in lower case."
  @spec mentions(String.t()) :: [String.t()]
  defdelegate mentions(sql), to: Grammar

  # --- asking -----------------------------------------------------------------------------------------------------------

  @doc "Returns the bytes of a range."
  @spec slice(t, range) :: binary
  def slice(%__MODULE__{text: text}, {at, size}), do: binary_part(text, at, size)

  @doc "Returns the column of this name, `nil` if there is none. SQLite ignores the case of ASCII letters in names."
  @spec column_named(t, String.t()) :: column | nil
  def column_named(%__MODULE__{columns: columns}, name) do
    Enum.find(columns, &(lower(&1.name) == lower(name)))
  end

  @doc "Returns the foreign keys as `{columns, clause}`, those of columns and of the table."
  @spec foreign_keys(t) :: [{[String.t()], clause}]
  def foreign_keys(%__MODULE__{} = table) do
    of_columns =
      for column <- table.columns,
          %{kind: :references} = clause <- column.clauses,
          do: {[column.name], clause}

    of_columns ++ for %{kind: :references} = clause <- table.constraints, do: {clause.columns, clause}
  end

  @doc "Returns the name of the foreign key on these columns, `nil` if it has none."
  @spec foreign_key_name(String.t(), [String.t()]) :: String.t() | nil
  def foreign_key_name(sql, columns) do
    with {:ok, table} <- parse(sql),
         wanted = Enum.map(columns, &lower/1),
         {_columns, clause} <-
           Enum.find(foreign_keys(table), fn {own, _} -> Enum.map(own, &lower/1) == wanted end) do
      clause.name
    else
      _ -> nil
    end
  end

  @doc "A name without its quotes."
  @spec unquoted(String.t()) :: String.t()
  defdelegate unquoted(name), to: SqlLexer

  # --- editing ----------------------------------------------------------------------------------------------------------

  @doc """
  Returns the text with ranges replaced. Ranges do not overlap; a range of size 0 inserts. Several insertions at one place
  stand in the order given. Tokens that would become one where an edit begins or ends are kept apart by a space.
  """
  @spec edit(t, [{range, iodata}]) :: String.t()
  def edit(%__MODULE__{text: text}, edits) do
    {done, at} =
      edits
      |> Enum.sort_by(fn {{at, size}, _} -> {at, size} end)
      |> Enum.reduce({"", 0}, fn {{from, size}, replacement}, {done, at} when from >= at ->
        done = join(done, binary_part(text, at, from - at))
        {join(done, IO.iodata_to_binary(replacement)), from + size}
      end)

    join(done, binary_part(text, at, byte_size(text) - at))
  end

  defp join("", behind), do: behind
  defp join(before, ""), do: before

  defp join(before, behind) do
    if SqlLexer.one_token?(:binary.last(before), :binary.first(behind)),
      do: before <> " " <> behind,
      else: before <> behind
  end
end
