defmodule Ecto.Adapters.LibSql.Prepared do
  @moduledoc false
  # What Ecto keeps of a planned query: `{id, sql}`, and later `{id, %EctoLibSql.Query{}}`. For a query that selects values
  # out of JSON the id is `{id, flags}`; the flags of its columns go to `Connection` as the option `:json`. Called by the
  # adapter around Ecto's own functions, which take a number for the id.

  alias Ecto.Adapters.LibSql.JsonSelect

  @doc "What Ecto has prepared, with the flags of the query."
  @spec mark({:cache, {integer, String.t()}}, Ecto.Query.t()) :: {:cache, {term, String.t()}}
  def mark({:cache, {id, sql}} = prepared, query) do
    case JsonSelect.flags(query) do
      [] -> prepared
      flags -> {:cache, {{id, flags}, sql}}
    end
  end

  @doc "What Ecto's functions take, and the options."
  @spec unmark(tuple, keyword) :: {tuple, keyword}
  def unmark({:cache, update, {{id, flags}, sql}}, options) do
    {{:cache, &update_marked(&1, update, flags), {id, sql}}, [{:json, flags} | options]}
  end

  def unmark({:cached, update, reset, {{id, flags}, query}}, options) do
    cached = {:cached, &update_marked(&1, update, flags), &update_marked(&1, reset, flags), {id, query}}
    {cached, [{:json, flags} | options]}
  end

  def unmark({:nocache, {{id, flags}, sql}}, options), do: {{:nocache, {id, sql}}, [{:json, flags} | options]}
  def unmark(prepared, options), do: {prepared, options}

  defp update_marked({id, query}, update, flags), do: update.({{id, flags}, query})
end
