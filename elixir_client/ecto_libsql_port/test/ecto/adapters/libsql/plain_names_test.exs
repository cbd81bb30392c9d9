defmodule Ecto.Adapters.LibSql.PlainNamesTest do
  # Migrations name a table as they were told to: the schema only with a prefix, or where a temporary table has the name.
  use EctoLibSql.RepoCase
  import Ecto.Migration

  @moduletag repo: [pool_size: 1]

  defp statements(fun) do
    {_result, requests} = requests(fn -> migrate(fun) end)
    for %{sql: sql} when sql != nil <- requests, do: sql
  end

  test "a table of the database by its name alone" do
    script("CREATE TABLE t (a)")

    assert ~s(ALTER TABLE "t" ADD COLUMN "name" TEXT) in statements(fn ->
             alter(table(:t), do: add(:name, :text))
           end)

    assert ~s(ALTER TABLE "t" DROP COLUMN "name") in statements(fn -> alter(table(:t), do: remove(:name)) end)
    assert ~s(DROP TABLE IF EXISTS "t") in statements(fn -> drop_if_exists(table(:t)) end)
    script("CREATE TABLE t (a)")
    assert ~s(DROP TABLE "t") in statements(fn -> drop(table(:t)) end)
  end

  test "with its schema beside a temporary twin, which stays" do
    script("CREATE TABLE t (a); CREATE TEMP TABLE T (a)")

    assert ~s(ALTER TABLE "main"."t" ADD COLUMN "name" TEXT) in statements(fn ->
             alter(table(:t), do: add(:name, :text))
           end)

    assert ~s(DROP TABLE "main"."t") in statements(fn -> drop(table(:t)) end)

    assert %{rows: [["T"]]} =
             TestRepo.query!("SELECT name FROM pragma_table_list WHERE name = 't' COLLATE NOCASE")
  end
end
