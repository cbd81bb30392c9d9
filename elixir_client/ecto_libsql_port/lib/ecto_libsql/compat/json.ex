defmodule EctoLibSql.JSON do
  @moduledoc """
  SQLite's JSON functions, asked directly through a connection that was opened with `EctoLibSql.connect/1`.

      {:ok, state} = EctoLibSql.connect(database: ":memory:")
      {:ok, "dark"} = EctoLibSql.JSON.extract(state, ~s({"theme":"dark"}), "$.theme")

  Each takes JSON as text or in SQLite's binary form (JSONB), which is marked, `{:blob, bytes}`; unmarked bytes are taken
  for it if they are no text. In queries of a Repo none of this is needed: there
  `json_extract_path/2` and `fragment/1` do it in the database.

  `json_length/3`, `depth/2` and `keys/3` are functions that SQLite lacks, made of those that it has.
  """

  alias EctoLibSql.{Arguments, Handles, State}
  alias EctoLibSql.Native.Answer

  @type json :: String.t() | binary | {:blob, binary}
  @type answer(type) :: {:ok, type} | {:error, term}

  defguardp is_json(json) when is_binary(json) or (is_tuple(json) and elem(json, 0) == :blob)

  # --- asking ---------------------------------------------------------------------------------------------------

  @doc "The value at a path: text, number or `nil`; arrays and objects as JSON."
  @spec extract(State.t(), json, String.t()) :: answer(term)
  def extract(%State{} = state, json, path) when is_json(json) and is_binary(path) do
    one(state, "SELECT json_extract(?1, ?2)", [json, path])
  end

  @doc """
  The type of the value at a path, in SQLite's words: `"null"`, `"true"`, `"false"`, `"integer"`, `"real"`, `"text"`,
  `"array"`, `"object"`; `nil` if there is none.
  """
  @spec type(State.t(), json, String.t()) :: answer(String.t() | nil)
  def type(%State{} = state, json, path \\ "$") when is_json(json) and is_binary(path) do
    one(state, "SELECT json_type(?1, ?2)", [json, path])
  end

  @doc "Whether a text is JSON."
  @spec is_valid(State.t(), String.t()) :: answer(boolean)
  def is_valid(%State{} = state, json) when is_json(json) do
    with {:ok, number} <- one(state, "SELECT json_valid(?1)", [json]), do: {:ok, number == 1}
  end

  @doc "How many elements an array or members an object has; `nil` for another value."
  @spec json_length(State.t(), json, String.t()) :: answer(non_neg_integer | nil)
  def json_length(%State{} = state, json, path \\ "$") when is_json(json) and is_binary(path) do
    one(
      state,
      """
      SELECT CASE WHEN json_type(?1, ?2) IN ('array', 'object')
        THEN (SELECT count(*) FROM json_each(?1, ?2)) END
      """,
      [json, path]
    )
  end

  @doc "How deep a value is nested: 1 for a scalar, an empty array or object."
  @spec depth(State.t(), json) :: answer(pos_integer)
  def depth(%State{} = state, json) when is_json(json) do
    one(
      state,
      """
      WITH RECURSIVE
        node AS MATERIALIZED (SELECT id, parent FROM json_tree(?1)),
        level(id, depth) AS (
          SELECT id, 1 FROM node WHERE parent IS NULL
          UNION ALL
          SELECT node.id, level.depth + 1 FROM level JOIN node ON node.parent = level.id
        )
      SELECT max(depth) FROM level
      """,
      [json]
    )
  end

  @doc "The names in an object as a JSON array, sorted; `nil` for another value."
  @spec keys(State.t(), json, String.t()) :: answer(String.t() | nil)
  def keys(%State{} = state, json, path \\ "$") when is_json(json) and is_binary(path) do
    one(
      state,
      """
      SELECT CASE WHEN json_type(?1, ?2) = 'object'
        THEN (SELECT json_group_array(key) FROM (SELECT key FROM json_each(?1, ?2) ORDER BY key)) END
      """,
      [json, path]
    )
  end

  @doc "The elements of an array or members of an object: key, value, type."
  @spec each(State.t(), json, String.t()) :: answer([{term, term, String.t()}])
  def each(%State{} = state, json, path \\ "$") when is_json(json) and is_binary(path) do
    many(state, "SELECT key, value, type FROM json_each(?1, ?2)", [json, path])
  end

  @doc "All values within: full path, value (`nil` for arrays and objects), type."
  @spec tree(State.t(), json, String.t()) :: answer([{String.t(), term, String.t()}])
  def tree(%State{} = state, json, path \\ "$") when is_json(json) and is_binary(path) do
    many(state, "SELECT fullkey, atom, type FROM json_tree(?1, ?2)", [json, path])
  end

  # --- making ---------------------------------------------------------------------------------------------------

  @doc "An array of values."
  @spec array(State.t(), [term]) :: answer(String.t())
  def array(%State{} = state, values) when is_list(values), do: call(state, "json_array", values)

  @doc """
  An object of names and values in turn.

      {:ok, ~s({"id":1,"name":"Ada"})} = EctoLibSql.JSON.object(state, ["id", 1, "name", "Ada"])
  """
  @spec object(State.t(), [term]) :: answer(String.t())
  def object(%State{} = state, pairs) when is_list(pairs) do
    if rem(length(pairs), 2) == 0 do
      call(state, "json_object", pairs)
    else
      {:error, {:invalid_arguments, "names and values come in pairs, not #{length(pairs)} of them"}}
    end
  end

  @doc "A value as JSON text."
  @spec json_quote(State.t(), term) :: answer(String.t())
  def json_quote(%State{} = state, value), do: call(state, "json_quote", [value])

  @doc "JSON without its spaces (`:json`), or in SQLite's binary form (`:jsonb`)."
  @spec convert(State.t(), json, :json | :jsonb) :: answer(binary)
  def convert(state, json, format \\ :json)
  def convert(%State{} = state, json, :json) when is_json(json), do: call(state, "json", [json])
  def convert(%State{} = state, json, :jsonb) when is_json(json), do: call(state, "jsonb", [json])

  def convert(%State{}, json, other) when is_json(json) do
    raise ArgumentError, "JSON is converted to :json or :jsonb, not to #{inspect(other)}"
  end

  # --- changing -------------------------------------------------------------------------------------------------

  @doc "Puts a value at a path, whether there is one or not."
  @spec set(State.t(), json, String.t(), term) :: answer(String.t())
  def set(%State{} = state, json, path, value) when is_json(json) and is_binary(path) do
    call(state, "json_set", [json, path, value])
  end

  @doc "Puts a value at a path where there is one."
  @spec replace(State.t(), json, String.t(), term) :: answer(String.t())
  def replace(%State{} = state, json, path, value) when is_json(json) and is_binary(path) do
    call(state, "json_replace", [json, path, value])
  end

  @doc "Puts a value at a path where there is none; `$[#]` is behind the end of an array."
  @spec insert(State.t(), json, String.t(), term) :: answer(String.t())
  def insert(%State{} = state, json, path, value) when is_json(json) and is_binary(path) do
    call(state, "json_insert", [json, path, value])
  end

  @doc "Removes what is at a path, or at one path after the other."
  @spec remove(State.t(), json, String.t() | [String.t()]) :: answer(String.t())
  def remove(%State{} = state, json, paths) when is_json(json) do
    call(state, "json_remove", [json | List.wrap(paths)])
  end

  @doc "Merges an object into another (RFC 7396): `null` removes a member."
  @spec patch(State.t(), json, json) :: answer(String.t())
  def patch(%State{} = state, json, patch) when is_json(json) and is_json(patch) do
    call(state, "json_patch", [json, patch])
  end

  # --- SQL ------------------------------------------------------------------------------------------------------

  @doc """
  SQL for a member of a column: with `:arrow` as JSON, with `:double_arrow` as an SQL value.

      iex> EctoLibSql.JSON.arrow_fragment("settings", "theme", :double_arrow)
      "settings ->> 'theme'"
  """
  @spec arrow_fragment(String.t(), String.t() | integer, :arrow | :double_arrow) :: String.t()
  def arrow_fragment(column, path, operator \\ :arrow)
  def arrow_fragment(column, path, :arrow), do: "#{identifier!(column)} -> #{literal(path)}"
  def arrow_fragment(column, path, :double_arrow), do: "#{identifier!(column)} ->> #{literal(path)}"

  defp identifier!(column) when is_binary(column) do
    if Regex.match?(~r/\A[a-zA-Z_][a-zA-Z0-9_]*\z/, column) do
      column
    else
      raise ArgumentError,
            "json_column must be a valid SQL identifier: letters, digits and _, not #{inspect(column)}"
    end
  end

  defp literal(index) when is_integer(index), do: Integer.to_string(index)
  defp literal(path) when is_binary(path), do: "'" <> String.replace(path, "'", "''") <> "'"

  # --- requests -------------------------------------------------------------------------------------------------

  defp call(state, function, arguments) do
    one(state, "SELECT #{function}(#{Enum.map_join(arguments, ", ", fn _ -> "?" end)})", arguments)
  end

  defp one(state, sql, arguments) do
    with {:ok, conn} <- Handles.connection(state),
         {:ok, [value]} <- LibsqlPort.query_one(conn, sql, encoded(arguments)) do
      {:ok, value}
    end
    |> Answer.text()
  end

  defp many(state, sql, arguments) do
    with {:ok, conn} <- Handles.connection(state),
         {:ok, result} <- LibsqlPort.query(conn, sql, encoded(arguments)) do
      {:ok, Enum.map(result.rows, &List.to_tuple/1)}
    end
    |> Answer.text()
  end

  # JSON text is UTF-8, so what is not can only be JSON's binary form. Nothing of it is stored here.
  defp encoded(arguments) do
    arguments
    |> Enum.map(fn value ->
      if is_binary(value) and not String.valid?(value), do: {:blob, value}, else: value
    end)
    |> Arguments.encode()
  end
end
