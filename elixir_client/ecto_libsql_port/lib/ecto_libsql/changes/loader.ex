defmodule EctoLibSql.Changes.Loader do
  @moduledoc false
  # Rows of a feed as structs: columns to fields, values by the schema's types as the Repo's adapter loads them. Names of tables and columns
  # are compared as SQLite compares them. Pure.

  alias EctoLibSql.SqlLexer

  defstruct [:adapter, :by_table]

  @type t :: %__MODULE__{adapter: module, by_table: %{String.t() => [map]}}

  @spec new(module, [module]) :: t
  def new(repo, schemas) do
    by_table =
      Enum.group_by(Enum.uniq(schemas), &SqlLexer.lower(&1.__schema__(:source)), fn schema ->
        about(schema)
      end)

    %__MODULE__{adapter: repo.__adapter__(), by_table: by_table}
  end

  defp about(schema) do
    fields =
      for field <- schema.__schema__(:fields),
          do: {column(schema, field), field, schema.__schema__(:type, field)}

    %{schema: schema, fields: fields, key: schema.__schema__(:primary_key), empty: schema.__schema__(:loaded)}
  end

  @doc "The column of a field."
  @spec column(module, atom) :: String.t()
  def column(schema, field), do: Atom.to_string(schema.__schema__(:field_source, field) || field)

  @doc "The columns of a schema as it spells them, by the form in which SQLite compares them."
  @spec columns(module) :: %{String.t() => String.t()}
  def columns(schema) do
    for field <- schema.__schema__(:fields), column = column(schema, field), into: %{} do
      {SqlLexer.lower(column), column}
    end
  end

  @doc "A change of the feed with the values that its schema loads, for each schema of its table; others are passed on."
  @spec changes(map, t) :: [map]
  def changes(%{table: table} = change, loader) do
    abouts =
      case loader.by_table do
        %{^table => abouts} -> abouts
        by_table -> Map.fetch!(by_table, SqlLexer.lower(table))
      end

    Enum.map(abouts, &change(change, &1, loader.adapter))
  end

  def changes(other, _loader), do: [other]

  defp change(change, about, adapter) do
    {new, unloaded} = row(change.new, about, adapter, [])
    {old, unloaded} = row(change.old, about, adapter, unloaded)

    %{
      operation: change.operation,
      schema: about.schema,
      key: key(change.key, new || old, about, adapter),
      old_key: change.old_key && key(change.old_key, nil, about, adapter),
      new: new && struct(about.empty, new),
      old: old && struct(about.empty, old),
      unloaded: Enum.uniq(unloaded)
    }
  end

  defp row(nil, _about, _adapter, unloaded), do: {nil, unloaded}

  defp row(row, about, adapter, unloaded) do
    Enum.reduce(about.fields, {%{}, unloaded}, fn {column, field, type}, {fields, unloaded} ->
      case told(row, column) do
        {_column, value} ->
          case Ecto.Type.adapter_load(adapter, type, value) do
            {:ok, loaded} -> {Map.put(fields, field, loaded), unloaded}
            :error -> {Map.put(fields, field, value), [field | unloaded]}
          end

        nil ->
          {fields, unloaded}
      end
    end)
  end

  # Mostly the table spells the column as the schema does.
  defp told(row, column) do
    case row do
      %{^column => value} -> {column, value}
      _other -> Enum.find(row, fn {name, _value} -> SqlLexer.lower(name) == SqlLexer.lower(column) end)
    end
  end

  # The schema's primary key: the table's, if it declares one, else as far as its values are told.
  defp key(key, fields, about, adapter) do
    {loaded, _unloaded} = row(key, about, adapter, [])
    Map.merge(Map.take(fields || %{}, about.key), Map.take(loaded, about.key))
  end
end
