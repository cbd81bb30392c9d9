defmodule LibsqlPort.WireTest do
  use ExUnit.Case, async: true

  alias LibsqlPort.{Error, Wire}

  defp decoded({:ok, bare}), do: :erlang.binary_to_term(IO.iodata_to_binary([131, bare]))

  test "the header stands at fixed places for every id" do
    for id <- [0, 1, 255, 256, 65_536, 2_147_483_647], tag <- [1, 64] do
      frame = IO.iodata_to_binary(Wire.frame(id, tag, Wire.encode(:payload)))
      assert <<131, 104, 3, 98, ^id::32, 97, ^tag, _::binary>> = frame
      assert :erlang.binary_to_term(frame) == {id, tag, :payload}
      assert Wire.frame_size(Wire.encode(:payload)) == byte_size(frame)
    end
  end

  describe "parameters" do
    test "a list goes by position" do
      for list <- [[], [1], [nil, 1.5, "a", true, :infinity], [{:blob, "b"}], [1, {:blob, "b"}]] do
        assert decoded(Wire.params(list)) == list
      end
    end

    test "small integers, which Erlang writes as a string" do
      assert decoded(Wire.params([1, 2, 255])) == [1, 2, 255]
    end

    test "a keyword list and pairs of strings go by name" do
      assert decoded(Wire.params(a: 1, b: {:blob, "x"})) == %{a: 1, b: {:blob, "x"}}
      assert decoded(Wire.params([{"a", 1}, {":b", nil}])) == %{"a" => 1, ":b" => nil}
    end

    test "blobs alone are values, a blob beside another name is a name" do
      assert decoded(Wire.params([{:blob, "x"}, {:blob, "y"}])) == [{:blob, "x"}, {:blob, "y"}]
      assert decoded(Wire.params(blob: "x", a: 1)) == %{blob: "x", a: 1}
    end

    test "a blob in front of other values goes by position" do
      assert decoded(Wire.params([{:blob, "x"}, 1])) == [{:blob, "x"}, 1]
    end

    test "a map goes by name" do
      assert decoded(Wire.params(%{:a => 1, "b" => 2})) == %{:a => 1, "b" => 2}
    end

    test "large ones are the same term, and are not copied" do
      large = String.duplicate("x", 5_000)

      for params <- [[large], [1, {:blob, large}, nil], %{"a" => 1, "b" => large}, %{a: {:blob, large}}] do
        {:ok, encoded} = Wire.params(params)
        assert decoded({:ok, encoded}) == params
        assert [part] = [encoded] |> List.flatten() |> Enum.filter(&(&1 == large))
        assert :binary.referenced_byte_size(part) == byte_size(large)
      end

      {:ok, encoded} = Wire.params(a: large, b: 1)
      assert decoded({:ok, encoded}) == %{a: large, b: 1}

      assert decoded(Wire.params(List.duplicate("twelve bytes", 1_000))) ==
               List.duplicate("twelve bytes", 1_000)
    end

    test "a name given twice is an error" do
      assert {:error, %Error{code: :parameter_name, message: message}} = Wire.params(a: 1, a: 2)
      assert message =~ ":a"
    end

    test "what the wire has no term for never gets there" do
      refused = [self(), make_ref(), fn -> 1 end, <<1::3>>, {1, 2}, {:blob, 1}, %{a: 1}, [1], ~D[2020-01-01]]

      for value <- refused, params <- [[value], [1, value], [a: value], %{a: value}] do
        assert {:error, %Error{code: code, message: message}} = Wire.params(params)
        assert code == :invalid_parameter
        refute message =~ "2020"
      end

      assert {:error, %Error{code: :invalid_parameter}} = Wire.params([1 | 2])
      assert {:error, %Error{code: :invalid_parameter}} = Wire.params(~D[2020-01-01])
      assert {:error, %Error{code: :parameter_name}} = Wire.params(%{1 => 2})
    end
  end

  test "rows of many chunks are joined under one list" do
    chunks =
      for rows <- [[[1, nil], [2, "b"]], [], [[3, "c"]]] do
        Wire.bare_rows(IO.iodata_to_binary(Wire.frame(300, 67, rows_term(rows))))
      end

    assert Wire.join_rows(chunks) == [[1, nil], [2, "b"], [3, "c"]]
    assert Wire.join_rows([]) == []
    assert Wire.join_rows([{0, ""}]) == []
  end

  # A list of small integers would become a STRING_EXT, which the program never writes for rows of lists.
  defp rows_term(rows), do: Wire.encode(rows)

  test "a frame does not make new atoms" do
    name = "libsql_port_never_seen_#{System.unique_integer([:positive])}"
    frame = <<131, 104, 3, 98, 300::32, 97, 64, 119, byte_size(name), name::binary>>
    assert_raise ArgumentError, fn -> Wire.payload(frame) end
  end

  test "the atoms that replies use are known" do
    for atom <- Wire.known_atoms() do
      frame = IO.iodata_to_binary(Wire.frame(300, 64, Wire.encode(atom)))
      assert Wire.payload(frame) == atom
    end
  end
end
