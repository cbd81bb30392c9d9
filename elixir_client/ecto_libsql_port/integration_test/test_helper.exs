# Runs the suites that Ecto shares with all adapters against this one: ECTO_SUITES=1 mix test, and with ECTO_SUITES=sqld for databases
# on a server. Their files are read from where the dependencies are. What is left out stands in exclusions.exs, each with its reason.
Logger.configure(level: :info)

# Read by the suites. Tests of different files would wait for each other's transactions.
Application.put_env(:ecto, :primary_key_type, :id)
Application.put_env(:ecto, :async_integration_tests, false)
Application.put_env(:ecto_sql, :lock_for_update, "FOR UPDATE")

# One test stores the bytes of a UUID through a table without a schema, where the default refuses them.
Application.put_env(:ecto_libsql_port, :untyped_binaries, :text_or_blob)
:ok = EctoLibSql.Settings.reload()

ecto = Mix.Project.deps_paths()[:ecto]
ecto_sql = Mix.Project.deps_paths()[:ecto_sql]

Code.require_file("#{ecto_sql}/integration_test/support/repo.exs", __DIR__)

directory = Path.join(System.tmp_dir!(), "ecto_libsql_port-#{System.pid()}")
File.mkdir_p!(directory)
System.at_exit(fn _ -> File.rm_rf(directory) end)

alias Ecto.Integration.{PoolRepo, TestRepo}

# The one that each test rolls back, and the one that commits. A file each: the transaction of a sandbox would keep the
# other from writing. For the same reason only the second has the databases of the prefixes, which an immediate
# transaction takes as well.
prefixes =
  for name <- ~w(ecto_prefix_test bad_schema_migrations),
      do: {String.to_atom(name), Path.join(directory, name <> ".db")}

config = [
  adapter: Ecto.Adapters.LibSql,
  show_sensitive_data_on_connection_error: true
]

# A namespace of one server for each Repo. A server attaches no databases, so there are no prefixes.
on_server = fn name ->
  server = LibsqlPort.Sqld.shared()
  [uri: server.url, namespace: name, admin_url: "http://127.0.0.1:#{server.admin_port}"]
end

server? = System.get_env("ECTO_SUITES") == "sqld"
if server? and LibsqlPort.Sqld.executable() == nil, do: raise("sqld is not installed: scripts/sqld")

{test_place, pool_place} =
  if server? do
    {on_server.("test"), on_server.("pool")}
  else
    {[database: Path.join(directory, "test.db")],
     [database: Path.join(directory, "pool.db"), attach: prefixes]}
  end

test_config = test_place ++ [pool: Ecto.Adapters.SQL.Sandbox] ++ config
pool_config = pool_place ++ [pool_size: 5] ++ config

# Some tests make Repos of their own out of the configuration of :ecto_sql.
for app <- [:ecto_libsql_port, :ecto_sql] do
  Application.put_env(app, TestRepo, test_config)
  Application.put_env(app, PoolRepo, pool_config)
end

defmodule Ecto.Integration.TestRepo do
  use Ecto.Integration.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql

  # A prefix is a database that the connections have attached already; there is nothing to create.
  def create_prefix(_prefix), do: "SELECT 1"
  def drop_prefix(_prefix), do: "SELECT 1"
  def uuid, do: Ecto.UUID
end

defmodule Ecto.Integration.PoolRepo do
  use Ecto.Integration.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
end

defmodule Ecto.Integration.Case do
  use ExUnit.CaseTemplate

  setup do
    :ok = Ecto.Adapters.SQL.Sandbox.checkout(TestRepo)
  end
end

Code.require_file("#{ecto}/integration_test/support/schemas.exs", __DIR__)
Code.require_file("#{ecto_sql}/integration_test/support/migration.exs", __DIR__)

{exclusions, _} = Code.eval_file("exclusions.exs", __DIR__)
{of_servers, _} = Code.eval_file("exclusions_of_servers.exs", __DIR__)
exclusions = if server?, do: exclusions ++ of_servers, else: exclusions
# A message that a test awaits may take longer than ExUnit's 100 ms on a busy machine.
ExUnit.start(exclude: exclusions, capture_log: false, assert_receive_timeout: 10_000)

{:ok, _} = Ecto.Adapters.LibSql.ensure_all_started(TestRepo.config(), :temporary)

for repo <- [TestRepo, PoolRepo] do
  _ = Ecto.Adapters.LibSql.storage_down(repo.config())
  :ok = Ecto.Adapters.LibSql.storage_up(repo.config())
  {:ok, _} = repo.start_link()
  :ok = Ecto.Migrator.up(repo, 0, Ecto.Integration.Migration, log: false)
end

Ecto.Adapters.SQL.Sandbox.mode(TestRepo, :manual)
Process.flag(:trap_exit, true)
