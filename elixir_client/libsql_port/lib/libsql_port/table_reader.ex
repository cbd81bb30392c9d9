defmodule Table.Reader.LibsqlPort.Result do
  @moduledoc false
  # `Table.Reader` for `LibsqlPort.Result`, so that Livebook, Explorer and other users of the `table` package can read a
  # result. Written without `defimpl`, because that needs the protocol at compile time and this driver has no dependency:
  # the module has the name, the functions and the persisted attribute by which dispatch and consolidation find an
  # implementation. Where `table` is not installed nobody calls it.

  Module.register_attribute(__MODULE__, :__impl__, persist: true)
  @__impl__ [protocol: Table.Reader, for: LibsqlPort.Result]

  def __impl__(:for), do: LibsqlPort.Result
  def __impl__(:protocol), do: Table.Reader
  def __impl__(:target), do: __MODULE__

  def init(%LibsqlPort.Result{columns: columns, rows: rows, num_rows: count}) do
    {:rows, %{columns: columns, count: count}, rows}
  end
end
