defmodule Ecto.Adapters.LibSql.Sql.CteTest do
  use EctoLibSql.SqlCase, async: true

  @inner ~s[(SELECT sp0."id" AS "id" FROM "posts" AS sp0)]

  defp ids, do: from(p in Post, select: %{id: p.id})

  test "with, with hints" do
    query = from(t in "tree", select: t.id)

    assert all(with_cte(query, "tree", as: ^ids())) ==
             ~s[WITH "tree" AS #{@inner} SELECT t0."id" FROM "tree" AS t0]

    assert all(with_cte(query, "tree", as: ^ids(), materialized: true)) =~ ~s["tree" AS MATERIALIZED (SELECT]

    assert all(with_cte(query, "tree", as: ^ids(), materialized: false)) =~
             ~s["tree" AS NOT MATERIALIZED (SELECT]
  end

  test "recursive" do
    step = from(p in Post, join: t in "tree", on: t.id == p.visits, select: %{id: p.id})

    query =
      from(t in "tree", select: t.id)
      |> recursive_ctes(true)
      |> with_cte("tree", as: ^union_all(ids(), ^step))

    assert all(query) ==
             ~s[WITH RECURSIVE "tree" AS (SELECT sp0."id" AS "id" FROM "posts" AS sp0 UNION ALL ] <>
               ~s[SELECT sp0."id" FROM "posts" AS sp0 INNER JOIN "tree" AS st1 ON st1."id" = sp0."visits") ] <>
               ~s[SELECT t0."id" FROM "tree" AS t0]
  end

  test "a fragment" do
    query = from(t in "t", select: t.x) |> with_cte("t", as: fragment("SELECT 1 AS x"))
    assert all(query) == ~s[WITH "t" AS (SELECT 1 AS x) SELECT t0."x" FROM "t" AS t0]
  end

  test "with update and delete" do
    update =
      from(p in Post, join: t in "t", on: t.id == p.id, update: [set: [visits: 0]])
      |> with_cte("t", as: ^ids())

    assert update_all(update) =~
             ~s[WITH "t" AS #{@inner} UPDATE "posts" AS p0 SET "visits" = 0 FROM "t" AS t1]

    delete = from(p in Post, join: t in "t", on: t.id == p.id) |> with_cte("t", as: ^ids())
    assert delete_all(delete) =~ ~s[WITH "t" AS #{@inner} DELETE FROM "posts" AS p0 WHERE p0."id" IN (]
  end

  test "that writes is refused" do
    query =
      from(t in "t", select: t.id)
      |> with_cte("t", as: ^from(p in Post, select: %{id: p.id}), operation: :delete_all)

    assert_raise Ecto.QueryError, ~r/no delete_all inside/, fn -> all(query) end
  end
end
