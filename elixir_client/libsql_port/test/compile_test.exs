defmodule LibsqlPort.CompileTest do
  # The driver as a dependency: what compiling it does in the project of its user.
  use ExUnit.Case, async: true

  alias Mix.Tasks.Compile.LibsqlPort, as: Task

  @moduletag :tmp_dir
  @driver Path.expand("..", __DIR__)

  describe "the sources of the sidecar" do
    test "are those of this repository" do
      root = Path.expand("../..", @driver)
      assert Task.plan(@driver, nil) in [:nothing, {:build, root}]
      assert Task.plan(@driver, "/some/program") == :nothing
    end

    # A driver in a project, beside whatever that project has at its root.
    defp driver_in(root, place, files) do
      driver = Path.join(root, place)
      File.mkdir_p!(Path.join(driver, "priv"))

      for {name, text} <- files do
        path = Path.join(root, name)
        File.mkdir_p!(Path.dirname(path))
        File.write!(path, text)
      end

      driver
    end

    test "are not looked for in the project of a user", %{tmp_dir: root} do
      own = ~s([package]\nname = "libsql_port"\n)

      for {place, files} <- [
            {"deps/libsql_port", %{}},
            {"deps/libsql_port", %{"Cargo.toml" => ~s([package]\nname = "users_own"\n), "src/main.rs" => ""}},
            # A copy of this repository's manifest, and one that only mentions it.
            {"deps/libsql_port", %{"Cargo.toml" => own, "port_driver/Cargo.toml" => ""}},
            {"elixir_client/libsql_port", %{"Cargo.toml" => ~s([dependencies]\nlibsql_port = "1"\n)}},
            {"elixir_client/libsql_port", %{"Cargo.toml" => own}}
          ] do
        root = Path.join(root, "#{System.unique_integer([:positive])}")
        driver = driver_in(root, place, files)
        assert Task.plan(driver, nil) == :missing
        File.write!(Path.join(driver, "priv/#{LibsqlPort.Executable.file_name()}"), "")
        assert Task.plan(driver, nil) == :nothing
      end
    end

    test "are those of a checkout among the dependencies", %{tmp_dir: root} do
      repository = Path.join(root, "deps/libsql_port")
      files = %{"Cargo.toml" => ~s([package]\nname = "libsql_port"\n), "port_driver/Cargo.toml" => ""}
      driver = driver_in(repository, "elixir_client/libsql_port", files)
      assert Task.plan(driver, nil) == {:build, repository}
    end
  end

  # `:telemetry` is no dependency, but may be one of the user's. Compiled with it on the path, calls of it must not warn.
  test "no warning beside :telemetry", %{tmp_dir: directory} do
    project = fn name, app, deps ->
      File.mkdir_p!(Path.join([directory, name, "src"]))

      File.write!(Path.join([directory, name, "mix.exs"]), """
      defmodule #{Macro.camelize(app)}.MixProject do
        use Mix.Project
        def project, do: [app: :#{app}, version: "1.0.0", language: :erlang, deps: #{inspect(deps)}]
      end
      """)
    end

    project.("telemetry", "telemetry", [])

    File.write!(Path.join(directory, "telemetry/src/telemetry.erl"), """
    -module(telemetry).
    -export([execute/3, attach_many/4]).
    execute(_, _, _) -> ok.
    attach_many(_, _, _, _) -> ok.
    """)

    project.("app", "app", telemetry: [path: "../telemetry"], libsql_port: [path: @driver])
    # Any path will do: nothing is started.
    env = [{"LIBSQL_PORT_EXECUTABLE", System.find_executable("elixir")}, {"MIX_ENV", "prod"}]
    env = [{"MIX_BUILD_ROOT", nil}, {"MIX_BUILD_PATH", Path.join(directory, "build")} | env]
    mix = System.find_executable("mix")

    compile = fn dependency ->
      System.cmd(mix, ["deps.compile", dependency],
        cd: Path.join(directory, "app"),
        env: env,
        stderr_to_stdout: true
      )
    end

    assert {_, 0} = compile.("telemetry")
    assert {output, 0} = compile.("libsql_port")
    assert output =~ "Generated libsql_port app", output
    refute output =~ "warning", output
  end
end
