defmodule Peers.Violations do
  # What an error costs that names the constraint: the engine does not say which foreign key it was.
  @moduledoc false
  alias Peers.{Measure, Repo}

  @rows 2_000_000
  @timeout 120_000

  def run(quick?) do
    create()
    count = Measure.setting(quick?, 500, 50)

    [
      Measure.p50(count, fn -> fails("INSERT INTO children (id, author_id) VALUES (7, 1)") end),
      Measure.p50(count, fn -> fails("INSERT INTO children (id, author_id) VALUES (NULL, -1)") end)
    ]
  end

  defp create do
    if Repo.value!("SELECT count(*) FROM sqlite_schema WHERE name = 'children'") == 0 do
      Repo.sql!("CREATE TABLE children (id INTEGER PRIMARY KEY, author_id INTEGER REFERENCES authors (id))")

      Repo.sql!(
        """
        INSERT INTO children
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < #{@rows}) SELECT i, i % 1000 + 1 FROM n
        """,
        [],
        timeout: @timeout
      )
    end
  end

  defp fails(statement) do
    {:error, %{message: message}} = Ecto.Adapters.SQL.query(Repo.get_dynamic_repo(), statement, [])
    true = message =~ "constraint"
  end
end
