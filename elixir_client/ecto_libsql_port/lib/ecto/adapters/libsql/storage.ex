defmodule Ecto.Adapters.LibSql.Storage do
  @moduledoc false
  # `mix ecto.create`, `mix ecto.drop` and the question whether there is a database. Called by the adapter.

  alias Ecto.Adapters.LibSql.MigrationLock
  alias EctoLibSql.{AdminApi, Direct, Options}

  # The first bytes of every database that has something in it. https://sqlite.org/fileformat.html
  @magic "SQLite format 3\0"

  @doc """
  Makes the file. A database in memory needs none, and is there as soon as its Repo is. An error for a file that is something
  else. On a server it is a namespace that is made.
  """
  @spec up(keyword) :: :ok | {:error, :already_up} | {:error, term}
  def up(options) do
    case path!(options) do
      :memory ->
        :ok

      :remote ->
        create_namespace(options)

      path ->
        if File.exists?(path), do: there(path), else: create(path, options)
    end
  end

  defp there(path) do
    if something_else?(path),
      do: {:error, "#{path} is not a database. Correct the path"},
      else: {:error, :already_up}
  end

  defp create(path, options) do
    with :ok <- path |> Path.dirname() |> File.mkdir_p() do
      options |> Keyword.drop([:attach]) |> Direct.with_connection(&written/1)
    end
  end

  # The first sync has written it.
  defp written(%{mode: :replica}), do: :ok

  # A database of SQLite is an empty file until something is in it; the version makes it one.
  defp written(conn), do: with({:ok, _} <- LibsqlPort.query(conn, "PRAGMA user_version = 0"), do: :ok)

  # Without an admin API there is nothing to make: the server has the database, or its operator makes it.
  defp create_namespace(options) do
    case {options[:admin_url], options[:namespace]} do
      {url, namespace} when url != nil and namespace != nil ->
        case AdminApi.create(options) do
          :ok -> :ok
          :exists -> {:error, :already_up}
          {:error, message} -> {:error, message}
        end

      _no_namespace ->
        case answers(options) do
          :ok -> {:error, :already_up}
          {:error, error} -> {:error, "#{Exception.message(error)}. #{no_admin("created")}"}
        end
    end
  end

  defp no_admin(what) do
    "A database on a server is #{what} by its operator, or by the server's admin API if the Repo's options :admin_url and :namespace " <>
      "name both"
  end

  defp answers(options) do
    Direct.with_connection(options, fn conn ->
      with {:ok, _} <- LibsqlPort.query(conn, "SELECT 1"), do: :ok
    end)
  end

  @doc """
  Removes the file and all that stands beside it. An error for a file that is something else: a wrong path, such as that of an
  environment variable, would cost it.
  """
  @spec down(keyword) :: :ok | {:error, :already_down} | {:error, term}
  def down(options) do
    case path!(options) do
      :memory ->
        :ok

      :remote ->
        drop_namespace(options)

      path ->
        if something_else?(path),
          do: {:error, "#{path} is not a database. Correct the path, or remove the file by hand"},
          else: remove(path)
    end
  end

  defp drop_namespace(options) do
    case {options[:admin_url], options[:namespace]} do
      {url, namespace} when url != nil and namespace != nil ->
        case AdminApi.delete(options) do
          :ok -> :ok
          :missing -> {:error, :already_down}
          {:error, message} -> {:error, message}
        end

      _no_namespace ->
        {:error, no_admin("removed")}
    end
  end

  # An empty file is a database that nothing was written to. What cannot be read is left to whoever opens or removes it.
  defp something_else?(path) do
    case File.open(path, [:read, :raw], &:file.read(&1, byte_size(@magic))) do
      {:ok, {:ok, first}} -> first != @magic
      {:ok, _empty} -> false
      {:error, :eisdir} -> true
      {:error, _reason} -> false
    end
  end

  defp remove(path) do
    result =
      case File.rm(path) do
        :ok -> :ok
        {:error, :enoent} -> {:error, :already_down}
        {:error, reason} -> {:error, "#{path} could not be removed: #{:file.format_error(reason)}"}
      end

    for beside <- beside(path), do: File.rm(beside)
    result
  end

  # The log and its index, the rollback journal, the files by which writers and migrators take turns, and those of a replica.
  defp beside(path) do
    lock = MigrationLock.path(path)

    of_both =
      for file <- [path, lock], suffix <- ["-wal", "-shm", "-journal", "-turn", ""], file <> suffix != path do
        file <> suffix
      end

    [path <> "-client_wal_index", path <> "-replica" | of_both]
  end

  @doc "Whether there is a database."
  @spec status(keyword) :: :up | :down
  def status(options) do
    case path!(options) do
      :memory -> :up
      :remote -> if answers(options) == :ok, do: :up, else: :down
      path -> if File.exists?(path), do: :up, else: :down
    end
  end

  defp path!(options) do
    case Options.path(options) do
      {:ok, path} ->
        path

      {:error, message} ->
        raise ArgumentError, """
        #{message}. The configuration of a Repo looks like this:

            config :my_app, MyApp.Repo, database: "path/to/app.db"
        """
    end
  end
end
