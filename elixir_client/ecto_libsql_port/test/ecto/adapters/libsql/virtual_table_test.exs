defmodule Ecto.Adapters.LibSql.VirtualTableTest do
  use EctoLibSql.RepoCase

  defmodule Note do
    use Ecto.Schema
    @primary_key {:rowid, :id, autogenerate: true}

    schema "notes" do
      field(:body, :string)
    end
  end

  defmodule Box do
    use Ecto.Schema

    schema "boxes" do
      field(:low, :float)
      field(:high, :float)
    end
  end

  defmodule Create do
    use Ecto.Migration

    def change do
      create table(:notes, options: [fts5: true]) do
        add(:body, :text)
      end

      create table(:boxes, options: [rtree: true]) do
        add(:low, :float)
        add(:high, :float)
      end
    end
  end

  setup do
    migrate(Create)
    :ok
  end

  test "an inserted row has the number by which it is found, updated and deleted" do
    for schema <- [Note, Box], n <- 1..3 do
      attributes = if schema == Note, do: %{body: "a #{n}"}, else: %{low: 1.0 * n, high: 2.0 * n}
      row = TestRepo.insert!(struct!(schema, attributes))
      [{_, key}] = Ecto.primary_key(row)
      assert key == n
      assert Map.take(TestRepo.get!(schema, key), Map.keys(attributes)) == attributes
    end

    note = TestRepo.get_by!(Note, body: "a 2")
    assert %{rowid: 2, body: "b"} = TestRepo.update!(Ecto.Changeset.change(note, body: "b"))

    assert TestRepo.all(from(n in Note, select: {n.rowid, n.body}, order_by: n.rowid)) == [
             {1, "a 1"},
             {2, "b"},
             {3, "a 3"}
           ]

    TestRepo.delete!(note)
    assert TestRepo.aggregate(Note, :count) == 2
  end

  test "a number that is given is kept" do
    assert TestRepo.insert!(%Note{rowid: 77, body: "a"}).rowid == 77
    assert TestRepo.insert!(%Note{body: "b"}).rowid == 78
    assert TestRepo.insert!(%Box{id: -1, low: 1.0, high: 2.0}).id == -1
  end

  test "an ordinary table's rowid is what RETURNING says" do
    script("CREATE TABLE plain (body TEXT); INSERT INTO plain (rowid, body) VALUES (-2, 'a')")
    note = Ecto.put_meta(%Note{body: "b"}, source: "plain")
    assert TestRepo.insert!(note).rowid == -1
    assert TestRepo.query!("SELECT rowid FROM plain ORDER BY 1").rows == [[-2], [-1]]
  end
end
