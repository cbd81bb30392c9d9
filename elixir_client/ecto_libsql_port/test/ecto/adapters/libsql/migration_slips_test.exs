defmodule Ecto.Adapters.LibSql.MigrationSlipsTest do
  # Slips of the pen in migrations: each is an error that names what was meant, and changes nothing.
  use EctoLibSql.RepoCase

  alias EctoLibSql.MigrationError

  defmodule Slip do
    use Ecto.Migration

    def up, do: :persistent_term.get(__MODULE__).()
    def down, do: :ok
  end

  defp try_up(fun) do
    :persistent_term.put(Slip, fun)
    migrate(Slip)
  end

  defp tables,
    do: TestRepo.query!("SELECT name FROM sqlite_schema WHERE name IN ('made', 'i', 'j') ORDER BY 1").rows

  setup do
    script("CREATE TABLE t (Id INTEGER PRIMARY KEY, x TEXT, y TEXT GENERATED ALWAYS AS (upper(x)))")
    :ok
  end

  describe "an index" do
    import Ecto.Migration

    # SQLite would take the name for a text, and the index for one on a constant.
    for {what, columns, options} <- [
          {"one column", [:nope], []},
          {"the second", [:x, :nope], []},
          {"one that is sorted", [desc: :nope], []},
          {"a unique one", [:nope], [unique: true]},
          {"one that is included", [:x], [include: [:nope]]}
        ] do
      test "on a column that is not there is refused: #{what}" do
        index = index(:t, unquote(columns), [name: :i] ++ unquote(options))

        for command <- [&create/1, &create_if_not_exists/1] do
          error = assert_raise MigrationError, fn -> try_up(fn -> command.(index) end) end
          assert %{code: :no_such_column, table: "t", message: "the table t has no column nope"} = error
        end

        assert tables() == []
      end
    end

    test "takes columns in any case, generated ones and expressions" do
      assert :ok = try_up(fn -> create(index(:t, [:ID, :y, "lower(x)", desc: :X], name: :i)) end)
      assert tables() == [["i"]]
    end

    test "on a table that is not there is SQLite's error" do
      assert_raise EctoLibSql.Error, ~r/no such table/, fn -> try_up(fn -> create(index(:none, [:x])) end) end
    end

    test "on a table of the same migration, or of another prefix, sees its columns" do
      assert :ok =
               try_up(fn ->
                 create(table(:made), do: add(:z, :text))
                 create(index(:made, [:z], name: :j))
               end)

      assert tables() == [["j"], ["made"]]
    end
  end

  describe "an option" do
    import Ecto.Migration

    for {given, meant} <- [
          nul: :null,
          defualt: :default,
          colate: :collate,
          primry_key: :primary_key,
          form: :from
        ] do
      test "of a column, #{given}, is an error that names #{meant}" do
        message =
          "column :z: unknown option #{inspect(unquote(given))}; did you mean #{inspect(unquote(meant))}?"

        options = [{unquote(given), false}]

        assert_raise ArgumentError, message, fn ->
          try_up(fn -> create(table(:made), do: add(:z, :text, options)) end)
        end

        assert_raise ArgumentError, message, fn ->
          try_up(fn -> alter(table(:t), do: add(:z, :text, options)) end)
        end

        assert tables() == []
      end
    end

    test "of a column that other adapters know is passed over" do
      options = [comment: "c", after: :id, size: 3, start_value: 1, increment: 1, identity: true]
      assert :ok = try_up(fn -> create(table(:made), do: add(:z, :text, options)) end)
    end

    test ":generated takes a text" do
      assert_raise ArgumentError, ~r/:generated of the column :z takes an expression as text, not :x/, fn ->
        try_up(fn -> create(table(:made), do: add(:z, :text, generated: :x)) end)
      end
    end

    test "of a table takes true or false" do
      for value <- [1, "true", nil] do
        assert_raise ArgumentError,
                     "the option :strict of a table takes true or false, not #{inspect(value)}",
                     fn ->
                       try_up(fn -> create(table(:made, options: [strict: value]), do: add(:z, :text)) end)
                     end
      end
    end
  end
end
