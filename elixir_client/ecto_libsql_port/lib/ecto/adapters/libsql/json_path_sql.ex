defmodule Ecto.Adapters.LibSql.JsonPathSql do
  @moduledoc false
  # JSON in SQL: values as JSON text, and `json_extract_path/2` and what stands for it, `field["a"][0]`: the path as SQLite's JSON functions read it. Called by
  # `ExpressionSql`; `fun` writes those steps of the path that are expressions.

  alias Ecto.Adapters.LibSql.Quoting

  @doc "The path as SQL text: a literal where all steps are known, else a concatenation."
  @spec path([String.t() | integer | term], (term -> iodata)) :: iodata
  def path(steps, fun) do
    steps
    |> Enum.map(&step(&1, fun))
    |> Enum.reduce([{:text, "$"}], &join/2)
    |> Enum.reverse()
    |> Enum.map_intersperse(" || ", fn
      {:text, text} -> Quoting.text(text)
      {:sql, sql} -> sql
    end)
  end

  defp join({:text, more}, [{:text, text} | rest]), do: [{:text, text <> more} | rest]
  defp join(step, steps), do: [step | steps]

  defp step(key, _fun) when is_binary(key), do: {:text, ".\"" <> escape(key) <> "\""}
  defp step(index, _fun) when is_integer(index) and index < 0, do: {:text, "[##{index}]"}
  defp step(index, _fun) when is_integer(index), do: {:text, "[#{index}]"}

  # Whether a column holds a key or an index shows only when it is read.
  defp step(expression, fun) do
    sql = fun.(expression)
    index = ["iif(", sql, " < 0, '[#', '[') || ", sql, " || ']'"]
    key = ["'.\"' || replace(replace(", sql, ", '\\', '\\\\'), '\"', '\\\"') || '\"'"]
    {:sql, ["iif(typeof(", sql, ") = 'integer', ", index, ", ", key, ?)]}
  end

  # Keys are compared as they are written in the JSON text.
  defp escape(key), do: key |> String.replace("\\", "\\\\") |> String.replace("\"", "\\\"")

  # --- values as JSON text --------------------------------------------------------------------------------------

  @doc "JSON text in which a null is NULL."
  @spec null(iodata) :: iodata
  def null(text), do: ["nullif(", text, ", 'null')"]

  @doc "A value that is no JSON as JSON text, by its type where the query knows it. `fun` writes the value."
  @spec text(term, (term -> iodata)) :: iodata
  def text(nil, _fun), do: "NULL"
  def text(true, _fun), do: "'true'"
  def text(false, _fun), do: "'false'"

  def text(value, fun) do
    sql = fun.(value)

    case type(value) do
      :boolean ->
        ["CASE ", sql, " WHEN 1 THEN 'true' WHEN 0 THEN 'false' END"]

      json when json in [:map, :array] ->
        null(["json(", sql, ?)])

      {json, _} when json in [:map, :array] ->
        null(["json(", sql, ?)])

      # JSON has no bytes; the digits of a large decimal are stored as such.
      bytes when bytes in [:binary, :decimal] ->
        null(["json_quote(iif(typeof(", sql, ") = 'blob', CAST(", sql, " AS TEXT), ", sql, "))"])

      _ ->
        null(["json_quote(", sql, ?)])
    end
  end

  defp type(%Ecto.Query.Tagged{type: type}), do: type
  defp type({{:., meta, _}, _, []}), do: meta[:type] && Ecto.Type.type(meta[:type])
  defp type(_value), do: nil
end
