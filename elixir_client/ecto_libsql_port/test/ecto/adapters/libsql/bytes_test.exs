defmodule Ecto.Adapters.LibSql.BytesTest do
  # Bytes are blobs, whichever way they take and whether or not they happen to be UTF-8.
  use EctoLibSql.RepoCase

  defmodule Tag do
    use Ecto.Schema
    @primary_key {:id, :binary_id, autogenerate: true}
    schema "tags" do
      field :code, Ecto.UUID
      field :bytes, :binary
    end
  end

  defmodule Note do
    use Ecto.Schema
    @primary_key {:id, :binary_id, autogenerate: true}
    @foreign_key_type :binary_id
    schema "notes" do
      belongs_to :post, Ecto.Adapters.LibSql.BytesTest.Post
    end
  end

  defmodule Post do
    use Ecto.Schema
    @primary_key {:id, :binary_id, autogenerate: true}
    schema "posts" do
      many_to_many :tags, Tag, join_through: "posts_tags"
      has_many :notes, Note
    end
  end

  setup do
    TestSettings.put(binary_id_type: :binary, uuid_type: :binary)

    # The columns of `loose` have no affinity and no type to go by.
    script("""
    CREATE TABLE tags (id BLOB PRIMARY KEY, code BLOB, bytes BLOB);
    CREATE TABLE posts (id BLOB PRIMARY KEY);
    CREATE TABLE notes (id BLOB PRIMARY KEY, post_id BLOB REFERENCES posts(id));
    CREATE TABLE posts_tags (post_id BLOB REFERENCES posts(id), tag_id BLOB REFERENCES tags(id));
    CREATE TABLE loose (id, bytes);
    """)

    :ok
  end

  # 16 bytes: of ASCII, of longer characters, and of none.
  defp bytes do
    ascii = for _ <- 1..16, into: <<>>, do: <<Enum.random(0..127)>>
    greek = for _ <- 1..8, into: <<>>, do: <<Enum.random(0x80..0x7FF)::utf8>>
    [ascii, greek, <<0xFF, :crypto.strong_rand_bytes(15)::binary>>]
  end

  # What a path writes is in `tags` afterwards; some leave columns out.
  @writes [
    :insert,
    :insert_all,
    :insert_all_without_schema,
    :insert_all_placeholders,
    :insert_all_query,
    :insert_all_values,
    :update,
    :update_all,
    :update_all_without_schema,
    :upsert_set,
    :upsert_replace,
    :upsert_query,
    :raw,
    :raw_named,
    :literals
  ]

  defp write(path, raw) do
    id = Ecto.UUID.load!(raw)
    whole = %{id: id, code: id, bytes: raw}
    other = %{id: Ecto.UUID.generate(), code: Ecto.UUID.generate(), bytes: "before"}

    case path do
      :insert ->
        TestRepo.insert!(struct(Tag, whole))

      :insert_all ->
        TestRepo.insert_all(Tag, [whole])

      :insert_all_without_schema ->
        TestRepo.insert_all("tags", [%{id: {:blob, raw}, code: {:blob, raw}, bytes: {:blob, raw}}])

      :insert_all_placeholders ->
        row = %{id: id, code: {:placeholder, :code}, bytes: {:placeholder, :bytes}}
        TestRepo.insert_all(Tag, [row], placeholders: %{code: id, bytes: raw})

      :insert_all_query ->
        TestRepo.query!("DELETE FROM loose")
        TestRepo.query!("INSERT INTO loose VALUES (1, 2)")

        TestRepo.insert_all(
          Tag,
          from(l in "loose",
            select: %{
              id: type(^id, :binary_id),
              code: type(^id, Ecto.UUID),
              bytes: coalesce(nil, type(^raw, :binary))
            }
          )
        )

      :insert_all_values ->
        types = %{id: :binary_id, code: Ecto.UUID, bytes: :binary}

        TestRepo.insert_all(
          Tag,
          from(v in values([whole], types), select: %{id: v.id, code: v.code, bytes: v.bytes})
        )

      :update ->
        tag = TestRepo.insert!(struct(Tag, %{other | id: id}))
        TestRepo.update!(Ecto.Changeset.change(tag, code: id, bytes: raw))

      :update_all ->
        TestRepo.insert!(struct(Tag, other))
        {1, nil} = TestRepo.update_all(Tag, set: [id: id, code: id, bytes: raw])

      :update_all_without_schema ->
        TestRepo.insert!(struct(Tag, other))

        {1, nil} =
          from(t in "tags",
            update: [set: [id: type(^id, :binary_id), code: ^{:blob, raw}, bytes: type(^raw, :binary)]]
          )
          |> TestRepo.update_all([])

      :upsert_set ->
        TestRepo.insert!(struct(Tag, %{other | id: id}))

        TestRepo.insert!(struct(Tag, %{other | id: id}),
          on_conflict: [set: [code: id, bytes: raw]],
          conflict_target: :id
        )

      :upsert_replace ->
        TestRepo.insert!(struct(Tag, %{other | id: id}))
        TestRepo.insert_all(Tag, [whole], on_conflict: {:replace, [:code, :bytes]}, conflict_target: :id)

      :upsert_query ->
        TestRepo.insert!(struct(Tag, %{other | id: id}))
        conflict = from(t in Tag, update: [set: [code: ^id, bytes: ^raw]], where: t.id == ^id)
        TestRepo.insert_all(Tag, [%{other | id: id}], on_conflict: conflict, conflict_target: :id)

      :raw ->
        TestRepo.query!("INSERT INTO tags VALUES (?, ?, ?)", List.duplicate({:blob, raw}, 3))

      :raw_named ->
        TestRepo.query!("INSERT INTO tags VALUES (:b, :b, :b)", %{b: {:blob, raw}})

      :literals ->
        {:ok, _} =
          TestRepo.query_many(
            "INSERT INTO tags VALUES (#{Enum.map_join(1..3, ", ", fn _ -> "x'#{Base.encode16(raw)}'" end)})"
          )
    end
  end

  defp reads(raw) do
    id = Ecto.UUID.load!(raw)
    list = [Ecto.UUID.generate(), id]

    [
      get: TestRepo.get(Tag, id),
      get_by: TestRepo.get_by(Tag, code: id, bytes: raw),
      equal: TestRepo.one(from t in Tag, where: t.id == ^id and t.code == ^id and t.bytes == ^raw),
      in: TestRepo.one(from t in Tag, where: t.id in ^list and t.code in ^list and t.bytes in ^["x", raw]),
      in_pinned: TestRepo.one(from t in Tag, where: t.id in [^id] and t.bytes in [^raw]),
      typed: TestRepo.one(from t in Tag, where: fragment("? = ?", t.bytes, type(^raw, :binary))),
      without_schema:
        TestRepo.one(
          from t in "tags",
            where: t.id == type(^id, :binary_id),
            select: %{id: t.id, code: t.code, bytes: t.bytes}
        ),
      blob:
        TestRepo.one(
          from t in "tags", where: t.id == ^{:blob, raw}, select: %{id: t.id, code: t.code, bytes: t.bytes}
        ),
      blobs:
        TestRepo.one(
          from t in "tags",
            where: t.id in [^{:blob, "x"}, ^{:blob, raw}],
            select: %{id: t.id, code: t.code, bytes: t.bytes}
        ),
      in_array:
        TestRepo.one(
          from t in Tag,
            where: t.id in type(^list, {:array, :binary_id}) and t.code in type(^list, {:array, Ecto.UUID})
        ),
      stream: stream(from t in Tag, where: t.bytes == ^raw and t.id in ^list),
      stream_raw:
        stream(
          from t in "tags", where: t.id == ^{:blob, raw}, select: %{id: t.id, code: t.code, bytes: t.bytes}
        ),
      subquery: TestRepo.one(from t in subquery(from t in Tag, where: t.bytes == ^raw), where: t.id == ^id),
      cte:
        TestRepo.one(from(t in {"found", Tag}) |> with_cte("found", as: ^from(t in Tag, where: t.id == ^id)))
    ]
  end

  defp stream(query) do
    {:ok, rows} = TestRepo.transaction(fn -> query |> TestRepo.stream() |> Enum.to_list() end)
    with [row] <- rows, do: row
  end

  for path <- @writes do
    test "#{path}: stored as blobs, found in every way" do
      for _ <- 1..3, raw <- bytes() do
        TestRepo.query!("DELETE FROM tags")
        write(unquote(path), raw)

        assert TestRepo.query!("SELECT typeof(id), typeof(code), typeof(bytes) FROM tags").rows ==
                 [["blob", "blob", "blob"]]

        for {way, found} <- reads(raw) do
          assert %{id: id, code: code, bytes: ^raw} = found, "#{way} of #{inspect(raw)}"
          assert id in [raw, Ecto.UUID.load!(raw)] and code in [raw, Ecto.UUID.load!(raw)]
        end

        tag = TestRepo.get!(Tag, Ecto.UUID.load!(raw))
        assert {:ok, _} = TestRepo.delete(tag)
      end
    end
  end

  test "associations: keys of the joined rows, of children, and what preloads find" do
    for raw <- bytes(), id = Ecto.UUID.load!(raw) do
      script("DELETE FROM posts_tags; DELETE FROM notes; DELETE FROM posts; DELETE FROM tags")
      post = TestRepo.insert!(%Post{id: id, tags: [%Tag{id: id}], notes: [%Note{id: id}]})
      again = TestRepo.insert!(%Tag{bytes: raw})

      TestRepo.preload(post, :tags)
      |> Ecto.Changeset.change()
      |> Ecto.Changeset.put_assoc(:tags, [again | post.tags])
      |> TestRepo.update!()

      for {table, columns} <- [posts_tags: "post_id, tag_id", notes: "id, post_id", posts: "id, id"],
          [first, second] = String.split(columns, ", "),
          row <- TestRepo.query!("SELECT typeof(#{first}), typeof(#{second}) FROM #{table}").rows,
          do: assert(row == ["blob", "blob"])

      assert [%{tags: [_, _], notes: [%{post_id: ^id}]}] =
               TestRepo.all(from p in Post, preload: [:tags, :notes])

      assert [_, _] =
               TestRepo.all(from p in Post, join: t in assoc(p, :tags), where: p.id == ^id, select: t.id)

      assert TestRepo.query!("PRAGMA foreign_key_check").rows == []
    end
  end

  test "identifiers that the adapter makes" do
    assert <<_::128>> = Ecto.Adapters.LibSql.autogenerate(:binary_id)

    for _ <- 1..20 do
      %{id: id} = TestRepo.insert!(%Tag{})
      assert <<_::binary-size(36)>> = id
      assert TestRepo.get(Tag, id)
    end

    TestRepo.insert_all(Tag, [[bytes: "a"], [bytes: "b"]])
    assert [["blob"]] = TestRepo.query!("SELECT DISTINCT typeof(id) FROM tags").rows
  end

  test "an identifier that the adapter makes is a blob, also where its bytes are text by chance" do
    meta = Ecto.Adapter.lookup_meta(TestRepo)
    key = {:id, :id, :binary_id}
    schema = %{prefix: nil, source: "tags", schema: Tag, autogenerate_id: key, context: nil}
    adapter = Ecto.Adapters.LibSql

    {:ok, []} = adapter.insert(meta, schema, [id: "sixteen letters!"], {:raise, [], []}, [], [])
    rows = [[id: "sixteen letters?"], [id: "sixteen letters."]]
    {2, _} = adapter.insert_all(meta, schema, [:id], rows, {:raise, [], []}, [], [], [])

    assert [["blob", 3]] = TestRepo.query!("SELECT typeof(id), count(*) FROM tags GROUP BY 1").rows
    assert TestRepo.get(Tag, Ecto.UUID.load!("sixteen letters?"))
  end

  describe "a binary without a type" do
    test "is text" do
      TestRepo.insert_all("loose", [%{id: 1, bytes: "ab"}])
      TestRepo.query!("INSERT INTO loose VALUES (2, ?)", ["ab"])
      TestRepo.query!("INSERT INTO loose VALUES (3, :b)", %{b: "ab"})
      assert TestRepo.query!("SELECT DISTINCT typeof(bytes) FROM loose").rows == [["text"]]
    end

    test "that is no text is refused with a word on the mend, and nothing is stored" do
      for write <- [
            fn raw -> TestRepo.query!("INSERT INTO loose VALUES (1, ?)", [raw]) end,
            fn raw -> TestRepo.query!("INSERT INTO loose VALUES (1, :b)", %{b: raw}) end,
            fn raw -> TestRepo.insert_all("loose", [%{id: 1, bytes: raw}]) end,
            fn raw -> TestRepo.update_all(from(l in "loose", update: [set: [bytes: ^raw]]), []) end,
            fn raw -> TestRepo.all(from l in "loose", where: l.bytes == ^raw, select: l.id) end,
            fn raw -> TestRepo.all(from l in "loose", where: l.bytes in ^["a", raw], select: l.id) end,
            fn raw ->
              TestRepo.all(from l in "loose", where: fragment("? = ?", l.bytes, ^raw), select: l.id)
            end,
            fn raw -> stream(from l in "loose", where: l.bytes == ^raw, select: l.id) end
          ] do
        error = assert_raise EctoLibSql.Error, fn -> write.(<<255, 1>>) end
        assert error.code == :invalid_parameter
        assert error.message =~ "{:blob, binary}"
      end

      assert TestRepo.query!("SELECT count(*) FROM loose").rows == [[0]]
    end

    test "is told apart by its content only if that is asked for" do
      TestSettings.put(untyped_binaries: :text_or_blob)

      TestRepo.query!("INSERT INTO loose VALUES (1, ?), (2, ?)", ["a", <<255>>])
      assert TestRepo.query!("SELECT typeof(bytes) FROM loose ORDER BY id").rows == [["text"], ["blob"]]
      assert TestRepo.all(from l in "loose", where: l.bytes in ^["x", <<255>>], select: l.id) == [2]
      assert stream(from l in "loose", where: l.bytes == ^<<255>>, select: l.id) == 2
    end
  end
end
