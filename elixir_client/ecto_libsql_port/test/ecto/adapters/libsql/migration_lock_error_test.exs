defmodule Ecto.Adapters.LibSql.MigrationLockErrorTest do
  # Migrations that cannot be locked say why.
  use EctoLibSql.RepoCase

  alias Ecto.Adapters.LibSql.MigrationLock

  defp lock, do: MigrationLock.run(Ecto.Adapter.lookup_meta(TestRepo), [], fn -> :locked end)

  test "the file of the lock cannot be opened", %{path: path} do
    assert lock() == :locked
    File.rm!(MigrationLock.path(path))
    File.mkdir!(MigrationLock.path(path))
    on_exit(fn -> File.rmdir(MigrationLock.path(path)) end)
    error = assert_raise Ecto.MigrationError, &lock/0
    assert error.message =~ MigrationLock.path(path)
    assert error.message =~ "cannot_open"
  end
end
