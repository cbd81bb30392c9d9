defmodule Peers.Queries do
  # What applications ask besides: many rows changed at once, rows with what belongs to them.
  @moduledoc false
  import Ecto.Query
  alias Peers.{Measure, Post, Repo}

  @posts 10_000

  def update_all(_quick?) do
    before = Repo.value!("SELECT sum(views) FROM posts")

    [
      Measure.checked(
        fn -> Repo.update_all(Post, inc: [views: 1]) end,
        fn {@posts, nil} -> true = Repo.value!("SELECT sum(views) FROM posts") == before + @posts end
      )
    ]
  end

  # Authors of one town in fifty: 20 of 1000, with 10 posts each and 3 comments to each post.
  def preload(quick?) do
    [
      Measure.p50(Measure.setting(quick?, 40, 5), fn ->
        posts = Repo.all(posts_of(:rand.uniform(50) - 1))
        200 = length(posts)

        600 =
          Enum.reduce(posts, 0, fn %{author: %{name: "author " <> _}} = post, sum ->
            sum + length(post.comments)
          end)
      end)
    ]
  end

  defp posts_of(town) do
    from post in Post,
      join: author in assoc(post, :author),
      where: author.town == ^town,
      preload: [:comments, author: author]
  end
end
