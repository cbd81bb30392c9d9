defmodule Ecto.Adapters.LibSql.TableRulesTest do
  use ExUnit.Case, async: true

  alias Ecto.Adapters.LibSql.TableRules
  alias Ecto.Migration.Table

  defp check!(options, columns), do: TableRules.check!(%Table{name: :t, options: options}, columns)

  defp box(bounds) do
    [{:add, :id, :id, [primary_key: true]} | for(n <- 1..bounds//1, do: {:add, :"b#{n}", :float, []})]
  end

  test "an R*Tree has one to five dimensions and no other storage" do
    for dimensions <- 1..5, do: assert(:ok = check!([rtree: true], box(dimensions * 2)))

    assert_raise ArgumentError, ~r/at least 3 columns, not 2/, fn -> check!([rtree: true], box(1)) end
    assert_raise ArgumentError, ~r/odd number of columns, not 4/, fn -> check!([rtree: true], box(3)) end
    assert_raise ArgumentError, ~r/maximum 11 columns, not 13/, fn -> check!([rtree: true], box(12)) end

    assert_raise ArgumentError, ~r/: :strict, :random_rowid/, fn ->
      check!([rtree: true, strict: true, random_rowid: true], box(2))
    end
  end

  test "a random rowid excludes none and a counted one" do
    assert :ok = check!([random_rowid: true], [{:add, :id, :id, [primary_key: true]}])
    assert :ok = check!([without_rowid: true], [{:add, :id, :id, [primary_key: true]}])

    assert_raise ArgumentError, ~r/exclude each other/, fn ->
      check!([random_rowid: true, without_rowid: true], [])
    end

    assert_raise ArgumentError, ~r/:id cannot have :autoincrement/, fn ->
      check!([random_rowid: true], [{:add, :id, :id, [primary_key: true, autoincrement: true]}])
    end
  end

  test "a generated column has neither default nor key" do
    assert :ok = check!(nil, [{:add, :sum, :integer, [generated: "a + b"]}])
    assert :ok = check!("STRICT", [{:add, :sum, :integer, [generated: "a + b"]}])

    assert_raise ArgumentError, ~r/:sum takes no :default/, fn ->
      check!(nil, [{:add, :sum, :integer, [generated: "a + b", default: 0]}])
    end

    assert_raise ArgumentError, ~r/:sum cannot be part of the primary key/, fn ->
      check!([], [{:add, :sum, :integer, [generated: "a + b", primary_key: true]}])
    end
  end

  test "a check is an expression" do
    for check <- ["a > 0", %{name: "positive", expr: "a > 0"}, nil] do
      assert :ok = check!(nil, [{:add, :a, :integer, [check: check]}])
    end

    assert_raise ArgumentError, ~r/:check of the column :a .* not 123/, fn ->
      check!(nil, [{:add, :a, :integer, [check: 123]}])
    end
  end
end
