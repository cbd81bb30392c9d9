defmodule Bench do
  # What all works share: the sidecar and the echo program, both under the driver, the seeded database, the sizes of
  # frames, and how long to measure.
  @moduledoc false

  alias LibsqlPort.{Exchange, Request, Wire}

  @sidecar Bench.Sidecar
  @echo Bench.EchoProgram
  @bulk_rows 100_000
  @seed_batch 5_000

  defstruct [:directory, :database, :conn, :supervisor, :quick?, sidecar: @sidecar, echo: @echo]

  def start(directory) do
    # A run's own log lines (a cancelled query, a closed connection) are no part of the table.
    Logger.configure(level: :error)
    {:ok, supervisor} = Supervisor.start_link(children(), strategy: :one_for_one)
    database = Path.join(directory, "bench.db")
    {:ok, conn} = LibsqlPort.connect(@sidecar, database: database)

    bench = %__MODULE__{
      directory: directory,
      database: database,
      conn: conn,
      supervisor: supervisor,
      quick?: quick?()
    }

    seed(conn)
    bench
  end

  def stop(bench), do: Supervisor.stop(bench.supervisor)

  def connect(bench) do
    {:ok, conn} = LibsqlPort.connect(bench.sidecar, database: bench.database)
    conn
  end

  def bulk_rows, do: @bulk_rows

  @doc "Whether this run only checks that all runs."
  def quick?, do: System.get_env("BENCH_QUICK") not in [nil, "", "0"]

  @doc "The full or the quick one of two settings."
  def setting(%{quick?: true}, _full, quick), do: quick
  def setting(_bench, full, _quick), do: full

  defp children do
    echo = System.fetch_env!("PORT_ECHO_EXECUTABLE")

    [
      Supervisor.child_spec({LibsqlPort, name: @sidecar}, id: @sidecar),
      Supervisor.child_spec({LibsqlPort, name: @echo, executable: echo}, id: @echo)
    ]
  end

  # --- data -----------------------------------------------------------------------------------------------------

  # Six columns, mixed: integer, text of 20, float, text of 50, NULL, blob of 32.
  defp seed(conn) do
    {:ok, _} =
      LibsqlPort.script(conn, """
      CREATE TABLE bulk (id INTEGER PRIMARY KEY, short TEXT, value REAL, long TEXT, empty TEXT, bytes BLOB);
      CREATE TABLE target (id INTEGER PRIMARY KEY, name TEXT, value REAL);
      """)

    1..@bulk_rows
    |> Stream.map(&{"INSERT INTO bulk VALUES (?, ?, ?, ?, ?, ?)", row(&1)})
    |> Stream.chunk_every(@seed_batch)
    |> Enum.each(fn statements -> {:ok, _} = LibsqlPort.batch(conn, statements, atomic: true) end)
  end

  defp row(id) do
    text = fn length -> id |> Integer.to_string() |> String.pad_leading(length, "abcdefghij") end
    [id, text.(20), id / 7, text.(50), nil, {:blob, <<id::256>>}]
  end

  # --- the echo -------------------------------------------------------------------------------------------------

  @doc """
  The length of the frames that a call sends and receives, one each, their length fields included: what the VM's port
  has counted, on the average of many calls, since ids and numbers grow by a byte now and then.
  """
  def frame_bytes(bench, fun) do
    calls = 50
    port = handle(bench.sidecar).port
    fun.()
    {sent_before, received_before} = counts(port)
    Enum.each(1..calls, fn _ -> fun.() end)
    {sent, received} = counts(port)
    {div(sent - sent_before, calls) + 4, div(received - received_before, calls) + 4}
  end

  defp counts(port) do
    {:output, sent} = :erlang.port_info(port, :output)
    {:input, received} = :erlang.port_info(port, :input)
    {sent, received}
  end

  # What the driver itself takes for each request; asked for once, outside of what is measured.
  defp handle(supervisor) do
    {:ok, handle} = LibsqlPort.Supervisor.handle(supervisor, System.monotonic_time(:millisecond) + 5_000)
    handle
  end

  @doc """
  A function that makes one round trip to the echo program with frames of the given lengths: the caller's own frame,
  the same routing, the reply decoded in the caller, by the functions that every request of the driver goes through.
  """
  def echo(bench, {request_bytes, reply_bytes}) do
    handle = handle(bench.echo)
    empty = Wire.encode({reply_bytes, ""})
    padding = max(request_bytes - 4 - Wire.frame_size(empty), 0)
    payload = Wire.encode({reply_bytes, :binary.copy("x", padding)})
    request = %Request{name: :ping, payload: payload, timeout: 15_000}

    fn ->
      {:ok, frame, []} = Exchange.call(handle, request)
      Wire.payload(frame)
    end
  end
end
