defmodule Peers.Repo do
  # The adapter is that of this VM. Queries in SQL go through `Ecto.Adapters.SQL`, since one of the adapters leaves
  # `query/2` out of its Repos.
  @moduledoc false
  use Ecto.Repo, otp_app: :peers, adapter: Application.compile_env!(:peers, :adapter)

  def sql!(statement, parameters \\ [], options \\ []) do
    Ecto.Adapters.SQL.query!(get_dynamic_repo(), statement, parameters, options)
  end

  def value!(statement) do
    %{rows: [[value]]} = sql!(statement)
    value
  end

  @doc "For an adapter without options for pragmas; called with each new connection."
  def set_pragmas(conn, query, pragmas) do
    for {name, value} <- pragmas do
      {:ok, _, _} = DBConnection.execute(conn, struct!(query, statement: "PRAGMA #{name} = #{value}"), [])
    end
  end
end

defmodule Peers.Item do
  # Six columns, mixed: integer, text of 20, float, text of 50, NULL, blob of 32. Read only.
  @moduledoc false
  use Ecto.Schema

  schema "items" do
    field :short, :string
    field :value, :float
    field :long, :string
    field :empty, :string
    field :bytes, :binary
  end
end

defmodule Peers.Entry do
  # What is inserted; the key is the database's to give.
  @moduledoc false
  use Ecto.Schema

  schema "entries" do
    field :name, :string
    field :value, :float
    field :count, :integer
    field :note, :string
  end
end

defmodule Peers.Author do
  @moduledoc false
  use Ecto.Schema

  schema "authors" do
    field :name, :string
    field :town, :integer
    has_many :posts, Peers.Post
  end
end

defmodule Peers.Post do
  @moduledoc false
  use Ecto.Schema

  schema "posts" do
    field :title, :string
    field :views, :integer
    belongs_to :author, Peers.Author
    has_many :comments, Peers.Comment
  end
end

defmodule Peers.Comment do
  @moduledoc false
  use Ecto.Schema

  schema "comments" do
    field :text, :string
    belongs_to :post, Peers.Post
  end
end
