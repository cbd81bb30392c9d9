defmodule LibsqlPort.PolicyTest do
  use LibsqlPort.SidecarCase, async: true

  doctest LibsqlPort.Policy

  alias LibsqlPort.Policy

  setup %{conn: conn} do
    LibsqlPort.script(conn, """
    CREATE TABLE users (id INTEGER PRIMARY KEY, name, password, ssn);
    INSERT INTO users VALUES (1, 'Ada', 'p', 's');
    """)

    :ok
  end

  defp connect(context, policy) do
    {:ok, conn} = LibsqlPort.connect(context.sidecar, database: context.database, policy: policy)
    conn
  end

  test "a denial is an error with action, object and rule", context do
    conn = connect(context, :read_only)
    assert {:ok, %{rows: [["Ada"]]}} = LibsqlPort.query(conn, "SELECT name FROM users")
    assert {:error, %Error{code: :not_authorized} = error} = LibsqlPort.query(conn, "DELETE FROM users")

    assert error.denial == %{
             action: :delete,
             object: "users",
             column: nil,
             database: "main",
             through: nil,
             rule: :read_only
           }

    assert error.constraint == nil
    assert Exception.message(error) =~ "delete users"
  end

  test "rules: the first that matches decides", context do
    conn =
      connect(context, [
        {:deny, :read, table: "users", column: ["password"]},
        {:ignore, [:read], table: "users", column: "ssn"},
        {:allow, [:select, :read]}
      ])

    assert {:ok, %{rows: [["Ada", nil]]}} = LibsqlPort.query(conn, "SELECT name, ssn FROM users")
    assert {:error, error} = LibsqlPort.query(conn, "SELECT password FROM users")
    assert %{action: :read, object: "users", column: "password", rule: 0} = error.denial

    assert {:error, %{denial: %{action: :function, object: "upper", rule: nil}}} =
             LibsqlPort.query(conn, "SELECT upper('a')")

    assert {:ok, [{:error, %{denial: %{rule: 0}}}, _]} =
             LibsqlPort.batch(conn, ["SELECT password FROM users", "SELECT 1"], atomic: false)
  end

  test "a policy is set, taken away, and restored by a reset", context do
    conn = connect(context, :read_only)
    {:ok, statement} = LibsqlPort.prepare(conn, "SELECT ssn FROM users")
    assert :ok = LibsqlPort.set_policy(conn, [{:ignore, :read, column: "ssn"}, {:allow, :any}])
    assert {:ok, %{rows: [[nil]]}} = LibsqlPort.execute(conn, statement)
    assert :ok = LibsqlPort.set_policy(conn, nil)
    assert {:ok, %{rows: [["s"]]}} = LibsqlPort.execute(conn, statement)
    assert {:ok, _} = LibsqlPort.query(conn, "UPDATE users SET name = 'Bob'")
    assert :ok = LibsqlPort.reset(conn)
    assert {:error, %{code: :not_authorized}} = LibsqlPort.query(conn, "UPDATE users SET name = 'Bob'")
    assert {:error, %{code: :invalid_option}} = LibsqlPort.set_policy(conn, :read)
  end

  test "a single statement may be the application's own", context do
    conn = connect(context, :read_only)
    assert {:error, _} = LibsqlPort.query(conn, "DELETE FROM users")
    assert {:ok, %{changes: 1}} = LibsqlPort.query(conn, "DELETE FROM users", [], policy: false)
    assert {:error, %{code: :not_authorized}} = LibsqlPort.query(conn, "DELETE FROM users")
    assert {:error, %{code: :invalid_option}} = LibsqlPort.query(conn, "SELECT 1", [], policy: :read_only)
  end

  test "transactions of this library are not asked about", context do
    conn = connect(context, [{:allow, :insert, table: "users"}])

    assert {:ok, :done} =
             LibsqlPort.transaction(conn, fn conn ->
               LibsqlPort.query!(conn, "INSERT INTO users VALUES (2, 'Bob', 'p', 's')")
               {:ok, :nested} = LibsqlPort.transaction(conn, fn _conn -> :nested end)
               :done
             end)

    assert {:error, %{denial: %{action: :transaction, object: "BEGIN"}}} = LibsqlPort.query(conn, "BEGIN")
  end

  test "each action and each key is one of the sidecar's", %{conn: conn} do
    for action <- Policy.actions() do
      assert :ok = LibsqlPort.set_policy(conn, [{:allow, action}, {:allow, :any}])
    end

    for {action, names} <- [
          read: [table: "t", column: "c", database: "main", through: [nil, "v"]],
          function: [function: "f"],
          pragma_write: [pragma: "p"],
          create_index: [name: "i", table: "t"],
          create_virtual_table: [name: "fts5", table: "t"],
          vacuum_into: [name: "f"],
          any: [through: nil],
          schema: [table: "t"]
        ] do
      assert :ok = LibsqlPort.set_policy(conn, [{:deny, action, names}, {:allow, :any}])
    end

    :ok = LibsqlPort.set_policy(conn, nil)
  end

  test "what is no policy is refused before it is sent, with its place" do
    for {policy, words} <- [
          {:readonly, ":read_only"},
          {[{:allow, :peek}], ":peek"},
          {[:read_only, {:allow, []}], "element 1"},
          {[{:permit, :read}], ":permit"},
          {[{:deny, :insert, column: "a"}], "no column"},
          {[{:deny, :read, tables: "a"}], "tables"},
          {[{:deny, :read, table: []}], "no name"},
          {[{:deny, :read, table: nil}], "table takes"},
          {[{:deny, :read, table: :users}], "table takes"},
          {[{:deny, :read, table: "a", table: "b"}], "twice"},
          {[{:deny, :read, "users"}], "keyword"},
          {["read_only"], "element 0"},
          {%{}, ":read_only"},
          {List.duplicate(:read_only, 1001), "1000"}
        ] do
      assert {:error, error} = LibsqlPort.Options.connection(database: "a.db", policy: policy)
      assert error.code == :invalid_option
      assert error.message =~ ":policy" and error.message =~ words, error.message
    end
  end

  test "the sidecar refuses what this module does not know to be wrong", %{conn: conn} do
    assert {:error, %{code: :invalid_option, message: message}} =
             LibsqlPort.set_policy(conn, [{:ignore, :delete}])

    assert message =~ "ignore"
  end

  test "a rule that can match nothing is refused", %{conn: conn} do
    for {rule, words} <- [
          {{:deny, :transaction, name: "BEGIN IMEDIATE"}, ~s(did you mean "BEGIN IMMEDIATE"?)},
          {{:deny, :pragma_write, pragma: "table_info"}, "pragma_read"},
          {{:deny, :create_temp_table, database: "main"}, "database temp"},
          {{:deny, :drop_table, through: "my_view"}, "never done through"}
        ] do
      assert {:error, %{code: :invalid_option, message: message}} =
               LibsqlPort.set_policy(conn, [rule, {:allow, :any}])

      assert message =~ "element 0" and message =~ "match nothing" and message =~ words
    end
  end

  test "what is made in the database temp is temporary", context do
    conn = connect(context, [{:deny, :temp_schema}, {:allow, :any}])

    for {sql, action} <- [
          {"CREATE TABLE temp.t (a)", :create_temp_table},
          {"CREATE VIEW temp.v AS SELECT 1", :create_temp_view},
          {"CREATE VIRTUAL TABLE temp.f USING fts5(a)", :create_virtual_table}
        ] do
      assert {:error, %{denial: %{action: ^action, database: "temp"}}} = LibsqlPort.query(conn, sql)
    end

    assert {:ok, _} = LibsqlPort.query(conn, "CREATE TABLE t (a)")
  end
end
