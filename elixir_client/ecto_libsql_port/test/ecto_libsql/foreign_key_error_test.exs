defmodule EctoLibSql.ForeignKeyErrorTest do
  # The sidecar names a violated foreign key; the client asks nothing more of it.
  use EctoLibSql.RepoCase

  setup do
    script("""
    CREATE TABLE users (id INTEGER PRIMARY KEY);
    CREATE TABLE posts (id INTEGER PRIMARY KEY, author_id INTEGER REFERENCES users(id),
      editor_id INTEGER CONSTRAINT edited_by REFERENCES users(id),
      parent_id INTEGER REFERENCES posts(id) DEFERRABLE INITIALLY DEFERRED);
    """)

    # What is looked up once for each Repo is no part of these requests.
    TestRepo.transaction(fn -> :ok end)
    :ok
  end

  # The requests that the driver sends while a function runs, in their order.
  defp names(fun) do
    {_result, requests} = requests(fun)
    for %{request: request} <- requests, do: request
  end

  for {what, sql, name} <- [
        {"without a name", "INSERT INTO posts (author_id) VALUES (99)", "posts_author_id_fkey"},
        {"with a name", "INSERT INTO posts (editor_id) VALUES (99)", "edited_by"},
        {"of an update", "UPDATE posts SET author_id = 99", "posts_author_id_fkey"}
      ] do
    test "one request for a violation #{what}" do
      TestRepo.query!("INSERT INTO posts (id) VALUES (1)")

      sent =
        names(fn ->
          assert {:error, %{code: :constraint_foreign_key, constraint: %{name: unquote(name)}}} =
                   TestRepo.query(unquote(sql))
        end)

      assert sent == [:execute]
    end
  end

  test "a commit that fails is rolled back, and that is all" do
    sent =
      names(fn ->
        error =
          assert_raise EctoLibSql.Error, fn ->
            TestRepo.transaction(fn -> TestRepo.query!("INSERT INTO posts (parent_id) VALUES (99)") end)
          end

        assert error.constraint.name == "posts_parent_id_fkey"
      end)

    assert [:begin, :execute, :commit, :rollback] = Enum.take(sent, 4)
  end
end
