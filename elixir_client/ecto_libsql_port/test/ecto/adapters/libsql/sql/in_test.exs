defmodule Ecto.Adapters.LibSql.Sql.InTest do
  use EctoLibSql.SqlCase, async: true

  @json "(SELECT CASE type WHEN 'object' THEN coalesce(float_of_bits(value ->> 'float'), unhex(value ->> 'blob')) ELSE value END FROM json_each(?1))"

  defp where_of(query), do: query |> all() |> String.split(" WHERE ", parts: 2) |> List.last()

  test "a list is one parameter, whatever its length" do
    for ids <- [[], [1], [1, 2, 3]] do
      assert where_of(from(p in Post, where: p.id in ^ids, select: 1)) == ~s[(p0."id" IN #{@json})]
    end
  end

  test "the parameter behind it has the next number" do
    assert where_of(from(p in Post, where: p.id in ^[1, 2] and p.title == ^"x", select: 1)) ==
             ~s[((p0."id" IN #{@json}) AND (p0."title" = ?2))]
  end

  test "literals" do
    assert where_of(from(p in Post, where: p.id in [1, 2], select: 1)) ==
             "(p0.\"id\" IN #{String.replace(@json, "?1", "'[1,2]'")})"

    assert where_of(from(p in Post, where: p.id in [], select: 1)) =~ "json_each('[]')"
    assert where_of(from(p in Post, where: p.id in [^1, ^2], select: 1)) == ~s[(p0."id" IN (?1, ?2))]
  end

  test "an array column" do
    assert where_of(from(p in Post, where: "a" in p.tags, select: 1)) ==
             ~s[('a' IN (SELECT value FROM json_each(p0."tags")))]
  end

  test "subqueries and fragments" do
    ids = from(c in Comment, select: c.post_id)

    assert where_of(from(p in Post, where: p.id in subquery(ids), select: 1)) ==
             ~s[(p0."id" IN (SELECT sc0."post_id" FROM "comments" AS sc0))]

    assert where_of(from(p in Post, where: p.id in fragment("SELECT 1"), select: 1)) ==
             ~s[(p0."id" IN (SELECT 1))]

    assert where_of(from(p in Post, where: p.id in fragment("(1, 2)"), select: 1)) == ~s[(p0."id" IN (1, 2))]

    assert where_of(from(p in Post, where: p.id in fragment("?", ^"[1]"), select: 1)) ==
             ~s[(p0."id" IN (SELECT value FROM json_each(?1)))]
  end
end
