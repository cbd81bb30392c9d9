defmodule Ecto.Adapters.LibSql.ServerSql do
  @moduledoc false
  # The text of a statement for an engine that has none of the sidecar's SQL functions: that of a server. What a query is written in does not
  # depend on where its Repo's database is, because Ecto asks for the text without the Repo. So what has another form there is put in
  # its place when the statement is sent. Called by `Connection` for each statement of a Repo on a server.

  # A float in the list behind `in`: exact by its 64 bits; on a server by its shortest decimal, which SQLite reads to the last bit but in
  # rare cases. Both stand in the list (`EctoLibSql.Parameter`).
  @local "float_of_bits(value ->> 'float')"
  @server "CAST(value ->> 'text' AS REAL)"

  @doc "How a float in a list is read by the sidecar's engine."
  @spec float_in_list() :: String.t()
  def float_in_list, do: @local

  @doc "The statement for the place that the options of a call name."
  @spec of(iodata, keyword) :: iodata
  def of(sql, options) do
    if options[:server], do: sql |> IO.iodata_to_binary() |> String.replace(@local, @server), else: sql
  end
end
