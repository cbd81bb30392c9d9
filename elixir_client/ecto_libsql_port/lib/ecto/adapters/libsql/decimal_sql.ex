defmodule Ecto.Adapters.LibSql.DecimalSql do
  @moduledoc false
  # Decimals inside SQL: literals, arithmetic, order. Called by `ExpressionSql`, `WriteSql` and `ColumnSql` with operands
  # that are SQL already.
  #
  # A decimal is stored in one form (`Parameter.decimal/1`, `decimal(x)` in SQL), so equal numbers are equal values: `=`,
  # IN, GROUP BY, DISTINCT, joins and UNIQUE are SQLite's own and use its indexes. Order is not: numbers that are stored
  # as digits come behind all others. So what compares or sorts goes by `decimal_key(x)`, and what computes by the
  # sidecar's functions.

  alias Ecto.Adapters.LibSql.{FloatSql, Quoting}
  alias EctoLibSql.Parameter

  @arithmetic %{+: "decimal_add(", -: "decimal_sub(", *: "decimal_mul(", /: "decimal_div("}
  @order %{<: " < ", <=: " <= ", >: " > ", >=: " >= "}

  @doc "A decimal as a literal, in its stored form."
  @spec literal(Decimal.t()) :: iodata
  def literal(%Decimal{} = decimal) do
    case Parameter.decimal(decimal) do
      integer when is_integer(integer) -> Integer.to_string(integer)
      float when is_float(float) -> FloatSql.literal(float)
      {:blob, digits} -> Quoting.blob(digits)
    end
  end

  @doc "Whether an operator on decimals is written here."
  defguard is_operator(operator) when is_map_key(@arithmetic, operator) or is_map_key(@order, operator)

  @doc "Whether an operator compares by order."
  defguard is_order(operator) when is_map_key(@order, operator)

  @doc """
  An order between a column and a value. The second condition follows from the first, and is one that an index on the column
  serves: numbers are in SQLite's order among themselves, digits behind all of them, and text of a TEXT column before
  those. Where the value itself is digits it excludes nothing.
  """
  @spec range(atom, iodata, iodata) :: iodata
  def range(operator, column, value) do
    {comparison, all} = if operator in [:>, :>=], do: {" >= ", "-9e999"}, else: {" <= ", "9e999"}
    bound = ["iif(typeof(decimal(", value, ")) = 'blob', ", all, ", decimal(", value, "))"]

    [operator(operator, column, value), " AND (", column, comparison, bound, " OR ", column, " >= '')"]
  end

  @doc "An operator on two decimals."
  @spec operator(atom, iodata, iodata) :: iodata
  def operator(operator, left, right) when is_map_key(@arithmetic, operator),
    do: [@arithmetic[operator], left, ", ", right, ?)]

  def operator(operator, left, right), do: [key(left), @order[operator], key(right)]

  @doc "What a decimal is sorted by."
  @spec key(iodata) :: iodata
  def key(sql), do: ["decimal_key(", sql, ?)]

  @doc """
  An aggregate of decimals in three parts: what follows it (FILTER, OVER) stands before the last. The extremes are SQLite's
  own over the keys, which an index on `decimal_key(x)` serves.
  """
  @spec aggregate(:sum | :avg | :min | :max, iodata) :: {iodata, iodata, iodata}
  def aggregate(function, argument) when function in [:sum, :avg],
    do: {[], ["decimal_", Atom.to_string(function), ?(, argument, ?)], []}

  def aggregate(function, [distinct, argument]) when function in [:min, :max],
    do: {"decimal_of_key(", [Atom.to_string(function), ?(, distinct, key(argument), ?)], ")"}
end
