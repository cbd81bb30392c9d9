defmodule Ecto.Adapters.LibSql.ColumnText do
  @moduledoc false
  # A column as an existing table's CREATE TABLE has it, taken apart into its clauses, changed, and put together. Called
  # by `Alter`.

  alias Ecto.Adapters.LibSql.{ColumnSql, Quoting}
  alias Ecto.Migration.Reference
  alias EctoLibSql.TablePieces

  @enforce_keys [:name, :type, :clauses]
  defstruct @enforce_keys

  @type kind ::
          :primary_key | :not_null | :null | :unique | :check | :default | :collate | :references | :generated
  @type t :: %__MODULE__{name: String.t(), type: String.t(), clauses: [{kind, String.t()}]}

  @starts %{
    "constraint" => :constraint,
    "primary" => :primary_key,
    "not" => :not_null,
    "null" => :null,
    "unique" => :unique,
    "check" => :check,
    "default" => :default,
    "collate" => :collate,
    "references" => :references,
    "generated" => :generated,
    "as" => :generated
  }

  @doc "Takes a column apart."
  @spec parse(TablePieces.item()) :: t
  def parse(%{tokens: [{_, name} | tokens]}) do
    [{:type, type} | clauses] = clauses(tokens, 0, nil, {:type, []}, [])
    %__MODULE__{name: TablePieces.unquoted(name), type: join(type), clauses: named(clauses)}
  end

  # One pass: a keyword outside of parentheses begins a clause, unless the word before makes it part of one.
  defp clauses([], _depth, _previous, {kind, tokens}, done),
    do: Enum.reverse([{kind, Enum.reverse(tokens)} | done])

  defp clauses([{:symbol, "("} = token | rest], depth, _previous, {kind, tokens}, done),
    do: clauses(rest, depth + 1, nil, {kind, [token | tokens]}, done)

  defp clauses([{:symbol, ")"} = token | rest], depth, _previous, {kind, tokens}, done),
    do: clauses(rest, depth - 1, nil, {kind, [token | tokens]}, done)

  defp clauses([{:word, word} = token | rest], 0, previous, {kind, tokens}, done) do
    lower = String.downcase(word)

    case start(lower, previous, kind, rest) do
      nil -> clauses(rest, 0, lower, {kind, [token | tokens]}, done)
      new -> clauses(rest, 0, lower, {new, [token]}, [{kind, Enum.reverse(tokens)} | done])
    end
  end

  defp clauses([token | rest], depth, _previous, {kind, tokens}, done),
    do: clauses(rest, depth, nil, {kind, [token | tokens]}, done)

  # NOT NULL, DEFAULT NULL, SET NULL, SET DEFAULT, GENERATED ALWAYS AS, NOT DEFERRABLE, and a name behind CONSTRAINT.
  defp start(_word, "constraint", _kind, _rest), do: nil
  defp start("null", previous, _kind, _rest) when previous in ["not", "default", "set"], do: nil
  defp start("default", "set", _kind, _rest), do: nil
  defp start("as", "always", _kind, _rest), do: nil

  defp start("not", _previous, :references, [{:word, next} | _]) do
    if String.downcase(next) == "deferrable", do: nil, else: :not_null
  end

  defp start(word, _previous, _kind, _rest), do: @starts[word]

  # The name of a constraint belongs to the clause behind it.
  defp named([{:constraint, name}, {kind, tokens} | rest]), do: [{kind, join(name ++ tokens)} | named(rest)]
  defp named([{kind, tokens} | rest]), do: [{kind, join(tokens)} | named(rest)]
  defp named([]), do: []

  # With a space wherever two words would meet.
  defp join(tokens) do
    tokens
    |> Enum.map_join(" ", &elem(&1, 1))
    |> String.replace(~r/ ?([(),.]) ?/, "\\1")
    |> String.replace(~r/\)(?=[\w"])/, ") ")
    |> String.replace(~r/,(?=\S)/, ", ")
  end

  @doc "The text of a column."
  @spec text(t) :: String.t()
  def text(%__MODULE__{} = column) do
    clauses = Enum.map(column.clauses, fn {_kind, text} -> [?\s, text] end)
    IO.iodata_to_binary([Quoting.name(column.name), ?\s, column.type, clauses]) |> String.trim_trailing()
  end

  @doc "Whether it has a clause of this kind."
  @spec has?(t, kind) :: boolean
  def has?(%__MODULE__{clauses: clauses}, kind), do: List.keymember?(clauses, kind, 0)

  @doc "The column after a `modify`: what the options do not speak of stays."
  @spec modify(t, Ecto.Migration.Table.t(), term, keyword) :: t
  def modify(%__MODULE__{} = column, table, type, options) do
    %{column | type: ColumnSql.type(type, options)}
    |> replace(
      Keyword.has_key?(options, :null),
      [:not_null, :null],
      if(options[:null] == false, do: {:not_null, "NOT NULL"})
    )
    |> replace(Keyword.has_key?(options, :default), [:default], default(options[:default], type))
    |> replace(options[:check] != nil, [:check], clause(:check, ColumnSql.check(options[:check])))
    |> collate(options[:collate] || options[:collation])
    |> replace(
      reference?(type, options),
      [:references],
      clause(:references, ColumnSql.reference(table, column.name, type))
    )
  end

  defp default(nil, _type), do: nil
  defp default(value, type), do: clause(:default, ColumnSql.default({:ok, value}, type))

  defp collate(column, nil), do: column

  defp collate(column, name),
    do: replace(column, true, [:collate], clause(:collate, ColumnSql.collation(name)))

  # The old reference goes if there is a new one, or if the migration says that it was one.
  defp reference?(%Reference{}, _options), do: true

  defp reference?(_type, options),
    do: match?(%Reference{}, options[:from]) or match?({%Reference{}, _}, options[:from])

  defp clause(kind, sql) do
    case sql |> IO.iodata_to_binary() |> String.trim() do
      "" -> nil
      text -> {kind, text}
    end
  end

  defp replace(column, false, _kinds, _clause), do: column

  defp replace(column, true, kinds, clause) do
    kept = Enum.reject(column.clauses, fn {kind, _} -> kind in kinds end)
    %{column | clauses: kept ++ List.wrap(clause)}
  end
end
