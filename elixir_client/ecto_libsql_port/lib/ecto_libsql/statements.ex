defmodule EctoLibSql.Statements do
  @moduledoc false
  # Splits a text into its statements, by the rules of `sqlite3_complete()`: a semicolon ends a statement unless it stands
  # in a literal, a quoted name, a comment, or in the body of a trigger. Called for `query_many`.

  @doc """
  The statements, without their semicolons; those that are empty or mere comments are left out.

      iex> EctoLibSql.Statements.split("SELECT ';' ; SELECT 2")
      ["SELECT ';'", "SELECT 2"]
  """
  @spec split(String.t()) :: [String.t()]
  def split(sql), do: split(sql, [], [], [])

  # `words` are the keywords of this statement so far, the last first, as many as tell whether it is a trigger's.
  defp split("", current, words, statements), do: Enum.reverse(finish(current, words, statements))

  defp split(<<?;, rest::binary>>, current, words, statements) do
    if in_trigger?(words) do
      split(rest, [?; | current], [";" | words], statements)
    else
      split(rest, [], [], finish(current, words, statements))
    end
  end

  defp split("--" <> rest, current, words, statements) do
    {comment, rest} = upto(rest, "\n")
    split(rest, ["--" <> comment | current], words, statements)
  end

  defp split("/*" <> rest, current, words, statements) do
    {comment, rest} = upto(rest, "*/")
    split(rest, ["/*" <> comment | current], words, statements)
  end

  defp split(<<quote, rest::binary>>, current, words, statements) when quote in [?', ?", ?`] do
    {quoted, rest} = upto(rest, <<quote>>)
    split(rest, [<<quote>> <> quoted | current], ["quoted" | words], statements)
  end

  defp split("[" <> rest, current, words, statements) do
    {quoted, rest} = upto(rest, "]")
    split(rest, ["[" <> quoted | current], ["quoted" | words], statements)
  end

  defp split(<<char, _::binary>> = sql, current, words, statements)
       when char in ?a..?z or char in ?A..?Z or char == ?_ do
    [word] = Regex.run(~r/\A\w+/, sql)
    rest = binary_part(sql, byte_size(word), byte_size(sql) - byte_size(word))
    split(rest, [word | current], [String.downcase(word) | words], statements)
  end

  defp split(<<space, rest::binary>>, current, words, statements) when space in [?\s, ?\t, ?\n, ?\r, ?\f] do
    split(rest, [space | current], words, statements)
  end

  defp split(<<char, rest::binary>>, current, words, statements) do
    split(rest, [char | current], ["symbol" | words], statements)
  end

  # A trigger's statement ends with the END that follows a semicolon.
  defp in_trigger?(["end", ";" | _]), do: false

  defp in_trigger?(words) do
    case Enum.take(Enum.reverse(words), 3) do
      ["create", "trigger" | _] -> true
      ["create", temporary, "trigger"] when temporary in ["temp", "temporary"] -> true
      ["explain", "create", "trigger"] -> true
      _ -> false
    end
  end

  defp upto(sql, mark) do
    case :binary.split(sql, mark) do
      [inside, rest] -> {inside <> mark, rest}
      [all] -> {all, ""}
    end
  end

  defp finish(_current, [], statements), do: statements

  defp finish(current, _words, statements) do
    [current |> Enum.reverse() |> IO.iodata_to_binary() |> String.trim() | statements]
  end
end
