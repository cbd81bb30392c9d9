defmodule Ecto.Adapters.LibSql.LiteralTest do
  # Literals and computed integers: what is stored is what was written, or an error.
  use EctoLibSql.RepoCase, async: true

  @largest 0x7FFF_FFFF_FFFF_FFFF
  @smallest -0x8000_0000_0000_0000

  defmodule Counter do
    use Ecto.Schema

    schema "counters" do
      field(:name, :string)
      field(:count, :integer)
      field(:weight, :float)
    end
  end

  setup do
    script("CREATE TABLE counters (id INTEGER PRIMARY KEY, name TEXT UNIQUE, count INTEGER, weight REAL)")
    :ok
  end

  defp counter(count), do: TestRepo.insert!(%Counter{name: "n", count: count})
  defp counts, do: TestRepo.all(from(c in Counter, select: c.count))

  test "integers of 64 bits are literals, larger ones are refused as they are as parameters" do
    for count <- [@largest, @smallest] do
      counter(count)
      assert [^count] = TestRepo.all(from(c in Counter, select: c.count))
      TestRepo.delete_all(Counter)
    end

    counter(1)
    assert {1, _} = TestRepo.update_all(Counter, set: [count: @largest])

    assert {1, _} =
             TestRepo.update_all(from(c in Counter, update: [set: [count: -9_223_372_036_854_775_808]]), [])

    assert counts() == [@smallest]

    assert_raise ArgumentError, ~r/out of range.*:decimal/, fn ->
      TestRepo.update_all(from(c in Counter, update: [set: [count: 9_223_372_036_854_775_808]]), [])
    end

    assert_raise ArgumentError, ~r/out of range/, fn ->
      TestRepo.all(from(c in Counter, where: c.count > -9_223_372_036_854_775_809))
    end

    assert counts() == [@smallest]
  end

  defmodule LargeDefault do
    use Ecto.Migration
    def change, do: create(table(:large), do: add(:n, :integer, default: 9_223_372_036_854_775_808))
  end

  test "so are defaults of columns" do
    assert_raise ArgumentError, ~r/out of range/, fn -> migrate(LargeDefault) end
  end

  test "an integer that is computed too large is an error, and stays what it was" do
    row = counter(@largest)

    for update <- [
          fn -> TestRepo.update_all(Counter, inc: [count: 1]) end,
          fn -> TestRepo.update_all(Counter, inc: [count: @largest]) end,
          fn -> TestRepo.update_all(from(c in Counter, update: [set: [count: c.count + 1]]), []) end,
          fn -> TestRepo.update_all(from(c in Counter, update: [set: [count: c.count * 2]]), []) end,
          fn -> TestRepo.update_all(from(c in Counter, update: [set: [count: c.id - c.count * 3]]), []) end,
          fn ->
            TestRepo.insert!(%Counter{name: "n"}, on_conflict: [inc: [count: 1]], conflict_target: :name)
          end
        ] do
      assert_raise EctoLibSql.Error, ~r/integer overflow/, update
      assert TestRepo.reload!(row).count == @largest
    end

    TestRepo.update_all(Counter, set: [count: @smallest])

    assert_raise EctoLibSql.Error, ~r/integer overflow/, fn ->
      TestRepo.update_all(Counter, inc: [count: -1])
    end

    assert counts() == [@smallest]
  end

  test "integers up to the last, floats and NULL are computed as before" do
    counter(@largest - 1)
    assert {1, [@largest]} = TestRepo.update_all(select(Counter, [c], c.count), inc: [count: 1])
    assert {1, [0]} = TestRepo.update_all(select(Counter, [c], c.count), inc: [count: -@largest])
    assert {1, [@smallest]} = TestRepo.update_all(select(Counter, [c], c.count), inc: [count: @smallest])
    assert {1, [nil]} = TestRepo.update_all(select(Counter, [c], c.count), set: [count: nil])
    assert {1, [nil]} = TestRepo.update_all(select(Counter, [c], c.count), inc: [count: 1])

    TestRepo.update_all(Counter, set: [weight: 1.0e300])
    assert {1, [weight]} = TestRepo.update_all(select(Counter, [c], c.weight), inc: [weight: 1.0e300])
    assert weight == 2.0e300
  end

  defmodule NulDefault do
    use Ecto.Migration

    def change do
      create(table(:texts), do: add(:a, :string, default: "a\0'b"))
      alter(table(:texts), do: add(:b, :string, default: "\0"))
    end
  end

  test "text with a NUL is a literal, too" do
    TestRepo.insert!(%Counter{name: "a\0'b"})

    for {query, name} <- [
          {from(c in Counter, where: c.name == "a\0'b"), "a\0'b"},
          {from(c in Counter, where: c.name in ["a\0'b", "x"]), "a\0'b"},
          {from(c in Counter, update: [set: [name: "\0"]]), "\0"}
        ] do
      if query.updates == [], do: TestRepo.all(query), else: TestRepo.update_all(query, [])
      assert [^name] = TestRepo.all(from(c in Counter, select: c.name))
    end

    assert [%{name: "\0"}] = TestRepo.all(from(c in Counter, where: c.name == "\0"))
    assert [] = TestRepo.all(from(c in Counter, where: c.name == "\0a"))

    migrate(NulDefault)
    assert TestRepo.query!("INSERT INTO texts DEFAULT VALUES RETURNING a, b").rows == [["a\0'b", "\0"]]
  end

  defmodule MatchFull do
    use Ecto.Migration

    def change do
      create(table(:pairs, primary_key: false)) do
        add(:a, :integer, primary_key: true)
        add(:b, :integer, primary_key: true)
      end

      create(table(:children)) do
        add(:a, references(:pairs, column: :a, with: [b: :b], match: :full))
        add(:b, :integer)
      end
    end
  end

  test "match: :full of a foreign key is refused, because SQLite would not enforce it" do
    error = assert_raise ArgumentError, ~r/no match: :full/, fn -> migrate(MatchFull) end
    [_, check] = Regex.run(~r/the check "(.*)" refuses/, error.message)

    script("CREATE TABLE children (a INTEGER, b INTEGER, CHECK (#{check}))")
    assert {:ok, _} = TestRepo.query("INSERT INTO children VALUES (NULL, NULL), (1, 2)")
    assert {:error, _} = TestRepo.query("INSERT INTO children VALUES (1, NULL)")
    assert {:error, _} = TestRepo.query("INSERT INTO children VALUES (NULL, 2)")
  end
end
