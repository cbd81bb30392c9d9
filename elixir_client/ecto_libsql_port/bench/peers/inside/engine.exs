defmodule Peers.Engine do
  # Statements that keep the engine busy and give next to nothing back.
  @moduledoc false
  alias Peers.{Measure, Repo}

  @rows 500_000
  @timeout 300_000

  @works [
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) SELECT sum(i) FROM n",
    "SELECT count(*) FROM facts WHERE v > 10.0 AND k % 3 = 1",
    "SELECT count(*) FROM (SELECT g, count(*), sum(v), max(k) FROM facts GROUP BY g)",
    "SELECT count(*) FROM (SELECT k, count(*) FROM facts GROUP BY k)",
    "SELECT sum(length(note)) FROM (SELECT note FROM facts ORDER BY note LIMIT 10000000)",
    "SELECT sum(k) FROM (SELECT k FROM facts ORDER BY note DESC LIMIT 10)",
    "SELECT count(*) FROM facts WHERE note LIKE '%words 97%'",
    "SELECT count(*) FROM facts JOIN names ON names.k = facts.k WHERE names.name LIKE 'name1%'",
    "SELECT max(r) FROM (SELECT row_number() OVER (PARTITION BY g ORDER BY v) AS r FROM facts)",
    "SELECT sum(json_extract(j, '$.b[1]')) FROM facts",
    "SELECT count(*) FROM texts WHERE texts MATCH 'words AND (97* OR 11*)'",
    {:write, "CREATE INDEX facts_note ON facts (note)"},
    {:write, "INSERT INTO copies SELECT id, k, note FROM facts WHERE id <= 200000"},
    {:write, "DELETE FROM copies"}
  ]

  def run(_quick?) do
    create()
    taken = Enum.map(@works, &taken/1)
    sql!("DROP INDEX facts_note")
    taken
  end

  # The checkpoint that a large write asks for comes before the answer in one adapter, and after it in another, where the
  # next writer waits for it. A write is over here when the next one has had its turn.
  defp taken({:write, statement}) do
    Measure.checked(
      fn ->
        sql!(statement)
        sql!("DELETE FROM next_write")
      end,
      & &1
    )
  end

  defp taken(statement), do: Measure.checked(fn -> sql!(statement) end, & &1)

  defp create do
    if Repo.value!("SELECT count(*) FROM sqlite_schema WHERE name = 'facts'") == 0 do
      for statement <- [
            "CREATE TABLE facts (id INTEGER PRIMARY KEY, k INTEGER, g TEXT, v REAL, note TEXT, j TEXT)",
            """
            INSERT INTO facts
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < #{@rows})
            SELECT i, (i * 7919) % 100003, 'group' || ((i * 31) % 5003), i * 1.5,
              printf('some text %d with words %d and %d', i, i % 977, (i * 13) % 7919),
              json_object('a', i, 'b', json_array(i, i + 1), 'c', 'x' || i)
            FROM n
            """,
            "CREATE TABLE names (id INTEGER PRIMARY KEY, k INTEGER, name TEXT)",
            """
            INSERT INTO names
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100003) SELECT i, i, 'name' || i FROM n
            """,
            "CREATE INDEX names_k ON names (k)",
            "CREATE VIRTUAL TABLE texts USING fts5(note)",
            "INSERT INTO texts SELECT note FROM facts WHERE id <= 100000",
            "CREATE TABLE copies (id INTEGER PRIMARY KEY, k INTEGER, note TEXT)",
            "CREATE TABLE next_write (id INTEGER PRIMARY KEY)",
            "ANALYZE"
          ],
          do: sql!(statement)
    end
  end

  defp sql!(statement), do: Repo.sql!(statement, [], timeout: @timeout)
end
