defmodule Ecto.Adapters.LibSql.Quoting do
  @moduledoc false
  # Names and text as they stand in SQL. Called by all that write SQL; knows no clause.

  @doc "A name in double quotes. A double quote inside is doubled, as SQL has it."
  @spec name(atom | String.t()) :: iodata
  def name(name) when is_atom(name), do: name(Atom.to_string(name))
  def name(name) when is_binary(name), do: [?", doubled(name, "\""), ?"]

  @doc "Names with commas between them."
  @spec names([atom | String.t()]) :: iodata
  def names(names), do: Enum.map_intersperse(names, ", ", &name/1)

  @doc "A table, an index or the like: its prefix is the name under which a database is attached."
  @spec table(atom | String.t() | nil, atom | String.t()) :: iodata
  def table(nil, name), do: name(name)
  def table(prefix, name), do: [name(prefix), ?., name(name)]

  @doc "A text literal. SQLite knows no escape but the doubled quote."
  @spec text(String.t()) :: iodata
  def text(text), do: [?', doubled(text, "'"), ?']

  # Ecto has the statement of an insert or update written anew each time, and hardly any name has a quote.
  defp doubled(text, quote) do
    if :binary.match(text, quote) == :nomatch, do: text, else: String.replace(text, quote, quote <> quote)
  end

  @doc "A blob literal."
  @spec blob(binary) :: iodata
  def blob(bytes), do: ["x'", Base.encode16(bytes), ?']
end
