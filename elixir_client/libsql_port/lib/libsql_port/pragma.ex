defmodule LibsqlPort.Pragma do
  @moduledoc """
  The pragmas that SQLite documents, typed.

      {:ok, :wal} = LibsqlPort.Pragma.get(conn, :journal_mode)
      {:ok, :full} = LibsqlPort.Pragma.set(conn, :synchronous, :full)
      {:ok, [%LibsqlPort.Pragma.Column{name: "id"} | _]} = LibsqlPort.Pragma.table_info(conn, "users")

  An unknown name or a value of another type is an error of code `:invalid_option`; nothing is silently ignored. All
  functions take `timeout:`; those that concern one of the attached databases take `schema:` (`"main"` and so on).

  ## Values

  #{Enum.map_join(LibsqlPort.Pragma.Definition.all(), "\n", fn {name, {type, access}} ->
    values = case type do
      :boolean -> "`true`, `false`"
      {:integer, min, max} -> "#{min} to #{max}"
      {:one_of, values} -> Enum.map_join(Keyword.keys(values), ", ", &"`#{inspect(&1)}`")
    end

    "  * `:#{name}` – #{values}#{%{read: "; read only", write: "; write only", read_write: ""}[access]}"
  end)}

  Those that are kept in the connection (not in the file) go back to the values of `LibsqlPort.connect/2` with
  `LibsqlPort.reset/2`.
  """

  alias LibsqlPort.{Connection, Error, Result}

  alias LibsqlPort.Pragma.{
    Column,
    Database,
    Definition,
    ForeignKey,
    ForeignKeyViolation,
    Function,
    Index,
    IndexColumn,
    Table
  }

  @type answer(type) :: {:ok, type} | {:error, Error.t()}

  @doc """
  Reads a pragma.

      {:ok, -32000} = LibsqlPort.Pragma.get(conn, :cache_size)
  """
  @spec get(Connection.t(), atom, keyword) :: answer(term)
  def get(conn, name, options \\ []) do
    with {:ok, name, type, access} <- definition(name),
         :ok <- permitted(access != :write, "the pragma #{inspect(name)} cannot be read") do
      ask(conn, name, type, "", options)
    end
  end

  @doc """
  Sets a pragma and answers the value that then holds: SQLite may keep the old one, as it does for `:journal_mode` in a
  database in memory. `{:ok, nil}` for one that cannot be read.

      {:ok, 7} = LibsqlPort.Pragma.set(conn, :user_version, 7)
  """
  @spec set(Connection.t(), atom, term, keyword) :: answer(term)
  def set(conn, name, value, options \\ []) do
    with {:ok, name, dumped} <- invalid(Definition.assignment(name, value)),
         {:ok, name, type, access} <- definition(name),
         {:ok, _} <- ask(conn, name, type, " = " <> Definition.literal(dumped), options) do
      if access == :write, do: {:ok, nil}, else: ask(conn, name, type, "", options)
    end
  end

  defp definition(name), do: invalid(Definition.fetch(name))

  defp permitted(true, _message), do: :ok
  defp permitted(false, message), do: invalid({:error, message})

  defp invalid({:error, message}), do: {:error, Error.new(:invalid_option, message)}
  defp invalid(ok), do: ok

  defp ask(conn, name, type, assignment, options) do
    with {:ok, rows} <- rows(conn, "#{name}#{assignment}", options) do
      case rows do
        [[value | _] | _] -> {:ok, Definition.load(type, value)}
        [] -> {:ok, nil}
      end
    end
  end

  # --- the schema -----------------------------------------------------------------------------------------------

  @doc "The columns of a table; without hidden and generated ones."
  @spec table_info(Connection.t(), String.t(), keyword) :: answer([Column.t()])
  def table_info(conn, table, options \\ []) do
    list(conn, call("table_info", table), options, fn row -> column(row ++ [0]) end)
  end

  @doc "The columns of a table; hidden and generated ones too."
  @spec table_xinfo(Connection.t(), String.t(), keyword) :: answer([Column.t()])
  def table_xinfo(conn, table, options \\ []) do
    list(conn, call("table_xinfo", table), options, &column/1)
  end

  @doc "The tables and views of all attached databases, or of one (`schema:`)."
  @spec table_list(Connection.t(), keyword) :: answer([Table.t()])
  def table_list(conn, options \\ []) do
    list(conn, "table_list", options, fn [schema, name, type, columns, without_rowid, strict] ->
      %Table{
        schema: schema,
        name: name,
        type: known(type, table: "table", view: "view", shadow: "shadow", virtual: "virtual"),
        columns: columns,
        without_rowid: without_rowid == 1,
        strict: strict == 1
      }
    end)
  end

  @doc "The indexes of a table."
  @spec index_list(Connection.t(), String.t(), keyword) :: answer([Index.t()])
  def index_list(conn, table, options \\ []) do
    list(conn, call("index_list", table), options, fn [position, name, unique, origin, partial] ->
      %Index{
        position: position,
        name: name,
        unique: unique == 1,
        origin: known(origin, create_index: "c", unique: "u", primary_key: "pk"),
        partial: partial == 1
      }
    end)
  end

  @doc "The columns of an index."
  @spec index_info(Connection.t(), String.t(), keyword) :: answer([IndexColumn.t()])
  def index_info(conn, index, options \\ []) do
    list(conn, call("index_info", index), options, fn [position, table_position, name] ->
      %IndexColumn{position: position, table_position: table_position, name: name}
    end)
  end

  @doc "The columns of an index, those that it only carries too, with order and collation."
  @spec index_xinfo(Connection.t(), String.t(), keyword) :: answer([IndexColumn.t()])
  def index_xinfo(conn, index, options \\ []) do
    list(conn, call("index_xinfo", index), options, fn [position, table_position, name, desc, collation, key] ->
      %IndexColumn{
        position: position,
        table_position: table_position,
        name: name,
        descending: desc == 1,
        collation: collation,
        key: key == 1
      }
    end)
  end

  @doc "The foreign keys of a table, one struct for each column."
  @spec foreign_key_list(Connection.t(), String.t(), keyword) :: answer([ForeignKey.t()])
  def foreign_key_list(conn, table, options \\ []) do
    list(conn, call("foreign_key_list", table), options, fn row ->
      [id, position, parent, from, to, on_update, on_delete, match] = row

      %ForeignKey{
        id: id,
        position: position,
        table: parent,
        from: from,
        to: to,
        on_update: action(on_update),
        on_delete: action(on_delete),
        match: match
      }
    end)
  end

  @doc "The rows that break a foreign key, of all tables or of one (`table:`)."
  @spec foreign_key_check(Connection.t(), keyword) :: answer([ForeignKeyViolation.t()])
  def foreign_key_check(conn, options \\ []) do
    {table, options} = Keyword.pop(options, :table)
    pragma = if table, do: call("foreign_key_check", table), else: "foreign_key_check"

    list(conn, pragma, options, fn [table, rowid, parent, key] ->
      %ForeignKeyViolation{table: table, rowid: rowid, parent: parent, key: key}
    end)
  end

  @doc "The attached databases."
  @spec database_list(Connection.t(), keyword) :: answer([Database.t()])
  def database_list(conn, options \\ []) do
    list(conn, "database_list", options, fn [position, name, file] ->
      %Database{position: position, name: name, file: file}
    end)
  end

  @doc "The SQL functions."
  @spec function_list(Connection.t(), keyword) :: answer([Function.t()])
  def function_list(conn, options \\ []) do
    list(conn, "function_list", options, fn [name, builtin, type, encoding, arguments, flags] ->
      %Function{
        name: name,
        builtin: builtin == 1,
        type: known(type, scalar: "s", window: "w", aggregate: "a"),
        encoding: encoding,
        arguments: arguments,
        flags: flags
      }
    end)
  end

  @doc "The names of the collations."
  @spec collation_list(Connection.t(), keyword) :: answer([String.t()])
  def collation_list(conn, options \\ []) do
    list(conn, "collation_list", options, fn [_position, name] -> name end)
  end

  @doc "The names of the pragmas that the engine knows."
  @spec pragma_list(Connection.t(), keyword) :: answer([String.t()])
  def pragma_list(conn, options \\ []), do: list(conn, "pragma_list", options, &hd/1)

  @doc "The names of the modules of virtual tables."
  @spec module_list(Connection.t(), keyword) :: answer([String.t()])
  def module_list(conn, options \\ []), do: list(conn, "module_list", options, &hd/1)

  @doc "The options with which the engine was compiled."
  @spec compile_options(Connection.t(), keyword) :: answer([String.t()])
  def compile_options(conn, options \\ []), do: list(conn, "compile_options", options, &hd/1)

  # --- checks and upkeep ----------------------------------------------------------------------------------------

  @doc "What is wrong with the file: `{:ok, []}` if nothing. At most `max:` findings (default 100)."
  @spec integrity_check(Connection.t(), keyword) :: answer([String.t()])
  def integrity_check(conn, options \\ []), do: check(conn, "integrity_check", options)

  @doc "As `integrity_check/2`, without comparing indexes with tables."
  @spec quick_check(Connection.t(), keyword) :: answer([String.t()])
  def quick_check(conn, options \\ []), do: check(conn, "quick_check", options)

  @doc "Lets SQLite gather the statistics that it misses. `mask:` as in its documentation."
  @spec optimize(Connection.t(), keyword) :: :ok | {:error, Error.t()}
  def optimize(conn, options \\ []), do: act(conn, "optimize", :mask, options)

  @doc "Gives free pages back to the file system, all or `pages:` many; for `auto_vacuum` `:incremental`."
  @spec incremental_vacuum(Connection.t(), keyword) :: :ok | {:error, Error.t()}
  def incremental_vacuum(conn, options \\ []), do: act(conn, "incremental_vacuum", :pages, options)

  @doc "Frees what memory the connection can spare."
  @spec shrink_memory(Connection.t(), keyword) :: :ok | {:error, Error.t()}
  def shrink_memory(conn, options \\ []), do: act(conn, "shrink_memory", nil, options)

  defp check(conn, pragma, options) do
    {max, options} = Keyword.pop(options, :max, 100)

    with {:ok, max} <- integer(:max, max),
         {:ok, findings} <- list(conn, "#{pragma}(#{max})", options, &hd/1) do
      {:ok, if(findings == ["ok"], do: [], else: findings)}
    end
  end

  defp act(conn, pragma, argument, options) do
    {value, options} = Keyword.pop(options, argument)

    with {:ok, value} <- integer(argument, value),
         {:ok, _} <- rows(conn, if(value, do: "#{pragma}(#{value})", else: pragma), options) do
      :ok
    end
  end

  defp integer(_name, value) when is_nil(value) or (is_integer(value) and value >= 0), do: {:ok, value}

  defp integer(name, value),
    do: invalid({:error, "the option #{inspect(name)} takes an integer from 0, not #{inspect(value)}"})

  # --- asking ---------------------------------------------------------------------------------------------------

  defp call(pragma, name), do: "#{pragma}(#{Definition.literal(to_string(name))})"

  defp list(conn, pragma, options, fun) do
    with {:ok, rows} <- rows(conn, pragma, options), do: {:ok, Enum.map(rows, fun)}
  end

  defp rows(conn, pragma, options) do
    {schema, options} = Keyword.pop(options, :schema)
    prefix = if schema, do: Definition.name(schema) <> ".", else: ""

    with {:ok, %Result{rows: rows}} <- Connection.execute(conn, "PRAGMA " <> prefix <> pragma, [], options) do
      {:ok, rows}
    end
  end

  defp column([position, name, type, not_null, default, primary_key, hidden]) do
    %Column{
      position: position,
      name: name,
      type: type,
      not_null: not_null == 1,
      default: default,
      primary_key: primary_key,
      hidden: known(hidden, no: 0, hidden: 1, generated_virtual: 2, generated_stored: 3)
    }
  end

  defp action(text) do
    known(text,
      no_action: "NO ACTION",
      restrict: "RESTRICT",
      set_null: "SET NULL",
      set_default: "SET DEFAULT",
      cascade: "CASCADE"
    )
  end

  # The atom for what SQLite says; what a newer engine may say stays as it is.
  defp known(stored, names) do
    case List.keyfind(names, stored, 1) do
      {name, _} -> name
      nil -> stored
    end
  end
end
