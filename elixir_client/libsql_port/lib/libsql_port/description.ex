defmodule LibsqlPort.Description.Column do
  @moduledoc """
  A column of a statement. `type` is the declared one; `database`, `table` and `origin` tell where the values come from.
  All are `nil` where SQLite has none, as for an expression.
  """

  defstruct [:name, :type, :database, :table, :origin]

  @type t :: %__MODULE__{
          name: String.t(),
          type: String.t() | nil,
          database: String.t() | nil,
          table: String.t() | nil,
          origin: String.t() | nil
        }
end

defmodule LibsqlPort.Description do
  @moduledoc """
  What `LibsqlPort.describe/3` tells of a statement without running it.

    * `columns` – a list of `LibsqlPort.Description.Column`
    * `parameters` – one entry for each parameter: its name with prefix, or `nil`
    * `read_only` – whether it leaves the database as it is
    * `explain` – `nil`, `:explain` or `:query_plan`
  """

  alias LibsqlPort.Description.Column

  defstruct columns: [], parameters: [], read_only: false, explain: nil

  @type t :: %__MODULE__{
          columns: [Column.t()],
          parameters: [String.t() | nil],
          read_only: boolean,
          explain: nil | :explain | :query_plan
        }

  @doc false
  @spec from_wire(map) :: t
  def from_wire(map) do
    columns =
      for {name, type, database, table, origin} <- map["columns"] do
        %Column{name: name, type: type, database: database, table: table, origin: origin}
      end

    %__MODULE__{
      columns: columns,
      parameters: map["parameters"],
      read_only: map["read_only"],
      explain: explain(map["explain"])
    }
  end

  defp explain(1), do: :explain
  defp explain(2), do: :query_plan
  defp explain(_none), do: nil
end
