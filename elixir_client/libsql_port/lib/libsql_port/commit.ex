defmodule LibsqlPort.Commit do
  @moduledoc """
  A transaction that is about to be committed, as a commit hook is asked about it (`LibsqlPort.set_commit_hook/3`).

    * `connection` – the id of the connection (`conn.id`)
    * `changes` – what the transaction has changed, a list of `t:change/0`: those of each database in the order in which they were
      made, the main one's first. Of what was undone within the transaction there is nothing

  ## Commit hooks

  A hook decides about the commits of a connection, or with a sidecar of all its connections, the ones opened
  later and after a restart of the program included. It is asked before each commit, by a statement outside of a transaction,
  COMMIT, the release of the outermost savepoint or a batch, and gets this struct. It is
  not asked about a transaction that has changed nothing which it is to be told. Changes of the schema are always told.

  | the function | the transaction |
  |---|---|
  | returns `:ok` or `true` | is committed |
  | returns `false`, `:error` or `{:error, reason}` | is rolled back, `:commit_vetoed`; the reason stands in the message |
  | raises, throws, exits, is killed, returns something else, takes longer than its `:timeout` | is rolled back, `:commit_hook_failed` |

  After either error no transaction is open, and the connection works on. An allowed commit may still fail, by a full disk for example.

  The connection has the writer turn meanwhile: other connections read, and wait if they write. Requests on the connection itself get
  `:callback_reentered`. `LibsqlPort.Function` says where the function runs.

  A hook of a sidecar is set again before a new run of the program takes a request, and a program that does not take it is ended. It
  does not outlive the supervisor that `LibsqlPort.start_link/1` has started: what its next start must have is given as the option `:commit_hook`.

  If both a connection and its sidecar have one, both have to agree; the sidecar's is asked
  first. A virtual table is told by the tables in which it keeps its data (`"docs_content"` of the full-text table `docs`). Temporary
  tables, SQLite's own (`sqlite_…`), databases in memory that are attached, and pragmas that write to the file's header are not
  told.
  """

  alias LibsqlPort.Changes

  @enforce_keys [:connection, :changes]
  defstruct @enforce_keys

  @typedoc """
  A change as in `t:LibsqlPort.Changes.change/0`, with the `database` that it is made in, by its name (`conn.path`), and the `schema` as
  which the connection knows that: `"main"`, or the name of an attached one. With the operation `:resync` the transaction is not told in full, because it had begun to write before the hook was set (`:joined`), takes
  more than the sidecar's option `:changes_bytes_max` (`:too_large`), or has a row that the engine could not read (`:unreadable`).
  """
  @type change :: %{
          required(:database) => String.t(),
          required(:schema) => String.t(),
          required(:operation) => atom,
          optional(atom) => term
        }

  @typedoc "A transaction: the id of the connection that commits (`conn.id`), and its changes in the order in which they were made."
  @type t :: %__MODULE__{connection: integer, changes: [change]}

  @doc """
  Whether all of the transaction's changes are told.

      iex> LibsqlPort.Commit.complete?(%LibsqlPort.Commit{connection: 7, changes: []})
      true
  """
  @spec complete?(t) :: boolean
  def complete?(%__MODULE__{} = commit), do: not Changes.resync?(commit)
end
