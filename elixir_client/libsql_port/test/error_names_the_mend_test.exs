defmodule LibsqlPort.ErrorNamesTheMendTest do
  # What a newcomer gets wrong is answered with what to do instead.
  use LibsqlPort.SidecarCase, async: true

  alias LibsqlPort.Error

  describe "an option in the place of another function's" do
    @describetag connect: false

    test "is sent to the right one" do
      for name <- LibsqlPort.Options.sidecar_names() -- LibsqlPort.Options.connection_names() do
        assert {:error, %Error{code: :invalid_option, message: message}} =
                 LibsqlPort.Options.connection([{:database, "a.db"}, {name, 1}])

        assert message =~ "unknown option #{inspect(name)} of a connection"
        assert message =~ "LibsqlPort.start_link/1"
      end

      for name <- LibsqlPort.Options.connection_names() -- LibsqlPort.Options.sidecar_names() do
        assert {:error, %Error{code: :invalid_option, message: message}} = LibsqlPort.start_link([{name, 1}])
        assert message =~ "unknown option #{inspect(name)} of a sidecar"
        assert message =~ "LibsqlPort.connect/2"
      end
    end
  end

  describe "a program" do
    @describetag connect: false

    setup do
      Process.flag(:trap_exit, true)
      :ok
    end

    @tag :tmp_dir
    test "that is not executable", %{tmp_dir: directory} do
      path = Path.join(directory, "program")
      File.write!(path, "#!/bin/sh\n")

      assert {:error, %Error{code: :executable_not_found, message: message}} =
               LibsqlPort.start_link(executable: path)

      assert message =~ "#{path}, where the option :executable points, is not executable. Run `chmod +x`"
    end

    @tag :tmp_dir
    test "that is built for another system", %{tmp_dir: directory} do
      path = Path.join(directory, "program")

      for {content, words} <- [
            {"#!/nowhere/loader\n", "another C library"},
            {"no program", "another processor"}
          ] do
        File.write!(path, content)
        File.chmod!(path, 0o755)

        assert {:error, %Error{code: :sidecar_down, message: message}} =
                 LibsqlPort.start_link(executable: path)

        assert message =~ words
      end
    end

    test "that refuses its arguments" do
      assert {:error, %Error{code: :sidecar_down, message: message}} =
               LibsqlPort.start_link(args: ["--bogus"])

      assert message =~ "bad arguments"
      assert message =~ "standard error"
    end

    test "without a folder for its temporary files" do
      assert {:error, %Error{code: :invalid_option, message: message}} =
               LibsqlPort.start_link(temp_directory: "")

      assert message =~ "the option :temp_directory takes the path of a folder"
    end

    test "that is given no options but a map is an error of its supervisor" do
      assert {:error, {:shutdown, {:failed_to_start_child, LibsqlPort, %Error{} = error}}} =
               Supervisor.start_link([{LibsqlPort, %{name: :a}}], strategy: :one_for_one)

      assert error.code == :invalid_option
      assert error.message =~ "options are a keyword list"
    end
  end

  test "a database on a server in the place of a file", %{sidecar: sidecar} do
    for url <- ["libsql://a.example", "https://a.example", "http://a", "ws://a", "wss://a"] do
      assert {:error, %Error{code: :invalid_option, message: message}} =
               LibsqlPort.connect(sidecar, database: url)

      assert message =~ ":url"
    end
  end

  test "a parameter that is no value", %{conn: conn} do
    for {value, words} <- [
          {~U[2026-01-01 00:00:00Z],
           "a %DateTime{}, which is no SQL value; bind the text of DateTime.to_iso8601/1"},
          {~D[2026-01-01], "Date.to_iso8601/1"},
          {%URI{}, "a %URI{}, which is no SQL value; values are nil, integers"},
          {[1], "a list, which is no SQL value; values are"},
          {{:blob, 1}, "a :blob without a binary, which is no SQL value; bytes are {:blob, binary}"}
        ] do
      for params <- [[value], %{"a" => value}] do
        assert {:error, %Error{code: :invalid_parameter, message: message}} =
                 LibsqlPort.query(conn, "SELECT :a", params)

        assert message =~ words
      end
    end

    for {params, kind} <- [{1, "a number"}, {"a", "a binary"}, {:a, "an atom"}] do
      assert {:error, %Error{code: :invalid_parameter, message: message}} =
               LibsqlPort.query(conn, "SELECT ?", params)

      assert message =~ "a keyword list or a map, not #{kind}"
    end
  end

  test "a batch that is no list", %{conn: conn} do
    for statements <- ["SELECT 1", {"SELECT ?", [1]}, %{}, ["SELECT 1" | "SELECT 2"]] do
      assert {:error, %Error{code: :invalid_request, message: message}} = LibsqlPort.batch(conn, statements)
      assert message =~ "a list of statements; LibsqlPort.script/3"
    end
  end

  @tag connect: false
  test "a request above frame_bytes_max" do
    {:ok, sidecar} = LibsqlPort.start_link(frame_bytes_max: 65_536)
    {:ok, conn} = LibsqlPort.connect(sidecar, database: ":memory:")

    assert {:error, %Error{code: :frame_too_large, message: message}} =
             LibsqlPort.query(conn, "SELECT ?", [:binary.copy("x", 70_000)])

    assert message =~ "frame_bytes_max is 65536; send less at a time, or start the sidecar with a higher one"
  end

  @tag connect: false
  test "every limit of a sidecar stands in the documentation" do
    {:docs_v1, _, _, _, %{"en" => options}, _, _} = Code.fetch_docs(LibsqlPort.Options)
    readme = File.read!(Path.expand("../../../README.md", __DIR__))

    for name <- LibsqlPort.Options.sidecar_names(), limit?(name) do
      assert options =~ "| `#{inspect(name)}` |", "the table of LibsqlPort.Options lacks #{name}"
      assert readme =~ "`#{name}`", "the table of README.md lacks #{name}"
    end
  end

  defp limit?(name),
    do: name != :spin_us_max and name != :backoff_max and String.ends_with?(to_string(name), "_max")
end
