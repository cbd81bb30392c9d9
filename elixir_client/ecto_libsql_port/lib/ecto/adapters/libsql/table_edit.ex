defmodule Ecto.Adapters.LibSql.TableEdit do
  @moduledoc false
  # Edits of a table's text: a column or a constraint comes or goes, the rest stays as it is, byte for byte. Called by
  # `Alter` and `TableCopy`; knows no database.
  #
  # A comment belongs to the item on whose line it ends; one on lines of its own belongs to the item below it. It goes with
  # its item and stays with it. Adding an item at the end and removing it again gives the text of before.

  alias EctoLibSql.{SqlLexer, TableSql}
  alias EctoLibSql.TableSql.{Clause, Column}

  @type item :: TableSql.column() | TableSql.clause()

  @doc "Reads an edited text, which is one of a table again."
  @spec parse!(String.t()) :: TableSql.t()
  def parse!(text) do
    case TableSql.parse(text) do
      {:ok, table} -> table
      {:error, _} -> raise EctoLibSql.Error, code: :sql_error, message: "the text of a table would be #{text}"
    end
  end

  # --- removing -----------------------------------------------------------------------------------------------------

  @doc "Without a column or a constraint of the table, and without the comma that parted it from the rest."
  @spec remove(TableSql.t(), item) :: TableSql.t()
  def remove(%TableSql{} = table, item) do
    items = table.columns ++ table.constraints
    index = Enum.find_index(items, &(&1.range == item.range))
    before = if index > 0, do: Enum.at(items, index - 1)
    behind = Enum.at(items, index + 1)

    table |> TableSql.edit(removal(table, item, before, behind)) |> parse!()
  end

  defp removal(table, item, before, behind) do
    start = start(item)
    left = if before, do: comma(table, finish(before), start)
    right = if behind, do: comma(table, finish(item), start(behind))
    # Where the item's own lines or bytes begin.
    from =
      cond do:
             (
               left -> left + 1
               before -> finish(before)
               true -> table.open + 1
             )

    line = line_end(table.text, from, start)

    cond do
      behind == nil -> last(table, item, left, line || from, line != nil)
      right == nil -> [{{from, start(behind) - from}, " "}]
      line != nil -> cut(line, line_end(table.text, right + 1, start(behind)) || right + 1)
      left != nil -> cut(left, right)
      true -> cut(from, start(behind))
    end
  end

  # The comma before goes as well. A comment behind the item, on its line, is the item's.
  defp last(table, item, left, from, own_line?) do
    finish = finish(item)
    comment = line_end(table.text, finish, table.close)
    finish = if comment && has_comment?(table.text, finish, comment), do: comment - 1, else: finish

    cond do
      left && not has_comment?(table.text, left + 1, start(item)) ->
        cut(left, finish)

      # On a line of its own: the line break before it goes, the one behind it stays, which also ends a comment before.
      own_line? and at(table.text, finish) == ?\n ->
        comma(left) ++ cut(from - 1, finish)

      true ->
        comma(left) ++ cut(from, finish)
    end
  end

  defp comma(nil), do: []
  defp comma(left), do: cut(left, left + 1)
  defp cut(from, to), do: [{{from, to - from}, ""}]
  defp start(%{range: {at, _size}}), do: at
  defp finish(%{range: {at, size}}), do: at + size
  defp at(text, position), do: if(position < byte_size(text), do: :binary.at(text, position))

  # The place of the comma between two items, if there is one. Comments may hold commas as well.
  defp comma(table, from, to) do
    gap = binary_part(table.text, from, to - from)

    Enum.find_value(SqlLexer.tokens(gap), fn {_, at, _} = token ->
      if SqlLexer.text(gap, token) == ",", do: from + at
    end)
  end

  # The byte behind the line break if nothing but spaces and comments stands before it, else nil.
  defp line_end(text, from, to) when from < to do
    rest = binary_part(text, from, to - from)
    size = blank(rest, 0)
    if size, do: from + size
  end

  defp line_end(_text, _from, _to), do: nil

  defp blank(<<?\n, _::binary>>, size), do: size + 1
  defp blank(<<space, rest::binary>>, size) when space in [?\s, ?\t, ?\r, ?\f], do: blank(rest, size + 1)

  defp blank(<<"--", _::binary>> = comment, size) do
    case :binary.match(comment, "\n") do
      {length, 1} -> size + length + 1
      :nomatch -> nil
    end
  end

  defp blank(<<"/*", rest::binary>>, size) do
    case :binary.match(rest, "*/") do
      {length, 2} -> blank(binary_part(rest, length + 2, byte_size(rest) - length - 2), size + length + 4)
      :nomatch -> nil
    end
  end

  defp blank(_rest, _size), do: nil

  defp has_comment?(text, from, to), do: text |> binary_part(from, to - from) |> String.trim() != ""

  # --- adding -------------------------------------------------------------------------------------------------------

  @doc "With a column behind the other columns, at the place where ADD COLUMN puts it."
  @spec add_column(TableSql.t(), iodata) :: TableSql.t()
  def add_column(%TableSql{} = table, text), do: table |> with_column(text) |> parse!()

  @doc "The text with such a column, which is not read."
  @spec with_column(TableSql.t(), iodata) :: iodata
  def with_column(%TableSql{} = table, text) do
    behind = List.first(table.constraints)
    place = if behind, do: comma(table, finish(List.last(table.columns)), start(behind)), else: table.close
    TableSql.edit(table, [{{place, 0}, [", ", text]}])
  end

  @doc "With a constraint of the table, behind all others."
  @spec add_constraint(TableSql.t(), iodata) :: TableSql.t()
  def add_constraint(%TableSql{} = table, text) do
    finish = finish(List.last(table.columns ++ table.constraints))
    line = line_end(table.text, finish, table.close)

    # Behind a comment of the item before, so that the comment stays with it.
    edits =
      if line && has_comment?(table.text, finish, line),
        do: [{{finish, 0}, ","}, {{line - 1, 0}, ["\n  ", text]}],
        else: [{{finish, 0}, [", ", text]}]

    table |> TableSql.edit(edits) |> parse!()
  end

  # --- clauses of a column ------------------------------------------------------------------------------------------

  @doc "The edits that take clauses out of a column. What belongs to a foreign key behind it (DEFERRABLE) goes with it."
  @spec cuts(TableSql.t(), TableSql.column(), [TableSql.clause()]) :: [{TableSql.range(), iodata}]
  def cuts(%TableSql{} = table, %Column{} = column, clauses) do
    Enum.map(with_deferrable(column, clauses), fn %Clause{range: {at, size}} ->
      from = at - spaces_before(table.text, at)
      {{from, at + size - from}, ""}
    end)
  end

  @doc "Clauses of a column, with those that speak of a foreign key among them."
  @spec with_deferrable(TableSql.column(), [TableSql.clause()]) :: [TableSql.clause()]
  def with_deferrable(%Column{} = column, clauses) do
    {taken, _key} =
      Enum.flat_map_reduce(column.clauses, nil, fn clause, key ->
        key = if clause.kind == :references, do: clause, else: key

        if clause in clauses or (clause.kind == :deferrable and key in clauses),
          do: {[clause], key},
          else: {[], key}
      end)

    taken
  end

  defp spaces_before(text, at) do
    case :binary.at(text, at - 1) do
      space when space in [?\s, ?\t] -> 1 + spaces_before(text, at - 1)
      _ -> 0
    end
  end

  @doc "Without clauses of a column."
  @spec remove_clauses(TableSql.t(), TableSql.column(), [TableSql.clause()]) :: TableSql.t()
  def remove_clauses(%TableSql{} = table, %Column{} = column, clauses) do
    table |> TableSql.edit(cuts(table, column, clauses)) |> parse!()
  end

  # --- the whole table ----------------------------------------------------------------------------------------------

  @doc "Without all clauses and constraints of which a function says so. The function is given the columns they are on."
  @spec reject(TableSql.t(), (TableSql.clause(), [String.t()] -> boolean)) :: TableSql.t()
  def reject(%TableSql{} = table, fun) do
    case Enum.find(table.constraints, &fun.(&1, &1.columns)) do
      nil -> reject_clauses(table, fun)
      constraint -> table |> remove(constraint) |> reject(fun)
    end
  end

  defp reject_clauses(table, fun) do
    edits =
      for column <- table.columns,
          clauses = Enum.filter(column.clauses, &fun.(&1, [column.name])),
          edit <- cuts(table, column, clauses),
          do: edit

    table |> TableSql.edit(edits) |> parse!()
  end

  @doc "Without the foreign keys that refer to a table."
  @spec without_references_to(TableSql.t(), String.t()) :: TableSql.t()
  def without_references_to(%TableSql{} = table, name) do
    reject(table, fn clause, _columns ->
      clause.kind == :references and TableSql.lower(clause.table) == TableSql.lower(name)
    end)
  end

  @doc "Without foreign keys."
  @spec without_references(TableSql.t()) :: TableSql.t()
  def without_references(%TableSql{} = table),
    do: reject(table, fn clause, _columns -> clause.kind == :references end)

  @doc "Without foreign keys and checks, for a table that rows are only copied into."
  @spec bare(TableSql.t()) :: TableSql.t()
  def bare(%TableSql{} = table),
    do: reject(table, fn clause, _columns -> clause.kind in [:references, :check] end)

  @doc "Without AUTOINCREMENT."
  @spec without_autoincrement(TableSql.t()) :: TableSql.t()
  def without_autoincrement(%TableSql{} = table) do
    clauses = table.constraints ++ Enum.flat_map(table.columns, & &1.clauses)
    edits = for clause <- clauses, :autoincrement in clause.flags, do: {autoincrement(table, clause), ""}
    table |> TableSql.edit(edits) |> parse!()
  end

  # The word with the spaces before it. It is the last one that a key has.
  defp autoincrement(table, %Clause{body: {from, _size} = body}) do
    text = TableSql.slice(table, body)
    tokens = Enum.reverse(SqlLexer.tokens(text))
    {_, at, size} = Enum.find(tokens, &(TableSql.lower(SqlLexer.text(text, &1)) == "autoincrement"))
    spaces = spaces_before(table.text, from + at)
    {from + at - spaces, size + spaces}
  end

  @doc "What stands from the opening parenthesis on."
  @spec body(TableSql.t()) :: String.t()
  def body(%TableSql{text: text, open: open}), do: binary_part(text, open, byte_size(text) - open)
end
