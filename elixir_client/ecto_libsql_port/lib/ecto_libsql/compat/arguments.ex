defmodule EctoLibSql.Arguments do
  @moduledoc false
  # Parameters as ecto_libsql takes them when its functions are called by hand: named ones as a map whose surplus is
  # ignored. Called by `EctoLibSql.Native` and `EctoLibSql.ByHand`.

  alias EctoLibSql.{Parameter, Query}
  alias LibsqlPort.Error

  @doc """
  The values of a map in the order of a statement's parameters, whose names are those of `LibsqlPort.Description`.

      iex> EctoLibSql.Arguments.positional([":id", "@name"], %{"name" => "Ada", id: 1})
      {:ok, [1, "Ada"]}
  """
  @spec positional([String.t() | nil], map) :: {:ok, [term]} | {:error, Error.t()}
  def positional(names, given) do
    given = Map.new(given, fn {name, value} -> {bare(to_string(name)), value} end)
    bare = Enum.map(names, &bare/1)

    cond do
      Enum.any?(bare, &(&1 == nil)) ->
        wrong(
          "Cannot use named parameter map with SQL that has positional parameters: give a list of #{length(names)}"
        )

      (missing = Enum.reject(bare, &is_map_key(given, &1))) != [] ->
        wrong("Missing required parameters: #{listed(missing)}. The statement has #{listed(bare)}")

      true ->
        {:ok, Enum.map(bare, &Map.fetch!(given, &1))}
    end
  end

  defp wrong(message), do: {:error, Error.new(:parameter_name, message)}

  defp bare(nil), do: nil
  defp bare(<<prefix, name::binary>>) when prefix in [?:, ?@, ?$], do: name
  defp bare("?" <> _number), do: nil
  defp bare(name), do: name

  defp listed(names), do: Enum.map_join(names, ", ", &(":" <> &1))

  @doc "Values as the driver takes them."
  @spec encode([term]) :: [term]
  def encode(values), do: %Query{} |> DBConnection.Query.encode(values, []) |> Parameter.by_content()
end
