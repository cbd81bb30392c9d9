defmodule LibsqlPort.Replica do
  @moduledoc """
  Embedded replicas: a database on a server, and a file beside the application that follows it.

      {:ok, conn} = LibsqlPort.connect(MyApp.Sidecar, database: "replica.db", url: "libsql://app.example.org", auth_token: token)

  Queries read the file, at the speed of a local database and without the server. What writes, and all of a transaction, goes to the
  server. The file gets what the server has by a *sync*: one follows each commit of the connection before the call returns, so that a
  process reads what it has written; others are asked for (`sync/2`) or come by themselves (`:sync_interval`).

  A sync that has begun goes on whatever becomes of its caller: a `:timeout` ends the wait for it, nothing else. Those who wait at the
  same time share one.

  A file is replicated by one sidecar. Another one gets the error `:busy`, which names the first one's pid. Its connections share the
  file, and each of them reads states that the server has committed once, whole.
  """

  alias LibsqlPort.{Connection, Error, Options}

  @typedoc """
  A frame of the server's log, with the log that it is of. When the server begins its log anew, as it does after a crash, the numbers
  begin anew too: frames of different logs are not to be compared.
  """
  @type frame :: {log :: String.t(), index :: non_neg_integer}

  @typedoc """
  Where a replica is:

    * `path` – its file
    * `log` – which log of the server it follows, a string; `nil` before the first sync
    * `index` – the last frame of it that was committed here; `nil` if there is none
    * `write_index` – a frame of `log` up to which the file has all that this sidecar had committed on the server when it was synced
      last; `nil` if it has committed nothing, or in another log
    * `server_index` – the last frame that the server had when it was asked last; `nil` before, and of an empty database
    * `age` – ms since the last successful sync of this sidecar began, so that what is read is not older than that; `nil` without one
    * `syncing` – whether a sync runs, `frames_done` and `frames_known` how far it has come: frames that have come, and frames that were
      missing as it began (a snapshot takes fewer); `nil` if none runs
    * `error` – why the last sync failed, an `LibsqlPort.Error`; `nil` if it did not
  """
  @type status :: %{
          path: String.t(),
          log: String.t() | nil,
          index: non_neg_integer | nil,
          server_index: non_neg_integer | nil,
          write_index: non_neg_integer | nil,
          age: non_neg_integer | nil,
          syncing: boolean,
          frames_done: non_neg_integer | nil,
          frames_known: non_neg_integer | nil,
          error: Error.t() | nil
        }

  @doc """
  Brings the replica up to what its server has as the call begins. Returns where it is then.

  Returns an error of code `:remote_unavailable` (not reached, or silent for too long), `:unauthorized`, `:forbidden` or
  `:remote_protocol`, and `:timeout`, after which the sync goes on. The replica can be read in any case. On a connection that is to no
  replica the error is `:unsupported`.

  ## Options

    * `:until` - a frame that the replica has to reach: an index of the log that it follows, or a `t:frame/0`. The server is asked
      again and again until it has that frame. If it has begun another log, the error is `:invalid_option`
    * `:timeout` - milliseconds or `:infinity`

  ## Examples

      {:ok, %{index: index}} = LibsqlPort.Replica.sync(conn)
      {:ok, _status} = LibsqlPort.Replica.sync(conn, until: index, timeout: 5_000)
  """
  @spec sync(Connection.t(), keyword) :: {:ok, status} | {:error, Error.t()}
  def sync(%Connection{} = conn, options \\ []) do
    with :ok <- Options.request(:sync, options), do: Connection.sync(conn, options)
  end

  @doc """
  Returns where the replica is, without asking the server.

  ## Options

    * `:timeout` - milliseconds or `:infinity`

  ## Examples

      {:ok, %{syncing: false, error: nil}} = LibsqlPort.Replica.status(conn)
  """
  @spec status(Connection.t(), keyword) :: {:ok, status} | {:error, Error.t()}
  def status(%Connection{} = conn, options \\ []), do: Connection.replication_status(conn, options)

  @doc """
  Copies what the replica has into a database of its own at `path`, which no server is behind any more. Returns its size in bytes.

  The copy is made beside its place and gets its name when it is whole, so `path` is never half of a database. Where there is a file
  already the error is `:cannot_open`. Writers and syncs go on meanwhile; the copy is of one state. Who subscribes with `hooks: [:freeze]`
  is told how far it is (`LibsqlPort.Changes.Freeze`). Inside a transaction the error is `:transaction_open`.

  ## Options

    * `:timeout` - milliseconds or `:infinity`

  ## Examples

      {:ok, bytes} = LibsqlPort.Replica.freeze(conn, "standalone.db")
  """
  @spec freeze(Connection.t(), Path.t(), keyword) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def freeze(%Connection{} = conn, path, options \\ []), do: Connection.freeze(conn, path, options)

  @doc """
  Makes the replica in the file `path` a database of its own, which is written here from now on. No server is asked.

  Returns an error of code `:busy` while anybody has the file open, of this sidecar or of another program, and `:cannot_open` if it is no
  replica. What the server has and the file has not got is not in it: `sync/2` before, if the server is there. The file cannot be a
  replica again; where it is opened with a `:url`, the error is `:cannot_open`.

  ## Options

    * `:timeout` - milliseconds for it all; default 15000

  ## Examples

      :ok = LibsqlPort.close(conn)
      :ok = LibsqlPort.Replica.promote(MyApp.Sidecar, "replica.db")
      {:ok, conn} = LibsqlPort.connect(MyApp.Sidecar, database: "replica.db")
  """
  @spec promote(LibsqlPort.sidecar(), Path.t(), keyword) :: :ok | {:error, Error.t()}
  def promote(sidecar, path, options \\ []) do
    limit =
      Enum.map(options, fn {name, value} ->
        {if(name == :timeout, do: :connect_timeout, else: name), value}
      end)

    with {:ok, conn} <- LibsqlPort.connect(sidecar, [database: path, promote: true] ++ limit),
         do: LibsqlPort.close(conn)
  end

  @doc """
  Returns the index of the last frame that was committed to the file, `nil` if there is none.

  There is nothing to flush: each transaction of the server is committed to the file as it comes, and what is written goes to the server
  at once. The function is there for those who have it in their code.
  """
  @spec flush(Connection.t(), keyword) :: {:ok, non_neg_integer | nil} | {:error, Error.t()}
  def flush(%Connection{} = conn, options \\ []), do: Connection.flush(conn, options)
end
