defmodule EctoLibSql.BytesToBlobsTest do
  use EctoLibSql.RepoCase

  alias EctoLibSql.Migration

  @tables """
  CREATE TABLE users (id BLOB PRIMARY KEY, name TEXT, code BLOB UNIQUE);
  CREATE TABLE "odd ""posts" (id BLOB PRIMARY KEY, "user.id" BLOB REFERENCES users ON UPDATE RESTRICT ON DELETE CASCADE,
    parent BLOB REFERENCES "odd ""posts"(id));
  CREATE TABLE likes (post BLOB REFERENCES "odd ""posts"(id) ON UPDATE CASCADE, by BLOB, FOREIGN KEY (by) REFERENCES USERS(ID));
  CREATE TABLE others (id BLOB PRIMARY KEY);
  """

  defp text(n), do: "CAST(#{blob(n)} AS TEXT)"
  defp blob(n), do: "x'#{String.duplicate("6#{n}", 15)}C3'"

  setup do
    script(@tables)

    # 1 and 2 as text, 3 as a blob; a text of another size stays one.
    script("""
    INSERT INTO users VALUES (#{text(1)}, 'sixteen letters!', #{text(1)}), (#{text(2)}, 'b', NULL), (#{blob(3)}, 'c', #{blob(3)});
    INSERT INTO "odd ""posts" VALUES (#{text(1)}, #{text(1)}, NULL), (#{text(2)}, #{text(2)}, #{text(1)}), (#{blob(3)}, #{blob(3)}, #{text(2)});
    INSERT INTO likes VALUES (#{text(1)}, #{text(2)}), (#{blob(3)}, #{blob(3)});
    INSERT INTO others VALUES (#{text(1)}), ('short');
    """)

    :ok
  end

  defp types(table, column) do
    TestRepo.query!(
      ~s|SELECT DISTINCT typeof("#{column}") FROM "#{String.replace(table, "\"", "\"\"")}" ORDER BY 1|
    ).rows
    |> List.flatten()
  end

  @found [
    {"users", "id", 2},
    {~s(odd "posts), "user.id", 2},
    {"likes", "by", 1}
  ]

  test "a key, what refers to it, and nothing else" do
    assert Migration.bytes_to_blobs(:users, ["ID"], repo: TestRepo) == @found
    assert types("users", "id") == ["blob"]
    assert types("users", "name") == ["text"]
    assert types("users", "code") == ["blob", "null", "text"]
    assert types("likes", "by") == ["blob"]
    assert types("others", "id") == ["text"]
    assert TestRepo.query!("PRAGMA foreign_key_check").rows == []
    assert TestRepo.query!("PRAGMA defer_foreign_keys").rows == [[0]]

    assert [{"users", "id", 0} | _] = Migration.bytes_to_blobs(:users, [:id], repo: TestRepo)
  end

  test "from the side that refers, and references of a table to itself" do
    posts = ~s(odd "posts)

    assert Enum.sort(Migration.bytes_to_blobs("likes", [:post, :by], repo: TestRepo)) ==
             Enum.sort([
               {"likes", "post", 1},
               {"likes", "by", 1},
               {posts, "id", 2},
               {posts, "parent", 2},
               {posts, "user.id", 2},
               {"users", "id", 2}
             ])

    assert types(posts, "parent") == ["blob", "null"]
    assert TestRepo.query!("PRAGMA foreign_key_check").rows == []
  end

  test "a dry run counts" do
    assert Migration.bytes_to_blobs(:users, [:id], repo: TestRepo, dry_run: true) == @found
    assert types("users", "id") == ["blob", "text"]
  end

  test "sizes" do
    assert Migration.bytes_to_blobs(:others, [:id], repo: TestRepo, bytes: 5) == [{"others", "id", 1}]
    assert Migration.bytes_to_blobs(:others, [:id], repo: TestRepo, bytes: :any) == [{"others", "id", 1}]
    assert types("others", "id") == ["blob"]
    assert_raise ArgumentError, fn -> Migration.bytes_to_blobs(:others, [:id], repo: TestRepo, bytes: "5") end

    assert_raise ArgumentError, ~r/others.*ids/, fn ->
      Migration.bytes_to_blobs(:others, [:ids], repo: TestRepo)
    end
  end

  test "a row that is there twice, as text and as a blob: refused, nothing changed" do
    TestRepo.query!("INSERT INTO users (id) VALUES (#{blob(1)})")
    error = assert_raise EctoLibSql.Error, fn -> Migration.bytes_to_blobs(:users, [:id], repo: TestRepo) end
    assert error.code == :constraint_primary_key
    assert types("users", "id") == ["blob", "text"]
    assert types("likes", "by") == ["blob", "text"]
  end

  test "a key that its table keeps as text: refused, nothing changed" do
    TestRepo.query!("PRAGMA foreign_keys = OFF")
    script("CREATE TABLE keyed (id BLOB PRIMARY KEY, CHECK (typeof(id) = 'text' OR id IS NULL));
      CREATE TABLE refers (id BLOB REFERENCES keyed(id) ON UPDATE SET NULL);
      INSERT INTO keyed VALUES (#{text(1)}); INSERT INTO refers VALUES (#{text(1)})")
    TestRepo.query!("PRAGMA foreign_keys = ON")
    error = assert_raise EctoLibSql.Error, fn -> Migration.bytes_to_blobs(:refers, [:id], repo: TestRepo) end
    assert error.code == :constraint_check
    assert types("refers", "id") == ["text"]
  end

  defmodule Mend do
    use Ecto.Migration

    def change do
      execute("INSERT INTO users (id) VALUES (CAST(x'#{String.duplicate("64", 16)}' AS TEXT))", "SELECT 1")
      send(self(), {:counts, EctoLibSql.Migration.bytes_to_blobs(:users, [:id])})
    end
  end

  test "in a migration, after what stands above it; nothing on the way down" do
    version = System.unique_integer([:positive])
    Ecto.Migrator.up(TestRepo, version, Mend, log: false)
    assert types("users", "id") == ["blob"]
    Ecto.Migrator.down(TestRepo, version, Mend, log: false)
    assert types("users", "id") == ["blob"]
  end

  @tag repo: [attach: [ten: ":memory:"], pool_size: 1]
  test "in an attached database" do
    TestRepo.query!("CREATE TABLE ten.users (id BLOB PRIMARY KEY)")
    TestRepo.query!("INSERT INTO ten.users VALUES (#{text(1)})")
    assert Migration.bytes_to_blobs(:users, [:id], repo: TestRepo, prefix: :ten) == [{"users", "id", 1}]
    assert TestRepo.query!("SELECT typeof(id) FROM ten.users").rows == [["blob"]]
    assert types("users", "id") == ["blob", "text"]
  end
end
