defmodule LibsqlPort.ErrorCodeTest do
  use ExUnit.Case, async: true
  doctest LibsqlPort.ErrorCode
  doctest LibsqlPort.Error

  alias LibsqlPort.{Error, ErrorCode}

  @table Path.expand("../../../tests/fixtures/error_codes.txt", __DIR__)

  test "the table is that of the fixture" do
    fixture =
      for line <- File.stream!(@table),
          line = String.trim(line),
          line != "",
          not String.starts_with?(line, "#") do
        [number, name] = String.split(line)
        {String.to_atom(name), String.to_integer(number)}
      end

    assert ErrorCode.all() == fixture
    for {name, number} <- fixture, do: assert(ErrorCode.name(number) == name)
  end

  test "a code of a newer program keeps its number" do
    error = Error.from_wire({9999, "new", nil, nil, nil, 0, nil})
    assert %Error{code: :unknown, number: 9999, tx_status: :none} = error
    assert Exception.message(error) == "new (unknown code 9999)"
  end

  test "a kind of constraint that is not known yet is other" do
    error = Error.from_wire({48, "m", 19, {"novel", "t", [], nil, nil}, nil, 0, nil})
    assert error.constraint.kind == :other
  end
end
