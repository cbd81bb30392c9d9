defmodule Ecto.Adapters.LibSql.BooleanTest do
  # Booleans as other programs have written them: a field and `type/2` read the same.
  use EctoLibSql.RepoCase

  defmodule Flag do
    use Ecto.Schema

    schema "flags" do
      field :on, :boolean
    end
  end

  setup do
    script("CREATE TABLE flags (id INTEGER PRIMARY KEY, \"on\")")
    :ok
  end

  for {text, value} <-
        [{"true", true}, {"TRUE", true}, {"True", true}, {"t", true}, {"T", true}] ++
          [{"false", false}, {"FALSE", false}, {"False", false}, {"f", false}, {"F", false}] do
    test "the word #{text}" do
      TestRepo.query!("INSERT INTO flags (\"on\") VALUES (?)", [unquote(text)])
      assert [unquote(value)] = TestRepo.all(from f in Flag, select: f.on)
      assert [unquote(value)] = TestRepo.all(from f in Flag, select: type(fragment("?", f.on), :boolean))
    end
  end

  test "numbers and their text; others are refused" do
    for {stored, value} <- [
          {1, true},
          {0, false},
          {1.0, true},
          {0.0, false},
          {"1", true},
          {"0", false},
          {nil, nil}
        ] do
      TestRepo.query!("DELETE FROM flags")
      TestRepo.query!("INSERT INTO flags (\"on\") VALUES (?)", [stored])
      assert [%{on: ^value}] = TestRepo.all(Flag)
    end

    for stored <- ["yes", "", 2] do
      TestRepo.query!("DELETE FROM flags")
      TestRepo.query!("INSERT INTO flags (\"on\") VALUES (?)", [stored])
      assert_raise ArgumentError, ~r/cannot load/, fn -> TestRepo.all(Flag) end
    end
  end
end
