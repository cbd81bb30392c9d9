defmodule Ecto.Adapters.LibSql.Sql.DdlTest do
  use EctoLibSql.SqlCase, async: true

  import Ecto.Migration, only: [constraint: 3, index: 2, index: 3, table: 1, table: 2]

  defp create(columns, options \\ []), do: ddl({:create, table(:posts, options), columns})

  # Ecto.Migration.references/2 wants a migration that runs.
  defp references(table, options \\ []),
    do: struct!(%Ecto.Migration.Reference{table: to_string(table), type: :bigserial}, options)

  defp column(type, options \\ []) do
    [sql] = create([{:add, :c, type, options}])
    [_, definition] = Regex.run(~r/\ACREATE TABLE "posts" \("c" (.*)\)\z/, sql)
    definition
  end

  test "types" do
    for {type, sql} <- [
          {:integer, "INTEGER"},
          {:boolean, "INTEGER"},
          {:string, "TEXT"},
          {:float, "REAL"},
          {:decimal, "DECIMAL"},
          {:binary, "BLOB"},
          {:binary_id, "TEXT"},
          {:uuid, "TEXT"},
          {:map, "TEXT"},
          {{:array, :integer}, "TEXT"},
          {:utc_datetime_usec, "TEXT"},
          {:"f32_blob(3)", "F32_BLOB(3)"},
          {:geometry, "GEOMETRY"}
        ] do
      assert column(type) == sql
    end

    assert column(:decimal, precision: 10, scale: 2) == "DECIMAL(10,2)"
    assert_raise ArgumentError, ~r/no bit strings/, fn -> column(:bitstring) end
  end

  # ecto_sql 3.14 and later have the field.
  if Map.has_key?(%Ecto.Migration.Table{}, :modifiers) do
    test "modifiers of a table" do
      table = %Ecto.Migration.Table{name: "t", modifiers: "TEMPORARY"}
      assert [~s[CREATE TEMPORARY TABLE "t" (] <> _] = ddl({:create, table, [{:add, :n, :integer, []}]})
      assert_raise ArgumentError, ~r/:modifiers/, fn -> ddl({:create, %{table | modifiers: :temp}, []}) end
    end
  end

  test "keys" do
    assert column(:bigserial, primary_key: true) == "INTEGER PRIMARY KEY AUTOINCREMENT"
    assert column(:integer, primary_key: true) == "INTEGER PRIMARY KEY"
    assert column(:binary_id, primary_key: true) == "TEXT PRIMARY KEY NOT NULL"

    assert create([{:add, :a, :integer, [primary_key: true]}, {:add, :b, :string, [primary_key: true]}]) ==
             [~s[CREATE TABLE "posts" ("a" INTEGER NOT NULL, "b" TEXT NOT NULL, PRIMARY KEY ("a", "b"))]]
  end

  test "defaults" do
    for {type, value, sql} <- [
          {:string, "it's", "'it''s'"},
          {:boolean, true, "1"},
          {:integer, 5, "5"},
          {:map, %{}, "'{}'"},
          {{:array, :string}, [], "'[]'"},
          {:date, ~D[2024-01-02], "'2024-01-02'"},
          {:utc_datetime, {:fragment, "CURRENT_TIMESTAMP"}, "(strftime('%Y-%m-%dT%H:%M:%S', 'now'))"},
          {:naive_datetime, {:fragment, "now()"}, "(strftime('%Y-%m-%dT%H:%M:%S', 'now'))"},
          {:string, {:fragment, "CURRENT_TIMESTAMP"}, "(CURRENT_TIMESTAMP)"},
          {:float, 0.1, "0.1"},
          {:float, -0.0, "-0.0"},
          {:float, 4.0e-320,
           "(CAST(8096 AS REAL)" <> String.duplicate(" / 4611686018427387904", 17) <> " / 1048576)"},
          {:decimal, Decimal.new("1.10"), "1.1"},
          {:decimal, Decimal.new("12345678901234567890.1"),
           "x'31323334353637383930313233343536373839302E31'"},
          {:string, nil, "NULL"}
        ] do
      assert column(type, default: value) == "#{column(type)} DEFAULT #{sql}"
    end

    assert_raise ArgumentError, ~r/is no default/, fn -> column(:string, default: self()) end
  end

  test "a generated column keeps its type, and takes an expression or the whole clause" do
    for {text, options, sql} <- [
          {"a + b", [], "(a + b) VIRTUAL"},
          {"a + b", [stored: true], "(a + b) STORED"},
          {"AS (CAST(alpha AS TEXT)) STORED", [], "(CAST(alpha AS TEXT)) STORED"},
          {"always as (a)", [], "(a)"},
          {"AS (a)", [stored: true], "(a) STORED"},
          {"GENERATED  ALWAYS AS (a) VIRTUAL", [], "(a) VIRTUAL"}
        ],
        {type, declared} <- [integer: "INTEGER", decimal: "DECIMAL(10,2)", utc_datetime: "TEXT"] do
      options = [generated: text, precision: 10, scale: 2] ++ options

      assert String.downcase(column(type, options)) ==
               String.downcase("#{declared} GENERATED ALWAYS AS #{sql}")
    end
  end

  test "null, collation, check, generated" do
    assert column(:string, null: false, collate: :nocase) == "TEXT NOT NULL COLLATE NOCASE"

    assert column(:integer, check: %{name: "positive", expr: "c > 0"}) ==
             ~s[INTEGER CONSTRAINT "positive" CHECK (c > 0)]

    assert column(:integer, generated: "a + b") == "INTEGER GENERATED ALWAYS AS (a + b) VIRTUAL"
    assert column(:integer, generated: "a + b", stored: true) == "INTEGER GENERATED ALWAYS AS (a + b) STORED"
    assert column(:integer, generated: "ALWAYS AS (a) STORED") == "INTEGER GENERATED ALWAYS AS (a) STORED"
  end

  test "references" do
    assert column(references(:users)) == ~s[INTEGER CONSTRAINT "posts_c_fkey" REFERENCES "users"("id")]

    assert column(references(:users, on_delete: :delete_all, on_update: :update_all, name: :mine)) ==
             ~s[INTEGER CONSTRAINT "mine" REFERENCES "users"("id") ON DELETE CASCADE ON UPDATE CASCADE]

    assert create([
             {:add, :a, :integer, []},
             {:add, :c, references(:users, with: [a: :b], on_delete: :default_all), []}
           ]) ==
             [
               ~s[CREATE TABLE "posts" ("a" INTEGER, "c" INTEGER, CONSTRAINT "posts_c_fkey" FOREIGN KEY ("c", "a") ] <>
                 ~s[REFERENCES "users"("id", "b") ON DELETE SET DEFAULT)]
             ]

    assert_raise ArgumentError, ~r/all columns of a foreign key or none/, fn ->
      column(references(:users, on_delete: {:nilify, [:c]}))
    end

    assert_raise ArgumentError, ~r/stays in its own database/, fn ->
      column(references(:users, prefix: "other"))
    end
  end

  test "options of tables" do
    columns = [{:add, :a, :integer, []}]
    assert create(columns, options: "STRICT") == [~s[CREATE TABLE "posts" ("a" INTEGER) STRICT]]

    assert create(columns, options: [strict: true, without_rowid: true]) ==
             [~s[CREATE TABLE "posts" ("a" INTEGER) STRICT, WITHOUT ROWID]]

    assert create(columns, options: [random_rowid: true]) == [
             ~s[CREATE TABLE "posts" ("a" INTEGER) RANDOM ROWID]
           ]

    assert create([{:add, :id, :bigserial, [primary_key: true]}, {:add, :a, :text, []}],
             options: [fts5: [tokenize: "porter"]]
           ) ==
             [~s[CREATE VIRTUAL TABLE "posts" USING fts5("a", tokenize='porter')]]

    assert_raise ArgumentError, ~r/:capped is none of them/, fn ->
      create(columns, options: [capped: true])
    end
  end

  test "drop, rename" do
    assert ddl({:drop_if_exists, table(:posts), :restrict}) == [~s[DROP TABLE IF EXISTS "posts"]]
    assert ddl({:rename, table(:posts), table(:articles)}) == [~s[ALTER TABLE "posts" RENAME TO "articles"]]
    assert ddl({:rename, table(:posts), :a, :b}) == [~s[ALTER TABLE "posts" RENAME COLUMN "a" TO "b"]]
  end

  test "alter" do
    assert ddl(
             {:alter, table(:posts, prefix: "old"),
              [{:add, :a, :integer, [null: false, default: 0]}, {:remove, :b}]}
           ) ==
             [
               ~s[ALTER TABLE "old"."posts" ADD COLUMN "a" INTEGER NOT NULL DEFAULT 0],
               ~s[ALTER TABLE "old"."posts" DROP COLUMN "b"]
             ]
  end

  test "indexes" do
    # Ecto makes a name of such columns since 3.13.
    assert ddl({:create, index(:posts, [:a, desc: :b], name: :posts_a_b)}) == [
             ~s[CREATE INDEX "posts_a_b" ON "posts" ("a", "b" DESC)]
           ]

    assert ddl(
             {:create_if_not_exists,
              index(:posts, ["lower(a)"], unique: true, name: :low, where: "a <> ''", prefix: "old")}
           ) ==
             [~s[CREATE UNIQUE INDEX IF NOT EXISTS "old"."low" ON "posts" (lower(a)) WHERE a <> '']]

    assert ddl({:create, index(:posts, [:a], include: [:b])}) == [
             ~s[CREATE INDEX "posts_a_index" ON "posts" ("a", "b")]
           ]

    assert ddl({:create, index(:posts, [:v], using: :libsql_vector_idx)}) ==
             [~s[CREATE INDEX "posts_v_index" ON "posts" (libsql_vector_idx("v"))]]

    assert ddl({:drop, index(:posts, [:a]), :restrict}) == [~s[DROP INDEX "posts_a_index"]]

    assert_raise ArgumentError, ~r/NULLs are distinct/, fn ->
      ddl({:create, index(:posts, [:a], unique: true, nulls_distinct: false)})
    end
  end

  test "what depends on the table that is there needs a database" do
    assert_raise ArgumentError, ~r/depends on the table/, fn ->
      ddl({:create, constraint(:posts, :c, check: "a > 0")})
    end
  end
end
