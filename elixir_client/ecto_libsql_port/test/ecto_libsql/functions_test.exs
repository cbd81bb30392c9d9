defmodule EctoLibSql.FunctionsTest do
  # The option `:functions` of a Repo: whichever connection a statement runs on has them.
  use ExUnit.Case, async: true

  import Ecto.Query

  defmodule Repo do
    use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
  end

  defmodule SandboxRepo do
    use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
  end

  @functions [
    {:scalar, "twice", 1, &__MODULE__.twice/1, deterministic: true, directonly: false},
    {:aggregate, "total", 1, [start: 0, step: &Kernel.+/2]},
    {:table, "upto", [parameters: [:last], columns: [:n], rows: &__MODULE__.upto/1]},
    {:collation, "backwards", [key: &String.reverse/1]}
  ]

  def twice(x), do: x && 2 * x
  def upto(last), do: Enum.map(1..last//1, &[&1])

  @tag :tmp_dir
  test "all connections have them: the pool's, the lane's, a migration's", %{tmp_dir: directory} do
    start_supervised!({Repo, database: Path.join(directory, "f.db"), pool_size: 3, functions: @functions})

    defmodule CreateNumbers do
      use Ecto.Migration

      def change do
        create table(:numbers) do
          add :x, :integer
        end

        create unique_index(:numbers, ["twice(x)"], name: :numbers_twice)
      end
    end

    :ok = Ecto.Migrator.up(Repo, 1, CreateNumbers, log: false)
    # Beside each other, so that several connections are used, and again, so that the lane is.
    for _ <- 1..5 do
      1..10
      |> Enum.map(fn x ->
        Task.async(fn -> Repo.one(from u in fragment("upto(?)", ^x), select: fragment("total(?)", u.n)) end)
      end)
      |> Task.await_many()
      |> then(&assert &1 == for(x <- 1..10, do: div(x * (x + 1), 2)))
    end

    {3, _} = Repo.insert_all("numbers", for(x <- [12, 21, 13], do: %{x: x}))
    assert Repo.all(from n in "numbers", where: fragment("twice(?)", n.x) == 26, select: n.x) == [13]

    assert Repo.all(
             from n in "numbers", order_by: fragment("CAST(? AS TEXT) COLLATE backwards", n.x), select: n.x
           ) ==
             [21, 12, 13]

    assert {:error, %EctoLibSql.Error{code: :constraint_unique}} =
             Repo.query("INSERT INTO numbers (x) VALUES (12)")

    assert {:ok, 3} = Repo.transaction(fn -> Repo.one(from n in "numbers", select: fragment("total(1)")) end)
    Repo.query!("VACUUM")
  end

  @tag :tmp_dir
  test "copies of the sandbox have them, also where an index needs them", %{tmp_dir: directory} do
    options = [
      database: Path.join(directory, "s.db"),
      pool_size: 2,
      pool: Ecto.Adapters.SQL.Sandbox,
      functions: @functions
    ]

    start_supervised!({SandboxRepo, options})

    Ecto.Adapters.SQL.Sandbox.unboxed_run(SandboxRepo, fn ->
      SandboxRepo.query!("CREATE TABLE t (x)")
      SandboxRepo.query!("CREATE INDEX i ON t (twice(x))")
      SandboxRepo.query!("INSERT INTO t VALUES (21)")
    end)

    :ok = EctoLibSql.Sandbox.private_copies(SandboxRepo)
    Ecto.Adapters.SQL.Sandbox.mode(SandboxRepo, :manual)
    :ok = Ecto.Adapters.SQL.Sandbox.checkout(SandboxRepo)
    assert SandboxRepo.all(from t in "t", where: fragment("twice(?)", t.x) == 42, select: t.x) == [21]
    SandboxRepo.query!("INSERT INTO t VALUES (1)")
  end

  test "a function that fails is an error of the call, and the connection goes on" do
    start_supervised!(
      {Repo, database: ":memory:", pool_size: 1, functions: [{:scalar, "bad", 0, fn -> raise "no" end}]}
    )

    assert {:error, %EctoLibSql.Error{code: :callback_failed, message: message}} = Repo.query("SELECT bad()")
    assert message =~ "no"
    assert %{rows: [[1]]} = Repo.query!("SELECT 1")
  end

  test "a wrong one ends the start and is named" do
    Process.flag(:trap_exit, true)

    assert {:error, error} =
             Repo.start_link(database: ":memory:", functions: [{:scalar, "f", 2, &__MODULE__.twice/1}])

    assert inspect(error) =~ "the function f: :fun is a function of 2 arguments"
  end
end
