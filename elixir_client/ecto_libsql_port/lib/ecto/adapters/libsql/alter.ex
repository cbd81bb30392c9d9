defmodule Ecto.Adapters.LibSql.Alter do
  @moduledoc """
  Changes of tables that SQLite's ALTER TABLE does not know. They run in the migration's transaction, or one of their own,
  on the text of the table that is there.

    * `modify` writes the column anew: type, and those of `:null`, `:default`, `:check`, `:collate` and the reference that
      it speaks of; the rest of the column stays. The values are brought into the new type. It is refused if a row has NULL
      where there must be none, or a reference that leads nowhere.
    * `add_if_not_exists` and `remove_if_exists` look first.
    * `remove` takes the column's indexes along, as other databases do.
    * `create constraint` with `:check` and `drop constraint` change the table; existing rows are checked.
    * `rename index` makes it again under the new name.

  What stands in the file is the same after a changed constraint or type, so the table's text in the schema is replaced, as
  SQLite's documentation of ALTER TABLE describes. A table is copied only where rows look different afterwards: a new
  primary key, a removed column that is part of a key. Copying is refused while rows of other tables refer to the table,
  because dropping the old one would delete them or fail; run such a migration with `@disable_ddl_transaction true` and
  foreign keys off.
  """

  alias Ecto.Adapters.LibSql.{ColumnText, Ddl, Quoting, TableEdit}
  alias Ecto.Adapters.SQL
  alias Ecto.Migration.{Constraint, Index, Table}

  @doc false
  @spec needed?(Ecto.Adapter.Migration.command()) :: boolean
  def needed?({:alter, %Table{}, changes}), do: Enum.any?(changes, &(not plain?(&1)))
  def needed?({:rename, %Index{}, _new}), do: true
  def needed?({:create, %Constraint{}}), do: true
  def needed?({_drop, %Constraint{}, _mode}), do: true
  def needed?(_command), do: false

  defp plain?({:add, _name, _type, options}), do: options[:primary_key] in [nil, false]
  defp plain?(_change), do: false

  @doc false
  @spec run(map, Ecto.Adapter.Migration.command(), keyword) :: {:ok, []}
  def run(meta, command, options) do
    # One after the other: each reads what the one before has left.
    query = fn sql, params -> SQL.query!(meta, IO.iodata_to_binary(sql), params, options) end
    {:ok, _} = SQL.transaction(meta, options, fn -> command(command, query) end)
    {:ok, []}
  end

  defp command({:alter, table, changes}, query), do: Enum.each(changes, &change(&1, table, query))

  defp command({:rename, %Index{} = index, new}, query) do
    schema = [schema(index.prefix), "sqlite_schema"]

    case query.(["SELECT sql FROM ", schema, " WHERE type = 'index' AND name = ?1"], [to_string(index.name)]) do
      %{rows: [[sql]]} when is_binary(sql) ->
        query.(["DROP INDEX ", Quoting.table(index.prefix, index.name)], [])
        query.(renamed(sql, Quoting.table(index.prefix, new)), [])

      _ ->
        raise ArgumentError, "there is no index #{index.name} to rename, or none that was created by itself"
    end
  end

  defp command({:create, %Constraint{check: check} = constraint}, query) when is_binary(check) do
    table = %Table{name: constraint.table, prefix: constraint.prefix}
    refuse_rows!(query, table, ["NOT (", check, ?)], "do not meet the constraint #{constraint.name}")
    edit = TableEdit.read(table, query)
    text = IO.iodata_to_binary(["CONSTRAINT ", Quoting.name(constraint.name), " CHECK (", check, ?)])
    edit |> TableEdit.append(text) |> TableEdit.write(query)
  end

  defp command({:create, %Constraint{} = constraint}, _query) do
    raise ArgumentError, "SQLite has no exclusion constraints (#{constraint.name}); it knows :check"
  end

  defp command({drop, %Constraint{} = constraint, _mode}, query) do
    edit = TableEdit.read(%Table{name: constraint.table, prefix: constraint.prefix}, query)

    case TableEdit.without_constraint(edit, to_string(constraint.name)) do
      {:ok, edit} ->
        TableEdit.write(edit, query)

      :error when drop == :drop_if_exists ->
        :ok

      :error ->
        raise ArgumentError, "the table #{constraint.table} has no check constraint #{constraint.name}"
    end
  end

  defp renamed(sql, name) do
    Regex.replace(
      ~r/\A(CREATE\s+(?:UNIQUE\s+)?INDEX\s+(?:IF\s+NOT\s+EXISTS\s+)?)("(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\]|\S+)/i,
      sql,
      fn _, create, _old -> create <> IO.iodata_to_binary(name) end
    )
  end

  # --- changes --------------------------------------------------------------------------------------------------

  defp change({:add, name, type, options} = change, table, query) do
    if plain?(change) do
      query.(Ddl.alter(table, change), [])
    else
      table |> TableEdit.read(query) |> TableEdit.add_key(name, type, options) |> TableEdit.rebuild(query)
    end
  end

  defp change({:add_if_not_exists, name, type, options}, table, query) do
    unless column?(table, name, query), do: change({:add, name, type, options}, table, query)
  end

  defp change({:remove, name}, table, query), do: remove(name, table, query)
  defp change({:remove, name, _type, _options}, table, query), do: remove(name, table, query)

  defp change({:remove_if_exists, name, _type}, table, query),
    do: change({:remove_if_exists, name}, table, query)

  defp change({:remove_if_exists, name}, table, query) do
    if column?(table, name, query), do: remove(name, table, query)
  end

  defp change({:modify, name, type, options}, table, query), do: modify(name, type, options, table, query)

  defp column?(table, name, query) do
    sql = "SELECT 1 FROM pragma_table_xinfo(?1, ?2) WHERE name = ?3 COLLATE NOCASE"
    query.(sql, [to_string(table.name), prefix(table), to_string(name)]).rows != []
  end

  defp remove(name, table, query) do
    for [index] <- indexes(table, name, query) do
      query.(["DROP INDEX ", Quoting.table(table.prefix, index)], [])
    end

    edit = TableEdit.read(table, query)

    if TableEdit.bound?(edit, to_string(name)) do
      edit |> TableEdit.remove(to_string(name)) |> TableEdit.rebuild(query)
    else
      query.(Ddl.alter(table, {:remove, name}), [])
    end
  end

  # Those that somebody created and that have the column among theirs.
  @indexes """
  SELECT DISTINCT list.name FROM pragma_index_list(?1, ?2) AS list, pragma_index_xinfo(list.name, ?2) AS info
  WHERE list.origin = 'c' AND info.name = ?3 COLLATE NOCASE
  """
  defp indexes(table, name, query) do
    query.(@indexes, [to_string(table.name), prefix(table), to_string(name)]).rows
  end

  defp modify(name, type, options, table, query) do
    edit = TableEdit.read(table, query)
    old = TableEdit.column!(edit, to_string(name))
    new = ColumnText.modify(old, table, type, options)

    cond do
      ColumnText.text(new) == ColumnText.text(old) ->
        :ok

      ColumnText.has?(old, :primary_key) and new.type != old.type and "INTEGER" in [new.type, old.type] ->
        raise ArgumentError,
              "#{table.name}.#{name} is an INTEGER PRIMARY KEY, the number of the row itself: it cannot become or " <>
                "cease to be one"

      true ->
        if ColumnText.has?(new, :not_null) and not ColumnText.has?(old, :not_null) do
          refuse_rows!(
            query,
            table,
            [Quoting.name(name), " IS NULL"],
            "have no #{name}, which is to be NOT NULL"
          )
        end

        edit |> TableEdit.replace(old, new) |> TableEdit.write(query)
        if new.type != old.type, do: TableEdit.convert(edit, name, query)
        if ColumnText.has?(new, :references), do: refuse_orphans!(query, table, name)
    end
  end

  defp refuse_rows!(query, table, condition, what) do
    %{rows: [[count]]} =
      query.(["SELECT count(*) FROM ", Quoting.table(table.prefix, table.name), " WHERE ", condition], [])

    if count > 0, do: raise(ArgumentError, "#{count} rows of #{table.name} #{what}")
  end

  defp refuse_orphans!(query, table, name) do
    sql = "SELECT count(*) FROM pragma_foreign_key_check(?1, ?2)"
    %{rows: [[count]]} = query.(sql, [to_string(table.name), prefix(table)])

    if count > 0,
      do: raise(ArgumentError, "#{count} rows of #{table.name} refer by #{name} to rows that are not there")
  end

  defp schema(nil), do: []
  defp schema(prefix), do: [Quoting.name(prefix), ?.]

  defp prefix(%{prefix: nil}), do: "main"
  defp prefix(%{prefix: prefix}), do: to_string(prefix)
end
