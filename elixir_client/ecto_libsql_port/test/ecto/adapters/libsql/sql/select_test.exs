defmodule Ecto.Adapters.LibSql.Sql.SelectTest do
  use EctoLibSql.SqlCase, async: true

  test "the fields of a schema" do
    assert all(from(c in Comment)) == ~s[SELECT c0."id", c0."text", c0."post_id" FROM "comments" AS c0]
  end

  test "one field, several, none" do
    assert all(from(p in Post, select: p.title)) == ~s[SELECT p0."title" FROM "posts" AS p0]
    assert all(from(p in Post, select: {p.title, p.id})) == ~s[SELECT p0."title", p0."id" FROM "posts" AS p0]
    assert all(from(p in Post, select: 1)) == ~s[SELECT TRUE FROM "posts" AS p0]
  end

  test "an alias of one's own" do
    query = from(p in Post, select: %{v: selected_as(p.visits, :v)}, group_by: selected_as(:v))
    assert all(query) == ~s[SELECT p0."visits" AS "v" FROM "posts" AS p0 GROUP BY "v"]
  end

  test "distinct" do
    assert all(from(p in Post, distinct: true, select: p.title)) ==
             ~s[SELECT DISTINCT p0."title" FROM "posts" AS p0]
  end

  test "distinct columns are the first row of each group" do
    query = from(p in Post, distinct: p.visits, order_by: [desc: p.id], select: p.title)

    assert all(query) ==
             ~s[SELECT distinct_c0 FROM (SELECT p0."title" AS distinct_c0, p0."visits" AS distinct_o0, ] <>
               ~s[p0."id" AS distinct_o1, row_number() OVER (PARTITION BY p0."visits" ORDER BY p0."visits", p0."id" DESC) ] <>
               ~s[AS distinct_row FROM "posts" AS p0) WHERE distinct_row = 1 ORDER BY distinct_o0, distinct_o1 DESC]
  end

  test "all fields of a table without a schema are refused" do
    assert_raise Ecto.QueryError, ~r/needs a schema/, fn -> all(from(p in "posts", select: p)) end
  end

  test "names with quotes in them" do
    query = from(p in "po\"sts", select: field(p, ^:"a\"b"))
    assert all(query) == ~s[SELECT p0."a""b" FROM "po""sts" AS p0]
  end
end
