defmodule EctoLibSql.SqlCase.Post do
  @moduledoc false
  use Ecto.Schema

  schema "posts" do
    field(:title, :string)
    field(:visits, :integer)
    field(:score, :float)
    field(:cost, :decimal)
    field(:blob, :binary)
    field(:meta, :map)
    field(:tags, {:array, :string})
    field(:posted, :date)
    field(:at, :naive_datetime)
    has_many(:comments, EctoLibSql.SqlCase.Comment)
  end
end
