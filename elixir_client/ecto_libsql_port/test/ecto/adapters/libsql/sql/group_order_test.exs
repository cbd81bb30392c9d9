defmodule Ecto.Adapters.LibSql.Sql.GroupOrderTest do
  use EctoLibSql.SqlCase, async: true

  test "group by and having" do
    query = from(p in Post, group_by: [p.title, p.visits], having: count(p.id) > 1, select: p.title)

    assert all(query) ==
             ~s[SELECT p0."title" FROM "posts" AS p0 GROUP BY p0."title", p0."visits" HAVING (count(p0."id") > 1)]
  end

  test "order by" do
    query = from(p in Post, order_by: [p.id, desc: p.title, asc_nulls_last: p.visits], select: p.id)

    assert all(query) ==
             ~s[SELECT p0."id" FROM "posts" AS p0 ORDER BY p0."id", p0."title" DESC, p0."visits" ASC NULLS LAST]
  end

  test "limit and offset" do
    assert all(from(p in Post, limit: 3, offset: ^1, select: p.id)) ==
             ~s[SELECT p0."id" FROM "posts" AS p0 LIMIT 3 OFFSET ?1]

    assert all(from(p in Post, offset: 5, select: p.id)) ==
             ~s[SELECT p0."id" FROM "posts" AS p0 LIMIT -1 OFFSET 5]
  end

  test "a lock says nothing: a write transaction holds the database" do
    assert all(from(p in Post, lock: "FOR UPDATE", select: p.id)) == ~s[SELECT p0."id" FROM "posts" AS p0]
  end

  test "a source cannot be counted" do
    assert_raise Ecto.QueryError, ~r/count\(\) for its rows/, fn -> all(from(p in Post, select: count(p))) end
  end

  test "aggregates" do
    query = from(p in Post, select: {count(), count(p.id, :distinct), filter(sum(p.visits), p.id > 1)})

    assert all(query) ==
             ~s[SELECT count(*), count(DISTINCT p0."id"), sum(p0."visits") FILTER (WHERE p0."id" > 1) FROM "posts" AS p0]
  end

  test "windows" do
    query =
      from(p in Post,
        windows: [w: [partition_by: p.title, order_by: p.id]],
        select: {over(row_number(), :w), over(sum(p.visits), order_by: [desc: p.id])}
      )

    assert all(query) ==
             ~s[SELECT row_number() OVER "w", sum(p0."visits") OVER (ORDER BY p0."id" DESC) FROM "posts" AS p0 ] <>
               ~s[WINDOW "w" AS (PARTITION BY p0."title" ORDER BY p0."id")]
  end
end
