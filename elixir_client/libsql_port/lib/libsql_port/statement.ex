defmodule LibsqlPort.Statement do
  @moduledoc """
  A prepared statement of one connection, from `LibsqlPort.prepare/3`. It lives until it is closed, the connection is
  closed, or `LibsqlPort.reset/2`.
  """

  @enforce_keys [:id, :connection, :sql, :description]
  @derive {Inspect, only: [:id, :sql]}
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          id: integer,
          connection: integer,
          sql: String.t(),
          description: LibsqlPort.Description.t()
        }
end
