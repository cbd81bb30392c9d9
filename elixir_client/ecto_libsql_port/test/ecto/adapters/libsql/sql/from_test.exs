defmodule Ecto.Adapters.LibSql.Sql.FromTest do
  use EctoLibSql.SqlCase, async: true

  test "a prefix is an attached database" do
    assert all(from(p in Post, prefix: "old", select: p.id)) == ~s[SELECT p0."id" FROM "old"."posts" AS p0]
  end

  test "hints" do
    query = from(p in Post, hints: ["INDEXED BY posts_title_index"], select: p.id)
    assert all(query) == ~s[SELECT p0."id" FROM "posts" AS p0 INDEXED BY posts_title_index]
  end

  test "a subquery" do
    query = from(s in subquery(from(p in Post, select: %{n: p.visits})), select: s.n)
    assert all(query) == ~s[SELECT s0."n" FROM (SELECT sp0."visits" AS "n" FROM "posts" AS sp0) AS s0]
  end

  test "a fragment" do
    query = from(f in fragment("json_each(?)", ^"[1]"), select: f.value)
    assert all(query) == ~s[SELECT f0."value" FROM json_each(?1) AS f0]
  end

  test "values" do
    query = from(v in values([%{a: 1, b: "x"}, %{a: 2, b: "y"}], %{a: :integer, b: :string}), select: v.b)

    assert all(query) ==
             ~s[SELECT v0."b" FROM (SELECT column1 AS "a", column2 AS "b" FROM (VALUES (?1, ?2), (?3, ?4))) AS v0]
  end
end
