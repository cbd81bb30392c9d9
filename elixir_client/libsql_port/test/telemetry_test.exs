defmodule LibsqlPort.TelemetryTest do
  # Not async: a module of the name :telemetry comes and goes.
  use LibsqlPort.SidecarCase, async: false

  alias LibsqlPort.{Telemetry, TelemetryDouble}

  setup %{sidecar: sidecar, conn: without} do
    refute Telemetry.started?()
    refute without.telemetry
    TelemetryDouble.load()
    on_exit(&TelemetryDouble.unload/0)
    refute Telemetry.started?(), "it is loaded only"
    TelemetryDouble.start()
    Process.register(self(), :libsql_port_telemetry)
    {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:")
    {:ok, with: conn}
  end

  test "a query is told with its times, and without its parameters", %{with: conn} do
    secret = "a parameter that nobody is to see"
    assert {:ok, _} = LibsqlPort.query(conn, "SELECT ?", [secret])

    assert_received {:event, [:libsql_port, :query, :start], %{system_time: _, monotonic_time: start},
                     metadata}

    assert metadata == %{request: :execute, connection: conn.id, database: conn.path, sql: "SELECT ?"}
    assert_received {:event, [:libsql_port, :query, :stop], measurements, metadata}

    assert %{duration: duration, queue: queue, lock: lock, run: run, wire: wire, monotonic_time: stop} =
             measurements

    assert %{result: :ok, error: nil} = metadata
    assert stop - start == duration
    # What the sidecar's clock has counted too much is not taken from what remains.
    assert wire == max(duration - queue - lock - run, 0)
    refute inspect(metadata) =~ secret
  end

  test "an error is part of the stop event", %{with: conn} do
    assert {:error, error} = LibsqlPort.query(conn, "SELEKT")
    assert_received {:event, [:libsql_port, :query, :stop], %{duration: _}, %{result: :error, error: ^error}}
  end

  test "batches and transactions are told too", %{with: conn} do
    {:ok, _} = LibsqlPort.transaction(conn, fn conn -> LibsqlPort.query!(conn, "SELECT 1") end)

    for request <- [:begin, :execute, :commit] do
      assert_received {:event, [:libsql_port, :query, :stop], _, %{request: ^request, result: :ok}}
    end

    {:ok, _} = LibsqlPort.batch(conn, ["SELECT 1"])
    assert_received {:event, [:libsql_port, :query, :stop], %{run: _}, %{request: :batch}}
  end

  test "a function of SQL that raises is an event, with its stack trace and without its arguments", %{
    with: conn
  } do
    :ok = LibsqlPort.create_function(conn, "bad", 1, fn _ -> raise "no" end)
    assert {:error, %Error{code: :callback_failed}} = LibsqlPort.query(conn, "SELECT bad('a secret')")

    assert_received {:event, [:libsql_port, :callback, :exception], %{monotonic_time: _}, metadata}
    assert %{function: "bad", kind: :error, reason: %RuntimeError{}, stacktrace: [_ | _]} = metadata
    assert metadata.connection == conn.id
    refute inspect(metadata) =~ "a secret"
  end

  test "a function for a token that raises is an event that does not say what", %{sidecar: sidecar} do
    ask = fn -> raise "a secret" end

    assert {:error, %Error{code: :callback_failed, message: message}} =
             LibsqlPort.connect(sidecar, url: "http://127.0.0.1:1", auth_token: ask)

    assert message =~ "RuntimeError"
    refute message =~ "a secret"
    assert_received {:event, [:libsql_port, :callback, :exception], %{monotonic_time: _}, metadata}
    assert %{function: "auth_token", kind: :error, reason: RuntimeError, stacktrace: [_ | _]} = metadata
    refute inspect(metadata) =~ "a secret"
  end

  test "what is raised is an exception event, and goes on" do
    assert_raise RuntimeError, fn ->
      Telemetry.span(%{request: :execute}, fn -> raise "boom" end, fn _ -> nil end)
    end

    assert_received {:event, [:libsql_port, :query, :exception], %{duration: _},
                     %{kind: :error, reason: %RuntimeError{}, stacktrace: [_ | _], request: :execute}}
  end

  test "a connection that is opened without stays silent", %{sidecar: sidecar} do
    for listen <- [fn -> :ok end, fn -> TelemetryDouble.listen([[:libsql_port, :query, :stop]]) end] do
      listen.()
      {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:", telemetry: false)
      assert {:ok, _} = LibsqlPort.query(conn, "SELECT 1")
      refute_received {:event, [_, :query, _], _, _}
    end

    assert {:error, %{code: :invalid_option}} =
             LibsqlPort.connect(sidecar, database: ":memory:", telemetry: :yes)
  end

  describe "with handlers that can be listed" do
    setup %{sidecar: sidecar} do
      TelemetryDouble.listen([])
      {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:")
      {:ok, conn: conn}
    end

    test "a request is told while one is attached, to whichever of its events", %{conn: conn} do
      for event <- [:start, :stop, :exception] do
        TelemetryDouble.listen([[:libsql_port, :query, event]])
        assert {:ok, _} = LibsqlPort.query(conn, "SELECT 1")
        assert_received {:event, [_, :query, :start], _, _}
        assert_received {:event, [_, :query, :stop], %{run: _}, %{result: :ok}}

        TelemetryDouble.listen([[:libsql_port, :sidecar, :lost], [:other, :query, event]])
        assert {:ok, _} = LibsqlPort.query(conn, "SELECT 1")
        refute_received {:event, [_, :query, _], _, _}
      end
    end

    test "without one a request costs next to nothing more than with `telemetry: false`", %{
      conn: conn,
      sidecar: sidecar
    } do
      {:ok, silent} = LibsqlPort.connect(sidecar, database: ":memory:", telemetry: false)
      # Those of looking, by the double: the events themselves cost more than 40.
      assert reductions(conn) <= reductions(silent) + 25
    end
  end

  # Of one request, the least of many: garbage is collected in some.
  defp reductions(conn) do
    Enum.min(
      for _ <- 1..100 do
        {:reductions, before} = Process.info(self(), :reductions)
        {:ok, _} = LibsqlPort.query(conn, "SELECT 1")
        {:reductions, now} = Process.info(self(), :reductions)
        now - before
      end
    )
  end

  test "a connection opened before stays silent", %{conn: without} do
    assert {:ok, _} = LibsqlPort.query(without, "SELECT 1")
    refute_received {:event, [_, :query, _], _, _}
  end
end
