defmodule EctoLibSql.Settings do
  @moduledoc """
  The options of the whole application, `config :ecto_libsql_port, datetime_type: :text_datetime`: how values are stored. What
  they are stands in `EctoLibSql.Options`.

  They are read when the application `:ecto_libsql_port` starts and each time that a Repo or pool starts, not for each value of
  each row. Whoever changes one at run time, as a test may, calls `reload/0`.
  """

  alias EctoLibSql.Error

  @app :ecto_libsql_port

  # Name, default, what it takes.
  @settings [
    binary_id_type: {:string, [:string, :binary]},
    uuid_type: {:string, [:string, :binary]},
    map_type: {:string, [:string, :binary]},
    array_type: {:string, [:string, :binary]},
    datetime_type: {:iso8601, [:iso8601, :text_datetime]},
    utc_designator: {false, [true, false]},
    json_library: {Jason, :module},
    untyped_binaries: {:text, [:text, :text_or_blob]},
    unique_constraint_names: {:index, [:index, :columns]}
  ]

  @doc false
  @spec names() :: [atom]
  def names, do: Keyword.keys(@settings)

  @doc """
  Reads the settings anew. Returns `:ok`, or an error of code `:invalid_option` that names the setting and what it takes; then
  the others are read all the same.

      iex> Application.put_env(:ecto_libsql_port, :datetime_type, :text_datetime)
      iex> EctoLibSql.Settings.reload()
      :ok
      iex> Application.put_env(:ecto_libsql_port, :datetime_type, :unix)
      iex> {:error, error} = EctoLibSql.Settings.reload()
      iex> error.message
      "the option :datetime_type takes :iso8601 or :text_datetime, not :unix"
      iex> Application.delete_env(:ecto_libsql_port, :datetime_type)
      iex> EctoLibSql.Settings.reload()
      :ok
  """
  @spec reload() :: :ok | {:error, Error.t()}
  def reload do
    read = for name <- names(), do: {name, read(name)}
    # Nothing happens if they are the same.
    :persistent_term.put(__MODULE__, for({name, {:ok, value}} <- read, into: %{}, do: {name, value}))
    Enum.find_value(read, :ok, fn {_name, read} -> if match?({:error, _}, read), do: read end)
  end

  @doc false
  # Before the application is started, and for one that has a wrong value, the configuration is asked. Raises for a wrong one.
  @spec get(atom) :: term
  def get(name) do
    case :persistent_term.get(__MODULE__, nil) do
      %{^name => value} ->
        value

      _ ->
        case read(name) do
          {:ok, value} -> value
          {:error, error} -> raise ArgumentError, error.message
        end
    end
  end

  defp read(name) do
    {default, takes} = @settings[name]
    value = Application.get_env(@app, name, default)

    if fits?(value, takes),
      do: {:ok, value},
      else: {:error, %Error{code: :invalid_option, message: message(name, takes, value)}}
  end

  defp fits?(value, :module), do: is_atom(value) and value not in [nil, true, false]
  defp fits?(value, values), do: value in values

  defp message(name, takes, value),
    do: "the option #{inspect(name)} takes #{takes(takes)}, not #{inspect(value)}"

  defp takes(:module), do: "a module"
  defp takes(values), do: Enum.map_join(values, " or ", &inspect/1)
end
