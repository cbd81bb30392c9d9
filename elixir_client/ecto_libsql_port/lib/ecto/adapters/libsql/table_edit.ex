defmodule Ecto.Adapters.LibSql.TableEdit do
  @moduledoc false
  # A table's own text, changed and put back: into the schema, where the rows stay as they are, or by copying, where they
  # do not. Called by `Alter`, which decides what to change and passes `query`, a function that runs a statement in the
  # transaction.

  alias Ecto.Adapters.LibSql.{ColumnSql, ColumnText, Quoting}
  alias EctoLibSql.TablePieces

  @enforce_keys [:table, :name, :items, :tail]
  defstruct @enforce_keys

  @type query :: (iodata, [term] -> EctoLibSql.Result.t())
  @type t :: %__MODULE__{
          table: Ecto.Migration.Table.t(),
          name: String.t(),
          items: [TablePieces.item()],
          tail: String.t()
        }

  @doc "Reads a table."
  @spec read(Ecto.Migration.Table.t(), query) :: t
  def read(table, query) do
    sql = ["SELECT name, sql FROM ", schema(table), " WHERE type = 'table' AND name = ?1 COLLATE NOCASE"]

    with %{rows: [[name, sql]]} <- query.(sql, [to_string(table.name)]),
         {_head, items, tail} <- TablePieces.parts(sql) do
      %__MODULE__{table: table, name: name, items: items, tail: tail}
    else
      _ -> raise ArgumentError, "there is no table #{table.name} to alter"
    end
  end

  # --- changes --------------------------------------------------------------------------------------------------

  @doc "A column by its name."
  @spec column!(t, String.t()) :: ColumnText.t()
  def column!(edit, name) do
    case Enum.find(edit.items, &column?(&1, name)) do
      nil -> raise ArgumentError, "the table #{edit.name} has no column #{name}"
      item -> ColumnText.parse(item)
    end
  end

  defp column?(item, name) do
    column = TablePieces.column(item)
    column != nil and String.downcase(column) == String.downcase(name)
  end

  @doc "With a column in the place of another."
  @spec replace(t, ColumnText.t(), ColumnText.t()) :: t
  def replace(edit, old, new) do
    items =
      for item <- edit.items,
          do: if(column?(item, old.name), do: %{item | text: ColumnText.text(new)}, else: item)

    %{edit | items: items}
  end

  @doc "With a constraint of the table."
  @spec append(t, String.t()) :: t
  def append(edit, text), do: %{edit | items: edit.items ++ [%{text: text, tokens: []}]}

  @doc "Without a check constraint of this name."
  @spec without_constraint(t, String.t()) :: {:ok, t} | :error
  def without_constraint(edit, name) do
    kept = Enum.reject(edit.items, &named_check?(&1.tokens, name))

    cond do
      kept != edit.items -> {:ok, %{edit | items: kept}}
      column = Enum.find_value(edit.items, &checked_column(&1, name)) -> {:ok, uncheck(edit, column, name)}
      true -> :error
    end
  end

  defp named_check?([{:word, constraint}, {_, name}, {:word, check} | _], wanted) do
    String.downcase(constraint) == "constraint" and String.downcase(check) == "check" and
      TablePieces.unquoted(name) == wanted
  end

  defp named_check?(_tokens, _wanted), do: false

  defp checked_column(item, name) do
    if TablePieces.column(item) do
      column = ColumnText.parse(item)
      if Enum.any?(column.clauses, &check_clause?(&1, name)), do: column
    end
  end

  defp uncheck(edit, column, name) do
    replace(edit, column, %{column | clauses: Enum.reject(column.clauses, &check_clause?(&1, name))})
  end

  defp check_clause?({:check, text}, name) do
    text =~ ~r/\ACONSTRAINT\s+("#{Regex.escape(name)}"|#{Regex.escape(name)})\s+CHECK/i
  end

  defp check_clause?(_clause, _name), do: false

  @doc "With a column that is the primary key; there must be none yet."
  @spec add_key(t, atom, term, keyword) :: t
  def add_key(edit, name, type, options) do
    if Enum.any?(edit.items, &key?/1),
      do: raise(ArgumentError, "the table #{edit.name} has a primary key already")

    text = edit.table |> ColumnSql.definition(name, type, options, false) |> IO.iodata_to_binary()
    {columns, constraints} = Enum.split_with(edit.items, &TablePieces.column/1)
    %{edit | items: columns ++ [%{text: text, tokens: []} | constraints]}
  end

  defp key?(item) do
    if TablePieces.column(item),
      do: item |> ColumnText.parse() |> ColumnText.has?(:primary_key),
      else: word?(item, "primary")
  end

  defp word?(%{tokens: tokens}, word),
    do: Enum.any?(tokens, &(match?({:word, _}, &1) and downcased(&1) == word))

  defp downcased({_kind, text}), do: String.downcase(text)

  @doc "Whether a key, a reference or a constraint holds a column, so that ALTER TABLE cannot drop it."
  @spec bound?(t, String.t()) :: boolean
  def bound?(edit, name) do
    column = column!(edit, name)

    Enum.any?([:primary_key, :unique, :references, :check], &ColumnText.has?(column, &1)) or
      Enum.any?(edit.items, &(TablePieces.column(&1) == nil and mentions?(&1, name)))
  end

  defp mentions?(%{tokens: tokens}, name) do
    Enum.any?(tokens, fn {_kind, text} ->
      String.downcase(TablePieces.unquoted(text)) == String.downcase(name)
    end)
  end

  @doc "Without a column, and without the foreign keys and checks of the table that mention it."
  @spec remove(t, String.t()) :: t
  def remove(edit, name) do
    for item <- edit.items, TablePieces.column(item) == nil, mentions?(item, name), not removable?(item) do
      raise ArgumentError,
            "#{edit.name}.#{name} is part of a key of its table (#{item.text}) and cannot be removed"
    end

    kept =
      Enum.reject(edit.items, fn item ->
        column?(item, name) or (TablePieces.column(item) == nil and mentions?(item, name))
      end)

    %{edit | items: kept}
  end

  defp removable?(item), do: word?(item, "foreign") or word?(item, "check")

  # --- putting back ---------------------------------------------------------------------------------------------

  @doc "Replaces the text in the schema. The text is tried first: with a wrong one the database could not be opened."
  @spec write(t, query) :: :ok
  def write(%__MODULE__{table: table} = edit, query) do
    trial = Quoting.table(table.prefix, "ecto_trial_of_#{edit.name}")
    query.(["CREATE TABLE ", trial, body(edit)], [])
    query.(["DROP TABLE ", trial], [])

    pragma = if table.prefix, do: [Quoting.name(table.prefix), ?.], else: []
    %{rows: [[version]]} = query.(["PRAGMA ", pragma, "schema_version"], [])
    query.("PRAGMA writable_schema = 1", [])

    try do
      sql = IO.iodata_to_binary(["CREATE TABLE ", Quoting.name(edit.name), body(edit)])
      query.(["UPDATE ", schema(table), " SET sql = ?1 WHERE type = 'table' AND name = ?2"], [sql, edit.name])
      query.(["PRAGMA ", pragma, "schema_version = #{version + 1}"], [])
    after
      # Also reads the schema anew.
      query.("PRAGMA writable_schema = RESET", [])
    end

    :ok
  end

  defp body(edit), do: [" (", Enum.map_intersperse(edit.items, ", ", & &1.text), ?), edit.tail]

  @doc "Brings the values of a column into its new type. Indexes first: their keys have the old one."
  @spec convert(t, atom, query) :: :ok
  def convert(%__MODULE__{table: table} = edit, name, query) do
    query.(["REINDEX ", Quoting.table(table.prefix, edit.name)], [])
    triggers = objects(edit, ["trigger"], query)
    for [trigger, _sql] <- triggers, do: query.(["DROP TRIGGER ", Quoting.table(table.prefix, trigger)], [])
    column = Quoting.name(name)
    query.(["UPDATE ", Quoting.table(table.prefix, edit.name), " SET ", column, " = ", column], [])
    for [_trigger, sql] <- triggers, do: query.(qualified(sql, table.prefix), [])
    :ok
  end

  @doc "Copies the rows into a table of the new form, which takes the place of the old one."
  @spec rebuild(t, query) :: :ok
  def rebuild(%__MODULE__{table: table} = edit, query) do
    refuse_references!(edit, query)
    copy = "ecto_copy_of_#{edit.name}"
    old = Quoting.table(table.prefix, edit.name)
    kept = objects(edit, ["index", "trigger"], query)
    columns = Quoting.names(common_columns(edit, query))

    query.(["CREATE TABLE ", Quoting.table(table.prefix, copy), body(edit)], [])

    query.(
      ["INSERT INTO ", Quoting.table(table.prefix, copy), " (", columns, ") SELECT ", columns, " FROM ", old],
      []
    )

    query.(["DROP TABLE ", old], [])
    # Views that name the table would keep the copy from taking its name.
    query.("PRAGMA legacy_alter_table = 1", [])
    query.(["ALTER TABLE ", Quoting.table(table.prefix, copy), " RENAME TO ", Quoting.name(edit.name)], [])
    query.("PRAGMA legacy_alter_table = 0", [])
    for [_name, sql] <- kept, do: query.(qualified(sql, table.prefix), [])
    :ok
  end

  defp objects(%__MODULE__{table: table} = edit, types, query) do
    types = Enum.map_intersperse(types, ", ", &Quoting.text/1)

    query.(
      [
        "SELECT name, sql FROM ",
        schema(table),
        " WHERE type IN (",
        types,
        ") AND sql IS NOT NULL AND tbl_name = ?1"
      ],
      [edit.name]
    ).rows
  end

  # The schema keeps the text without the database's name.
  defp qualified(sql, nil), do: sql

  defp qualified(sql, prefix) do
    Regex.replace(~r/\A(CREATE\s+(?:UNIQUE\s+)?(?:INDEX|TRIGGER)\s+)/i, sql, fn _, create ->
      create <> IO.iodata_to_binary([Quoting.name(prefix), ?.])
    end)
  end

  defp common_columns(%__MODULE__{table: table} = edit, query) do
    # Generated columns (hidden 2 and 3) cannot be written.
    sql = "SELECT name FROM pragma_table_xinfo(?1, ?2) WHERE hidden = 0"
    stay = edit.items |> Enum.map(&TablePieces.column/1) |> Enum.reject(&is_nil/1)
    for [name] <- query.(sql, [edit.name, prefix(table)]).rows, name in stay, do: name
  end

  @references """
  SELECT DISTINCT s.name FROM sqlite_schema AS s, pragma_foreign_key_list(s.name) AS k
  WHERE s.type = 'table' AND s.name <> ?1 COLLATE NOCASE AND k."table" = ?1 COLLATE NOCASE
  """

  defp refuse_references!(edit, query) do
    with %{rows: [[1]]} <- query.("PRAGMA foreign_keys", []) do
      for [child] <- query.(@references, [edit.name]).rows,
          query.(["SELECT 1 FROM ", Quoting.name(child), " LIMIT 1"], []).rows != [] do
        raise ArgumentError,
              "the table #{edit.name} must be copied for this, but rows of #{child} refer to it: run the migration " <>
                "with @disable_ddl_transaction true, after execute(\"PRAGMA foreign_keys = OFF\")"
      end
    end
  end

  defp schema(%{prefix: nil}), do: "sqlite_schema"
  defp schema(%{prefix: prefix}), do: [Quoting.name(prefix), ".sqlite_schema"]

  defp prefix(%{prefix: nil}), do: "main"
  defp prefix(%{prefix: prefix}), do: to_string(prefix)
end
