defmodule EctoLibSql.Direct do
  @moduledoc false
  # The driver behind a Repo or without one: for what is no query, such as locks, storage and structure.

  alias EctoLibSql.{PoolGauges, Protocol, Query, SharedSidecar, State}

  @doc """
  The sidecar of a Repo and the path of its database, `nil` for one in memory and one on a server. Takes what Ecto keeps of a Repo,
  or the state of one of its connections.
  """
  @spec database(map | State.t()) :: {LibsqlPort.sidecar(), String.t() | nil}
  def database(%State{sidecar: sidecar, conn: conn}), do: {sidecar, file(conn)}
  def database(meta), do: meta |> state() |> database()

  @doc "The sidecar of a Repo and one of its connections, to be read and not to be used: it is somebody else's next."
  @spec connection(map) :: {LibsqlPort.sidecar(), LibsqlPort.Connection.t()}
  def connection(meta) do
    %State{sidecar: sidecar, conn: conn} = state(meta)
    {sidecar, conn}
  end

  @doc "The state of one of the connections of a Repo, to be read and not to be used. Raises if none is free in time."
  @spec state(map) :: State.t()
  def state(%{pid: pool} = meta) do
    pool =
      case meta do
        %{partition_supervisor: {name, _}} -> {:via, PartitionSupervisor, {name, self()}}
        _ -> pool
      end

    case DBConnection.execute(pool, %Query{operation: :state}, [], PoolGauges.observed(meta.opts)) do
      {:ok, _query, state} -> state
      {:error, error} -> raise error
    end
  end

  defp file(%{path: path}), do: if(is_binary(path) and File.exists?(path), do: path)

  @doc "Runs a function with a connection of its own, made by the options of a Repo."
  @spec with_connection(keyword, (LibsqlPort.Connection.t() -> result)) :: result | {:error, Exception.t()}
        when result: var
  def with_connection(options, fun) do
    # Nobody needs to have started the application: Mix tasks have not.
    {:ok, _} = Application.ensure_all_started(:ecto_libsql_port)

    # That of the Repo may not run; one like it has its program, its limits and its SQL functions.
    case options[:sidecar_options] || [] do
      [] ->
        connected(Keyword.drop(options, [:sidecar]), fun)

      given ->
        SharedSidecar.with_own(given, &connected(Keyword.put(options, :sidecar, &1), fun))
    end
  end

  defp connected(options, fun) do
    with {:ok, %State{conn: conn} = state} <- Protocol.connect(options) do
      try do
        fun.(conn)
      after
        Protocol.disconnect(nil, state)
      end
    end
  end
end
