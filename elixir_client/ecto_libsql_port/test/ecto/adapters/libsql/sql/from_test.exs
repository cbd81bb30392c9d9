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

  # Ecto 3.13 does not compile the query.
  if Version.match?(to_string(Application.spec(:ecto, :vsn)), ">= 3.14.0-dev") do
    test "a fragment with a schema" do
      query = from(f in {fragment("SELECT ? AS visits", ^1), Post}, select: struct(f, [:visits]))
      assert all(query) =~ ~s[FROM (SELECT ?1 AS visits) AS f0]

      assert all(from(f in {fragment("SELECT 1 AS visits"), Post}, select: f.visits)) ==
               ~s[SELECT f0."visits" FROM (SELECT 1 AS visits) AS f0]
    end
  end

  test "values" do
    query = from(v in values([%{a: 1, b: "x"}, %{a: 2, b: "y"}], %{a: :integer, b: :string}), select: v.b)

    # Ecto takes the columns in the order that the map has them, which is up to the Erlang.
    [first, second] = Map.keys(%{a: 1, b: 2})

    assert all(query) ==
             ~s[SELECT v0."b" FROM (SELECT column1 AS "#{first}", column2 AS "#{second}" ] <>
               "FROM (VALUES (?1, ?2), (?3, ?4))) AS v0"
  end
end
