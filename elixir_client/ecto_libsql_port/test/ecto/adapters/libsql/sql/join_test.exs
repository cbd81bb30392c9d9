defmodule Ecto.Adapters.LibSql.Sql.JoinTest do
  use EctoLibSql.SqlCase, async: true

  test "each kind that SQLite has" do
    for {kind, sql} <- [inner: "INNER", left: "LEFT OUTER", right: "RIGHT OUTER", full: "FULL OUTER"] do
      query = from(p in Post, join: c in Comment, on: c.post_id == p.id, select: p.id)
      query = %{query | joins: Enum.map(query.joins, &%{&1 | qual: kind})}

      assert all(query) ==
               ~s[SELECT p0."id" FROM "posts" AS p0 #{sql} JOIN "comments" AS c1 ON c1."post_id" = p0."id"]
    end
  end

  test "cross" do
    query = from(p in Post, cross_join: c in Comment, select: c.id)
    assert all(query) == ~s[SELECT c1."id" FROM "posts" AS p0 CROSS JOIN "comments" AS c1]
  end

  test "an association" do
    query = from(p in Post, join: c in assoc(p, :comments), select: c.id)

    assert all(query) ==
             ~s[SELECT c1."id" FROM "posts" AS p0 INNER JOIN "comments" AS c1 ON c1."post_id" = p0."id"]
  end

  test "lateral joins are refused" do
    query = from(p in Post, inner_lateral_join: c in subquery(from(c in Comment)), on: true, select: p.id)
    assert_raise Ecto.QueryError, ~r/cannot be lateral/, fn -> all(query) end
  end
end
