defmodule Ecto.Adapters.LibSql.RegexpTest do
  use EctoLibSql.RepoCase

  defmodule Post do
    use Ecto.Schema

    schema "posts" do
      field :title, :string
    end
  end

  setup do
    TestRepo.query!("CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT)")
    TestRepo.insert_all(Post, for(title <- ["Draft: Größe", "draft 2", "Final", nil], do: [title: title]))
    :ok
  end

  defp titles(pattern) do
    TestRepo.all(
      from p in Post, where: fragment("? REGEXP ?", p.title, ^pattern), order_by: p.id, select: p.title
    )
  end

  test "a fragment searches for a regular expression" do
    assert titles("^draft") == ["draft 2"]
    assert titles("(?i)^draft") == ["Draft: Größe", "draft 2"]
    assert titles("GRÖ") == []
    assert titles("(?i)GRÖ\\w+$") == ["Draft: Größe"]
    assert titles("\\d") == ["draft 2"]
  end

  test "a bad pattern says what is wrong with it" do
    error = assert_raise EctoLibSql.Error, ~r/unclosed group/, fn -> titles("(") end
    assert error.code == :sql_error
  end

  test "an update, and a migration's check, use one" do
    query = from p in Post, where: fragment("? REGEXP ?", p.title, ^"^[A-Z]")
    assert {2, nil} = TestRepo.update_all(query, set: [title: "-"])
    TestRepo.query!("CREATE TABLE slugs (slug TEXT, CONSTRAINT form CHECK (slug REGEXP '^[a-z0-9-]+$'))")
    assert {1, nil} = TestRepo.insert_all("slugs", [[slug: "a-slug"]])
    error = assert_raise EctoLibSql.Error, fn -> TestRepo.insert_all("slugs", [[slug: "No slug"]]) end
    assert error.code == :constraint_check
  end
end
