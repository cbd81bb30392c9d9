defmodule EctoLibSql.Pragma do
  @moduledoc """
  Pragmas of a connection that was opened with `EctoLibSql.connect/1`, with the results as rows. For typed values, and
  for all other pragmas, see `LibsqlPort.Pragma`; those of a Repo are its options (`EctoLibSql.Options`).

      {:ok, state} = EctoLibSql.connect(database: "app.db")
      :ok = EctoLibSql.Pragma.enable_foreign_keys(state)
      {:ok, %EctoLibSql.Result{rows: [[1]]}} = EctoLibSql.Pragma.foreign_keys(state)
  """

  alias EctoLibSql.{Handles, Result, State}
  alias EctoLibSql.Native.Answer

  @type answer :: {:ok, Result.t()} | {:error, term}

  @journal_modes [:delete, :wal, :memory, :persist, :truncate, :off]
  @synchronous_levels [:off, :normal, :full, :extra]

  @doc """
  Runs a pragma as it is written. One that SQLite does not know yields no rows.

      {:ok, _} = EctoLibSql.Pragma.query(state, "PRAGMA cache_size = -16000")
  """
  @spec query(State.t(), String.t()) :: answer
  def query(%State{} = state, sql) when is_binary(sql) do
    with {:ok, conn} <- Handles.connection(state),
         {:ok, result} <- LibsqlPort.query(conn, sql) do
      {:ok, Answer.result(result, :pragma)}
    end
    |> Answer.text()
  end

  @doc "Lets foreign keys be checked. They are from the start, unless an option says otherwise."
  @spec enable_foreign_keys(State.t()) :: :ok | {:error, term}
  def enable_foreign_keys(%State{} = state), do: done(query(state, "PRAGMA foreign_keys = ON"))

  @doc "Lets foreign keys go unchecked; in a transaction SQLite ignores this."
  @spec disable_foreign_keys(State.t()) :: :ok | {:error, term}
  def disable_foreign_keys(%State{} = state), do: done(query(state, "PRAGMA foreign_keys = OFF"))

  @doc "Whether foreign keys are checked: `[[1]]` or `[[0]]`."
  @spec foreign_keys(State.t()) :: answer
  def foreign_keys(%State{} = state), do: query(state, "PRAGMA foreign_keys")

  @doc """
  Sets the journal mode and answers the one that holds then. A mode other than `:wal` gives up reading while another
  connection writes.
  """
  @spec set_journal_mode(State.t(), :delete | :wal | :memory | :persist | :truncate | :off) :: answer
  def set_journal_mode(%State{} = state, mode) when mode in @journal_modes do
    query(state, "PRAGMA journal_mode = #{mode}")
  end

  @doc "The journal mode, as `[[\"wal\"]]`."
  @spec journal_mode(State.t()) :: answer
  def journal_mode(%State{} = state), do: query(state, "PRAGMA journal_mode")

  @doc "Sets how far a commit waits for the disk, by name or number."
  @spec set_synchronous(State.t(), :off | :normal | :full | :extra | 0..3) :: answer
  def set_synchronous(%State{} = state, level) when level in @synchronous_levels or level in 0..3 do
    query(state, "PRAGMA synchronous = #{level}")
  end

  @doc "How far a commit waits for the disk, as a number: `[[1]]` for `:normal`."
  @spec synchronous(State.t()) :: answer
  def synchronous(%State{} = state), do: query(state, "PRAGMA synchronous")

  @doc "The columns of a table, one row for each: position, name, type, not null, default, place in the primary key."
  @spec table_info(State.t(), atom | String.t()) :: answer
  def table_info(%State{} = state, table) when is_atom(table), do: table_info(state, Atom.to_string(table))

  def table_info(%State{} = state, table) when is_binary(table) do
    if Regex.match?(~r/\A[a-zA-Z_][a-zA-Z0-9_.]*\z/, table) do
      query(state, "PRAGMA #{schema(table)}")
    else
      {:error, {:invalid_identifier, table}}
    end
  end

  # A table of an attached database is named with it.
  defp schema(table) do
    case String.split(table, ".", parts: 2) do
      [schema, table] -> ~s|"#{schema}".table_info("#{table}")|
      [table] -> ~s|table_info("#{table}")|
    end
  end

  @doc "The tables and views, one row for each: schema, name, type, columns, without rowid, strict."
  @spec table_list(State.t()) :: answer
  def table_list(%State{} = state), do: query(state, "PRAGMA table_list")

  @doc "The number that an application keeps in the file."
  @spec user_version(State.t()) :: answer
  def user_version(%State{} = state), do: query(state, "PRAGMA user_version")

  @doc "Sets the number that an application keeps in the file."
  @spec set_user_version(State.t(), integer) :: answer
  def set_user_version(%State{} = state, version) when is_integer(version) do
    query(state, "PRAGMA user_version = #{version}")
  end

  defp done({:ok, _result}), do: :ok
  defp done(error), do: error
end
