defmodule Demo.Policy do
  # A connection for SQL of others: what its policy denies, and that the sidecar says what it was.
  @moduledoc false
  alias Demo.Terminal

  @policy [
    {:deny, :read, table: "accounts", column: "token"},
    {:ignore, :read, table: "accounts", column: "email"},
    {:allow, :query}
  ]

  def title, do: "A policy says what SQL may do"

  def run(%{conn: conn, sidecar: sidecar, database: database}) do
    {:ok, _} =
      LibsqlPort.script(conn, """
      CREATE TABLE accounts (id INTEGER PRIMARY KEY, name TEXT, email TEXT, token TEXT);
      INSERT INTO accounts VALUES (1, 'Ada', 'ada@example.org', 'secret');
      """)

    {:ok, guest} = LibsqlPort.connect(sidecar, database: database, policy: @policy)
    {:ok, %{rows: [shown]}} = LibsqlPort.query(guest, "SELECT name, email FROM accounts")
    Terminal.field("SELECT name, email", inspect(shown))

    denied =
      for sql <- [
            "SELECT token FROM accounts",
            "SELECT * FROM accounts",
            "SELECT 1 FROM accounts WHERE token LIKE 's%'",
            "DELETE FROM accounts",
            "DROP TABLE accounts",
            "VACUUM INTO '#{database}.copy'"
          ] do
        {:error, %{code: code, denial: denial}} = LibsqlPort.query(guest, sql)
        Terminal.field(String.slice(sql, 0, 30), "#{code}: #{denial.action} #{denial.object}")
        code == :not_authorized
      end

    {:ok, [left]} = LibsqlPort.query_one(conn, "SELECT count(*) FROM accounts")
    :ok = LibsqlPort.close(guest)

    [
      {"a column is NULL under the policy", inspect(shown), shown == ["Ada", nil]},
      {"statements denied", "#{Enum.count(denied, & &1)} of #{length(denied)}", Enum.all?(denied)},
      {"rows that they changed", "#{1 - left}", left == 1 and not File.exists?(database <> ".copy")}
    ]
  end
end
