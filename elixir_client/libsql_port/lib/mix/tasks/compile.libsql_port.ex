defmodule Mix.Tasks.Compile.LibsqlPort do
  @shortdoc "Builds the sidecar's program with cargo, if it is not there"
  @moduledoc """
  The last step of `mix compile` in this project: builds the sidecar's program and puts it into `priv`.

  It does nothing if `LIBSQL_PORT_EXECUTABLE` is set, or if the program in `priv` is newer than its sources. Where the
  Rust sources are not at hand (a package without them) it only says how to get the program.
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
    root = Path.expand("../..", File.cwd!())
    target = Path.join([File.cwd!(), "priv", Executable.file_name()])

    cond do
      Executable.from_environment() != nil -> {:noop, []}
      not File.exists?(Path.join(root, "Cargo.toml")) -> without_sources(target)
      fresh?(target, root) -> {:noop, []}
      true -> build(System.find_executable("cargo"), root, target)
    end
  end

  @impl true
  def clean do
    File.rm(Path.join("priv", Executable.file_name()))
    :ok
  end

  defp without_sources(target) do
    unless File.exists?(target) do
      Mix.shell().info(
        "libsql_port: no program in priv and no sources to build it from; " <>
          "set LIBSQL_PORT_EXECUTABLE to the path of a built one"
      )
    end

    {:noop, []}
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
