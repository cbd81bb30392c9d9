defmodule LibsqlPort.Executable do
  @moduledoc """
  Where the sidecar's program is, and with which arguments it is started.

  The first of these that is given decides:

    1. the option `:executable` of `LibsqlPort.start_link/1`
    2. the environment variable `LIBSQL_PORT_EXECUTABLE`
    3. `libsql_port` in this application's `priv` directory, looked up at run time so that releases work
  """

  alias LibsqlPort.Error

  @variable "LIBSQL_PORT_EXECUTABLE"

  @doc """
  The program's path.

      iex> {:error, error} = LibsqlPort.Executable.find("/nowhere/libsql_port")
      iex> error.code
      :executable_not_found
  """
  @spec find(Path.t() | nil) :: {:ok, Path.t()} | {:error, Error.t()}
  def find(option \\ nil) do
    cond do
      option != nil -> check(option, "the option :executable")
      from_environment() != nil -> check(from_environment(), "the environment variable #{@variable}")
      true -> check(in_priv(), "the priv directory of :libsql_port")
    end
  end

  @doc "The environment variable's value, `nil` if it is unset or empty."
  @spec from_environment() :: Path.t() | nil
  def from_environment do
    case System.get_env(@variable) do
      "" -> nil
      path -> path
    end
  end

  @doc "The program's file name on this system."
  @spec file_name() :: String.t()
  def file_name do
    if match?({:win32, _}, :os.type()), do: "libsql_port.exe", else: "libsql_port"
  end

  defp in_priv do
    case :code.priv_dir(:libsql_port) do
      {:error, :bad_name} -> Path.join("priv", file_name())
      priv -> Path.join(List.to_string(priv), file_name())
    end
  end

  defp check(path, source) do
    path = Path.expand(path)

    case File.stat(path) do
      {:ok, %{type: :regular, mode: mode}} ->
        if runnable?(mode),
          do: {:ok, path},
          else: not_found("#{path}, where #{source} points, is not executable. Run `chmod +x` on it")

      _ ->
        not_found(
          "there is no program at #{path}, where #{source} points. Build it with `cargo build --release` " <>
            "(`mix compile` does so when cargo is installed), or set #{@variable} to the path of a built one"
        )
    end
  end

  # Asked here, because the port's own program reports it as an exit status.
  defp runnable?(mode), do: match?({:win32, _}, :os.type()) or Bitwise.band(mode, 0o111) != 0

  defp not_found(message), do: {:error, Error.new(:executable_not_found, message)}

  @grace "--shutdown-grace-ms"
  @flags [
    frame_bytes_max: "--frame-bytes-max",
    connections_max: "--connections-max",
    queue_requests_max: "--queue-requests-max",
    queue_bytes_max: "--queue-bytes-max",
    statements_max: "--statements-max",
    statement_bytes_max: "--statement-bytes-max",
    cursors_max: "--cursors-max",
    result_rows_max: "--result-rows-max",
    result_bytes_max: "--result-bytes-max",
    heap_bytes_max: "--heap-bytes-max",
    temp_bytes_max: "--temp-bytes-max",
    changes_bytes_max: "--changes-bytes-max",
    denials_per_second_max: "--denials-per-second-max",
    temp_directory: "--temp-directory",
    spin_us_max: "--spin-us-max",
    stuck_limit: "--stuck-limit-ms",
    log_level: "--log-level",
    log_format: "--log-format",
    log_lines_per_second: "--log-lines-per-second"
  ]

  @doc """
  The program's arguments for the options of `LibsqlPort.start_link/1`. What is not given is left to the program.

      iex> LibsqlPort.Executable.arguments(%{log_level: :warn, args: ["--extra"]})
      ["--log-level", "warn", "--extra"]

  Of the time that it has after the end of its input (`:shutdown_grace`) the program itself uses four fifths:

      iex> LibsqlPort.Executable.arguments(%{shutdown_grace: 5_000, args: []})
      ["--shutdown-grace-ms", "4000"]
  """
  @spec arguments(map) :: [String.t()]
  def arguments(options) do
    flags =
      for {option, flag} <- @flags, (value = Map.get(options, option)) != nil, do: [flag, to_string(value)]

    log = if Map.get(options, :log_to) == :logger, do: ["--log-to", "client"], else: []
    List.flatten(flags) ++ log ++ options.args ++ grace(options)
  end

  # The program closes its files, which may take a checkpoint on a slow disk, and goes before it would be killed.
  defp grace(%{shutdown_grace: ms, args: args}) do
    if @grace in args, do: [], else: [@grace, to_string((ms * 4) |> div(5) |> max(1) |> min(60_000))]
  end

  defp grace(_options), do: []

  @doc "The variables to be set for the program, in the form that a port takes."
  @spec environment(map) :: [{charlist, charlist}]
  def environment(options) do
    for {name, value} <- options.env, do: {String.to_charlist(name), String.to_charlist(value)}
  end
end
