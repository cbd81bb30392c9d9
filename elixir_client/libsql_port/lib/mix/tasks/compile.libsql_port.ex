defmodule Mix.Tasks.Compile.LibsqlPort do
  @shortdoc "Builds the sidecar's program with cargo, if it is not there"
  @moduledoc """
  The last step of `mix compile` in this project: builds the sidecar's program and puts it into `priv`.

  It does nothing if `LIBSQL_PORT_EXECUTABLE` is set, or if the program in `priv` is newer than its sources. The sources are
  those of this driver's own repository, in which it lies at `elixir_client/libsql_port`; no other directory is looked at.
  Without them and without a program in `priv` it is an error that says how to get one.
  """

  use Mix.Task.Compiler

  alias LibsqlPort.Executable

  @sources [
    "Cargo.toml",
    "Cargo.lock",
    ".cargo/config.toml",
    "src/**/*",
    "port_driver/Cargo.toml",
    "port_driver/src/**/*"
  ]

  @impl true
  def run(_arguments) do
    case plan(File.cwd!(), Executable.from_environment()) do
      :nothing -> {:noop, []}
      :missing -> error(missing())
      {:build, root} -> build(System.find_executable("cargo"), root, target(File.cwd!()))
    end
  end

  @doc false
  # What is to be done for the driver in a directory, and the directory of the sources.
  @spec plan(Path.t(), Path.t() | nil) :: :nothing | :missing | {:build, Path.t()}
  def plan(directory, nil) do
    target = target(directory)

    case sources_root(directory) do
      {:ok, root} -> if fresh?(target, root), do: :nothing, else: {:build, root}
      :error -> if File.exists?(target), do: :nothing, else: :missing
    end
  end

  def plan(_directory, _executable), do: :nothing

  # Two directories up is this repository, or the project of whoever has the driver in `deps`.
  defp sources_root(directory) do
    root = Path.expand("../..", directory)

    with "elixir_client/libsql_port" <- Path.relative_to(directory, root),
         {:ok, manifest} <- File.read(Path.join(root, "Cargo.toml")),
         true <- manifest =~ ~r/^name = "libsql_port"$/m and File.dir?(Path.join(root, "port_driver")) do
      {:ok, root}
    else
      _ -> :error
    end
  end

  defp target(directory), do: Path.join([directory, "priv", Executable.file_name()])

  @impl true
  def clean do
    File.rm(Path.join("priv", Executable.file_name()))
    :ok
  end

  defp missing do
    """
    there is no program in priv, and no sources to build it from. Build it in a checkout of its repository
    (cargo build --release), and set LIBSQL_PORT_EXECUTABLE to the path of target/release/libsql_port,
    while compiling and when the application runs.
    """
  end

  defp fresh?(target, root) do
    built = modified(target)
    built != nil and Enum.all?(sources(root), &(modified(&1) < built))
  end

  defp sources(root) do
    for pattern <- @sources, path <- Path.wildcard(Path.join(root, pattern)), File.regular?(path), do: path
  end

  defp modified(path) do
    case File.stat(path, time: :posix) do
      {:ok, %{mtime: mtime}} -> mtime
      {:error, _} -> nil
    end
  end

  defp build(nil, _root, _target) do
    error("""
    the sidecar's program must be built, and cargo is not there. Install Rust (https://rustup.rs), or set
    LIBSQL_PORT_EXECUTABLE to the path of a built program.
    """)
  end

  defp build(cargo, root, target) do
    Mix.shell().info("libsql_port: building the sidecar with cargo (minutes the first time)")
    arguments = ["build", "--release", "--locked", "--package", "libsql_port", "--bin", "libsql_port"]

    case System.cmd(cargo, arguments, cd: root, into: IO.stream(), stderr_to_stdout: true) do
      {_, 0} -> install(built(root), target)
      {_, status} -> error("cargo build failed with exit status #{status}")
    end
  end

  defp built(root) do
    Path.join([
      System.get_env("CARGO_TARGET_DIR", Path.join(root, "target")),
      "release",
      Executable.file_name()
    ])
  end

  # Copied under another name and renamed: a sidecar that runs keeps the old file, and nobody ever sees half of one.
  defp install(source, target) do
    File.mkdir_p!(Path.dirname(target))
    File.cp!(source, target <> ".new")
    File.touch!(target <> ".new")
    File.rename!(target <> ".new", target)
    Mix.Project.build_structure()
    {:ok, []}
  end

  defp error(message) do
    Mix.shell().error("libsql_port: " <> String.trim_trailing(message))

    diagnostic = %Mix.Task.Compiler.Diagnostic{
      compiler_name: "libsql_port",
      file: Path.expand("mix.exs"),
      message: message,
      position: 0,
      severity: :error
    }

    {:error, [diagnostic]}
  end
end
