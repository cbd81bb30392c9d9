defmodule EctoLibSql.Sandbox do
  @moduledoc """
  Asynchronous tests that write. SQLite has one writer for each database, so tests in `Ecto.Adapters.SQL.Sandbox`, each
  of which holds a transaction, would wait for each other. Here every connection of the pool gets a database of its own: a
  copy in memory of the migrated one, made when the connection is opened. The sandbox then works as ever, and tests with
  `async: true` write side by side.

  In `test/test_helper.exs`, after the migrations have run:

      ExUnit.start()
      :ok = EctoLibSql.Sandbox.private_copies(MyApp.Repo)
      Ecto.Adapters.SQL.Sandbox.mode(MyApp.Repo, :manual)

  with `pool: Ecto.Adapters.SQL.Sandbox` and a `pool_size` of as many as run at once (`System.schedulers_online() * 2`)
  in `config/test.exs`. What a test does outside of the sandbox (`sandbox: false`, `unboxed_run/2`) stays in that
  connection's copy and is not seen by the others. Processes that a test allows share its connection, and so its copy.
  Databases of the option `:attach` are not copied: they are files that all tests share.
  """

  alias EctoLibSql.PrivateCopy

  @doc """
  From now on each connection of the Repo works on a copy of its database as it is when the connection is opened. To be
  called while no connection is checked out. `private_copies(repo, false)` takes it back.
  """
  @spec private_copies(Ecto.Repo.t() | pid, boolean) :: :ok
  def private_copies(repo, on? \\ true) do
    repo = if is_atom(repo), do: repo.get_dynamic_repo(), else: repo
    meta = Ecto.Adapter.lookup_meta(repo)

    if meta.opts[:pool] == DBConnection.Ownership,
      do: DBConnection.Ownership.ownership_checkin(meta.pid, meta.opts)

    %{private_copy: switch, conn: conn} =
      fn -> EctoLibSql.Direct.state(meta) end |> Task.async() |> Task.await(:infinity)

    EctoLibSql.Lane.switch(meta.opts[:lane], not on?)

    cond do
      not on? -> PrivateCopy.put(switch, nil)
      # Asked twice: the connection is one to a copy already.
      PrivateCopy.source(switch) -> :ok
      true -> PrivateCopy.put(switch, database(conn))
    end

    reconnect(meta)
  end

  # A Repo's database in memory has a name, by which the connections of its sidecar share it.
  defp database(%{path: "memory:" <> name}), do: [database: name, memory: true]
  defp database(%{path: path}), do: [database: path, mode: :read_write]

  # DBConnection ends a connection that was opened before `disconnect_all` when it comes back from whoever uses it. So all
  # are in use at that moment, those included that were still being opened.
  defp reconnect(meta) do
    caller = self()

    tasks =
      for _ <- 1..(meta.opts[:pool_size] || 10) do
        Task.async(fn -> DBConnection.run(meta.pid, fn _conn -> hold(caller) end, meta.opts) end)
      end

    for %{pid: pid} <- tasks do
      receive do: ({:held, ^pid} -> :ok)
    end

    Ecto.Adapters.SQL.disconnect_all(meta, 0, meta.opts)
    for %{pid: pid} <- tasks, do: send(pid, {:release, caller})
    Task.await_many(tasks, :infinity)
    :ok
  end

  defp hold(caller) do
    send(caller, {:held, self()})
    receive do: ({:release, ^caller} -> :ok)
  end
end
