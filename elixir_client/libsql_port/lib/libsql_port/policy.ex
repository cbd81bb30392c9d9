defmodule LibsqlPort.Policy do
  @moduledoc """
  Policies: what SQL may do on a connection. The sidecar decides while it compiles a statement, so a statement that is
  prepared or cached costs nothing more, and a decision needs no round trip.

      {:ok, conn} = LibsqlPort.connect(MyApp.Sidecar, database: "app.db", policy: :read_only)
      {:error, error} = LibsqlPort.query(conn, "DELETE FROM users")

      error.code
      #=> :not_authorized
      error.denial
      #=> %{action: :delete, object: "users", column: nil, database: "main", through: nil, rule: :read_only}

  A policy is given to `LibsqlPort.connect/2` (option `:policy`) or to a Repo, and changed by `LibsqlPort.set_policy/3`. It is a
  ready-made policy, or a list of rules and of ready-made policies.

  ## Ready-made policies

    * `:read_only` – SELECT and pragmas that only read, transactions and savepoints. No function that writes, no BEGIN IMMEDIATE or
      EXCLUSIVE, which hold up writers
    * `:no_schema_changes` – that, INSERT, UPDATE, DELETE, ANALYZE, REINDEX, VACUUM, and pragmas of the connection such as
      `foreign_keys`. No CREATE, ALTER and DROP, temporary objects included, no ATTACH, no VACUUM INTO, no pragma that writes the
      file's header
    * `:untrusted_sql` – for SQL of strangers: SELECT, INSERT, UPDATE, DELETE, ordinary tables and their indexes, pragmas that only
      read, and functions that compute from their arguments. No view and no trigger, which would run with the rights of whoever
      uses them, no ATTACH, VACUUM, transaction or savepoint, no pragma that sets something, no temporary object, no virtual table but those that are there, no `load_extension`, `zeroblob` or `randomblob`.
      The limits of the connection are smaller then, where `:limits` says nothing else: a value 1 MB, a statement 100 KB,
      100 columns, expressions 50 deep, 10 terms of UNION, 25,000 instructions, 100 parameters, triggers 10 deep, results of
      10,000 rows and 16 MiB. (Memory has one limit for the whole sidecar, `:heap_bytes_max`: give strangers a sidecar of their own)

  What none of them lists is denied, so that a newer engine allows no more than this one.

  ## Rules

  A rule is `{effect, actions}` or `{effect, actions, names}`. The first rule that matches decides; what no rule matches is denied.

      [
        {:deny, :read, table: "users", column: "password_hash"},
        {:ignore, :read, table: "users", column: ["ssn", "salary"]},
        {:allow, :read, table: "documents", through: "my_documents"},
        {:deny, :read, table: "documents"},
        {:allow, [:query, :write]}
      ]

  Effects:

    * `:allow`
    * `:deny` – the statement is a `:not_authorized` error
    * `:ignore` – a column that is read is NULL, a function that is called returns NULL, a column that is updated stays as it is.
      For `:read`, `:function` and `:update` alone: SQLite passes over other actions without an error, and does a DELETE all the same.
      A statement that writes what it reads must not read an ignored column: it would store the NULL, and so is denied

  Beside ready-made policies in the same list the rules take away and add nothing: `[:read_only, {:deny, :read, table: "users"}]`
  denies both writes and that table, wherever the rule stands. What no rule matches is then as the ready-made policies say. Of two
  ready-made policies both must allow.

  | action | key of its names |
  |---|---|
  | `:select`, `:recursive` (a subquery, a recursive table expression) | |
  | `:read`, `:update` | `:table`, `:column` |
  | `:insert`, `:delete` | `:table` |
  | `:references` (a foreign key of another table refers to it) | `:table` |
  | `:function` | `:function` |
  | `:transaction` (`"BEGIN"`, and for those also `"BEGIN IMMEDIATE"` or `"BEGIN EXCLUSIVE"`, `"COMMIT"`, `"ROLLBACK"`, each in any of the forms that SQL has for it), `:savepoint` (its name) | `:name` |
  | `:pragma_read`, `:pragma_write` | `:pragma` |
  | `:create_table`, `:alter_table`, `:drop_table`, `:create_temp_table`, `:drop_temp_table`, `:analyze` | `:table` |
  | `:create_index`, `:drop_index`, `:create_trigger`, `:drop_trigger`, and with `temp_`: `:create_temp_index`, … | `:name`, `:table` |
  | `:create_view`, `:drop_view`, `:create_temp_view`, `:drop_temp_view` | `:name`, or `:table`, which is the same |
  | `:reindex` (an index) | `:name` |
  | `:create_virtual_table`, `:drop_virtual_table` (the name is the module's) | `:table`, `:name` |
  | `:attach` (a file), `:detach` (a database), `:vacuum_into` (a file) | `:name` |
  | `:vacuum` | |

  | group | its actions |
  |---|---|
  | `:any` | all |
  | `:query` | `:select`, `:read`, `:function`, `:recursive`, `:transaction`, `:savepoint`, `:pragma_read` |
  | `:write` | `:insert`, `:update`, `:delete`, `:references` |
  | `:pragma` | `:pragma_read`, `:pragma_write` |
  | `:schema` | those that create, alter, drop and reindex |
  | `:temp_schema` | those with `temp_`, and of the database `temp` also `:alter_table`, `:analyze`, `:reindex`, `:create_virtual_table`, `:drop_virtual_table` |

  `:write` is about rows: who may not write a table may drop, alter or index it where that is allowed. `{:deny, :any, table: "users"}` denies
  all that is done with a table.

  A name is a string, or a list of strings of which one must match, without regard to the case of ASCII letters. Of a group, a rule
  with names matches the actions that have them. A rule with one name of a thing has all of them: `sqlite_schema` is `sqlite_master`,
  `format` is `printf` (and so `ceil`/`ceiling`, `coalesce`/`ifnull`, `group_concat`/`string_agg`, `log`/`log10`, `pow`/`power`,
  `substr`/`substring`, `vector`/`vector32`), `"END TRANSACTION"` is `"COMMIT"`, and what is denied of the column `oid` or `_rowid_` is denied of the
  `rowid`. The rowid of a table with an INTEGER PRIMARY KEY is that column, by the name of the column; `docid` of an FTS3/4 table asks for the
  rowid too, and the rowid of an R*Tree is its first column. `"ROLLBACK"` is also what may end the transaction by a conflict: `INSERT OR
  ROLLBACK`, `ON CONFLICT ROLLBACK` in a table, `RAISE(ROLLBACK, …)`. ANALYZE of a whole database is `:analyze` of `sqlite_stat1` first. A rule that can match nothing, such as `{:deny, :transaction, name: "BEGIN IMEDIATE"}` or `{:deny, :pragma_write, pragma: "table_info"}`,
  which only reads, is an `:invalid_option` error when the policy is set. Further keys:

    * `:database` – `"main"`, `"temp"` or the name of an attached one; for actions that are done in a database. `:create_table` in `"temp"` is
      `:create_temp_table`, and so on. What is not allowed of a file by one name is not allowed by a name that it is attached by later
    * `:through` – the innermost view or trigger in whose text it is done; `nil` for the statement's own text. Names of common table
      expressions and aliases do not count. Whoever may create triggers or temporary views can name one like that view, so deny
      `:schema` and `:temp_schema` where it matters

  `:pragma_read` is a pragma that only reads: one that is known to, without an argument, or `table_info` and the like with one. All
  others, unknown ones included, are `:pragma_write`. The table of a pragma, such as `pragma_table_info`, asks for the pragma too.

  Who refers to a table by a foreign key may keep its rows from being deleted, and learns which keys there are. So a REFERENCES in CREATE
  TABLE or ALTER TABLE asks for `:references` of the other table and for `:read` of the columns that it refers to. What counts the
  rows of a table, or compares them, asks for `:read` of the table, as `count(*)` does: CREATE INDEX (a unique one of a constant tells whether there
  are two rows), ALTER TABLE … ADD COLUMN where rows are checked for it, ANALYZE, which also asks for the indexed columns, of which it keeps
  samples, and for those in the WHERE of a partial index. `PRAGMA foreign_key_check` asks for the columns that it compares, `integrity_check` and
  `quick_check` for all columns of the tables that they check.

  What the engine adds to a statement is not asked about: the rows of `sqlite_schema` for CREATE TABLE, the functions of ALTER TABLE. Foreign
  keys are: inserting into a table reads the key of the table that it refers to, and DROP TABLE does to the rows of others what deleting
  the rows of the table would. So are functions and tables in views and triggers, and functions in defaults, checks, generated columns and
  indexes, which the policy decides for whoever uses them, and REPLACE, which deletes. ALTER TABLE asks for more than `:alter_table`:
  RENAME for everything that can be done by the old and by the new name (`:read`, `:update`, and of a table `:insert`, `:delete` and `:references`),
  ADD COLUMN for the columns and functions that a check, a default or a generated column names, ALTER COLUMN for reading all columns.

  A full-text or R*Tree table keeps its rows in tables of its own, such as `docs_data` of the FTS5 table `docs`. What its module does to
  them is decided by the statement that uses `docs`; a statement that names `docs_data` is asked about it. A table that holds the
  rows of another one (`content=`), and the functions that the module uses, are asked about: `zeroblob` by CREATE VIRTUAL TABLE of an R*Tree.
  The column of a full-text table that is called like the table stands for all of its columns: `docs MATCH …`, `docs('…')`, `highlight(docs, …)`
  and other functions of full-text tables ask for `:read` of each, and so does `title MATCH …` of an FTS3/4 table, whose expression may name
  any column, `rank` of an FTS5 table, which asks for the `:function` that it calls as well, and whatever reads an `fts4aux` or `fts5vocab` table of it.
  The INSERTs of FTS5 that delete (`'delete'`, `'delete-all'`) ask for `:delete`.

  A vector index is decided by the table that it is of: its own tables need no rule, and what they hold, also by `vector_top_k`, is
  shown to those alone who may read the indexed column, the primary key or rowid, and the columns in the WHERE of the index. Where one of
  those is ignored, `vector_top_k` finds no row, as if all were NULL;
  functions of vectors, such as `vector_distance_cos`, take no NULL and are `:sql_error`.

  A statement that is denied while it runs is undone as a whole, and its transaction goes on.

  ## What it does not cover

  A policy is about SQL text. Requests of this library that are none, such as `LibsqlPort.transaction/3`, `LibsqlPort.checkpoint/2`,
  `LibsqlPort.reset/2` and `LibsqlPort.set_policy/3` itself, are the application's and are not asked about. Who may not read a column
  learns it from `sqlite_stat4`, the tables of a full-text index, a generated column that is computed of it, or a search in a full-text
  table over its table (`content=`) too: deny those as well. `sqlite_stat1`, `sqlite_sequence` and
  `dbstat` tell how many rows there are of each table, and who writes `sqlite_sequence` says which rowids come next. A file that may be attached is
  known by its names alone: where `:detach` is allowed beside `:attach`, leave `:database` out of the rules that deny. Temporary objects that were made before the policy was set stay.

  ## Audit

  Each denial is the event `[:libsql_port, :policy, :denied]` (see `LibsqlPort.Telemetry`) and, with the sidecar's
  `log_level: :info`, a log line. Of many, 100 in a second are told (`:denials_per_second_max`); the next one tells how many were left out.
  """

  alias LibsqlPort.OptionCheck

  @ready [:read_only, :no_schema_changes, :untrusted_sql]
  @effects [:allow, :deny, :ignore]

  @schema_objects [index: [:name, :table], view: [:name, :table], trigger: [:name, :table]]

  @actions [
             select: [],
             read: [:table, :column],
             insert: [:table],
             update: [:table, :column],
             delete: [:table],
             references: [:table],
             function: [:function],
             recursive: [],
             transaction: [:name],
             savepoint: [:name],
             pragma_read: [:pragma],
             pragma_write: [:pragma],
             create_table: [:table],
             alter_table: [:table],
             drop_table: [:table],
             create_temp_table: [:table],
             drop_temp_table: [:table],
             create_virtual_table: [:table, :name],
             drop_virtual_table: [:table, :name],
             reindex: [:name],
             analyze: [:table],
             attach: [:name],
             detach: [:name],
             vacuum: [],
             vacuum_into: [:name],
             other: []
           ] ++
             for(
               {object, keys} <- @schema_objects,
               verb <- ["create_", "drop_"],
               temp <- ["", "temp_"],
               do: {:"#{verb}#{temp}#{object}", keys}
             )

  @groups [:any, :query, :write, :pragma, :schema, :temp_schema]
  @keys [:table, :column, :function, :pragma, :name, :database, :through]
  @elements_max 1000

  @typedoc "A ready-made policy."
  @type ready :: :read_only | :no_schema_changes | :untrusted_sql

  @typedoc "A rule; actions and groups are in the tables above."
  @type rule ::
          {:allow | :deny | :ignore, atom | [atom]}
          | {:allow | :deny | :ignore, atom | [atom], [{atom, String.t() | nil | [String.t() | nil]}]}

  @typedoc "A policy; `nil` for none, which allows everything. `[]` allows nothing."
  @type t :: nil | ready | [ready | rule]

  @typedoc """
  What was denied, in `LibsqlPort.Error` and in the event. `rule` is the place of the rule in the policy, from 0, the name of a
  ready-made policy, `:authorizer`, or `nil` if no rule allows it. What the sidecar refuses on any connection, with a policy or without
  one (the tables of a vector index, a file outside of `:allowed_directories`), is no event and has `nil` too.
  """
  @type denial :: %{
          action: atom,
          object: String.t() | nil,
          column: String.t() | nil,
          database: String.t() | nil,
          through: String.t() | nil,
          rule: non_neg_integer | ready | :authorizer | nil
        }

  @doc """
  The names of all actions.

      iex> :vacuum_into in LibsqlPort.Policy.actions()
      true
  """
  @spec actions() :: [atom]
  def actions, do: Keyword.keys(@actions)

  @doc """
  Checks a policy. Returns the form in which it travels, or what is wrong with it.

      iex> LibsqlPort.Policy.dump(:read_only)
      {:ok, [:read_only]}
      iex> LibsqlPort.Policy.dump([{:deny, :read, table: "users"}, {:allow, [:query]}])
      {:ok, [{:deny, [:read], %{table: ["users"]}}, {:allow, [:query], %{}}]}
      iex> {:error, message} = LibsqlPort.Policy.dump([{:deny, :peek}])
      iex> message =~ ":peek"
      true
  """
  @spec dump(term) :: {:ok, nil | [atom | tuple]} | {:error, String.t()}
  def dump(nil), do: {:ok, nil}
  def dump(ready) when ready in @ready, do: {:ok, [ready]}

  def dump(elements) when is_list(elements) and length(elements) <= @elements_max do
    elements
    |> Enum.with_index()
    |> Enum.reduce_while({:ok, []}, fn {element, index}, {:ok, dumped} ->
      case element(element) do
        {:ok, element} -> {:cont, {:ok, [element | dumped]}}
        {:error, why} -> {:halt, {:error, "element #{index} (from 0) of the policy: #{why}"}}
      end
    end)
    |> reversed()
  end

  def dump(other) do
    {:error,
     "a policy is #{ready_names()}, or a list of at most #{@elements_max} rules, not #{inspect(other)}"}
  end

  defp reversed({:ok, elements}), do: {:ok, Enum.reverse(elements)}
  defp reversed(error), do: error

  defp element(ready) when ready in @ready, do: {:ok, ready}
  defp element({effect, actions}), do: element({effect, actions, []})

  defp element({effect, actions, names}) when effect in @effects do
    with {:ok, names} <- names(names), {:ok, actions} <- actions(each(actions), Map.keys(names)) do
      {:ok, {effect, actions, names}}
    end
  end

  defp element({effect, _actions, _names}),
    do: {:error, "the effect is :allow, :deny or :ignore, not #{inspect(effect)}"}

  defp element(other),
    do: {:error, "it is #{ready_names()} or {effect, actions, names}, not #{inspect(other)}"}

  # One that is no list to its end is no action.
  defp each(actions),
    do: if(is_list(actions) and not OptionCheck.list?(actions), do: [actions], else: List.wrap(actions))

  defp actions([], _keys), do: {:error, "it has no action"}

  defp actions(actions, keys) do
    case Enum.find_value(actions, &unfit(&1, keys)) do
      nil -> {:ok, actions}
      why -> {:error, why}
    end
  end

  defp unfit(group, _keys) when group in @groups, do: nil

  defp unfit(action, keys) do
    case List.keyfind(@actions, action, 0) do
      nil ->
        all = actions() ++ @groups
        "there is no action #{inspect(action)}#{OptionCheck.hint(action, all)}; there are #{listed(all)}"

      {_, known} ->
        if key = Enum.find(keys -- [:database, :through], &(&1 not in known)),
          do: "the action #{inspect(action)} has no #{key}"
    end
  end

  defp names(names) do
    if OptionCheck.list?(names) or (is_map(names) and not is_struct(names)),
      do: read(names),
      else: {:error, "names are a keyword list, not #{inspect(names)}"}
  end

  defp read(names) do
    Enum.reduce_while(names, {:ok, %{}}, fn
      {key, value}, {:ok, all} when key in @keys and not is_map_key(all, key) ->
        values = if is_list(value), do: value, else: [value]

        cond do
          values == [] -> {:halt, {:error, "#{key} has no name; leave it out for any"}}
          OptionCheck.list_of?(values, &name?(&1, key)) -> {:cont, {:ok, Map.put(all, key, values)}}
          true -> {:halt, {:error, "#{key} takes a string or a list of strings, not #{inspect(value)}"}}
        end

      {key, _value}, {:ok, all} when is_map_key(all, key) ->
        {:halt, {:error, "#{key} is given twice"}}

      other, _all ->
        {:halt, {:error, "names are pairs with a key of #{listed(@keys)}, not #{inspect(other)}"}}
    end)
  end

  defp name?(nil, key), do: key == :through
  defp name?(name, _key), do: is_binary(name) and String.valid?(name) and not String.contains?(name, <<0>>)

  defp ready_names, do: Enum.map_join(@ready, ", ", &inspect/1)
  defp listed(names), do: Enum.map_join(names, ", ", &inspect/1)

  @doc false
  # What an error reply or an event says of a denial.
  @spec denial(tuple) :: denial
  def denial({action, object, column, database, through, rule}) do
    %{
      action: action(action),
      object: object,
      column: column,
      database: database,
      through: through,
      rule: rule(rule)
    }
  end

  @doc false
  # An action by its name on the wire.
  @spec action(String.t()) :: atom
  for {action, _keys} <- @actions do
    def action(unquote(Atom.to_string(action))), do: unquote(action)
  end

  def action(_newer), do: :other

  for ready <- @ready do
    defp rule(unquote(Atom.to_string(ready))), do: unquote(ready)
  end

  defp rule("authorizer"), do: :authorizer
  defp rule(index) when is_integer(index), do: index
  defp rule(_none), do: nil
end
