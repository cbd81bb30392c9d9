defmodule Ecto.Adapters.LibSql.Quoting do
  @moduledoc false
  # Names and text as they stand in SQL. Called by all that write SQL; knows no clause.

  @doc "A name in double quotes. A double quote inside is doubled, as SQL has it."
  @spec name(atom | String.t()) :: iodata
  def name(name) when is_atom(name), do: name(Atom.to_string(name))
  def name(name) when is_binary(name), do: [?", doubled(name, ?"), ?"]

  @doc "Names with commas between them."
  @spec names([atom | String.t()]) :: iodata
  def names(names), do: Enum.map_intersperse(names, ", ", &name/1)

  @doc "A table, an index or the like: its prefix is the name under which a database is attached."
  @spec table(atom | String.t() | nil, atom | String.t()) :: iodata
  def table(nil, name), do: name(name)
  def table(prefix, name), do: [name(prefix), ?., name(name)]

  @doc "A text literal. SQLite has no escape but the doubled quote, and its statements end at a NUL."
  @spec text(String.t()) :: iodata
  def text(text) do
    if holds?(text, 0),
      do: ["(CAST(", blob(text), " AS TEXT))"],
      else: [?', doubled(text, ?'), ?']
  end

  @integer_min -0x8000_0000_0000_0000
  @integer_max 0x7FFF_FFFF_FFFF_FFFF

  @doc "An integer literal. SQLite would make a float of one that has more than 64 bits."
  @spec integer(integer) :: iodata
  def integer(integer) when integer in @integer_min..@integer_max, do: Integer.to_string(integer)

  def integer(integer) do
    raise ArgumentError,
          "the integer #{integer} is out of range: SQLite's go from -2^63 to 2^63-1. Store larger numbers as :decimal"
  end

  # Ecto has the statement of an insert or update written anew each time, and hardly any name has a quote.
  defp doubled(text, quote) do
    if holds?(text, quote), do: String.replace(text, <<quote>>, <<quote, quote>>), else: text
  end

  # Not with `:binary.match/2`: on OTP 25 it ends the time slice of its process, even for a name of three letters, so each
  # name would send the caller to the end of the run queue.
  defp holds?(<<a, b, c, d, rest::binary>>, byte) when byte != a and byte != b and byte != c and byte != d,
    do: holds?(rest, byte)

  defp holds?(<<byte, _::binary>>, byte), do: true
  defp holds?(<<_, rest::binary>>, byte), do: holds?(rest, byte)
  defp holds?(<<>>, _byte), do: false

  @doc "A blob literal."
  @spec blob(binary) :: iodata
  def blob(bytes), do: ["x'", Base.encode16(bytes), ?']
end
