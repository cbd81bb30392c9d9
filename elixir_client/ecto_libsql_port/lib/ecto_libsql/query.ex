defmodule EctoLibSql.Query do
  @moduledoc """
  A statement for `DBConnection`. Nothing is prepared ahead: the sidecar keeps what it prepared by the text of the
  statement, so the first run costs no round trip more than the others, and a query may be used on any connection.
  """

  defstruct [:statement, :name, command: nil, operation: :execute]

  @typedoc "`operation` is `:execute`, or what a connection is asked beside statements."
  @type t :: %__MODULE__{
          statement: String.t() | nil,
          name: String.t() | nil,
          command: atom,
          operation: :execute | :script | :state | :checkout | :checkin | :abandon
        }

  @doc false
  @spec new(iodata, String.t() | nil) :: t
  def new(statement, name \\ nil) do
    %__MODULE__{statement: IO.iodata_to_binary(statement), name: name}
  end

  defimpl DBConnection.Query do
    alias Ecto.Adapters.LibSql.QuerySql
    alias EctoLibSql.Parameter

    # What a column of this name is made of its values.
    @marks %{QuerySql.json_column() => :json, QuerySql.decimal_column() => :decimal}

    def parse(query, _options), do: query
    def describe(query, _options), do: query

    def encode(_query, params, _options) when is_list(params), do: Enum.map(params, &encode/1)
    def encode(_query, params, _options) when is_map(params), do: Map.new(params, &encode/1)

    # A pair is a named parameter of a keyword list; `{:blob, bytes}` is the driver's own.
    defp encode({:blob, _} = blob), do: blob
    defp encode({name, value}), do: {name, Parameter.encode(value)}
    defp encode(value), do: Parameter.encode(value)

    def decode(_query, %{columns: [_ | _] = columns, rows: [_ | _]} = result, _options) do
      if Enum.any?(columns, &is_map_key(@marks, &1)), do: decode_marked(result, columns), else: result
    end

    def decode(_query, result, _options), do: result

    defp decode_marked(result, columns) do
      marks = Enum.map(columns, &@marks[&1])
      library = Parameter.json_library()
      %{result | rows: Enum.map(result.rows, &decode_row(&1, marks, library))}
    end

    defp decode_row([], [], _library), do: []

    defp decode_row([text | row], [:json | marks], library) when is_binary(text),
      do: [library.decode!(text) | decode_row(row, marks, library)]

    defp decode_row([value | row], [:decimal | marks], library) when value != nil do
      value = with {:ok, decimal} <- Parameter.to_decimal(value), do: decimal, else: (:error -> value)
      [value | decode_row(row, marks, library)]
    end

    defp decode_row([value | row], [_ | marks], library), do: [value | decode_row(row, marks, library)]
  end

  defimpl String.Chars do
    def to_string(%{statement: nil, operation: operation}), do: Atom.to_string(operation)
    def to_string(%{statement: statement}), do: statement
  end
end
