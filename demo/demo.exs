# The main job of libsql_port on real data, from starting the sidecar to losing it. Run it with `make demo`.
#
# Every chapter prints what it does and returns its lines of the closing table, `{what, figure, true | false}`: a
# claim that proves false makes the whole run fail. Only LibsqlPort's public functions are used, and Ecto's where the
# adapter's dependencies can be had.
#
#   demo.exs DIRECTORY     where the database is made; the caller removes it

for file <-
      ~w(terminal time_zones packages chapters/import chapters/questions chapters/changes chapters/functions chapters/veto
               chapters/streaming chapters/deadline chapters/policy chapters/crash chapters/server) do
  Code.require_file("#{file}.exs", __DIR__)
end

defmodule Demo do
  alias Demo.{
    Changes,
    Crash,
    Deadline,
    Functions,
    Import,
    Policy,
    Questions,
    Server,
    Streaming,
    Terminal,
    Veto
  }

  @sidecar Demo.Sidecar

  def main([directory]) do
    # What the driver logs about the kill is part of the story, but not of its picture.
    Logger.configure(level: :none)
    started = System.monotonic_time(:millisecond)
    database = Path.join(directory, "demo.db")

    {:ok, supervisor} = Supervisor.start_link([{LibsqlPort, name: @sidecar}], strategy: :one_for_one)

    context = %{sidecar: @sidecar, database: database, conn: open(database)}

    lines =
      Enum.flat_map(
        [Import, Questions, Changes, Functions, Veto, Streaming, Deadline, Policy, Crash, Server],
        fn chapter ->
          Terminal.heading(chapter.title())
          chapter.run(context)
        end
      ) ++ shut_down(supervisor)

    Terminal.heading("Summary")
    Terminal.table(["", "", ""], Enum.map(lines, fn {what, figure, ok?} -> [verdict(ok?), what, figure] end))
    seconds = (System.monotonic_time(:millisecond) - started) / 1000
    failed = Enum.count(lines, fn {_, _, ok?} -> not ok? end)
    Terminal.line("")

    Terminal.line(
      "#{length(lines) - failed} of #{length(lines)} claims held, in #{Float.round(seconds, 1)} s"
    )

    if failed > 0, do: System.halt(1)
  end

  defp open(database) do
    Terminal.heading("Start")
    {:ok, conn} = LibsqlPort.connect(@sidecar, database: database)
    {:ok, status} = LibsqlPort.status(@sidecar)
    Terminal.field("sidecar", "process #{status.os_pid}, #{Terminal.mib(status.rss)} resident")

    Terminal.field(
      "this VM",
      "process #{System.pid()}, OTP #{System.otp_release()}, Elixir #{System.version()}"
    )

    {:ok, [version]} = LibsqlPort.query_one(conn, "SELECT sqlite_version()")
    Terminal.field("engine", "libSQL on SQLite #{version}")
    Terminal.field("database", database)
    conn
  end

  # Ends the sidecar the ordinary way, and looks whether it is really gone.
  defp shut_down(supervisor) do
    {:ok, %{os_pid: os_pid}} = LibsqlPort.status(@sidecar)
    {time_us, :ok} = :timer.tc(fn -> Supervisor.stop(supervisor) end)
    gone? = Crash.wait_until(2_000, fn -> not Crash.running?(os_pid) end)
    [{"the sidecar is gone after its supervisor", "#{Terminal.ms(time_us)}", gone?}]
  end

  defp verdict(true), do: "ok"
  defp verdict(false), do: "FALSE"
end

Demo.main(System.argv())
