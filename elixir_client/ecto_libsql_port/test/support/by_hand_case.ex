defmodule EctoLibSql.ByHandCase do
  @moduledoc false
  # For tests of what is called without a Repo: each has a connection of its own to a file, `:state`, and its path.

  use ExUnit.CaseTemplate

  using do
    quote do
      import EctoLibSql.ByHandCase
    end
  end

  setup do
    path =
      Path.join(
        System.tmp_dir!(),
        "ecto_libsql_port-#{System.pid()}-#{System.unique_integer([:positive])}.db"
      )

    on_exit(fn -> Ecto.Adapters.LibSql.storage_down(database: path) end)
    {:ok, path: path, state: open(path)}
  end

  @doc "Another connection."
  def open(path) do
    {:ok, state} = EctoLibSql.connect(database: path)
    state
  end

  @doc "The rows of a statement."
  def rows(state, sql, params \\ []) do
    {:ok, _query, result, _state} = EctoLibSql.handle_execute(sql, params, [], state)
    result.rows
  end

  @doc "What a state of ecto_libsql is made of."
  def bare(state), do: %EctoLibSql.State{conn_id: state.conn_id, mode: :local, sync: :disable_sync}
end
