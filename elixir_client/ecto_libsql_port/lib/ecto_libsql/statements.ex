defmodule EctoLibSql.Statements do
  @moduledoc false
  # Splits a text into its statements, by the rules of `sqlite3_complete()`: a semicolon ends a statement unless it stands
  # in a literal, a quoted name, a comment, or in the body of a trigger. Called for `query_many`, and where a schema is
  # dumped and loaded.

  @doc """
  The statements, without their semicolons; those that are empty or mere comments are left out.

      iex> EctoLibSql.Statements.split("SELECT ';' ; SELECT 2")
      ["SELECT ';'", "SELECT 2"]
  """
  @spec split(String.t()) :: [String.t()]
  def split(sql), do: sql |> pieces([]) |> split([], [], :other, [])

  # `first` are the first three words, the last one first: they tell whether the statement is a trigger's. `last` is how
  # far its end has come: END behind a semicolon.
  defp split([], current, first, _last, statements), do: Enum.reverse(finish(current, first, statements))

  defp split([{:semicolon, _} = piece | rest], current, first, last, statements) do
    if last != :end and trigger?(first),
      do: split(rest, [piece | current], first, :semicolon, statements),
      else: split(rest, [], [], :other, finish(current, first, statements))
  end

  defp split([{kind, _} = piece | rest], current, first, last, statements) when kind in [:space, :comment] do
    split(rest, [piece | current], first, last, statements)
  end

  defp split([{kind, text} = piece | rest], current, first, last, statements) do
    word = if kind == :word, do: String.downcase(text), else: kind
    first = if length(first) < 3, do: [word | first], else: first
    last = if last == :semicolon and word == "end", do: :end, else: :other
    split(rest, [piece | current], first, last, statements)
  end

  defp trigger?([_, "trigger", "create"]), do: true
  defp trigger?(["trigger", temporary, "create"]) when temporary in ["temp", "temporary"], do: true
  defp trigger?(["trigger", "create", "explain"]), do: true
  defp trigger?(_first), do: false

  defp finish(_current, [], statements), do: statements

  defp finish(current, _first, statements) do
    [current |> Enum.reverse() |> Enum.map_join(&elem(&1, 1)) |> String.trim() | statements]
  end

  @doc """
  A statement with its semicolon, which stands on a line of its own behind a comment that reaches to the end of its line.

      iex> EctoLibSql.Statements.terminated("SELECT '--'")
      "SELECT '--';"

      iex> EctoLibSql.Statements.terminated("SELECT 1 -- one")
      "SELECT 1 -- one\\n;"
  """
  @spec terminated(String.t()) :: String.t()
  def terminated(statement) do
    case pieces(statement, []) do
      [_ | _] = pieces -> statement <> if(open?(List.last(pieces)), do: "\n;", else: ";")
      [] -> ";"
    end
  end

  defp open?({:comment, "--" <> _ = comment}), do: not String.ends_with?(comment, "\n")
  defp open?(_piece), do: false

  # --- pieces ---------------------------------------------------------------------------------------------------

  defp pieces("", pieces), do: Enum.reverse(pieces)
  defp pieces(";" <> rest, pieces), do: pieces(rest, [{:semicolon, ";"} | pieces])
  defp pieces("--" <> _ = sql, pieces), do: upto(sql, 2, "\n", :comment, pieces)
  defp pieces("/*" <> _ = sql, pieces), do: upto(sql, 2, "*/", :comment, pieces)
  defp pieces("[" <> _ = sql, pieces), do: upto(sql, 1, "]", :quoted, pieces)

  defp pieces(<<quote, _::binary>> = sql, pieces) when quote in [?', ?", ?`] do
    upto(sql, 1, <<quote>>, :quoted, pieces)
  end

  defp pieces(<<char, _::binary>> = sql, pieces) when char in ?a..?z or char in ?A..?Z or char == ?_ do
    [word] = Regex.run(~r/\A\w+/, sql)
    pieces(binary_part(sql, byte_size(word), byte_size(sql) - byte_size(word)), [{:word, word} | pieces])
  end

  defp pieces(<<space, rest::binary>>, pieces) when space in [?\s, ?\t, ?\n, ?\r, ?\f] do
    pieces(rest, [{:space, <<space>>} | pieces])
  end

  defp pieces(<<char, rest::binary>>, pieces), do: pieces(rest, [{:symbol, <<char>>} | pieces])

  # A quote that is doubled inside ends one piece and begins the next.
  defp upto(sql, from, mark, kind, pieces) do
    size =
      case :binary.match(sql, mark, scope: {from, byte_size(sql) - from}) do
        {at, length} -> at + length
        :nomatch -> byte_size(sql)
      end

    <<piece::binary-size(size), rest::binary>> = sql
    pieces(rest, [{kind, piece} | pieces])
  end
end
