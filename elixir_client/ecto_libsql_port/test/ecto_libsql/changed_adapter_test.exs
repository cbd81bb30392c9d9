defmodule EctoLibSql.ChangedAdapterTest do
  # Rows as ecto_sqlite3 0.24 stores them, in each of its formats, written here by hand: an application that has changed
  # the adapter's name reads, finds and changes them.
  use EctoLibSql.RepoCase

  @id "601d74e4-a8d3-4b6e-8365-eddb4c893327"

  defmodule Line do
    use Ecto.Schema

    embedded_schema do
      field(:at, :utc_datetime_usec)
      field(:amount, :decimal)
    end
  end

  defmodule Item do
    use Ecto.Schema

    @primary_key {:id, :binary_id, autogenerate: true}
    schema "items" do
      field(:code, Ecto.UUID)
      field(:done, :boolean)
      field(:rate, :float)
      field(:price, :decimal)
      field(:meta, :map)
      field(:tags, {:array, :string})
      field(:parts, {:array, :map})
      field(:bytes, :binary)
      field(:day, :date)
      field(:time, :time)
      field(:naive, :naive_datetime_usec)
      field(:utc, :utc_datetime)
      field(:usec, :utc_datetime_usec)
      embeds_one(:line, Line)
      belongs_to(:parent, Item, type: :binary_id)
    end
  end

  defmodule BytesOfIds do
    use Ecto.Migration

    def up, do: EctoLibSql.Migration.bytes_to_blobs(:items, [:id, :code])
  end

  # ecto_sqlite3 writes UTC with a Z.
  defmodule FormOfTimes do
    use Ecto.Migration

    def up, do: EctoLibSql.Migration.normalize_times(:items, [:utc, :usec, :naive, time: :time])
  end

  # A default of their migrations is `'[]'` in brackets; floats are NUMERIC, which makes an integer of 2.0.
  defp table(uuid, json, separator, z, fraction) do
    raw = fn text -> "CAST(x'#{String.replace(text, "-", "")}' AS TEXT)" end
    id = if uuid == "TEXT", do: &"'#{&1}'", else: raw

    script("""
    CREATE TABLE items (id #{uuid} PRIMARY KEY, code #{uuid}, done INTEGER DEFAULT false, rate NUMERIC, price DECIMAL(10,2),
      meta #{json}, tags #{json} DEFAULT ('[]'), parts #{json}, bytes BLOB, day TEXT, time TEXT, naive TEXT, utc TEXT, usec TEXT,
      line #{json}, parent_id #{uuid} CONSTRAINT items_parent_id_fkey REFERENCES items(id));
    CREATE UNIQUE INDEX items_code_index ON items (code);
    INSERT INTO items VALUES (#{id.(@id)}, #{id.("111d74e4-a8d3-4b6e-8365-eddb4c893327")}, 1, 2.0, '1.10',
      '{"a":{"b":[1,null]}}', '["x","é"]', '["{\\"a\\":1}"]', x'00FF', '2026-01-02', '03:04:05',
      '2026-01-02#{separator}03:04:05#{fraction}', '2026-01-02#{separator}03:04:05#{z}', '2026-01-02#{separator}03:04:05#{fraction}#{z}',
      '{"amount":"3.30","id":"211d74e4-a8d3-4b6e-8365-eddb4c893327","at":"2026-01-02T03:04:05.000600Z"}', NULL);
    INSERT INTO items (id, parent_id) VALUES (#{id.("701d74e4-a8d3-4b6e-8365-eddb4c893327")}, #{id.(@id)});
    """)
  end

  defp assert_read(item, usec) do
    assert %Item{id: @id, code: "111d74e4-a8d3-4b6e-8365-eddb4c893327", done: true, rate: 2.0} = item
    assert Decimal.equal?(item.price, "1.1")
    assert %{meta: %{"a" => %{"b" => [1, nil]}}, tags: ["x", "é"], parts: [%{"a" => 1}]} = item
    assert %{bytes: <<0, 255>>, day: ~D[2026-01-02], time: ~T[03:04:05], utc: ~U[2026-01-02 03:04:05Z]} = item
    assert item.naive == NaiveDateTime.add(~N[2026-01-02 03:04:05.000000], usec, :microsecond)
    assert item.usec == DateTime.add(~U[2026-01-02 03:04:05.000000Z], usec, :microsecond)
    assert item.line.at == ~U[2026-01-02 03:04:05.000600Z]
    assert Decimal.equal?(item.line.amount, "3.3")
  end

  defp assert_found(item) do
    assert TestRepo.get(Item, @id).id == @id
    assert TestRepo.get_by(Item, code: item.code, utc: item.utc, usec: item.usec, naive: item.naive).id == @id
    assert TestRepo.get_by(Item, price: Decimal.new("1.1"), tags: ["x", "é"], meta: item.meta).id == @id
    assert [%{parent_id: @id}] = TestRepo.all(from(i in Item, where: i.parent_id in [^@id]))
    assert TestRepo.insert!(%Item{parent_id: @id})

    assert {:error, %{errors: [code: _]}} =
             %Item{code: item.code}
             |> Ecto.Changeset.change()
             |> Ecto.Changeset.unique_constraint(:code)
             |> TestRepo.insert()

    assert {:ok, %{done: false}} = TestRepo.update(Ecto.Changeset.change(item, done: false))
  end

  test "its defaults: UUIDs as text, times as ISO 8601" do
    table("TEXT", "TEXT", "T", "Z", ".000600")
    item = TestRepo.get!(Item, @id)
    assert_read(item, 600)
    refute TestRepo.get_by(Item, utc: item.utc)
    migrate(FormOfTimes)
    assert TestRepo.get!(Item, @id) == item
    assert_found(item)
  end

  describe "all of :binary, and :text_datetime" do
    setup do
      options = [uuid_type: :binary, binary_id_type: :binary, map_type: :binary, array_type: :binary]
      options = [datetime_type: :text_datetime] ++ options
      EctoLibSql.TestSettings.put(options)
      table("BLOB", "BLOB", " ", "", "")
      :ok
    end

    test "everything is read" do
      TestRepo.all(from(i in Item, where: not is_nil(i.code))) |> hd() |> assert_read(0)
    end

    # SQLite holds no text for equal to a blob, and text is what ecto_sqlite3 binds the 16 bytes as.
    test "rows are found by their ids once those are blobs" do
      refute TestRepo.get(Item, @id)
      migrate(BytesOfIds)
      assert_found(TestRepo.get!(Item, @id))
      assert TestRepo.query!("PRAGMA foreign_key_check").rows == []
    end
  end
end
