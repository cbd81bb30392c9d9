defmodule LibsqlPort.Commit do
  @moduledoc """
  A transaction that is about to be committed, as a commit hook is asked about it (`LibsqlPort.set_commit_hook/3`).

    * `connection` – the id of the connection (`conn.id`)
    * `changes` – what the transaction has changed, a list of `t:change/0`: those of each database in the order in which they were
      made, the main one's first. Of what was undone within the transaction there is nothing
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

  @type t :: %__MODULE__{connection: integer, changes: [change]}

  @doc """
  Whether all of the transaction's changes are told.

      iex> LibsqlPort.Commit.complete?(%LibsqlPort.Commit{connection: 7, changes: []})
      true
  """
  @spec complete?(t) :: boolean
  def complete?(%__MODULE__{} = commit), do: not Changes.resync?(commit)
end
