defmodule Ecto.Adapters.LibSql.Prepared do
  @moduledoc false
  # What Ecto keeps of a planned query: `{id, sql}`, and later `{id, %EctoLibSql.Query{}}`. Where columns are to be decoded
  # or loaded, or rows written, the id is `{id, marks}`: `marks.json`, which columns are JSON text, goes to `Connection` as the
  # option `:json`; `marks.types` are those of `SelectedTypes`; `marks.written` is what `TableKind` needs for a source that is
  # no table. Called by the adapter around Ecto's own functions, which take a number for the id.

  alias Ecto.Adapters.LibSql.{JsonSelect, SelectedTypes, WriteSql}

  @type marks :: %{json: JsonSelect.flags(), types: SelectedTypes.t(), written: written | nil}
  @typedoc "The source of an `update_all` or `delete_all`, its statement for a view, and whether rows are selected."
  @type written :: %{
          prefix: String.t() | nil,
          source: String.t(),
          operation: atom,
          view: String.t(),
          select?: boolean
        }

  @none %{json: [], types: [], written: nil}

  @doc "What Ecto has prepared, with the marks of the query."
  @spec mark({:cache, {integer, String.t()}}, atom, Ecto.Query.t()) :: {:cache, {term, String.t()}}
  def mark({:cache, {id, sql}} = prepared, operation, query) do
    json = JsonSelect.flags(query)
    types = query |> SelectedTypes.of() |> beside(json)

    case %{json: json, types: types, written: written(operation, query)} do
      @none -> prepared
      marks -> {:cache, {{id, marks}, sql}}
    end
  end

  defp written(operation, %{sources: sources} = query) when operation in [:update_all, :delete_all] do
    {source, _schema, prefix} = elem(sources, 0)
    view = IO.iodata_to_binary(apply(WriteSql, operation, [query, :view]))
    %{prefix: prefix, source: source, operation: operation, view: view, select?: query.select != nil}
  end

  defp written(_operation, _query), do: nil

  # JSON has types of its own.
  defp beside([_ | types], [true | json]), do: [nil | beside(types, json)]
  defp beside([type | types], [_ | json]), do: [type | beside(types, json)]
  defp beside(types, _json), do: types

  @doc "What Ecto's functions take, the options, and the marks."
  @spec unmark(tuple, keyword) :: {tuple, keyword, marks}
  def unmark({:cache, update, {{id, marks}, sql}}, options) do
    unmarked({:cache, &update_marked(&1, update, marks), {id, sql}}, options, marks)
  end

  def unmark({:cached, update, reset, {{id, marks}, query}}, options) do
    cached = {:cached, &update_marked(&1, update, marks), &update_marked(&1, reset, marks), {id, query}}
    unmarked(cached, options, marks)
  end

  def unmark({:nocache, {{id, marks}, sql}}, options), do: unmarked({:nocache, {id, sql}}, options, marks)
  def unmark(prepared, options), do: {prepared, options, @none}

  defp unmarked(prepared, options, %{json: []} = marks), do: {prepared, options, marks}
  defp unmarked(prepared, options, %{json: json} = marks), do: {prepared, [{:json, json} | options], marks}

  defp update_marked({id, query}, update, marks), do: update.({{id, marks}, query})
end
