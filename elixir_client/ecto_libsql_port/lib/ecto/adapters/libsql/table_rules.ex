defmodule Ecto.Adapters.LibSql.TableRules do
  @moduledoc false
  # What SQLite would refuse, or worse, take in another sense, with less said: options of tables that exclude each other,
  # generated columns with a default, boxes of an R*Tree that are not closed. Called by `Ddl` before it writes the SQL of
  # a table; knows no SQL itself.

  alias Ecto.Migration.Table

  # A virtual table stores itself; these say how SQLite stores ordinary ones.
  @storage_options [:strict, :without_rowid, :random_rowid]

  @doc "Raises if a table cannot be created like this."
  @spec check!(Table.t(), [tuple]) :: :ok
  def check!(%Table{options: options}, columns) when is_list(options) do
    if options[:rtree], do: rtree!(options, columns)
    if options[:random_rowid] == true, do: random_rowid!(options, columns)
    Enum.each(columns, &column!/1)
  end

  def check!(_table, columns), do: Enum.each(columns, &column!/1)

  # https://www.sqlite.org/rtree.html: an id, and a lower and an upper bound for each of one to five dimensions.
  defp rtree!(options, columns) do
    case for {name, true} <- options, name in @storage_options, do: inspect(name) do
      [] ->
        :ok

      names ->
        raise ArgumentError,
              "R*Tree tables do not support standard table options, they are stored in a way of their own. " <>
                "Found incompatible options: " <> Enum.join(names, ", ")
    end

    count = length(columns)
    given = "an R*Tree has an id and two bounds for each of its dimensions, so"

    cond do
      count < 3 -> raise ArgumentError, "#{given} at least 3 columns, not #{count}"
      count > 11 -> raise ArgumentError, "#{given}, for five dimensions, maximum 11 columns, not #{count}"
      rem(count, 2) == 0 -> raise ArgumentError, "#{given} an odd number of columns, not #{count}"
      true -> :ok
    end
  end

  # libSQL takes the random numbers for the rowid, which a table must have and nothing else may number.
  defp random_rowid!(options, columns) do
    if options[:without_rowid] == true do
      raise ArgumentError,
            "a table has a RANDOM ROWID or is WITHOUT ROWID: :random_rowid and :without_rowid exclude each other"
    end

    for {:add, name, _type, column_options} <- columns, column_options[:autoincrement] == true do
      raise ArgumentError,
            "a RANDOM ROWID is not counted up: the column #{inspect(name)} cannot have :autoincrement with :random_rowid"
    end
  end

  defp column!({_operation, name, _type, options}) when is_list(options) do
    expression!(name, options[:check])
    # https://www.sqlite.org/gencol.html, "Limitations".
    if options[:generated] != nil do
      if Keyword.has_key?(options, :default),
        do: generated!(name, "takes no :default, its value is always computed")

      if options[:primary_key] not in [nil, false], do: generated!(name, "cannot be part of the primary key")
    end
  end

  defp column!(_other), do: :ok

  defp expression!(_name, check) when is_nil(check) or is_binary(check) or is_map_key(check, :expr), do: :ok

  defp expression!(name, other) do
    raise ArgumentError,
          "the option :check of the column #{inspect(name)} takes an expression as text, or " <>
            "%{name: _, expr: _}, not #{inspect(other)}"
  end

  defp generated!(name, why), do: raise(ArgumentError, "the generated column #{inspect(name)} #{why}")
end
