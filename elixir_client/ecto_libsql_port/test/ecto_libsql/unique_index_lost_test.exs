defmodule EctoLibSql.UniqueIndexLostTest do
  # The name of an index is asked for after a statement has failed. Whatever happens meanwhile, its caller gets the error of
  # the statement, so the question raises nothing: here the connection is closed before each of its requests.
  use ExUnit.Case, async: true

  alias EctoLibSql.UniqueIndex

  @schema """
  CREATE TABLE t (a, b);
  CREATE UNIQUE INDEX one ON t (a) WHERE b = 1;
  CREATE UNIQUE INDEX two ON t (a) WHERE b > 0;
  INSERT INTO t VALUES (1, 2);
  """
  @statement {"INSERT INTO t VALUES (?1, ?2)", [1, 3]}

  setup do
    %{sidecar: start_supervised!({LibsqlPort, []})}
  end

  defp asked(sidecar, close_before) do
    {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:")
    LibsqlPort.script!(conn, @schema)
    {sql, params} = @statement
    {:error, error} = LibsqlPort.query(conn, sql, params)
    Process.put(:requests, 0)
    id = {__MODULE__, self(), close_before}

    :telemetry.attach(id, [:libsql_port, :query, :start], &__MODULE__.request/4, {self(), conn, close_before})

    try do
      UniqueIndex.name(conn, error, @statement)
    after
      :telemetry.detach(id)
    end
  end

  # Runs in the process of the request.
  def request(_event, _measurements, %{connection: id}, {pid, %{id: id} = conn, close_before})
      when pid == self() do
    if Process.put(:requests, Process.get(:requests) + 1) == close_before - 1, do: LibsqlPort.close(conn)
  end

  def request(_event, _measurements, _metadata, _config), do: :ok

  # On a slow machine the question is given up before its last request: no name is told then, either.
  test "raises nothing", %{sidecar: sidecar} do
    for step <- 1..20 do
      name = asked(sidecar, step)
      assert name in [nil, "two"]
    end
  end
end
