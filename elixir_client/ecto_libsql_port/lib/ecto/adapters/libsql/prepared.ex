defmodule Ecto.Adapters.LibSql.Prepared do
  @moduledoc false
  # What Ecto keeps of a planned query: `{id, sql}`, and later `{id, %EctoLibSql.Query{}}`. Where columns are to be decoded
  # or loaded, the id is `{id, marks}`: `marks.json`, which columns are JSON text, goes to `Connection` as the option `:json`;
  # `marks.types` are those of `SelectedTypes`. Called by the adapter around Ecto's own functions, which take a number
  # for the id.

  alias Ecto.Adapters.LibSql.{JsonSelect, SelectedTypes}

  @type marks :: %{json: JsonSelect.flags(), types: SelectedTypes.t()}

  @none %{json: [], types: []}

  @doc "What Ecto has prepared, with the marks of the query."
  @spec mark({:cache, {integer, String.t()}}, Ecto.Query.t()) :: {:cache, {term, String.t()}}
  def mark({:cache, {id, sql}} = prepared, query) do
    json = JsonSelect.flags(query)

    case %{json: json, types: query |> SelectedTypes.of() |> beside(json)} do
      @none -> prepared
      marks -> {:cache, {{id, marks}, sql}}
    end
  end

  # JSON has types of its own.
  defp beside([_ | types], [true | json]), do: [nil | beside(types, json)]
  defp beside([type | types], [_ | json]), do: [type | beside(types, json)]
  defp beside(types, _json), do: types

  @doc "What Ecto's functions take, the options, and the types of the columns."
  @spec unmark(tuple, keyword) :: {tuple, keyword, SelectedTypes.t()}
  def unmark({:cache, update, {{id, marks}, sql}}, options) do
    unmarked({:cache, &update_marked(&1, update, marks), {id, sql}}, options, marks)
  end

  def unmark({:cached, update, reset, {{id, marks}, query}}, options) do
    cached = {:cached, &update_marked(&1, update, marks), &update_marked(&1, reset, marks), {id, query}}
    unmarked(cached, options, marks)
  end

  def unmark({:nocache, {{id, marks}, sql}}, options), do: unmarked({:nocache, {id, sql}}, options, marks)
  def unmark(prepared, options), do: {prepared, options, []}

  defp unmarked(prepared, options, %{json: [], types: types}), do: {prepared, options, types}

  defp unmarked(prepared, options, %{json: json, types: types}),
    do: {prepared, [{:json, json} | options], types}

  defp update_marked({id, query}, update, marks), do: update.({{id, marks}, query})
end
