defmodule LibsqlPort.CodecPropertyTest do
  use LibsqlPort.SidecarCase, async: true

  import LibsqlPort.Properties

  alias LibsqlPort.Wire

  @moduletag :proper
  @moduletag timeout: 120_000

  defp pairs?([_ | _] = params),
    do: List.improper?(params) == false and Enum.all?(params, &match?({_, _}, &1))

  defp pairs?(_params), do: false

  # What a value looks like when it comes back.
  defp returned(true), do: 1
  defp returned(false), do: 0
  defp returned({:blob, blob}), do: blob
  defp returned(value), do: value

  test "every list of values is a frame that Erlang reads as that list", %{sidecar: _} do
    check!(list(value()), fn values ->
      {:ok, params} = Wire.params(values)
      payload = Wire.statement(Wire.encode(7), 5_000, Wire.binary("SELECT"), params, nil)
      frame = IO.iodata_to_binary(Wire.frame(300, 6, payload))

      byte_size(frame) == Wire.frame_size(payload) and
        :erlang.binary_to_term(frame) == {300, 6, {7, 5_000, "SELECT", meant(values)}}
    end)
  end

  # Pairs with a name in front are named, which a list of blobs alone is not: here no value is such a pair but a blob.
  defp meant(values), do: values

  test "every term is decoded as it was encoded" do
    check!(type(:any), fn term -> :erlang.binary_to_term(<<131, Wire.encode(term)::binary>>) === term end)
  end

  test "chunks of rows, however cut, join to the same rows" do
    row = list(one_of([nil, type(:integer), text()]))

    check!({list(row), list(row), list(row)}, fn {one, two, three} ->
      chunks =
        for rows <- [one, two, three], rows == [] or not List.ascii_printable?(rows) do
          Wire.bare_rows(IO.iodata_to_binary(Wire.frame(300, 67, Wire.encode(rows))))
        end

      Wire.join_rows(chunks) === one ++ two ++ three
    end)
  end

  test "every value goes through the engine and back", %{conn: conn} do
    check!(
      list(value()),
      fn values ->
        values = Enum.take(values, 100)
        sql = "SELECT " <> Enum.map_join([nil | values], ", ", fn _ -> "?" end)
        {:ok, row} = LibsqlPort.query_one(conn, sql, [nil | values])
        row === [nil | Enum.map(values, &returned/1)]
      end,
      300
    )
  end

  test "names and values go through the engine and back", %{conn: conn} do
    check!({value(), value()}, fn {a, b} ->
      LibsqlPort.query_one(conn, "SELECT :a, @b", a: a, b: b) === {:ok, [returned(a), returned(b)]} and
        LibsqlPort.query_one(conn, "SELECT :a, @b", %{"a" => a, "@b" => b}) ===
          {:ok, [returned(a), returned(b)]}
    end)
  end

  test "whatever is given as parameters, the sidecar lives and answers", %{conn: conn} do
    check!(one_of([list(type(:any)), type(:any), list({type(:any), type(:any)})]), fn params ->
      params = if pairs?(params), do: Map.new(params), else: params

      case LibsqlPort.query(conn, "SELECT ?1", params) do
        {:ok, %Result{}} -> true
        {:error, %Error{code: code}} -> code not in [:sidecar_down, :outcome_unknown, :unknown, :internal]
      end
    end)
  end
end
