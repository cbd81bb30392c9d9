defmodule Ecto.Adapters.LibSql.Sql.InsertTest do
  use EctoLibSql.SqlCase, async: true

  alias Ecto.Adapters.LibSql.Connection

  @raise {:raise, [], []}

  test "rows" do
    assert insert(nil, "posts", [:title, :visits], [[:title, :visits]], @raise, []) ==
             ~s[INSERT INTO "posts" ("title", "visits") VALUES (?1, ?2)]
  end

  test "many rows of values alone are short, and numbered by SQLite" do
    assert insert(nil, "posts", [:title, :visits], List.duplicate([:title, :visits], 3), @raise, [:id]) ==
             ~s[INSERT INTO "posts" ("title", "visits") VALUES (?,?),(?,?),(?,?) RETURNING "id"]

    # A query among the values has numbers of its own.
    query = from(c in Comment, select: c.text, where: c.id == ^1) |> plan()

    assert insert(nil, "posts", [:title, :visits], [["a", 1], [{query, 1}, 2]], @raise, []) =~
             ~s[VALUES (?1, ?2), ((SELECT c0."text"]
  end

  test "defaults alone, a prefix, returning" do
    assert insert("old", "posts", [], [[]], @raise, [:id]) ==
             ~s[INSERT INTO "old"."posts" DEFAULT VALUES RETURNING "id"]
  end

  test "placeholders come first" do
    rows = [[{:placeholder, "1"}, :visits], [{:placeholder, "1"}, :visits]]

    assert insert(nil, "posts", [:title, :visits], rows, @raise, [], ["x"]) ==
             ~s[INSERT INTO "posts" ("title", "visits") VALUES (?1, ?2), (?1, ?3)]
  end

  test "writing a statement costs a small part of a time slice" do
    write = fn -> insert(nil, "posts", [:title, :visits], [[:title, :visits]], @raise, [:id]) end
    write.()
    {:reductions, before} = Process.info(self(), :reductions)
    write.()
    {:reductions, now} = Process.info(self(), :reductions)
    # A slice has 4000.
    assert now - before < 1_500
  end

  test "a single default is refused" do
    assert_raise ArgumentError, ~r/no DEFAULT for a single value/, fn ->
      insert(nil, "posts", [:title, :visits], [[:title, nil]], @raise, [])
    end
  end

  test "the constraint of a conflict is named by its columns" do
    assert_raise ArgumentError, ~r/:posts_title.*name the columns/, fn ->
      insert(nil, "posts", [:title], [[:title]], {:nothing, [], {:constraint, :posts_title}}, [])
    end
  end

  test "conflicts" do
    into = ~s[INSERT INTO "posts" ("title") VALUES (?1)]
    rows = [[:title]]
    assert insert(nil, "posts", [:title], rows, {:nothing, [], []}, []) == "#{into} ON CONFLICT DO NOTHING"

    assert insert(nil, "posts", [:title], rows, {:nothing, [], [:title]}, []) ==
             ~s[#{into} ON CONFLICT ("title") DO NOTHING]

    assert insert(nil, "posts", [:title], rows, {[:title], [], [:id]}, []) ==
             ~s[#{into} ON CONFLICT ("id") DO UPDATE SET "title" = excluded."title"]

    assert insert(nil, "posts", [:title], rows, {:nothing, [], {:unsafe_fragment, "(lower(title))"}}, []) ==
             ~s[#{into} ON CONFLICT (lower(title)) DO NOTHING]
  end

  test "a conflict with a query" do
    query = from(p in Post, where: p.visits < 9, update: [inc: [score: 1.5]]) |> plan(:update_all)

    assert insert(nil, "posts", [:title], [[:title]], {query, [], [:id]}, [:id]) ==
             ~s[INSERT INTO "posts" AS p0 ("title") VALUES (?1) ON CONFLICT ("id") ] <>
               ~s[DO UPDATE SET "score" = p0."score" + 1.5 WHERE (p0."visits" < 9) RETURNING "id"]
  end

  test "from a query: with a conflict it needs a WHERE" do
    query = from(c in Comment, select: %{title: c.text}) |> plan()
    select = ~s[SELECT c0."text" FROM "comments" AS c0]
    assert insert(nil, "posts", [:title], query, @raise, []) == ~s[INSERT INTO "posts" ("title") #{select}]

    assert insert(nil, "posts", [:title], query, {:nothing, [], []}, []) ==
             ~s[INSERT INTO "posts" ("title") #{select} WHERE (TRUE) ON CONFLICT DO NOTHING]
  end

  # Ecto 3.14 documents it. Its Repo (3.14.2) refuses what its adapters are ready for.
  test "a fragment in returning is taken as it is" do
    returning = {:unsafe_fragment, ~s["id", "a" = 'x' AS is_x]}

    assert insert(nil, "t", [:a], [[:a]], {:raise, [], []}, returning) ==
             ~s[INSERT INTO "t" ("a") VALUES (?1) RETURNING "id", "a" = 'x' AS is_x]

    assert IO.iodata_to_binary(Connection.update(nil, "t", [:a], [id: 1], returning)) ==
             ~s[UPDATE "t" SET "a" = ?1 WHERE "id" = ?2 RETURNING "id", "a" = 'x' AS is_x]

    assert IO.iodata_to_binary(Connection.delete(nil, "t", [id: 1], returning)) ==
             ~s[DELETE FROM "t" WHERE "id" = ?1 RETURNING "id", "a" = 'x' AS is_x]
  end
end
