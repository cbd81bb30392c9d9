defmodule Ecto.Adapters.LibSql.MigrationPropertyTest do
  # Random migration commands, up and down through Ecto's migrator, on random databases: what a command does not name is
  # the same afterwards, or the command is refused and everything is.
  use ExUnit.Case

  alias EctoLibSql.{Cases, RandomMigration, RandomSchema, Snapshot, TestRepo}

  @moduletag :tmp_dir
  @moduletag timeout: :infinity
  @pool_size 2

  defmodule Step do
    use Ecto.Migration

    def change, do: RandomMigration.run(:persistent_term.get(__MODULE__))
  end

  defmodule Outside do
    use Ecto.Migration
    @disable_ddl_transaction true

    def change, do: RandomMigration.run(:persistent_term.get(Step))
  end

  # The command is done, and what comes after it fails.
  defmodule Doomed do
    use Ecto.Migration

    def up do
      RandomMigration.run(:persistent_term.get(Step))
      execute("CREATE WHAT")
    end
  end

  setup do
    {:ok, sidecar: start_supervised!(LibsqlPort), tally: start_supervised!({Agent, fn -> %{} end})}
  end

  test "nothing is lost and nothing else changes", %{tmp_dir: dir, sidecar: sidecar, tally: tally} do
    Cases.check!(6, &{RandomSchema.generate(&1), &1 * 10}, &smaller/1, fn {statements, seed} ->
      with_repo(dir, sidecar, fn ->
        for statement <- statements, do: TestRepo.query(RandomSchema.sql(statement))
        for seed <- seed..(seed + 5), do: step(seed, tally)
      end)
    end)

    tally = Agent.get(tally, & &1)
    if System.get_env("PROPERTY_CASES"), do: IO.inspect(tally, limit: :infinity, label: "commands")
    done = for {{_command, :ok}, count} <- tally, reduce: 0, do: (sum -> sum + count)
    refused = for {{_command, _error}, count} <- tally, reduce: 0, do: (sum -> sum + count)
    # Of one seed most may be refused.
    unless System.get_env("PROPERTY_SEED"), do: assert(done * 2 > refused)
  end

  # A seed of commands stands for what it makes of the database, so only the database becomes smaller.
  defp smaller({statements, seed}), do: Stream.map(RandomSchema.smaller(statements), &{&1, seed})

  defp step(seed, tally) do
    before = Snapshot.take(TestRepo, @pool_size)

    if Enum.any?(before.tables, fn {{_, name}, _} -> name != "audit" end) do
      command = RandomMigration.generate(seed, before)
      :persistent_term.put(Step, command)
      checked(command, fn -> up_and_down(command, seed, before, tally) end)
    end
  end

  defp up_and_down(command, version, before, tally) do
    module = if rem(version, 7) == 0, do: Outside, else: Step

    if rem(version, 5) == 0 do
      ExUnit.Assertions.assert(%_{} = migrate(:up, version, Doomed))
      ExUnit.Assertions.assert(Snapshot.take(TestRepo, @pool_size) == before)
    end

    result = migrate(:up, version, module)
    now = Snapshot.take(TestRepo, @pool_size)
    count(tally, command, result)

    case result do
      :ok ->
        RandomMigration.judge!(command, before, now)

        if RandomMigration.reversible?(command) and rem(version, 2) == 0 do
          case migrate(:down, version, module) do
            :ok -> RandomMigration.judge_reversed!(command, before, Snapshot.take(TestRepo, @pool_size))
            _refused -> ExUnit.Assertions.assert(Snapshot.take(TestRepo, @pool_size) == now)
          end
        end

      _refused ->
        ExUnit.Assertions.assert(now == before)
    end
  end

  defp migrate(direction, version, module) do
    apply(Ecto.Migrator, direction, [TestRepo, version, module, [log: false]])
  rescue
    error in [EctoLibSql.MigrationError, EctoLibSql.Error, ArgumentError, Ecto.MigrationError] -> error
  end

  defp checked(command, fun) do
    fun.()
  rescue
    error -> reraise "after #{inspect(command)}: #{Exception.message(error)}", __STACKTRACE__
  end

  defp count(tally, command, result) do
    result = if result == :ok, do: :ok, else: {result.__struct__, Map.get(result, :code)}
    Agent.update(tally, &Map.update(&1, {elem(command, 0), result}, 1, fn n -> n + 1 end))
  end

  defp with_repo(dir, sidecar, fun) do
    # A directory for each: connections close after the Repo has stopped.
    dir = Path.join(dir, to_string(System.unique_integer([:positive])))
    File.mkdir_p!(dir)
    attach = [arch: Path.join(dir, "arch.db")]

    config = [
      database: Path.join(dir, "a.db"),
      attach: attach,
      pool_size: @pool_size,
      log: false,
      sidecar: sidecar
    ]

    {:ok, pid} = TestRepo.start_link(config)

    try do
      fun.()
    after
      Supervisor.stop(pid)
    end
  end
end
