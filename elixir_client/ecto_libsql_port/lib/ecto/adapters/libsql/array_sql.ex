defmodule Ecto.Adapters.LibSql.ArraySql do
  @moduledoc false
  # Arrays inside SQL, where they are JSON: `push`, `pull` and `in` over a column. Called by `WriteSql` and `ExpressionSql`
  # with operands that are SQL already. What an element looks like in JSON is `ArrayCodec`'s choice; a parameter comes in
  # the form of a column of the element's type, which is another one for booleans, decimals, maps and lists.

  alias Ecto.Adapters.LibSql.DataType

  @ids [:uuid, :binary_id]

  @type element :: Ecto.Type.t() | nil

  @doc "The type of the elements of a column, where the schema of its source tells it. `column` is the field's `:source`."
  @spec element(tuple, non_neg_integer, atom | String.t()) :: element
  def element(sources, index, column) do
    with {:array, element} <- type(sources, index, column), do: element, else: (_ -> nil)
  end

  @doc "The type of a column, where the schema of its source tells it."
  @spec type(tuple, non_neg_integer, atom | String.t()) :: Ecto.Type.t() | nil
  def type(sources, index, column) do
    with {_table, _name, schema} when schema != nil <- elem(sources, index),
         field when field != nil <- field(schema, column) do
      Ecto.Type.type(schema.__schema__(:type, field))
    else
      _ -> nil
    end
  end

  # A query that was planned has the columns' names in the place of the fields'.
  defp field(schema, column),
    do: Enum.find(schema.__schema__(:fields), &(schema.__schema__(:field_source, &1) == column))

  @doc "The array with a value at its end. No array is an empty one, as in PostgreSQL's `array_append`."
  @spec push(iodata, iodata, element) :: iodata
  def push(array, value, element),
    do: ["json_insert(coalesce(", array, ", '[]'), '$[#]', ", pushed(element, value), ?)]

  @doc "The array without the elements that equal a value."
  @spec pull(iodata, iodata, element) :: iodata
  def pull(array, value, element) do
    [
      ["iif(", array, " IS NULL, NULL, "],
      # The elements that stay are taken as the text that they are: SQLite would write the digits of a float anew.
      ["(SELECT json_group_array(json(", array, " -> fullkey))"],
      [
        " FROM json_each(",
        array,
        ") WHERE ",
        read(element, array),
        " IS NOT ",
        compared(element, value),
        "))"
      ]
    ]
  end

  @doc "The values of an array, as a subquery in parentheses."
  @spec values(iodata, element) :: iodata
  def values(array, element), do: ["(SELECT ", read(element, array), " FROM json_each(", array, "))"]

  # What goes into an array as a value of its own kind is no text or number there, though it is one as a parameter.
  defp pushed(:boolean, value),
    do: ["json(CASE ", value, " WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE 'null' END)"]

  defp pushed(:decimal, value), do: ["decimal_text(", value, ?)]
  defp pushed(:float, value), do: ["json(float_text(", value, "))"]
  defp pushed(:map, value), do: ["json(", value, ?)]
  defp pushed({json, _}, value) when json in [:map, :array], do: ["json(", value, ?)]
  defp pushed(id, value) when id in @ids, do: if(bytes?(id), do: written_out(value), else: value)
  defp pushed(_element, value), do: value

  defp read(:decimal, _array), do: "decimal(value)"

  defp read(:float, array),
    do: ["CASE type WHEN 'real' THEN float_of_text(", array, " -> fullkey) ELSE value END"]

  # As the parameter has them.
  defp read(:binary, _array), do: "CAST(value AS BLOB)"
  defp read(id, _array) when id in @ids, do: if(bytes?(id), do: "unhex(value, '-')", else: "value")
  defp read(_element, _array), do: "value"

  @doc "Whether a type has identifiers of 16 bytes in columns of its own. In JSON they are text."
  @spec bytes?(Ecto.Type.t() | nil) :: boolean
  def bytes?(:uuid), do: DataType.storage(:uuid_type) == :binary
  def bytes?(:binary_id), do: DataType.storage(:binary_id_type) == :binary
  def bytes?(_type), do: false

  @doc "16 bytes as the text of a UUID."
  @spec written_out(iodata) :: iodata
  def written_out(bytes) do
    groups =
      for {from, count} <- [{1, 8}, {9, 4}, {13, 4}, {17, 4}, {21, 12}],
          do: ["substr(hex(", bytes, "), #{from}, #{count})"]

    ["lower(", Enum.intersperse(groups, " || '-' || "), ?)]
  end

  # json_each gives objects and lists without spaces.
  defp compared(:map, value), do: ["json(", value, ?)]
  defp compared({json, _}, value) when json in [:map, :array], do: ["json(", value, ?)]
  defp compared(_element, value), do: value
end
