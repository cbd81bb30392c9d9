# The protocol of the package `table`, of which this driver's tests have no copy: the same name and function.
defprotocol Table.Reader do
  @moduledoc false
  @spec init(t) :: {:rows, map, Enumerable.t()} | {:columns, map, Enumerable.t()} | :none
  def init(tabular)
end
