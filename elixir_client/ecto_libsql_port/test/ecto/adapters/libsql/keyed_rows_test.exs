defmodule Ecto.Adapters.LibSql.KeyedRowsTest do
  # Writes with joins where rows have no rowid, or a column of that name.
  use EctoLibSql.RepoCase

  defmodule Seat do
    use Ecto.Schema

    @primary_key false
    schema "seats" do
      field(:row, :integer, primary_key: true, source: :line)
      field(:number, :integer, primary_key: true)
      field(:guest, :string)
    end
  end

  defmodule Ban do
    use Ecto.Schema

    @primary_key false
    schema "bans" do
      field(:guest, :string)
    end
  end

  setup do
    script("""
    CREATE TABLE seats (line INTEGER, number INTEGER, guest TEXT, PRIMARY KEY (line, number)) WITHOUT ROWID;
    CREATE TABLE bans (guest TEXT);
    CREATE TABLE misleading (rowid TEXT, guest TEXT);
    INSERT INTO seats VALUES (1, 1, 'ada'), (1, 2, 'bob'), (2, 1, 'bob'), (2, 2, NULL);
    INSERT INTO bans VALUES ('bob'), ('bob');
    INSERT INTO misleading VALUES ('same', 'ada'), ('same', 'bob');
    """)

    :ok
  end

  defp guests(table), do: TestRepo.all(from(s in table, order_by: s.guest, select: s.guest))

  test "a composite key without a rowid: delete" do
    query = from(s in Seat, join: b in Ban, on: b.guest == s.guest, select: {s.row, s.number})
    assert {2, keys} = TestRepo.delete_all(query)
    assert Enum.sort(keys) == [{1, 2}, {2, 1}]
    assert guests("seats") == [nil, "ada"]
  end

  test "a composite key without a rowid: outer joins" do
    query = from(s in Seat, left_join: b in Ban, on: b.guest == s.guest, where: is_nil(b.guest))
    assert {2, nil} = TestRepo.delete_all(query)
    assert guests("seats") == ["bob", "bob"]
  end

  test "a composite key without a rowid: update" do
    query =
      from(s in Seat,
        join: b in Ban,
        on: b.guest == s.guest,
        update: [set: [guest: fragment("upper(?)", b.guest)]]
      )

    assert {2, nil} = TestRepo.update_all(query, [])
    assert guests("seats") == [nil, "BOB", "BOB", "ada"]
  end

  test "a composite key without a rowid: update with an outer join that refers to the row" do
    query =
      from(s in Seat,
        left_join: b in Ban,
        on: b.guest == s.guest,
        where: is_nil(b.guest),
        update: [set: [guest: "free"]]
      )

    assert {2, nil} = TestRepo.update_all(query, [])
    assert guests("seats") == ["bob", "bob", "free", "free"]

    without_schema =
      from(m in "misleading",
        left_join: b in "bans",
        on: b.guest == m.guest,
        update: [set: [guest: coalesce(b.guest, "x")]]
      )

    assert {2, nil} = TestRepo.update_all(without_schema, [])
    assert guests("misleading") == ["bob", "x"]
  end

  test "or_where behind a join" do
    query = from(s in Seat, join: b in Ban, on: b.guest == s.guest, where: s.row == 1, or_where: s.row == 2)
    assert {2, nil} = TestRepo.update_all(from(s in query, update: [set: [guest: "out"]]), [])
    assert guests("seats") == [nil, "ada", "out", "out"]

    without_schema =
      from(m in "misleading",
        join: b in "bans",
        on: b.guest == m.guest,
        where: m.rowid == "x",
        or_where: m.rowid == "same"
      )

    assert {1, nil} = TestRepo.delete_all(without_schema)
    assert guests("misleading") == ["ada"]
  end

  test "no schema, no key: each row for itself" do
    assert {2, nil} = TestRepo.delete_all(from(s in "seats", join: b in "bans", on: b.guest == s.guest))
    assert guests("seats") == [nil, "ada"]
    assert {1, nil} = TestRepo.delete_all(from(m in "misleading", join: b in "bans", on: b.guest == m.guest))
    assert guests("misleading") == ["ada"]

    left =
      from(s in "seats", left_join: b in Ban, on: b.guest == s.guest, where: is_nil(b.guest) and s.line == ^2)

    assert {1, nil} = TestRepo.delete_all(left)
    assert guests("seats") == ["ada"]

    assert {1, ["ada"]} =
             TestRepo.delete_all(from(s in "seats", join: m in "misleading", on: true, select: s.guest))
  end

  test "a schema without a key" do
    query = from(b in Ban, join: s in Seat, on: b.guest == s.guest and s.number == ^1)
    assert {2, nil} = TestRepo.delete_all(query)
    assert guests("bans") == []
  end
end
