defmodule EctoLibSql.JSONTest do
  use EctoLibSql.ByHandCase, async: true

  alias EctoLibSql.JSON

  doctest EctoLibSql.JSON

  @json ~s({"user":{"name":"Ada","tags":["a","b"]},"age":36,"ok":true,"none":null})

  test "asks", %{state: state} do
    assert {:ok, "Ada"} = JSON.extract(state, @json, "$.user.name")
    assert {:ok, 36} = JSON.extract(state, @json, "$.age")
    assert {:ok, ~s(["a","b"])} = JSON.extract(state, @json, "$.user.tags")
    assert {:ok, nil} = JSON.extract(state, @json, "$.missing")
    assert {:ok, "object"} = JSON.type(state, @json)
    assert {:ok, "true"} = JSON.type(state, @json, "$.ok")
    assert {:ok, true} = JSON.is_valid(state, @json)
    assert {:ok, false} = JSON.is_valid(state, "{")
    assert {:error, message} = JSON.extract(state, "{", "$")
    assert message =~ "malformed JSON"
  end

  test "measures what SQLite does not", %{state: state} do
    assert {:ok, 4} = JSON.json_length(state, @json)
    assert {:ok, 2} = JSON.json_length(state, @json, "$.user.tags")
    assert {:ok, 0} = JSON.json_length(state, "[]")
    assert {:ok, nil} = JSON.json_length(state, "1")
    assert {:ok, nil} = JSON.json_length(state, @json, "$.missing")

    for {json, depth} <- [{"1", 1}, {"[]", 1}, {"{}", 1}, {"[1]", 2}, {"[[],[[1]]]", 4}, {@json, 4}] do
      assert {:ok, ^depth} = JSON.depth(state, json)
    end

    assert {:ok, ~s(["age","none","ok","user"])} = JSON.keys(state, @json)
    assert {:ok, ~s(["name","tags"])} = JSON.keys(state, @json, "$.user")
    assert {:ok, nil} = JSON.keys(state, "[1]")
  end

  test "goes through", %{state: state} do
    assert {:ok, [{0, "a", "text"}, {1, "b", "text"}]} = JSON.each(state, @json, "$.user.tags")
    assert {:ok, tree} = JSON.tree(state, ~s({"a":[1]}))
    assert [{"$", nil, "object"}, {"$.a", nil, "array"}, {"$.a[0]", 1, "integer"}] = tree
  end

  test "makes", %{state: state} do
    assert {:ok, ~s([1,2.5,"a\\"b",null])} = JSON.array(state, [1, 2.5, "a\"b", nil])
    assert {:ok, "[]"} = JSON.array(state, [])
    assert {:ok, ~s({"id":1,"name":"Ada"})} = JSON.object(state, ["id", 1, "name", "Ada"])
    assert {:error, {:invalid_arguments, _}} = JSON.object(state, ["id"])
    assert {:ok, ~s("a")} = JSON.json_quote(state, "a")
    assert {:ok, ~s({"a":1})} = JSON.convert(state, ~s( { "a" : 1 } ))
    assert_raise ArgumentError, fn -> JSON.convert(state, "1", :yaml) end
  end

  test "takes its own binary form", %{state: state} do
    {:ok, jsonb} = JSON.convert(state, @json, :jsonb)
    refute jsonb == @json
    assert {:ok, "Ada"} = JSON.extract(state, {:blob, jsonb}, "$.user.name")
    assert {:ok, "Ada"} = JSON.extract(state, jsonb, "$.user.name")
    assert {:ok, @json} = JSON.convert(state, {:blob, jsonb}, :json)

    # These bytes are text too.
    assert {:ok, jsonb} = JSON.convert(state, "1", :jsonb)
    assert String.valid?(jsonb)
    assert {:ok, "integer"} = JSON.type(state, {:blob, jsonb})
  end

  test "changes", %{state: state} do
    assert {:ok, ~s({"a":1,"b":2})} = JSON.set(state, ~s({"a":1}), "$.b", 2)
    assert {:ok, ~s({"a":1})} = JSON.replace(state, ~s({"a":1}), "$.b", 2)
    assert {:ok, ~s({"a":1})} = JSON.insert(state, ~s({"a":1}), "$.a", 2)
    assert {:ok, ~s([2])} = JSON.remove(state, "[1,2,3]", ["$[0]", "$[1]"])
    assert {:ok, ~s({"b":2})} = JSON.remove(state, ~s({"a":1,"b":2}), "$.a")

    assert {:ok, ~s({"b":{"d":2}})} =
             JSON.patch(state, ~s({"a":1,"b":{"c":1,"d":2}}), ~s({"a":null,"b":{"c":null}}))
  end

  test "writes operators" do
    assert JSON.arrow_fragment("settings", "it's") == "settings -> 'it''s'"
    assert JSON.arrow_fragment("settings", 0, :double_arrow) == "settings ->> 0"
    assert_raise ArgumentError, fn -> JSON.arrow_fragment("a; DROP", "b") end
  end
end
