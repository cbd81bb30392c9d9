defmodule Ecto.Adapters.LibSql.ColumnText do
  @moduledoc false
  # Edits of one column in a table's text: what a `modify` speaks of is replaced where it stands, what it does not speak of
  # stays as it is. Called by `Alter`; knows no database.

  alias Ecto.Adapters.LibSql.{ColumnSql, TableEdit}
  alias Ecto.Migration.Reference
  alias EctoLibSql.TableSql

  @doc "Whether a column has a clause of this kind."
  @spec has?(TableSql.column(), atom) :: boolean
  def has?(column, kind), do: Enum.any?(column.clauses, &(&1.kind == kind))

  @doc "The declared type, an empty text if there is none."
  @spec type(TableSql.t(), TableSql.column()) :: String.t()
  def type(_sql, %{type: nil}), do: ""
  def type(sql, %{type: range}), do: TableSql.slice(sql, range)

  @doc "Whether a column is generated and STORED."
  @spec stored?(TableSql.column()) :: boolean
  def stored?(column), do: Enum.any?(column.clauses, &(&1.kind == :generated and :stored in &1.flags))

  @doc "What a declared type makes of values (https://www.sqlite.org/datatype3.html#determination_of_column_affinity)."
  @spec affinity(String.t()) :: :integer | :text | :blob | :real | :numeric
  def affinity(type) do
    type = String.upcase(type)

    cond do
      type =~ "INT" -> :integer
      type =~ "CHAR" or type =~ "CLOB" or type =~ "TEXT" -> :text
      type == "" or type =~ "BLOB" -> :blob
      type =~ "REAL" or type =~ "FLOA" or type =~ "DOUB" -> :real
      true -> :numeric
    end
  end

  @doc "Whether a declared type is one of decimals."
  @spec decimal?(String.t()) :: boolean
  def decimal?(type), do: type =~ ~r/DECIMAL|NUMERIC/i

  @doc "The text after `modify name, type, options`."
  @spec modify(TableSql.t(), TableSql.column(), Ecto.Migration.Table.t(), term, keyword) :: TableSql.t()
  def modify(sql, column, table, type, options) do
    changes(column, table, type, options)
    |> Enum.reduce(retype(sql, column, ColumnSql.type(type, options)), fn {kinds, text}, sql ->
      replace(sql, TableSql.column_named(sql, column.name), kinds, text)
    end)
  end

  # Which clauses go, and the text of the one that comes instead.
  defp changes(column, table, type, options) do
    [
      {Keyword.has_key?(options, :null), [:not_null, :null], if(options[:null] == false, do: "NOT NULL")},
      {Keyword.has_key?(options, :default), [:default], default(options[:default], type)},
      {collation?(options), [:collate],
       clause(ColumnSql.collation(options[:collate] || options[:collation]))},
      {Keyword.has_key?(options, :check), [:check], clause(ColumnSql.check(options[:check]))},
      {options[:generated] != nil, [:generated],
       clause(ColumnSql.generated(options[:generated], options[:stored]))},
      {options[:primary_key] == true and not has?(column, :primary_key), [], "PRIMARY KEY"},
      {options[:primary_key] == false, [:primary_key], nil},
      {reference?(type, options), [:references], clause(ColumnSql.reference(table, column.name, type))}
    ]
    |> Enum.flat_map(fn {asked?, kinds, text} -> if asked?, do: [{kinds, text}], else: [] end)
  end

  defp collation?(options), do: Keyword.has_key?(options, :collate) or Keyword.has_key?(options, :collation)

  defp default(nil, _type), do: nil
  defp default(value, type), do: clause(ColumnSql.default({:ok, value}, type))

  @doc "Whether a `modify` replaces the column's foreign key: there is a new one, or `:from` says that it was one."
  @spec reference?(term, keyword) :: boolean
  def reference?(%Reference{}, _options), do: true

  def reference?(_type, options),
    do: match?(%Reference{}, options[:from]) or match?({%Reference{}, _}, options[:from])

  defp clause(sql) do
    case sql |> IO.iodata_to_binary() |> String.trim() do
      "" -> nil
      text -> text
    end
  end

  # The same type in other letters stays as it is.
  defp retype(sql, column, type) do
    old = type(sql, column)
    {at, size} = column.name_range

    cond do
      String.downcase(old) == String.downcase(type) -> sql
      column.type == nil -> edit(sql, [{{at + size, 0}, [?\s, type]}])
      true -> edit(sql, [{column.type, type}])
    end
  end

  # The first clause is replaced in its place, more of its kind go.
  defp replace(sql, column, kinds, text) do
    case {Enum.filter(column.clauses, &(&1.kind in kinds)), text} do
      {[], nil} ->
        sql

      {[], text} ->
        insert(sql, column, text)

      {clauses, nil} ->
        TableEdit.remove_clauses(sql, column, clauses)

      {[first | more], text} ->
        cuts = TableEdit.cuts(sql, column, [first | more])
        {at, size} = first.range

        edit(sql, [
          {{at, size}, text}
          | Enum.reject(cuts, fn {{from, size}, _} -> from + size == at + elem(first.range, 1) end)
        ])
    end
  end

  # In the order in which `create table` writes them, so that a modify up and down gives the text of before.
  @order [:primary_key, :not_null, :null, :default, :collate, :check, :generated, :references, :deferrable]

  defp insert(sql, column, text) do
    position = position(kind_of(text))

    before =
      column.clauses
      |> Enum.take_while(&(position(&1.kind) <= position))
      |> Enum.reject(&(&1.kind == :name))
      |> List.last()

    {at, size} = if before, do: before.range, else: column.type || column.name_range
    edit(sql, [{{at + size, 0}, [?\s, text]}])
  end

  defp position(kind), do: Enum.find_index(@order, &(&1 == kind)) || 0

  defp kind_of(text) do
    %{columns: [%{clauses: [clause | _]} | _]} = TableEdit.parse!("CREATE TABLE t (c " <> text <> "\n)")
    clause.kind
  end

  defp edit(sql, edits), do: sql |> TableSql.edit(edits) |> TableEdit.parse!()
end
