defmodule EctoLibSql.TableSql.Column do
  @moduledoc false
  # `range` is from the name to the end of the last clause; `type` is the range of the type or nil.
  defstruct [:name, :range, :name_range, :type, clauses: []]
end
