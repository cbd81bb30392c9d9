defmodule EctoLibSql.Query do
  @moduledoc """
  A statement for `DBConnection`. Nothing is prepared ahead: the sidecar keeps what it prepared by the text of the
  statement, so the first run costs no round trip more than the others, and a query may be used on any connection.
  """

  defstruct [:statement, :name, command: nil, operation: :execute, json: []]

  @typedoc """
  `operation` is `:execute`, or what a connection is asked beside statements. `json` says for each column whether it is JSON
  text to be decoded; `[]` stands for none.
  """
  @type t :: %__MODULE__{
          statement: String.t() | nil,
          name: String.t() | nil,
          command: atom,
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
    json = Keyword.get(options, :json, [])
    %__MODULE__{statement: IO.iodata_to_binary(statement), name: name, json: json}
  end

  defimpl DBConnection.Query do
    alias EctoLibSql.Parameter

    def parse(query, _options), do: query
    def describe(query, _options), do: query

    def encode(_query, params, _options) when is_list(params), do: Enum.map(params, &encode/1)
    def encode(_query, params, _options) when is_map(params), do: Map.new(params, &encode/1)

    # The driver refuses them.
    def encode(_query, params, _options), do: params

    # A pair is a named parameter of a keyword list; `{:blob, bytes}` is the driver's own.
    defp encode({:blob, _} = blob), do: blob
    defp encode({name, value}), do: {name, Parameter.encode(value)}
    defp encode(value), do: Parameter.encode(value)

    def decode(%{json: [_ | _] = json}, %{rows: [_ | _] = rows} = result, _options) do
      library = Parameter.json_library()
      %{result | rows: Enum.map(rows, &decode_row(&1, json, library))}
    end

    def decode(_query, result, _options), do: result

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
  end

  defimpl String.Chars do
    def to_string(%{statement: nil, operation: operation}), do: Atom.to_string(operation)
    def to_string(%{statement: statement}), do: statement
  end
end
