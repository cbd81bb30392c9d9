defmodule LibsqlPort.AuthTokenTest do
  # How a function is asked for a token, as the connection is opened and later. The program is a stub.
  use ExUnit.Case, async: true

  alias LibsqlPort.{AuthToken, Error, Functions, Secret, Stub}

  @url "https://example.com"

  setup do
    sidecar = start_supervised!({LibsqlPort, Stub.options("polite")})
    {:ok, sidecar: sidecar}
  end

  defp connect(sidecar, ask),
    do: LibsqlPort.connect(sidecar, url: @url, auth_token: ask, connect_timeout: 60_000)

  defp token(conn), do: :erlang.binary_to_term(conn.info["token"])

  # What the program is answered when it asks on the open connection.
  defp asked(conn) do
    items = {:blob, :erlang.term_to_binary([{:call, :auth_token, @url, 60_000}])}
    {:ok, %{rows: [[outcome]]}} = LibsqlPort.query(conn, "call auth_token", [items])
    :erlang.binary_to_term(outcome)
  end

  # From the compiler, which would warn.
  defp hidden(term), do: :erlang.binary_to_term(:erlang.term_to_binary(term))

  test "it is asked as the connection is opened, and again, in another process", %{sidecar: sidecar} do
    test = self()

    ask = fn ->
      send(test, {:asked, self()})
      "token-#{System.unique_integer([:positive])}"
    end

    {:ok, conn} = connect(sidecar, ask)
    assert_received {:asked, runner}
    assert runner != test
    assert "token-" <> _ = first = token(conn)
    assert {:ok, "token-" <> _ = second} = asked(conn)
    assert second != first
    :ok = LibsqlPort.close(conn)
  end

  test "what it may return", %{sidecar: sidecar} do
    for {answer, sent} <- [
          {"a", "a"},
          {{:ok, "a"}, "a"},
          {{:ok, "a", 60_000}, {"a", 60_000}},
          {Secret.new("a"), "a"},
          {{:ok, Secret.new("a")}, "a"}
        ] do
      {:ok, conn} = connect(sidecar, fn -> answer end)
      assert token(conn) == sent
      :ok = LibsqlPort.close(conn)
    end
  end

  test "no token is an error that says why, without what was returned", %{sidecar: sidecar} do
    for {ask, word} <- [
          {fn -> {:error, :locked} end, "{:error, :locked}"},
          {fn -> {:error, {:http, 503}} end, "{:error, {:http, 503}}"},
          {fn -> {:error, %RuntimeError{message: "secret"}} end, "{:error, %RuntimeError{}}"},
          {fn -> {:error, "the vault said secret"} end, "not shown"},
          {fn -> {:error, %{body: "secret"}} end, "not shown"},
          {fn -> {:error, {:answer, "secret"}} end, "not shown"},
          {fn -> raise "secret" end, "raised RuntimeError"},
          {fn -> {:ok, _token} = hidden({:ok, "secret", 1}) end, "raised MatchError"},
          {fn -> :erlang.error({:secret, "secret"}) end, "raised ErlangError"},
          {fn -> String.to_integer(hidden("secret")) end, "raised ArgumentError"},
          {fn -> Keyword.get(hidden("secret"), :token) end, "raised FunctionClauseError"},
          {fn -> throw({:token, "secret"}) end, "threw"},
          {fn -> exit({:token, "secret"}) end, "exited"},
          {fn -> {:secret, "secret"} end, "neither a token"},
          {fn -> "secret\n" end, "line break"},
          {fn -> "" end, "empty"},
          {fn -> {:ok, "secret", 0} end, "lifetime"},
          {fn -> {:ok, :secret} end, "neither a token"}
        ] do
      assert {:error, %Error{code: :callback_failed, message: message}} = connect(sidecar, ask)
      assert message =~ word
      refute message =~ "secret"
    end
  end

  test "the event of a function that fails bears no token either" do
    for {ask, kind, reason} <- [
          {fn -> {:ok, _token} = hidden({:ok, "secret", 1}) end, :error, MatchError},
          {fn -> Keyword.get(hidden("secret"), :token) end, :error, FunctionClauseError},
          {fn -> String.to_integer(hidden("secret")) end, :error, ArgumentError},
          {fn -> throw({:token, "secret"}) end, :throw, :not_shown},
          {fn -> exit({:token, "secret"}) end, :exit, :not_shown}
        ] do
      {told_kind, raised, stacktrace} =
        try do
          ask.()
        catch
          kind, raised -> {kind, raised, __STACKTRACE__}
        end

      {message, told, stacktrace} = AuthToken.failed(told_kind, raised, stacktrace)
      assert {told_kind, told} == {kind, reason}
      assert [{_module, _name, arity, _location} | _] = stacktrace
      assert is_integer(arity)
      refute inspect({message, told, stacktrace}, limit: :infinity) =~ "secret"
    end
  end

  test "its place is given back with the connection, and if there is none", %{sidecar: sidecar} do
    {:ok, plain} = LibsqlPort.connect(sidecar, database: "stub")
    functions? = fn -> Functions.any?(plain.handle.functions) end
    {:error, _} = connect(sidecar, fn -> nil end)
    refute functions?.()
    {:ok, conn} = connect(sidecar, fn -> "a" end)
    assert functions?.()
    :ok = LibsqlPort.close(conn)
    # The owner learns of it by the reply that the caller has already.
    :ok = LibsqlPort.ping(sidecar)
    _ = :sys.get_state(plain.handle.sidecar)
    refute functions?.()
    :ok = LibsqlPort.close(plain)
  end

  test "a program that ends while it waits for the token leaves nothing", %{sidecar: sidecar} do
    {:ok, plain} = LibsqlPort.connect(sidecar, database: "stub")
    test = self()

    ask = fn ->
      send(test, {:asked, self()})
      Process.sleep(:infinity)
    end

    # Opening is tried twice.
    task = Task.async(fn -> connect(sidecar, ask) end)

    for _ <- 1..2 do
      assert_receive {:asked, runner}, 60_000
      monitor = Process.monitor(runner)
      {:ok, conn} = LibsqlPort.connect(sidecar, database: "stub", connect_timeout: 60_000)
      _ = LibsqlPort.query(conn, "die 3")
      assert_receive {:DOWN, ^monitor, :process, _, _}, 60_000
    end

    assert {:error, %Error{code: :sidecar_down}} = Task.await(task, 60_000)
    assert {:error, %Error{code: :not_sent}} = LibsqlPort.query(plain, "SELECT 1")
  end
end
