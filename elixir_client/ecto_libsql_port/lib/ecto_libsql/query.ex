defmodule EctoLibSql.Query do
  @moduledoc """
  A statement for `DBConnection`. Nothing is prepared ahead: the sidecar keeps what it prepared by the text of the
  statement, so the first run costs no round trip more than the others, and a query may be used on any connection.
  """

  alias EctoLibSql.Parameter

  defstruct [:statement, :name, :lane, command: nil, operation: :execute, json: []]

  @typedoc """
  `operation` is `:execute`, or what a connection is asked beside statements. `json` says for each column whether it is JSON
  text to be decoded; `[]` stands for none. `lane` is the number of the Repo's lane that has found that the statement may run on
  any connection.
  """
  @type t :: %__MODULE__{
          statement: String.t() | nil,
          name: String.t() | nil,
          command: atom,
          lane: pos_integer | nil,
          operation:
            :execute
            | :script
            | :compile
            | :state
            | :lost
            | :checkout
            | :checkin
            | :abandon
            | :restore
            | :privileges
            | :no_privileges,
          json: [boolean]
        }

  @doc false
  @spec new(iodata, String.t() | nil, keyword) :: t
  def new(statement, name \\ nil, options \\ []) do
    json = with {_name, json} <- :lists.keyfind(:json, 1, options), do: json
    %__MODULE__{statement: IO.iodata_to_binary(statement), name: name, json: json || []}
  end

  @doc false
  # The parameters as the driver takes them.
  @spec encode(term) :: term
  def encode([param | params]), do: [encode_one(param) | encode(params)]
  def encode(params) when is_map(params), do: Map.new(params, &encode_one/1)

  # The end of a list. What is none the driver refuses.
  def encode(params), do: params

  # A pair is a named parameter of a keyword list; `{:blob, bytes}` is the driver's own.
  defp encode_one({:blob, _} = blob), do: blob
  defp encode_one({name, value}), do: {name, Parameter.encode(value)}
  defp encode_one(value), do: Parameter.encode(value)

  @doc false
  # A result with its JSON decoded.
  @spec decode(t, result) :: result when result: term
  def decode(%{json: [_ | _] = json}, %{rows: [_ | _] = rows} = result) do
    library = Parameter.json_library()
    %{result | rows: Enum.map(rows, &decode_row(&1, json, library))}
  end

  def decode(_query, result), do: result

  defp decode_row([text | row], [true | json], library) when is_binary(text),
    do: [decode_json(text, library) | decode_row(row, json, library)]

  defp decode_row([value | row], [_ | json], library), do: [value | decode_row(row, json, library)]
  defp decode_row(row, [], _library), do: row
  defp decode_row([], _json, _library), do: []

  # SQLite's JSON has numbers beyond those of floats, which no library reads.
  defp decode_json(text, library) do
    case library.decode(text) do
      {:ok, value} -> value
      {:error, _} -> text
    end
  end

  defimpl DBConnection.Query do
    alias EctoLibSql.Query

    def parse(query, _options), do: query
    def describe(query, _options), do: query
    def encode(_query, params, _options), do: Query.encode(params)
    def decode(query, result, _options), do: Query.decode(query, result)
  end

  defimpl String.Chars do
    def to_string(%{statement: nil, operation: operation}), do: Atom.to_string(operation)
    def to_string(%{statement: statement}), do: statement
  end
end
