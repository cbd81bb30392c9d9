defmodule Ecto.Adapters.LibSql.Sql.CombinationTest do
  use EctoLibSql.SqlCase, async: true

  @post ~s[SELECT p0."id" FROM "posts" AS p0]
  @comment ~s[SELECT c0."id" FROM "comments" AS c0]

  test "operands stand without brackets" do
    posts = from(p in Post, select: p.id)
    comments = from(c in Comment, select: c.id)
    assert all(union(posts, ^comments)) == "#{@post} UNION #{@comment}"
    assert all(union_all(posts, ^comments)) == "#{@post} UNION ALL #{@comment}"
    assert all(except(posts, ^comments)) == "#{@post} EXCEPT #{@comment}"
    assert all(intersect(posts, ^comments)) == "#{@post} INTERSECT #{@comment}"
  end

  test "an operand that needs them is a subquery; order and limit are of the whole" do
    comments = from(c in Comment, select: c.id, limit: 1)
    query = from(p in Post, select: p.id, union: ^comments, order_by: p.id, limit: 2)
    assert all(query) == ~s[#{@post} UNION SELECT * FROM (#{@comment} LIMIT 1) ORDER BY p0."id" LIMIT 2]
  end

  test "those with all that SQLite lacks are refused" do
    query = from(p in Post, select: p.id, except_all: ^from(c in Comment, select: c.id))
    assert_raise Ecto.QueryError, ~r/no except all/, fn -> all(query) end
  end
end
