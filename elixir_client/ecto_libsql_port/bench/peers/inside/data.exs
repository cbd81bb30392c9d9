defmodule Peers.Data do
  # Tables and rows, made in SQL by the engine itself, so that they are the same whatever the adapter does to values.
  @moduledoc false
  alias Peers.Repo

  @items 100_000
  @authors 1_000
  @posts 10_000
  @comments 30_000

  def items, do: @items

  def create do
    for statement <- [
          "CREATE TABLE items (id INTEGER PRIMARY KEY, short TEXT, value REAL, long TEXT, empty TEXT, bytes BLOB)",
          "CREATE TABLE entries (id INTEGER PRIMARY KEY, name TEXT, value REAL, count INTEGER, note TEXT)",
          "CREATE TABLE authors (id INTEGER PRIMARY KEY, name TEXT, town INTEGER)",
          "CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT, views INTEGER, author_id INTEGER REFERENCES authors (id))",
          "CREATE TABLE comments (id INTEGER PRIMARY KEY, text TEXT, post_id INTEGER REFERENCES posts (id))",
          "CREATE INDEX posts_author_id_index ON posts (author_id)",
          "CREATE INDEX comments_post_id_index ON comments (post_id)"
        ] do
      Repo.sql!(statement)
    end

    fill(
      "items",
      @items,
      "i, printf('%020d', i), i / 7.0, printf('%050d', i), NULL, CAST(printf('%032d', i) AS BLOB)"
    )

    fill("authors", @authors, "i, printf('author %d', i), (i - 1) % 50")
    fill("posts", @posts, "i, printf('post %020d', i), 0, (i - 1) % #{@authors} + 1")
    fill("comments", @comments, "i, printf('comment %050d', i), (i - 1) % #{@posts} + 1")
  end

  defp fill(table, count, values) do
    Repo.sql!("""
    INSERT INTO #{table}
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < #{count}) SELECT #{values} FROM n
    """)

    ^count = Repo.value!("SELECT count(*) FROM #{table}")
  end

  @doc "What the engine says of itself and of a connection, for the table's conditions."
  def facts do
    versions = for app <- [:ecto, :ecto_sql, :db_connection], do: {app, Application.spec(app, :vsn)}

    pragmas =
      for name <- ~w(journal_mode synchronous cache_size foreign_keys),
          do: {name, Repo.value!("PRAGMA #{name}")}

    [{"SQLite", Repo.value!("SELECT sqlite_version()")}] ++ pragmas ++ versions
  end
end
