defmodule Ecto.Adapters.LibSql.Sql.WhereTest do
  use EctoLibSql.SqlCase, async: true

  defp where_of(query), do: query |> all() |> String.split(" WHERE ", parts: 2) |> List.last()

  test "and, or" do
    query = from(p in Post, where: p.id == 1, where: p.visits > 2, or_where: p.title == "x", select: 1)
    assert where_of(query) == ~s[((p0."id" = 1) AND (p0."visits" > 2)) OR (p0."title" = 'x')]
  end

  test "parameters bear their numbers" do
    query = from(p in Post, where: p.id == ^1 and p.title != ^"a", select: 1)
    assert where_of(query) == ~s[((p0."id" = ?1) AND (p0."title" != ?2))]
  end

  test "nil and not" do
    assert where_of(from(p in Post, where: is_nil(p.title), select: 1)) == ~s[(p0."title" IS NULL)]
    assert where_of(from(p in Post, where: not is_nil(p.title), select: 1)) == ~s[(NOT (p0."title" IS NULL))]
  end

  test "like, ilike" do
    assert where_of(from(p in Post, where: ilike(p.title, "a%"), select: 1)) == ~s[(p0."title" LIKE 'a%')]
  end

  test "literals" do
    assert where_of(from(p in Post, where: p.title == "it's", select: 1)) == ~s[(p0."title" = 'it''s')]
    assert where_of(from(p in Post, where: p.score > 1.5, select: 1)) == ~s[(p0."score" > 1.5)]
    assert where_of(from(p in Post, where: true, select: 1)) == "(TRUE)"
  end

  test "literals of bytes" do
    # Evaluated, because Elixir 1.14 warns of a check that Ecto makes of the literal where it is compiled.
    query = quote do: from(p in Post, where: p.blob == <<0, 255>>, select: 1)
    assert query |> Code.eval_quoted([], __ENV__) |> elem(0) |> where_of() == ~s[(p0."blob" = x'00FF')]

    # A text that is compared with bytes is bytes.
    assert where_of(from(p in Post, where: p.blob == "a", select: 1)) == ~s[(p0."blob" = x'61')]
  end
end
