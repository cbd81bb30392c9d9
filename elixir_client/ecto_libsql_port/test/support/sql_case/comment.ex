defmodule EctoLibSql.SqlCase.Comment do
  @moduledoc false
  use Ecto.Schema

  schema "comments" do
    field(:text, :string)
    belongs_to(:post, EctoLibSql.SqlCase.Post)
  end
end
