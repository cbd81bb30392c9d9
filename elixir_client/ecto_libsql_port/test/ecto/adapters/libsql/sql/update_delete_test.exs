defmodule Ecto.Adapters.LibSql.Sql.UpdateDeleteTest do
  use EctoLibSql.SqlCase, async: true

  alias Ecto.Adapters.LibSql.Connection

  test "a row by its key" do
    assert IO.iodata_to_binary(Connection.update(nil, "posts", [:title], [id: 1, visits: nil], [:id])) ==
             ~s[UPDATE "posts" SET "title" = ?1 WHERE "id" = ?2 AND "visits" IS NULL RETURNING "id"]

    assert IO.iodata_to_binary(Connection.delete("old", "posts", [id: 1], [])) ==
             ~s[DELETE FROM "old"."posts" WHERE "id" = ?1]
  end

  test "set, inc, push, pull" do
    assert update_all(from(p in Post, update: [set: [title: ^"x"]])) ==
             ~s[UPDATE "posts" AS p0 SET "title" = ?1]

    assert update_all(from(p in Post, update: [inc: [score: 1.5]])) =~ ~s["score" = p0."score" + 1.5]

    assert update_all(from(p in Post, update: [inc: [visits: 1]])) =~
             ~r/"visits" = CASE WHEN typeof\(p0."visits" \+ 1\) = 'real' .* ELSE p0."visits" \+ 1 END/

    assert update_all(from(p in Post, update: [push: [tags: "a"]])) =~
             ~s{"tags" = json_insert(coalesce(p0."tags", '[]'), '$[#]', 'a')}

    assert update_all(from(p in Post, update: [pull: [tags: "a"]])) =~
             ~s[FROM json_each(p0."tags") WHERE value IS NOT 'a')]
  end

  test "update with joins" do
    query =
      from(p in Post,
        join: c in Comment,
        on: c.post_id == p.id,
        join: d in Comment,
        on: d.id == c.id,
        where: p.id > 1,
        update: [set: [title: c.text]]
      )

    assert update_all(query) ==
             ~s[UPDATE "posts" AS p0 SET "title" = c1."text" FROM "comments" AS c1, "comments" AS c2 ] <>
               ~s[WHERE (c1."post_id" = p0."id") AND (c2."id" = c1."id") AND (p0."id" > 1)]
  end

  test "update with outer joins, which cannot refer to the row that is written" do
    query = from(p in Post, left_join: c in Comment, on: c.post_id == p.id, update: [set: [title: c.text]])

    assert update_all(query) ==
             ~s[UPDATE "posts" AS p0 SET "title" = c1."text" FROM "posts" AS p0w LEFT OUTER JOIN "comments" AS c1 ] <>
               ~s[ON c1."post_id" = p0w."id" WHERE (p0."id" = p0w."id")]

    query =
      from(p in "posts",
        join: c in "comments",
        on: c.post_id == p.id,
        left_join: d in "comments",
        on: d.id == p.id + c.id,
        where: p.id == 1,
        update: [set: [title: d.text]]
      )

    assert update_all(query) ==
             ~s[UPDATE "posts" AS p0 SET "title" = c2."text" FROM "posts" AS p0w, "comments" AS c1 ] <>
               ~s[LEFT OUTER JOIN "comments" AS c2 ON c2."id" = (p0w."id" + c1."id") ] <>
               ~s[WHERE (p0."_rowid_" = p0w."_rowid_") AND (c1."post_id" = p0."id") AND (p0."id" = 1)]
  end

  test "the conditions of joins hold on both sides of an or" do
    query =
      from(p in Post,
        join: c in Comment,
        on: c.post_id == p.id,
        where: p.id == 1,
        or_where: p.id == 2,
        where: p.visits > 3
      )

    assert update_all(from(p in query, update: [set: [visits: 0]])) =~
             ~s[ WHERE (c1."post_id" = p0."id") AND (((p0."id" = 1) OR (p0."id" = 2)) AND (p0."visits" > 3))]

    query = from(p in "posts", join: c in "comments", on: c.post_id == p.id, or_where: p.id == 2)
    assert delete_all(query) =~ ~s[ WHERE (c1."post_id" = p0."id") AND (p0."id" = 2))]
  end

  test "returning knows no alias" do
    assert update_all(from(p in Post, update: [set: [visits: 0]], select: p.id)) ==
             ~s[UPDATE "posts" AS p0 SET "visits" = 0 RETURNING "id"]

    assert delete_all(from(p in Post, select: {p.id, p.visits + 1})) ==
             ~s[DELETE FROM "posts" AS p0 RETURNING "id", "visits" + 1]

    query = from(p in Post, join: c in Comment, on: true, update: [set: [visits: 0]], select: c.id)
    assert_raise Ecto.QueryError, ~r/only columns of the table/, fn -> update_all(query) end
  end

  test "delete" do
    assert delete_all(from(p in Post, where: p.id == 1)) == ~s[DELETE FROM "posts" AS p0 WHERE (p0."id" = 1)]
  end

  test "delete with joins names its rows by their key in a subquery" do
    query = from(p in Post, join: c in Comment, on: c.post_id == p.id, where: c.text == "x")

    assert delete_all(query) ==
             ~s[DELETE FROM "posts" AS p0 WHERE p0."id" IN (SELECT p0."id" FROM "posts" AS p0 INNER JOIN ] <>
               ~s["comments" AS c1 ON c1."post_id" = p0."id" WHERE (c1."text" = 'x'))]
  end

  test "delete with joins without a schema asks each row" do
    query =
      from(p in "posts",
        join: c in "comments",
        on: c.post_id == p.id,
        left_join: d in "comments",
        on: d.id == c.id,
        where: c.text == "x"
      )

    assert delete_all(query) ==
             ~s[DELETE FROM "posts" AS p0 WHERE EXISTS (SELECT 1 FROM "comments" AS c1 LEFT OUTER JOIN "comments" AS c2 ] <>
               ~s[ON c2."id" = c1."id" WHERE (c1."post_id" = p0."id") AND (c1."text" = 'x'))]
  end

  test "returning of a join is what the written row has, if it is that row" do
    older = from(p in Post, where: p.visits < 3)
    query = from(p in Post, join: o in subquery(older), on: o.id == p.id, select: map(o, [:id, :title]))
    assert update_all(from(p in query, update: [set: [visits: 0]])) =~ ~r/ RETURNING "id", "title"\z/
    assert delete_all(query) =~ ~r/ RETURNING "id", "title"\z/

    assert delete_all(from(p in Post, join: o in Post, on: p.id == o.id, select: o.title)) =~
             ~r/ RETURNING "title"\z/

    for query <- [
          from(p in Post, join: o in subquery(older), on: o.id == p.visits, select: o.title),
          from(p in Post, join: o in subquery(older), on: o.id == p.id or p.visits == 1, select: o.title),
          from(p in Post, left_join: o in subquery(older), on: o.id == p.id, select: o.title),
          from(p in Post, join: c in Comment, on: c.id == p.id, select: c.id),
          from(p in Post, join: o in subquery(union(older, ^older)), on: o.id == p.id, select: o.title),
          from(p in Post,
            join: o in subquery(from(p in Post, select: %{id: p.visits, title: p.title})),
            on: o.id == p.id,
            select: o.title
          ),
          from(p in Post,
            join: o in subquery(from(p in Post, select: %{id: p.id, title: p.visits + 1})),
            on: o.id == p.id,
            select: o.title
          )
        ] do
      assert_raise Ecto.QueryError, ~r/only columns of the table/, fn -> delete_all(query) end
    end
  end

  test "right and full joins are refused" do
    query = from(p in Post, right_join: c in Comment, on: true)
    assert_raise Ecto.QueryError, ~r/not right/, fn -> delete_all(query) end
  end
end
