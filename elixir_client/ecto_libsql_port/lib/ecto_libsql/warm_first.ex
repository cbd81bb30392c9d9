defmodule EctoLibSql.WarmFirst do
  @moduledoc false
  # Which free connection of a pool is given out: the one that was used last, whose caches of pages and statements are warm. The
  # others grow cold, and a pool that shrinks closes those. `DBConnection.ConnectionPool` gives out the one that has been
  # free for longest, so that all are used in turn. Called by the pool's process.
  #
  # The queue of `ConnectionPool` has free connections by the time at which they came back, be it from a caller or from its own
  # look at idle ones, once a second. Hence the order of use is kept beside it: what a caller gives back comes first, what was
  # looked at keeps its place, what was just opened comes last. An entry that is no longer in the queue is passed over.

  alias DBConnection.Holder

  @typedoc "As in the queue: since when a connection is free, and its holder."
  @type key :: {integer, Holder.t()}
  @typedoc "The connections that are free, by their processes, the warmest first."
  @type t :: [{pid, key}]

  @doc "The warmest free connection, and the others. `nil` if none is free."
  @spec pop(t, :ets.table()) :: {key, t} | nil
  def pop([{_connection, key} | colder], queue) do
    if :ets.member(queue, key), do: {key, colder}, else: pop(colder, queue)
  end

  def pop([], _queue), do: nil

  @doc "A connection has come to the pool from a process: a caller, or itself. It is free if it is in the queue."
  @spec came(t, pid | nil, key, pid, :ets.table()) :: t
  def came(warm, nil, _key, _from, _queue), do: warm

  def came(warm, connection, key, from, queue) do
    cond do
      not :ets.member(queue, key) -> List.keydelete(warm, connection, 0)
      from != connection -> [{connection, key} | List.keydelete(warm, connection, 0)]
      List.keymember?(warm, connection, 0) -> List.keyreplace(warm, connection, 0, {connection, key})
      true -> free(warm, queue) ++ [{connection, key}]
    end
  end

  @doc "Those that are free, the coldest first."
  @spec coldest(t, :ets.table()) :: t
  def coldest(warm, queue), do: warm |> free(queue) |> Enum.reverse()

  defp free(warm, queue), do: Enum.filter(warm, fn {_connection, key} -> :ets.member(queue, key) end)
end
