defmodule LibsqlPort.Changes do
  @moduledoc """
  A change feed: after each commit, the subscriber gets one message that tells which rows it has changed.

      {:ok, subscription} = LibsqlPort.Changes.subscribe(conn, tables: ["users"], values: :new)
      LibsqlPort.query!(conn, "INSERT INTO users (id, name) VALUES (7, 'Mary')")

      receive do
        %LibsqlPort.Changes{subscription: ^subscription, changes: [change]} ->
          %{operation: :insert, table: "users", key: %{"id" => 7}, new: %{"id" => 7, "name" => "Mary"}} = change
      end

  All connections of the sidecar are listened to, whichever process uses them. The messages of a database come in the order in
  which its transactions have committed. Nothing comes of what was rolled back, be it a transaction, a savepoint or a
  statement that failed. Rows that are changed by triggers, by foreign keys, by conflict resolution (REPLACE deletes the row
  that it replaces) and by `DELETE` without WHERE are told like any other.

  Nobody waits for a subscriber: messages are sent after the commit, and one that does not keep up is told what it has missed.
  What other programs write is not seen.

  ## Messages

  `%LibsqlPort.Changes{}` has the fields

    * `subscription` – what `subscribe/2` returned
    * `database` – the name of the database: its absolute path, `memory:` and its name, or `:memory:`
    * `schema` – the name by which the writing connection knows it: `"main"`, or that of an attached database
    * `connection` – the writing connection's id (`conn.id`)
    * `sequence` – the transaction's number. It grows from message to message, with gaps, and starts anew with each run of the
      sidecar's program. A transaction that writes to two databases has a number, and a message, for each
    * `changes` – a list of `t:change/0` in the order in which they were made

  A change with the operation `:schema` says that the schema has changed, or that the database was vacuumed: tables may be
  others, and rows may have changed that are not listed (those of a dropped table, of `CREATE TABLE … AS`, of a dropped column).

  A change with the operation `:resync` says that transactions are not told in full, and that whoever keeps a copy has to read it
  anew. Its `reason` is

    * `:lagged` – the subscriber has not kept up; the transactions numbered `from` to `to` were left out
    * `:restarted` – the sidecar's program has ended and was started again. What committed after the transaction `from` may not
      have been told
    * `:joined` – the transaction had begun to write before the subscription
    * `:too_large` – the transaction's changes take more than the sidecar's option `:changes_bytes_max`
    * `:unreadable` – the engine could not read one of the rows, or a bug ended the connection while it told of the transaction, which some
      subscribers may have been told of before

  `resync?/1` tells whether a message has such a change. When the feed ends without `unsubscribe/2`, because the sidecar has
  ended for good, or a private database with its connection or its program, or its own process was killed, the subscriber gets
  `%LibsqlPort.Changes.Ended{}`. It is the last message: those that waited for room in the mailbox come before. What waits to be
  asked for by `demand/2` is dropped.

  ## Hooks

  With the option `hooks:` the subscriber is also told of commits, rollbacks and the growth of the WAL, as SQLite's hooks of
  these names tell of them: `%LibsqlPort.Changes.Hook{kind: :commit | :rollback | :wal}`. `:busy` tells of waits for locks of other
  programs (`%LibsqlPort.Changes.Busy{}`), `:progress` how far statements have come that run for long
  (`%LibsqlPort.Changes.Progress{}`), `:sync` how far the sync of a replica has (`%LibsqlPort.Changes.Sync{}`), and `:freeze` its copy
  (`%LibsqlPort.Changes.Freeze{}`). Messages of these four are left out if the subscriber does not keep up. A hook that decides
  about commits is set by `LibsqlPort.set_commit_hook/3`.
  """

  alias LibsqlPort.{Connection, Error}
  alias LibsqlPort.Changes.{Options, Subscription}

  @enforce_keys [:subscription, :database, :schema, :connection, :sequence, :changes]
  defstruct [:subscription, :database, :schema, :connection, :sequence, :changes]

  @typedoc """
  A change of a row:

    * `operation` – `:insert`, `:update` or `:delete`
    * `table` – the table's name
    * `rowid` – the row's rowid after the change, or before it if it is deleted; `nil` in a table WITHOUT ROWID
    * `old_rowid` – the rowid before, if an update has changed it, else `nil`
    * `key` – the columns of the primary key with their values after the change, or before it if the row is deleted; `%{}` if the
      table declares none
    * `old_key` – the same before, if an update has changed them, else `nil`
    * `old` – the columns with their values before the change; `nil` unless asked for, and of an insert
    * `new` – the columns with their values after the change; `nil` unless asked for, and of a deletion

  Columns are named by strings. Values are those of results: text and blobs are binaries. Generated columns that are not stored
  are left out.
  """
  @type row_change :: %{
          operation: :insert | :update | :delete,
          table: String.t(),
          rowid: integer | nil,
          old_rowid: integer | nil,
          key: %{optional(String.t()) => term},
          old_key: %{optional(String.t()) => term} | nil,
          old: %{optional(String.t()) => term} | nil,
          new: %{optional(String.t()) => term} | nil
        }

  @type resync :: %{
          required(:operation) => :resync,
          required(:reason) => :lagged | :restarted | :joined | :too_large | :unreadable,
          optional(:from) => non_neg_integer,
          optional(:to) => non_neg_integer
        }

  @typedoc "A changed row, a change of the schema, or that transactions are not told in full."
  @type change :: row_change | %{operation: :schema} | resync

  @typedoc "The message of a transaction. Its fields are described above; those of a `:resync` that is of no transaction are `nil`."
  @type t :: %__MODULE__{
          subscription: pid,
          database: String.t() | nil,
          schema: String.t() | nil,
          connection: integer | nil,
          sequence: non_neg_integer,
          changes: [change]
        }

  @typedoc "The process that passes the messages on. Its end is no failure of anybody's: a subscriber need not monitor it."
  @type subscription :: pid

  @typedoc "What to subscribe to: a connection's main database, all databases of a sidecar, or one of them by its name (`conn.path`)."
  @type source :: Connection.t() | LibsqlPort.sidecar() | {:database, LibsqlPort.sidecar(), String.t()}

  @doc """
  Subscribes the calling process to the changes of a database: of the main database of a connection, or, with a sidecar, of all its
  databases, those that are opened later included. `{:database, sidecar, name}` is a database by its name (`conn.path`), whether or
  not it is open yet. Returns a process, which each message names.

  The subscription does not end with the connection, but for one to a private database (`:memory:`), which nobody else can write
  to: then it ends by itself, with the code `:connection_closed`. It ends with `unsubscribe/2`, with the subscriber, or with the
  sidecar.

  Names of tables and columns are compared as SQL does, and need not exist: what is created later is told from then on. So a name
  that is misspelled is no error, and nothing is told of it. What is no list of strings is one, of code `:invalid_option`.

  ## Options

    * `:tables` – a list of names; by default all tables, but for those in which virtual tables and vector indexes keep their data
    * `:operations` – a list of `:insert`, `:update` and `:delete`; by default all
    * `:values` – `:none` (the default), `:new` or `:old_and_new`. Values cost the writer a copy of each row
    * `:columns` – a list of the columns whose values are told; by default all
    * `:changed_columns` – a list of columns: an update is told only if it gives one of them another value. Values are the same if they
      have one type and the same bytes: `1` and `1.0` are different, and so are text and a blob of the same bytes, and `0.0` and `-0.0`.
      Generated columns that are computed when they are read (VIRTUAL) are neither told nor compared: name those that they are computed of
    * `:hooks` – a list of `:commit`, `:rollback`, `:wal`, `:busy`, `:progress`, `:sync` and `:freeze`; by default none
    * `:progress_interval` – how often `:progress` tells of a statement, in ms from 10 on; default 1000
    * `:changes` – `false` if the subscriber wants to hear of hooks alone; default `true`
    * `:subscriber` – the process to subscribe; default `self()`
    * `:pending_bytes_max` – how many bytes of messages may be under way to the subscriber's mailbox, those included that wait for
      room in it, before it has fallen behind and is told `:lagged`. A larger message passes while no more than half of that is;
      default 1 MiB
    * `:pending_messages_max` – how full the subscriber's mailbox may be: a message is sent only if fewer messages than that wait
      there, of this subscription or of anybody; default 1000. Further ones wait in the subscription's process, within
      `:pending_bytes_max`, and follow as the subscriber takes what it has, within 50 ms. The messages of others count when the
      mailbox is looked at, which is once for as many messages as had room then: the subscription's own are never more than that
    * `:demand` – `:auto` (the default), or `:manual`: messages come only as far as `demand/2` asks for them, whatever the mailbox
      holds
    * `:transform` – a function that is given each message and returns what is sent in its place, `nil` for nothing. It runs in the
      subscription's process, and must not raise: the feed ends then. While it runs nothing else of the subscription does
    * `:timeout` – in ms or `:infinity`; default 15000

  ## Examples

      {:ok, subscription} = LibsqlPort.Changes.subscribe(conn, operations: [:delete])
      LibsqlPort.query!(conn, "DELETE FROM users WHERE id = ?", [1])

      receive do
        %LibsqlPort.Changes{subscription: ^subscription, changes: [%{operation: :delete, key: %{"id" => 1}}]} -> :ok
      end
  """
  @spec subscribe(source, keyword) ::
          {:ok, subscription} | {:error, Error.t()}
  def subscribe(conn_or_sidecar, options \\ []) do
    with {:ok, options} <- Options.new(options) do
      Subscription.start(source(conn_or_sidecar), options)
    end
  end

  @doc """
  Ends a subscription. No message of it comes after this has returned; those that are in the mailbox of the calling process are
  removed.

  `timeout` is in ms or `:infinity`, by default 5000: a subscription that does not answer within that, because its `:transform` or
  its sidecar hangs, is killed, with what the transformation has linked itself to. A stream that is left waits no longer either.

  ## Examples

      {:ok, subscription} = LibsqlPort.Changes.subscribe(conn)
      LibsqlPort.query!(conn, "DELETE FROM users WHERE id = 1")
      :ok = LibsqlPort.Changes.unsubscribe(subscription)
      # What was told of it, and not received, is gone.
      :nothing = receive(do: (%LibsqlPort.Changes{} -> :told), after: (0 -> :nothing))

  One that hangs:

      {:ok, subscription} = LibsqlPort.Changes.subscribe(conn, transform: fn _message -> Process.sleep(:infinity) end)
      LibsqlPort.query!(conn, "DELETE FROM users")
      :ok = LibsqlPort.Changes.unsubscribe(subscription, 100)
  """
  @spec unsubscribe(subscription, timeout) :: :ok
  def unsubscribe(subscription, timeout \\ 5_000) when is_pid(subscription) do
    Subscription.stop(subscription, timeout)
    flush(subscription)
  end

  defp flush(subscription) do
    receive do
      %{subscription: ^subscription} -> flush(subscription)
    after
      0 -> :ok
    end
  end

  @doc """
  Asks for `count` more messages of a subscription with `demand: :manual`, in addition to those that were asked for before. Returns `:ok`
  at once, also if the subscription has ended.

  ## Examples

      {:ok, subscription} = LibsqlPort.Changes.subscribe(conn, demand: :manual)
      :ok = LibsqlPort.Changes.demand(subscription, 2)
  """
  @spec demand(subscription, pos_integer) :: :ok
  def demand(subscription, count \\ 1) when is_pid(subscription) and is_integer(count) and count > 0 do
    Subscription.demand(subscription, count)
  end

  @doc """
  The messages of a subscription as a stream, which subscribes when it is begun and unsubscribes when it is left. Takes the
  options of `subscribe/2` except `:subscriber`, `:demand` and `:transform`. The stream asks for a message when it wants one, so a slow
  consumer is told what it has missed, by changes with the operation `:schema` or `:resync`, which have no `new`. It ends when the feed does; a failure to subscribe is raised.

      names =
        conn
        |> LibsqlPort.Changes.stream(tables: ["users"], operations: [:insert], values: :new)
        |> Stream.flat_map(& &1.changes)
        |> Stream.filter(&(&1.operation == :insert))
        |> Stream.map(& &1.new["name"])

      reader = Task.async(fn -> Enum.each(names, &IO.puts/1) end)
      Task.shutdown(reader)
  """
  @spec stream(source, keyword) :: Enumerable.t()
  def stream(conn_or_sidecar, options \\ []) do
    of_stream!(options, [:subscriber, :demand, :transform])

    messages(fn options_of_stream ->
      subscribe(conn_or_sidecar, Keyword.merge(options, options_of_stream))
    end)
  end

  @doc false
  # Raises for an option that the stream sets itself: it would be passed over.
  @spec of_stream!(keyword, [atom]) :: :ok
  def of_stream!(options, own) do
    for {name, _value} <- options, name in own do
      raise Error.new(
              :invalid_option,
              "a stream takes no option #{inspect(name)}: its reader is the subscriber, and asks for each message"
            )
    end

    :ok
  end

  @doc false
  # The messages of what `subscribe` subscribes to, with the options that it is given, as a stream. Each bears its
  # subscription, whoever makes them.
  @spec messages((keyword -> {:ok, subscription} | {:error, Exception.t()})) :: Enumerable.t()
  def messages(subscribe) do
    Stream.resource(
      fn ->
        case subscribe.(demand: :manual, subscriber: self()) do
          {:ok, subscription} -> subscription
          {:error, error} -> raise error
        end
      end,
      fn subscription ->
        demand(subscription)

        receive do
          %__MODULE__.Ended{subscription: ^subscription} -> {:halt, subscription}
          %{__struct__: _, subscription: ^subscription} = message -> {[message], subscription}
        end
      end,
      &unsubscribe/1
    )
  end

  @doc """
  Whether a message says that transactions are not told in full, so that whoever keeps a copy has to read it anew.

      iex> LibsqlPort.Changes.resync?(%{changes: [%{operation: :resync, reason: :lagged, from: 1, to: 2}]})
      true
  """
  @spec resync?(t | %{changes: [change]}) :: boolean
  def resync?(%{changes: changes}), do: Enum.any?(changes, &(&1.operation == :resync))

  defp source(%Connection{} = conn), do: {:connection, conn.handle, conn.id}
  defp source({:database, sidecar, name}) when is_binary(name), do: {:sidecar, sidecar, name}
  defp source(sidecar), do: {:sidecar, sidecar, nil}
end
