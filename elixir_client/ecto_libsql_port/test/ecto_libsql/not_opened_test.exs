defmodule EctoLibSql.NotOpenedTest do
  # A pool whose connections cannot be opened for reasons that may pass: it starts, and whoever waits is told why.
  use ExUnit.Case, async: true

  alias DBConnection.ConnectionError

  @moduletag :capture_log
  @start [uri: "http://127.0.0.1:1", pool_size: 1, retry: false, backoff_min: 20, backoff_max: 50]

  defp eventually(fun), do: Enum.any?(1..2_000, fn _ -> fun.() or (Process.sleep(5) && false) end)
  defp told(db, options \\ [queue: false]), do: EctoLibSql.query(db, "SELECT 1", [], options)

  test "why it is not opened comes before what is said of pools that are too small" do
    db = start_supervised!({EctoLibSql, @start})

    assert eventually(fn ->
             {:error, %ConnectionError{message: message}} = told(db)
             message =~ "no connection could be opened when it was last tried: "
           end)

    assert {:error, %ConnectionError{message: message, reason: reason}} = told(db, queue_target: 1)
    assert reason in [:queue_timeout, :error]
    [first | _] = String.split(message, "\n\n", parts: 2)
    assert first =~ "127.0.0.1:1"
    assert first =~ "(remote_unavailable)"
  end

  test "a function for the token that fails does not keep a pool from starting" do
    {:ok, vault} = Agent.start_link(fn -> {:error, :vault_sealed} end)
    ask = fn -> Agent.get(vault, & &1) end
    db = start_supervised!({EctoLibSql, [auth_token: ask] ++ @start})

    says = fn word ->
      eventually(fn ->
        match?({:error, %{message: message}} when is_binary(message), told(db)) and
          elem(told(db), 1).message =~ word
      end)
    end

    assert says.("{:error, :vault_sealed}")
    Agent.update(vault, fn _ -> {:ok, "a-token"} end)
    assert says.("cannot connect to 127.0.0.1:1")
  end

  test "a function for the token that raises is told by its exception alone" do
    ask = fn -> raise "s3cr3t" end
    db = start_supervised!({EctoLibSql, [auth_token: ask] ++ @start})
    assert eventually(fn -> elem(told(db), 1).message =~ "RuntimeError" end)
    refute elem(told(db), 1).message =~ "s3cr3t"
  end

  @tag :tmp_dir
  test "a connection that was opened takes the reason back", %{tmp_dir: directory} do
    gauges = EctoLibSql.PoolGauges.new([])
    path = Path.join(directory, "app.db")
    options = [gauges: gauges]
    {:error, _} = EctoLibSql.Protocol.connect([database: Path.join(path, "app.db")] ++ options)
    assert %EctoLibSql.Error{code: :cannot_open} = EctoLibSql.PoolGauges.not_opened(gauges)
    {:ok, state} = EctoLibSql.Protocol.connect([database: path] ++ options)
    assert EctoLibSql.PoolGauges.not_opened(gauges) == nil
    assert EctoLibSql.PoolGauges.rows(gauges) == []
    EctoLibSql.Protocol.disconnect(nil, state)
  end
end
