defmodule EctoLibSql.SqlLexer do
  @moduledoc false
  # Splits SQL text into tokens, by the rules of SQLite's own tokenizer (sqlite3GetToken). A token is its kind and its
  # byte range in the text; spaces and comments are between tokens. Called by `TableSql`. It never raises: what SQLite
  # itself would refuse becomes a token of kind `:illegal`.

  @type kind ::
          :word | :name | :string | :blob | :number | :parameter | :symbol | :illegal
  @typedoc "Kind, first byte and number of bytes. `:word` is unquoted, `:name` is in double quotes, backticks or brackets."
  @type token :: {kind, non_neg_integer, pos_integer}

  defguardp is_space(char) when char in [?\s, ?\t, ?\n, ?\f, ?\r]
  defguardp is_digit(char) when char in ?0..?9
  defguardp is_hex(char) when char in ?0..?9 or char in ?a..?f or char in ?A..?F

  defguardp is_word(char)
            when char in ?a..?z or char in ?A..?Z or char in ?0..?9 or char in [?_, ?$] or char >= 128

  @doc "Returns the tokens of a text in their order."
  @spec tokens(binary) :: [token]
  def tokens(sql), do: sql |> lex(0, []) |> Enum.reverse()

  @doc """
  Returns the first word of a text, in small letters, or `""` if it begins with something else. Nothing behind it is looked at.

      iex> EctoLibSql.SqlLexer.first_word("-- all\\n /* of it */ Drop VIEW v")
      "drop"
  """
  @spec first_word(binary) :: String.t()
  def first_word(<<char, rest::binary>>) when is_space(char), do: first_word(rest)
  def first_word(<<0xEF, 0xBB, 0xBF, rest::binary>>), do: first_word(rest)
  def first_word(<<"--", rest::binary>>), do: rest |> behind("\n") |> first_word()
  def first_word(<<"/*", rest::binary>>), do: rest |> behind("*/") |> first_word()
  def first_word(sql), do: sql |> binary_part(0, count(sql, 0, &word?/1)) |> lower()

  defp behind(sql, end_of_comment) do
    case :binary.match(sql, end_of_comment) do
      {at, size} -> binary_part(sql, at + size, byte_size(sql) - at - size)
      :nomatch -> ""
    end
  end

  @doc "Returns the text of a token."
  @spec text(binary, token) :: binary
  def text(sql, {_kind, at, size}), do: binary_part(sql, at, size)

  @doc "Returns a name in the form in which SQLite compares names: only ASCII letters have a case."
  @spec lower(String.t()) :: String.t()
  def lower(name), do: String.downcase(name, :ascii)

  @doc """
  Returns a name without its quotes. Text that is not quoted is returned as it is.

      iex> Enum.map([~s("a""b"), "`c`", "[d e]", "'f'", "g"], &EctoLibSql.SqlLexer.unquoted/1)
      ["a\\"b", "c", "d e", "f", "g"]
  """
  @spec unquoted(binary) :: binary
  def unquoted(<<quote, rest::binary>>) when quote in [?", ?`, ?'] do
    rest |> binary_part(0, byte_size(rest) - 1) |> String.replace(<<quote, quote>>, <<quote>>)
  end

  def unquoted("[" <> rest), do: binary_part(rest, 0, byte_size(rest) - 1)
  def unquoted(name), do: name

  @doc "Returns where the name of an index or a trigger stands in its text, as `{first byte, bytes}`."
  @spec object_name(binary) :: {non_neg_integer, pos_integer}
  def object_name(sql) do
    [_type | rest] =
      for(token <- tokens(sql), do: {String.downcase(text(sql, token), :ascii), token})
      |> Enum.drop_while(fn {word, _} -> word not in ["index", "trigger"] end)

    rest =
      case rest do
        [{"if", _}, {"not", _}, {"exists", _} | rest] -> rest
        rest -> rest
      end

    case rest do
      [_schema, {".", _}, {_, {_, at, size}} | _] -> {at, size}
      [{_, {_, at, size}} | _] -> {at, size}
    end
  end

  @doc "Whether a byte that ends one token and a byte that begins another would be read as parts of one, or of a comment."
  @spec one_token?(byte, byte) :: boolean
  def one_token?(before, behind) when is_word(before) and is_word(behind), do: true
  def one_token?(quote, quote) when quote in [?', ?", ?`, ?-], do: true
  # A number or x'' in the making.
  def one_token?(before, ?') when is_word(before), do: true
  def one_token?(?/, ?*), do: true
  def one_token?(_before, _behind), do: false

  # --- one token after the other ----------------------------------------------------------------------------------

  defp lex(<<>>, _at, done), do: done
  defp lex(<<char, rest::binary>>, at, done) when is_space(char), do: lex(rest, at + 1, done)
  # A byte order mark is a space.
  defp lex(<<0xEF, 0xBB, 0xBF, rest::binary>>, at, done), do: lex(rest, at + 3, done)
  defp lex(<<"--", rest::binary>>, at, done), do: skip(rest, at, 2 + line(rest, 0), 2, done)

  # SQLite takes "/*" at the very end for a slash and a star.
  defp lex(<<"/*", rest::binary>>, at, done) when rest != "",
    do: skip(rest, at, 2 + block(rest, 0), 2, done)

  defp lex(<<quote, rest::binary>>, at, done) when quote in [?", ?`], do: quoted(:name, quote, rest, at, done)
  defp lex(<<?', rest::binary>>, at, done), do: quoted(:string, ?', rest, at, done)

  defp lex(<<?[, rest::binary>>, at, done) do
    case :binary.match(rest, "]") do
      {size, 1} -> take(rest, size + 1, :name, at, size + 2, done)
      :nomatch -> [{:illegal, at, byte_size(rest) + 1} | done]
    end
  end

  defp lex(<<x, ?', rest::binary>>, at, done) when x in [?x, ?X] do
    digits = count(rest, 0, &hex?/1)

    case rest do
      <<_::binary-size(digits), ?', _::binary>> when rem(digits, 2) == 0 ->
        take(rest, digits + 1, :blob, at, digits + 3, done)

      _ ->
        # To the next quote, as SQLite does; it refuses the text.
        size = count(rest, 0, &(&1 != ?'))
        take(rest, min(size + 1, byte_size(rest)), :illegal, at, min(size + 3, byte_size(rest) + 2), done)
    end
  end

  defp lex(<<zero, x, digit, _::binary>> = sql, at, done)
       when zero == ?0 and x in [?x, ?X] and is_hex(digit) do
    <<_, _, rest::binary>> = sql
    number(sql, 2 + count(rest, 0, &(hex?(&1) or &1 == ?_)), at, done)
  end

  defp lex(<<char, _::binary>> = sql, at, done) when is_digit(char), do: number(sql, decimal(sql), at, done)

  defp lex(<<?., char, _::binary>> = sql, at, done) when is_digit(char),
    do: number(sql, decimal(sql), at, done)

  defp lex(<<char, _::binary>> = sql, at, done) when is_word(char) and char != ?$ do
    size = count(sql, 0, &word?/1)
    take(sql, size, :word, at, size, done)
  end

  defp lex(<<??, rest::binary>>, at, done) do
    digits = count(rest, 0, &digit?/1)
    take(rest, digits, :parameter, at, digits + 1, done)
  end

  defp lex(<<char, next, _::binary>> = sql, at, done) when char in [?$, ?@, ?:, ?#] and is_word(next) do
    <<_, rest::binary>> = sql
    size = count(rest, 0, &(word?(&1) or &1 == ?:))
    take(rest, size, :parameter, at, size + 1, done)
  end

  defp lex(<<"->>", rest::binary>>, at, done), do: lex(rest, at + 3, [{:symbol, at, 3} | done])

  defp lex(<<pair::binary-size(2), rest::binary>>, at, done)
       when pair in ~w(-> == <= <> << >= >> != ||),
       do: lex(rest, at + 2, [{:symbol, at, 2} | done])

  defp lex(<<char, rest::binary>>, at, done) do
    kind = if char in ~c"-();/+*=<>|,&~.%", do: :symbol, else: :illegal
    lex(rest, at + 1, [{kind, at, 1} | done])
  end

  defp skip(rest, at, size, taken, done), do: lex(drop(rest, size - taken), at + size, done)

  defp take(rest, bytes, kind, at, size, done),
    do: lex(drop(rest, bytes), at + size, [{kind, at, size} | done])

  defp drop(text, bytes), do: binary_part(text, bytes, byte_size(text) - bytes)

  defp quoted(kind, quote, rest, at, done) do
    case closing(rest, quote, 0) do
      nil -> [{:illegal, at, byte_size(rest) + 1} | done]
      size -> take(rest, size, kind, at, size + 1, done)
    end
  end

  # Bytes up to and with the closing quote.
  defp closing(<<quote, quote, rest::binary>>, quote, size), do: closing(rest, quote, size + 2)
  defp closing(<<quote, _::binary>>, quote, size), do: size + 1
  defp closing(<<_, rest::binary>>, quote, size), do: closing(rest, quote, size + 1)
  defp closing(<<>>, _quote, _size), do: nil

  defp line(<<?\n, _::binary>>, size), do: size
  defp line(<<_, rest::binary>>, size), do: line(rest, size + 1)
  defp line(<<>>, size), do: size

  defp block(<<"*/", _::binary>>, size), do: size + 2
  defp block(<<_, rest::binary>>, size), do: block(rest, size + 1)
  defp block(<<>>, size), do: size

  # A word that follows a number at once makes it illegal: 1abc.
  defp number(sql, size, at, done) do
    case count(drop(sql, size), 0, &word?/1) do
      0 -> take(sql, size, :number, at, size, done)
      more -> take(sql, size + more, :illegal, at, size + more, done)
    end
  end

  defp decimal(sql) do
    whole = count(sql, 0, &digit_or_separator?/1)
    fraction = fraction(drop(sql, whole))
    whole + fraction + exponent(drop(sql, whole + fraction))
  end

  defp fraction(<<?., rest::binary>>), do: 1 + count(rest, 0, &digit_or_separator?/1)
  defp fraction(_rest), do: 0

  defp exponent(<<e, sign, digit, rest::binary>>) when e in [?e, ?E] and sign in [?+, ?-] and is_digit(digit),
    do: 3 + count(rest, 0, &digit_or_separator?/1)

  defp exponent(<<e, digit, rest::binary>>) when e in [?e, ?E] and is_digit(digit),
    do: 2 + count(rest, 0, &digit_or_separator?/1)

  defp exponent(_rest), do: 0

  defp count(<<char, rest::binary>>, size, fun),
    do: if(fun.(char), do: count(rest, size + 1, fun), else: size)

  defp count(<<>>, size, _fun), do: size

  defp word?(char), do: is_word(char)
  defp hex?(char), do: is_hex(char)
  defp digit?(char), do: is_digit(char)
  defp digit_or_separator?(char), do: is_digit(char) or char == ?_
end
