defmodule EctoLibSql.TablePieces do
  @moduledoc false
  # Reads the text of a CREATE TABLE as sqlite_schema keeps it: its columns, and the names of its foreign keys, which
  # SQLite itself forgets. Called where a failure is diagnosed and where a table is altered. It does not check the text,
  # SQLite has done that.

  @type token :: {:word | :quoted | :symbol, String.t()}
  @typedoc "A column or a table constraint: its text, and its tokens without spaces and comments."
  @type item :: %{text: String.t(), tokens: [token]}

  @doc "What stands before the opening parenthesis, the items inside, and what stands behind the closing one."
  @spec parts(String.t()) :: {String.t(), [item], String.t()} | :error
  def parts(sql) do
    pieces = lex(sql, [])

    case Enum.split_while(pieces, &(&1 != {:symbol, "("})) do
      {head, [_open | rest]} ->
        {items, tail} = items(rest, 0, [], [])
        {text(head), Enum.map(items, &item/1), text(tail)}

      _ ->
        :error
    end
  end

  defp items([{:symbol, ")"} | tail], 0, current, items), do: {Enum.reverse([current | items]), tail}
  defp items([{:symbol, ","} | rest], 0, current, items), do: items(rest, 0, [], [current | items])

  defp items([{:symbol, "("} = piece | rest], depth, current, items),
    do: items(rest, depth + 1, [piece | current], items)

  defp items([{:symbol, ")"} = piece | rest], depth, current, items),
    do: items(rest, depth - 1, [piece | current], items)

  defp items([piece | rest], depth, current, items), do: items(rest, depth, [piece | current], items)
  defp items([], _depth, current, items), do: {Enum.reverse([current | items]), []}

  defp item(reversed) do
    pieces = Enum.reverse(reversed)
    %{text: pieces |> text() |> String.trim(), tokens: Enum.reject(pieces, &match?({:space, _}, &1))}
  end

  defp text(pieces), do: pieces |> Enum.map(&elem(&1, 1)) |> IO.iodata_to_binary()

  @constraints ~w(constraint primary unique check foreign)

  @doc "The name of the column that an item defines, `nil` if it is a table constraint."
  @spec column(item) :: String.t() | nil
  def column(%{tokens: [{:word, word} | _]}) do
    if String.downcase(word) in @constraints, do: nil, else: word
  end

  def column(%{tokens: [{:quoted, quoted} | _]}), do: unquoted(quoted)
  def column(_item), do: nil

  @doc "The name of the foreign key on these columns, `nil` if it has none."
  @spec foreign_key_name(String.t(), [String.t()]) :: String.t() | nil
  def foreign_key_name(sql, columns) do
    case parts(sql) do
      {_head, items, _tail} ->
        Enum.find_value(items, &key_name(&1, Enum.map(columns, fn c -> String.downcase(c) end)))

      :error ->
        nil
    end
  end

  defp key_name(%{tokens: tokens} = item, columns) do
    case {column(item), columns} do
      {nil, _} -> table_key_name(tokens, columns)
      {name, [column]} -> if String.downcase(name) == column, do: column_key_name(tokens)
      _ -> nil
    end
  end

  defp table_key_name(
         [{:word, constraint}, {_, name}, {:word, foreign}, {:word, _key}, {:symbol, "("} | rest],
         columns
       ) do
    if keyword?(constraint, "constraint") and keyword?(foreign, "foreign") and listed(rest) == columns do
      unquoted(name)
    end
  end

  defp table_key_name(_tokens, _columns), do: nil

  defp listed(tokens) do
    tokens
    |> Enum.take_while(&(&1 != {:symbol, ")"}))
    |> Enum.reject(&(&1 == {:symbol, ","}))
    |> Enum.map(fn {_, name} -> name |> unquoted() |> String.downcase() end)
  end

  defp column_key_name([{:word, constraint}, {_, name}, {:word, references} | rest]) do
    if keyword?(constraint, "constraint") and keyword?(references, "references") do
      unquoted(name)
    else
      column_key_name([{:quoted, name}, {:word, references} | rest])
    end
  end

  defp column_key_name([_token | rest]), do: column_key_name(rest)
  defp column_key_name([]), do: nil

  defp keyword?(word, keyword), do: String.downcase(word) == keyword

  @doc "A name without its quotes."
  @spec unquoted(String.t()) :: String.t()
  def unquoted(<<quote, rest::binary>>) when quote in [?", ?`, ?'] do
    rest |> binary_part(0, byte_size(rest) - 1) |> String.replace(<<quote, quote>>, <<quote>>)
  end

  def unquoted("[" <> rest), do: binary_part(rest, 0, byte_size(rest) - 1)
  def unquoted(name), do: name

  # --- tokens ---------------------------------------------------------------------------------------------------

  defp lex("", pieces), do: Enum.reverse(pieces)

  defp lex(<<space, _::binary>> = sql, pieces) when space in [?\s, ?\t, ?\n, ?\r, ?\f] do
    take(sql, ~r/\A\s+/, :space, pieces)
  end

  defp lex("--" <> _ = sql, pieces), do: take(sql, ~r/\A--[^\n]*\n?/, :space, pieces)
  defp lex("/*" <> _ = sql, pieces), do: take(sql, ~r/\A\/\*.*?(\*\/|\z)/s, :space, pieces)
  defp lex("\"" <> _ = sql, pieces), do: take(sql, ~r/\A"(?:[^"]|"")*"?/, :quoted, pieces)
  defp lex("`" <> _ = sql, pieces), do: take(sql, ~r/\A`(?:[^`]|``)*`?/, :quoted, pieces)
  defp lex("'" <> _ = sql, pieces), do: take(sql, ~r/\A'(?:[^']|'')*'?/, :quoted, pieces)
  defp lex("[" <> _ = sql, pieces), do: take(sql, ~r/\A\[[^\]]*\]?/, :quoted, pieces)

  defp lex(<<char::utf8, _::binary>> = sql, pieces)
       when char in ?a..?z or char in ?A..?Z or char in ?0..?9 or char == ?_ or char > 127 do
    take(sql, ~r/\A[\w$\x{80}-\x{10FFFF}]+/u, :word, pieces)
  end

  defp lex(<<char::utf8, rest::binary>>, pieces), do: lex(rest, [{:symbol, <<char::utf8>>} | pieces])

  defp take(sql, pattern, kind, pieces) do
    [text | _] = Regex.run(pattern, sql)
    lex(binary_part(sql, byte_size(text), byte_size(sql) - byte_size(text)), [{kind, text} | pieces])
  end
end
