defmodule EctoLibSql.ChangeLog.Options do
  @moduledoc false
  # What the functions of `EctoLibSql.ChangeLog` take, checked before a statement runs, and what the migrations of a log take. The
  # options of a `Consumer` that it hands on are these as well.

  alias EctoLibSql.KnownOptions
  alias LibsqlPort.OptionCheck

  @operations [:insert, :update, :delete]
  @limits [rows_max: 1_000_000, bytes_max: 268_435_456, age_max_ms: :infinity]

  @doc "Options of a function of `ChangeLog`, by name, with their defaults; raises `LibsqlPort.Error` for others."
  @spec check!(String.t(), term, [atom]) :: map
  def check!(function, options, names) do
    "EctoLibSql.ChangeLog.#{function}"
    |> KnownOptions.check!(options, known([:log | names]))
    |> Map.update!(:log, &to_string/1)
  end

  @doc "Raises unless this may be the name of a consumer."
  @spec consumer!(String.t(), term) :: :ok
  def consumer!(function, name),
    do:
      KnownOptions.argument!("EctoLibSql.ChangeLog.#{function}", "the consumer", name, KnownOptions.name(nil))

  @doc "Raises unless this may be the number of a change."
  @spec sequence!(term) :: :ok
  def sequence!(sequence) do
    takes = {nil, &(is_integer(&1) and &1 >= 0), "an integer, 0 or more"}
    KnownOptions.argument!("EctoLibSql.ChangeLog.ack/4", "the sequence", sequence, takes)
  end

  @doc "Whether these are options of `ChangeLog.trim/2`, but for `:log`."
  @spec limits?(term) :: boolean
  def limits?(options) do
    Keyword.keyword?(options) and
      match?({:ok, _}, KnownOptions.check("", options, known(Keyword.keys(@limits))))
  end

  @doc "What options take, for `KnownOptions`."
  @spec known([atom]) :: KnownOptions.known()
  def known(names), do: Enum.map(names, &{&1, takes(&1)})

  defp takes(:log), do: {"change_log", &name?/1, "the name of a log, a string or an atom"}
  defp takes(:limit), do: KnownOptions.positive(500)
  defp takes(:from), do: {:beginning, &(&1 in [:beginning, :end]), ":beginning or :end"}

  defp takes(name) when name in [:rows_max, :bytes_max, :age_max_ms] do
    {@limits[name], &(&1 == :infinity or (is_integer(&1) and &1 >= 0)), "an integer, 0 or more, or :infinity"}
  end

  # --- migrations -----------------------------------------------------------------------------------------------

  @doc "Options of `create_change_log/2` and `drop_change_log/2`, which takes those with which it is taken back."
  @spec of_migration!(String.t(), term) :: map
  def of_migration!(function, options) do
    options = KnownOptions.check!("EctoLibSql.Migration.#{function}", options, of_migration())

    %{
      options
      | log: to_string(options.log),
        columns: options.columns && Enum.map(options.columns, &to_string/1)
    }
  end

  defp of_migration do
    [
      log: takes(:log),
      columns:
        {nil, &(is_nil(&1) or (&1 != [] and OptionCheck.list_of?(&1, fn name -> name?(name) end))),
         "a list of at least one column, or nil for all (`values: :none` keeps the keys alone)"},
      operations:
        {@operations, &(&1 != [] and OptionCheck.list_of?(&1, fn name -> name in @operations end)),
         "a list of some of :insert, :update and :delete"},
      values: {:old_and_new, &(&1 in [:none, :new, :old_and_new]), ":none, :new or :old_and_new"},
      replace: {true, &is_boolean/1, "true or false"},
      repo: {nil, &(is_nil(&1) or is_atom(&1) or is_pid(&1)), "a Repo"}
    ]
  end

  @doc "Raises unless this may be the name of a table."
  @spec table!(String.t(), term) :: :ok
  def table!(function, table),
    do:
      KnownOptions.argument!(
        "EctoLibSql.Migration.#{function}",
        "the table",
        table,
        {nil, &name?/1, "a string or an atom"}
      )

  defp name?(name) when is_atom(name), do: name not in [nil, true, false]

  defp name?(name) do
    {_default, fits?, _takes} = KnownOptions.name(nil)
    fits?.(name)
  end
end
