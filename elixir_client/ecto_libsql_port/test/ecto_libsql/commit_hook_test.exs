defmodule EctoLibSql.CommitHookTest do
  # The option `:commit_hook` of a Repo: whatever connection commits, the function decides.
  use ExUnit.Case, async: true

  alias EctoLibSql.Error

  defmodule Repo do
    use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
  end

  defmodule MemoryRepo do
    use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
  end

  defmodule SandboxRepo do
    use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
  end

  defmodule Account do
    use Ecto.Schema

    schema "accounts" do
      field :balance, :integer
    end
  end

  defmodule CreateAccounts do
    use Ecto.Migration
    def change, do: create(table(:accounts), do: add(:balance, :integer))
  end

  defmodule CreateForbidden do
    use Ecto.Migration
    def change, do: create(table(:forbidden), do: add(:x, :integer))
  end

  # No balance below zero.
  def decide(commit) do
    cond do
      Enum.any?(commit.changes, &(&1.operation == :schema)) ->
        :ok

      Enum.any?(commit.changes, &(&1.operation != :resync and (&1.new["balance"] || 0) < 0)) ->
        {:error, "overdrawn"}

      true ->
        :ok
    end
  end

  @hook {&__MODULE__.decide/1, tables: ["accounts"], values: :new, timeout: 60_000}

  defp accounts(repo), do: repo.aggregate(Account, :count)

  @tag :tmp_dir
  test "decides about single statements, transactions and savepoints", %{tmp_dir: directory} do
    start_supervised!({Repo, database: Path.join(directory, "a.db"), pool_size: 2, commit_hook: @hook})
    :ok = Ecto.Migrator.up(Repo, 1, CreateAccounts, log: false)
    account = Repo.insert!(%Account{balance: 5})

    # By the lane, which takes single statements past the pool, and by the pool.
    for _ <- 1..5 do
      assert_raise Error, ~r/overdrawn/, fn -> Repo.insert(%Account{balance: -1}) end
      assert_raise Error, ~r/overdrawn/, fn -> Repo.update(Ecto.Changeset.change(account, balance: -1)) end
      assert {:error, %Error{code: :commit_vetoed}} = Repo.query("UPDATE accounts SET balance = -1")
    end

    error =
      assert_raise Error, fn ->
        Repo.transaction(fn ->
          Repo.insert!(%Account{balance: 1})
          Repo.transaction(fn -> Repo.insert!(%Account{balance: -2}) end)
        end)
      end

    assert %Error{code: :commit_vetoed, message: "the commit hook has refused" <> _} = error

    # What was undone before the commit is no matter of the hook.
    assert {:ok, _} =
             Repo.transaction(fn ->
               Repo.insert!(%Account{balance: 2})
               Repo.query!("SAVEPOINT s")
               Repo.insert!(%Account{balance: -3})
               Repo.query!("ROLLBACK TO s")
               Repo.query!("RELEASE s")
             end)

    assert_raise Error, ~r/overdrawn/, fn -> Repo.insert_all(Account, [%{balance: 7}, %{balance: -7}]) end
    assert accounts(Repo) == 2
    assert Repo.reload(account).balance == 5
    assert {:ok, _} = Repo.transaction(fn -> Repo.insert!(%Account{balance: 3}) end)
  end

  test "a refusal keeps the connection, and so a database in memory" do
    start_supervised!({MemoryRepo, database: ":memory:", pool_size: 1, commit_hook: @hook})
    MemoryRepo.query!("CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER)")
    MemoryRepo.insert!(%Account{balance: 1})

    for _ <- 1..3 do
      assert_raise Error, ~r/overdrawn/, fn ->
        MemoryRepo.transaction(fn -> MemoryRepo.insert!(%Account{balance: -1}) end)
      end

      # Nothing is open, and the next transaction begins as ever.
      assert {:ok, 1} = MemoryRepo.transaction(fn -> accounts(MemoryRepo) end)
    end

    assert accounts(MemoryRepo) == 1
  end

  @tag :tmp_dir
  test "decides about migrations", %{tmp_dir: directory} do
    no_more = fn commit ->
      if Enum.any?(commit.changes, &(&1.operation == :schema)) and
           :persistent_term.get({__MODULE__, directory}, false),
         do: {:error, "frozen"},
         else: :ok
    end

    start_supervised!({Repo, database: Path.join(directory, "m.db"), commit_hook: {no_more, timeout: 60_000}})
    :ok = Ecto.Migrator.up(Repo, 1, CreateAccounts, log: false)
    :persistent_term.put({__MODULE__, directory}, true)
    assert_raise Error, ~r/frozen/, fn -> Ecto.Migrator.up(Repo, 2, CreateForbidden, log: false) end
    assert %{rows: [[1]]} = Repo.query!("SELECT count(*) FROM schema_migrations")
    assert %{rows: []} = Repo.query!("SELECT 1 FROM sqlite_schema WHERE name = 'forbidden'")
    :persistent_term.erase({__MODULE__, directory})
  end

  @tag :tmp_dir
  test "is not asked in a sandbox, which commits nothing", %{tmp_dir: directory} do
    test = self()
    database = Path.join(directory, "s.db")
    start_supervised!({Repo, database: database})
    Repo.query!("CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER)")
    hook = fn _commit -> send(test, :asked) && false end
    start_supervised!({SandboxRepo, database: database, pool: Ecto.Adapters.SQL.Sandbox, commit_hook: hook})
    Ecto.Adapters.SQL.Sandbox.mode(SandboxRepo, :manual)
    :ok = Ecto.Adapters.SQL.Sandbox.checkout(SandboxRepo)
    SandboxRepo.insert!(%Account{balance: -1})
    assert {:ok, _} = SandboxRepo.transaction(fn -> SandboxRepo.insert!(%Account{balance: -1}) end)
    assert accounts(SandboxRepo) == 2
    :ok = Ecto.Adapters.SQL.Sandbox.checkin(SandboxRepo)
    refute_received :asked
    assert accounts(Repo) == 0
  end

  @tag :tmp_dir
  test "a function that hangs, raises or uses the Repo's own connection ends typed", %{tmp_dir: directory} do
    key = {__MODULE__, directory}
    hook = fn _commit -> :persistent_term.get(key, fn -> :ok end).() end

    options = [
      database: Path.join(directory, "h.db"),
      pool_size: 1,
      lane: false,
      commit_hook: {hook, timeout: 200}
    ]

    start_supervised!({Repo, options})
    Repo.query!("CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER)")

    for fun <- [fn -> Process.sleep(:infinity) end, fn -> raise "broken" end, fn -> accounts(Repo) == 0 end] do
      :persistent_term.put(key, fun)

      error =
        assert_raise Error, fn ->
          Repo.transaction(fn -> Repo.insert!(%Account{balance: 1}) end, timeout: 5_000)
        end

      assert error.code == :commit_hook_failed
    end

    :persistent_term.put(key, fn -> :ok end)
    assert {:ok, 0} = Repo.transaction(fn -> accounts(Repo) end)
    :persistent_term.erase(key)
  end
end
