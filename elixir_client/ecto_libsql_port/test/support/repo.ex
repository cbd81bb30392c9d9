defmodule EctoLibSql.TestRepo do
  @moduledoc false
  use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
end

defmodule EctoLibSql.Step do
  @moduledoc false
  # A migration out of a function, so that each test has its own next to what it checks: `RepoCase.migrate/1` runs it.
  use Ecto.Migration

  def set(fun), do: :persistent_term.put(__MODULE__, fun)
  def change, do: :persistent_term.get(__MODULE__).()
end

defmodule EctoLibSql.RepoCase do
  @moduledoc false
  # For tests on a database: each has a Repo with a file of its own, gone with the test. `@tag repo: [option: …]`.

  use ExUnit.CaseTemplate

  alias EctoLibSql.{Step, TestRepo}

  using do
    quote do
      import Ecto.Query
      import EctoLibSql.{RepoCase, SinceEcto}
      alias EctoLibSql.{TestRepo, TestSettings}
    end
  end

  setup context do
    path =
      Path.join(
        System.tmp_dir!(),
        "ecto_libsql_port-#{System.pid()}-#{System.unique_integer([:positive])}.db"
      )

    # On a busy machine a call may wait for its connection longer than DBConnection's targets say.
    queue = [queue_target: 60_000, queue_interval: 60_000]
    config = Keyword.merge([database: path, pool_size: 3, log: false] ++ queue, Map.get(context, :repo, []))
    start_supervised!({TestRepo, config})
    on_exit(fn -> Ecto.Adapters.LibSql.storage_down(database: path) end)

    {:ok, path: path, config: config}
  end

  @doc "Runs a migration in a transaction, as the migrator does: a module's `change` or `up`, or a function."
  def migrate(fun) when is_function(fun, 0) do
    Step.set(fun)
    migrate(Step)
  end

  def migrate(module) do
    Ecto.Migrator.up(TestRepo, System.unique_integer([:positive]), module, log: false)
  end

  @doc "Runs every statement of a text."
  def script(sql), do: TestRepo.query_many!(sql)

  @doc """
  Runs a function. Returns its result and the metadata of the driver's requests meanwhile, in their order: its own and those of its
  tasks, not those of a pool or a lane that opens or closes a connection beside it.
  """
  def requests(fun) do
    test = self()
    id = {__MODULE__, make_ref()}

    tell = fn _event, _times, about, _config ->
      if self() == test or test in Process.get(:"$callers", []), do: send(test, {id, about})
    end

    :ok = :telemetry.attach(id, [:libsql_port, :query, :stop], tell, nil)

    try do
      fun.()
    after
      :telemetry.detach(id)
    end
    |> then(&{&1, received(id)})
  end

  defp received(id) do
    receive do
      {^id, about} -> [about | received(id)]
    after
      0 -> []
    end
  end
end
