defmodule Ecto.Adapters.LibSql.Sql.ExpressionTest do
  use EctoLibSql.SqlCase, async: true

  defp selected(query) do
    [_, rest] = query |> all() |> String.split("SELECT ", parts: 2)
    rest |> String.split(~s[ FROM "posts"]) |> hd()
  end

  test "casts, where a value would not have its form" do
    assert selected(from(p in Post, select: type(^"1", :integer))) == "CAST(?1 AS INTEGER)"
    assert selected(from(p in Post, select: type(p.visits, :float))) == ~s[CAST(p0."visits" AS REAL)]
    assert selected(from(p in Post, select: type(p.visits, :string))) == ~s[CAST(p0."visits" AS TEXT)]
    assert selected(from(p in Post, select: type(^~D[2024-01-01], :date))) == "?1"
  end

  test "fragments" do
    assert selected(from(p in Post, select: fragment("lower(?)", p.title))) == ~s[lower(p0."title")]

    assert selected(from(p in Post, select: fragment("max(?)", splice(^[1, 2, 3])))) == "max(?1,?2,?3)"

    assert selected(from(p in Post, select: fragment("? * 2", p.visits + 1))) == ~s[(p0."visits" + 1) * 2]
    assert selected(from(p in Post, select: fragment("SELECT 1"))) == "(SELECT 1)"
  end

  since_ecto "3.13.0" do
    test "fragments with identifiers and constants" do
      assert selected(from(p in Post, select: fragment("? COLLATE ?", p.title, identifier(^"nocase")))) ==
               ~s[p0."title" COLLATE "nocase"]

      assert selected(from(p in Post, select: fragment("? || ?", constant(^"it's"), constant(^1)))) ==
               "'it''s' || 1"
    end
  end

  test "operands keep their brackets" do
    assert selected(from(p in Post, select: (p.visits + 1) * 2)) == ~s[(p0."visits" + 1) * 2]
  end

  test "a value out of JSON travels as JSON; inside a query it is extracted" do
    assert selected(from(p in Post, select: p.meta["a"][0])) == ~s|p0."meta" -> ('$."a"[0]')|

    assert all(from(p in Post, where: p.meta["it's"]["\"q\""] == "x", select: 1)) =~
             ~S{WHERE (json_extract(p0."meta", '$."it''s"."\"q\""') = 'x')}
  end

  since_ecto "3.13.0" do
    test "a path into JSON may be a column" do
      assert selected(from(p in Post, select: p.meta[p.title])) ==
               ~S{p0."meta" -> ('$' || iif(typeof(p0."title") = 'integer', iif(p0."title" < 0, '[#', '[') || p0."title" } <>
                 ~S{|| ']', '."' || replace(replace(p0."title", '\', '\\'), '"', '\"') || '"'))}
    end
  end

  test "exists, and a field of the query around it" do
    inner = from(c in Comment, where: c.post_id == parent_as(:p).id, select: 1)

    assert all(from(p in Post, as: :p, where: exists(inner), select: p.id)) ==
             ~s[SELECT p0."id" FROM "posts" AS p0 WHERE (exists(SELECT 1 FROM "comments" AS sc0 ] <>
               ~s[WHERE (sc0."post_id" = p0."id")))]
  end

  test "any and all are refused" do
    query = from(p in Post, where: p.id == all(from(c in Comment, select: c.post_id)), select: 1)
    assert_raise Ecto.QueryError, ~r/no all\(subquery\)/, fn -> all(query) end
  end

  test "dates" do
    assert selected(from(p in Post, select: date_add(p.posted, 2, "week"))) ==
             ~s[strftime('%Y-%m-%d', p0."posted", ((2) * 7) || ' days')]

    assert selected(from(p in Post, select: date_add(p.posted, ^1, "month"))) ==
             ~s[(SELECT strftime('%Y-%m-%d', d, (n) || ' months', (CASE strftime('%d', d, (n) || ' months') ] <>
               ~s[WHEN strftime('%d', d) THEN 0 ELSE -strftime('%d', d, (n) || ' months') END) || ' days') ] <>
               ~s[FROM (SELECT p0."posted" AS d, ?1 AS n))]
  end
end
