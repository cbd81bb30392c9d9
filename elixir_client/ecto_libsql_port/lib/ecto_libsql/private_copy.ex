defmodule EctoLibSql.PrivateCopy do
  @moduledoc false
  # Connections that each work on a copy of a database, in memory: `EctoLibSql.Sandbox` switches this on for a pool,
  # `EctoLibSql.Protocol` asks when it opens a connection. The switch is a table of the supervisor around the pool,
  # so it ends with it.

  @type switch :: :ets.table()
  @type source :: keyword

  @doc "A switch for one pool, off."
  @spec new() :: switch
  def new, do: :ets.new(__MODULE__, [:public, read_concurrency: true])

  @doc "From now on connections of the pool get copies of `source`, the options to open it; `nil` ends it."
  @spec put(switch, source | nil) :: :ok
  def put(switch, source) do
    :ets.insert(switch, {:source, source})
    :ok
  end

  @doc "The database of which the connections of a pool get copies; `nil` for none."
  @spec source(switch | nil) :: source | nil
  def source(nil), do: nil

  def source(switch) do
    case :ets.lookup(switch, :source) do
      [source: source] -> source
      [] -> nil
    end
  end

  @doc "A connection to a fresh copy. The copy lives as long as the connection: nobody else knows its name."
  @spec connect(LibsqlPort.sidecar(), source, keyword) ::
          {:ok, LibsqlPort.Connection.t()} | {:error, LibsqlPort.Error.t()}
  def connect(sidecar, source, options) do
    name = "private-#{System.unique_integer([:positive])}"
    # What concerns a file does not concern the copy.
    options = Keyword.drop(options, [:database, :mode, :journal_mode, :locking_mode, :auto_vacuum])

    with {:ok, copy} <- LibsqlPort.connect(sidecar, [database: name, memory: true] ++ options) do
      # VACUUM computes indexes on expressions anew, for which it needs the functions that they call.
      case fill(sidecar, source ++ Keyword.take(options, [:functions]), name) do
        :ok -> {:ok, copy}
        # The pool tries again, and the process that it tries in goes on.
        {:error, _} = error -> with :ok <- LibsqlPort.close(copy), do: error
      end
    end
  end

  defp fill(sidecar, source, name) do
    with {:ok, conn} <- LibsqlPort.connect(sidecar, source) do
      result = LibsqlPort.query(conn, "VACUUM INTO ?1", ["file:/#{name}?vfs=memdb"])
      LibsqlPort.close(conn)
      with {:ok, _} <- result, do: :ok
    end
  end
end
