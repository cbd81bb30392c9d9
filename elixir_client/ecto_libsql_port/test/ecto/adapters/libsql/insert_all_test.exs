defmodule Ecto.Adapters.LibSql.InsertAllTest do
  # No statement of insert_all takes more bytes than the sidecar accepts, or more parameters than SQLite does, whatever they
  # are of: rows, placeholders, an on_conflict query, queries as values, the text itself.
  use EctoLibSql.RepoCase

  alias EctoLibSql.Error

  # The smallest that a sidecar takes.
  @frame 65_536
  @moduletag repo: [pool_size: 1, sidecar_options: [frame_bytes_max: @frame]]

  setup do
    script("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, note TEXT)")
    :ok
  end

  defp bytes(size), do: String.duplicate("x", size)

  # What insert_all gives, and how many statements it has made.
  defp inserted(rows, options \\ []) do
    {given, requests} = requests(fn -> TestRepo.insert_all("items", rows, options) end)
    {given, Enum.count(requests, &String.starts_with?(&1.sql || "", "INSERT"))}
  end

  defp stored, do: TestRepo.one!(from(i in "items", select: {count(), sum(fragment("length(?)", i.note))}))

  test "rows" do
    rows = for id <- 1..100, do: %{id: id, name: "n", note: bytes(1_000)}
    assert {{100, nil}, 2} = inserted(rows)
    assert stored() == {100, 100_000}
  end

  test "a placeholder travels with each statement" do
    rows = for id <- 1..50, do: %{id: id, name: bytes(1_000), note: {:placeholder, :note}}
    assert {{50, nil}, 3} = inserted(rows, placeholders: %{note: bytes(40_000)})
    assert stored() == {50, 50 * 40_000}
  end

  test "so do the parameters of an on_conflict query" do
    conflict = from(i in "items", update: [set: [note: ^bytes(40_000)]])
    options = [on_conflict: conflict, conflict_target: :id]
    rows = for id <- 1..50, do: %{id: id, name: bytes(1_000), note: ""}
    assert {{50, nil}, 3} = inserted(rows, options)
    assert {{50, nil}, 3} = inserted(rows, options)
    assert stored() == {50, 50 * 40_000}
  end

  test "and the text that all statements have" do
    target = {:unsafe_fragment, "(id) /* #{bytes(40_000)} */"}
    rows = for id <- 1..50, do: %{id: id, name: "n", note: bytes(1_000)}
    assert {{50, nil}, 3} = inserted(rows, on_conflict: :nothing, conflict_target: target)
    assert stored() == {50, 50_000}
  end

  test "parameters and texts of queries as values" do
    note = bytes(20_000)
    value = from(i in fragment("(SELECT 1)"), select: type(^note, :string))
    rows = for id <- 1..5, do: %{id: id, name: "n", note: value}
    assert {{5, nil}, 2} = inserted(rows)

    {value, _} =
      Code.eval_string("import Ecto.Query; from i in fragment(\"(SELECT '#{note}' AS t)\"), select: i.t")

    rows = for id <- 6..10, do: %{id: id, name: "n", note: value}
    assert {{5, nil}, 2} = inserted(rows)
    assert stored() == {10, 200_000}
  end

  test "values without a type, by what is stored of them" do
    rows = for id <- 1..5, do: %{id: id, name: :name, note: %{"text" => bytes(20_000)}}
    assert {{5, nil}, 2} = inserted(rows)
    assert {5, _} = stored()
  end

  test "rows that have no parameter of their own, whose text alone is too long" do
    rows = for _ <- 1..10_000, do: %{name: {:placeholder, :name}, note: {:placeholder, :note}}
    assert {{10_000, nil}, statements} = inserted(rows, placeholders: %{name: "n", note: "x"})
    assert statements in 2..4
    assert stored() == {10_000, 10_000}
  end

  test "within a transaction, where the pool has no other connection" do
    rows = for id <- 1..100, do: %{id: id, name: "n", note: bytes(1_000)}
    assert {:ok, {{100, nil}, 2}} = TestRepo.transaction(fn -> inserted(rows) end)
  end

  test "a row that is too large by itself is the error, and nothing is inserted" do
    rows = [%{id: 1, name: "n", note: ""}, %{id: 2, name: "n", note: bytes(@frame)}]
    error = assert_raise Error, fn -> inserted(rows) end
    assert error.code == :frame_too_large
    assert TestRepo.aggregate("items", :count) == 0
  end

  @tag repo: [pool_size: 1]
  test "with a larger limit, rows of 64 KiB and more go together" do
    rows = for id <- 1..100, do: %{id: id, name: "n", note: bytes(1_000)}
    assert {{100, nil}, 1} = inserted(rows)
  end

  test "a sidecar of others has its own limit", %{path: path} do
    sidecar = start_supervised!({LibsqlPort, frame_bytes_max: @frame, name: __MODULE__.Sidecar})
    {:ok, repo} = TestRepo.start_link(name: nil, database: path, pool_size: 1, sidecar: sidecar, log: false)
    before = TestRepo.put_dynamic_repo(repo)

    try do
      rows = for id <- 1..100, do: %{id: id, name: "n", note: bytes(1_000)}
      assert {{100, nil}, 2} = inserted(rows)
    after
      TestRepo.put_dynamic_repo(before)
      Supervisor.stop(repo)
    end
  end

  @tag repo: [pool_size: 1]
  test "the parameters of an on_conflict query are none that rows could have" do
    list = Enum.to_list(1..4_000)

    conflict =
      from(i in "items", update: [set: [note: "y"]], where: fragment("? IN (?)", i.id, splice(^list)))

    rows = for id <- 1..15_000, do: %{id: id, name: "n", note: "x"}
    assert {{15_000, nil}, 2} = inserted(rows, on_conflict: conflict, conflict_target: :id)
    assert {{4_000, nil}, 2} = inserted(rows, on_conflict: conflict, conflict_target: :id)
  end
end
