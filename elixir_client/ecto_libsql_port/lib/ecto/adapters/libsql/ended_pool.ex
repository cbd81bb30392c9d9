defmodule Ecto.Adapters.LibSql.EndedPool do
  @moduledoc false
  # A transaction or checkout whose pool has ended runs nothing more.
  #
  # Ecto finds the connection of a process by the pid of the Repo's pool, and takes any connection of the pool if it finds
  # none. So after a pool was restarted under an open transaction, the rest of its statements would run on the new pool, and
  # each commit by itself, although what came before is rolled back. The adapter notes the pool that a process is inside of;
  # whatever goes to a pool rather than to a connection asks here first.

  @key __MODULE__

  @typep meta :: Ecto.Adapter.adapter_meta()

  @doc "Runs the function of a transaction or checkout, the outermost one of this process and Repo."
  @spec inside(meta, (() -> result)) :: result when result: var
  def inside(%{pid: pool, opts: options}, fun) do
    around = Process.get(@key)
    Process.put(@key, [{pool, options[:repo]} | around || []])

    try do
      fun.()
    after
      if around, do: Process.put(@key, around), else: Process.delete(@key)
    end
  end

  @doc """
  Returns `:ok`, or the error of a process that is inside of an ended pool of the same Repo. Takes the options of a call,
  among which Ecto puts the Repo.
  """
  @spec check(keyword) :: :ok | {:error, DBConnection.ConnectionError.t()}
  def check(options) do
    case Process.get(@key) do
      nil -> :ok
      pools -> check(pools, options[:repo])
    end
  end

  defp check(pools, repo) do
    if Enum.any?(pools, fn {pool, of} -> of == repo and not Process.alive?(pool) end),
      do: {:error, error(repo)},
      else: :ok
  end

  defp error(repo) do
    message =
      "the pool of #{inspect(repo)} has ended, and the open transaction or checkout with it; the statement was not sent " <>
        "(sidecar_down)"

    %DBConnection.ConnectionError{message: message, reason: :sidecar_down}
  end

  @doc "Raises that error."
  @spec check!(meta) :: :ok
  def check!(%{opts: options}), do: with({:error, error} <- check(options), do: raise(error))
end
