defmodule EctoLibSql.GuidesTest do
  # The guides say what runs: every block of Elixir in docs/guides and the READMEs does, each file in a VM and an
  # application of its own. What cannot run here (Phoenix, Oban) stands in blocks of another name, `elixir-sketch`. Those of the
  # change feed run with doubles of Phoenix.
  use ExUnit.Case, async: true

  @directory Path.expand("../../../docs/guides", __DIR__)
  @root Path.expand("../../..", __DIR__)
  @readmes Enum.map(
             ["README.md", "elixir_client/libsql_port/README.md", "elixir_client/ecto_libsql_port/README.md"],
             &Path.join(@root, &1)
           )
  @guides Path.wildcard(Path.join(@directory, "*.md")) ++ @readmes
  @fixtures Path.expand("../../../tests/fixtures", __DIR__)
  @runner Path.expand("support/guide.exs", __DIR__)
  @doubles Path.expand("support/phoenix_doubles.exs", __DIR__)

  @application "{application, my_app, [{vsn, \"0.1.0\"}, {applications, [kernel, stdlib, elixir, ecto_libsql_port]}]}."

  for guide <- @guides do
    @external_resource guide
    # Those about databases on a server have a server of their own.
    @server? Path.basename(guide) in ["remote.md", "replicas.md", "certainty.md"]
    if @server?, do: @tag(:sqld)
    @tag :tmp_dir
    @tag timeout: 180_000
    test Path.relative_to(guide, @root), %{tmp_dir: directory} do
      guide = unquote(guide)
      expected = guide |> File.read!() |> fences() |> Enum.count(&(&1 == "elixir"))
      env = if unquote(@server?), do: [{"DATABASE_URL", LibsqlPort.Sqld.start!().url}], else: []
      {output, status} = run(guide, directory, env)

      assert status == 0, output
      assert output =~ "#{expected} blocks ran", output
      # Tests that a guide shows ran too, after the blocks.
      if File.read!(guide) =~ "use ExUnit.Case", do: assert(output =~ ~r/[1-9]\d* tests?, 0 failures/, output)
    end
  end

  @tag :tmp_dir
  test "a block that fails is named by the line of its beginning", %{tmp_dir: directory} do
    guide = Path.join(directory, "wrong.md")
    File.write!(guide, "Text\n\n```elixir\nx = 1\n```\n\n```elixir\n\n2 = x\n```\n")
    {output, status} = run(guide, directory)
    assert status != 0
    assert output =~ "MatchError"
    assert output =~ "wrong.md:8"
  end

  # Its first block, doubles, what stands in the sketches, and a walk through it.
  @tag :tmp_dir
  @tag timeout: 180_000
  test "the LiveView of the change feed, with doubles of Phoenix", %{tmp_dir: directory} do
    text = File.read!(Path.join(@directory, "change-feed.md"))
    [[setup] | _] = Regex.scan(~r/^```elixir\n(.*?)^```/ms, text, capture: :all_but_first)
    [children, live_view] = Regex.scan(~r/^```elixir-sketch\n(.*?)^```/ms, text, capture: :all_but_first)
    [doubles, walk] = @doubles |> File.read!() |> String.split("# --- the walk\n")
    guide = Path.join(directory, "live_view.md")
    blocks = [setup, doubles, hd(children), hd(live_view), walk]
    File.write!(guide, Enum.map(blocks, &["```elixir\n", &1, "\n```\n"]))
    {output, status} = run(guide, directory)
    assert status == 0, output
    assert output =~ "5 blocks ran", output
  end

  test "there are guides, and their blocks are of the kinds that this test knows" do
    assert length(@guides) > 5

    for guide <- @guides, fence <- fences(File.read!(guide)) do
      assert fence in ["elixir", "elixir-sketch", "sh", "text"], "#{guide} has a block of #{inspect(fence)}"
    end
  end

  test "links to files of the repository lead somewhere" do
    for guide <- @guides,
        [link] <- Regex.scan(~r/\]\(([^)#\s]+)(?:#[^)]*)?\)/, File.read!(guide), capture: :all_but_first),
        not (link =~ ~r/^[a-z]+:/) do
      assert File.exists?(Path.expand(link, Path.dirname(guide))), "#{guide} links to #{link}"
    end
  end

  test "every error code is explained" do
    text = File.read!(Path.join(@directory, "errors.md"))

    for line <- File.stream!(Path.join(@fixtures, "error_codes.txt")), not String.starts_with?(line, "#") do
      [_number, name] = String.split(line)
      assert text =~ "| `:#{name}` |", "errors.md has no row for #{name}"
    end
  end

  # The kinds of a guide's blocks, in order.
  defp fences(text) do
    ~r/^```(.*)$/m
    |> Regex.scan(text, capture: :all_but_first)
    |> Enum.concat()
    |> Enum.take_every(2)
  end

  defp run(guide, directory, env \\ []) do
    application = Path.join(directory, "my_app")
    File.mkdir_p!(Path.join(application, "ebin"))
    File.write!(Path.join(application, "ebin/my_app.app"), @application)

    libraries = Path.wildcard(Path.join(Mix.Project.build_path(), "lib/*/ebin"))
    paths = Enum.flat_map(libraries ++ [Path.join(application, "ebin")], &["-pa", &1])

    System.cmd(System.find_executable("elixir"), paths ++ [@runner, guide],
      cd: application,
      stderr_to_stdout: true,
      env: [{"MIX_ENV", nil} | env]
    )
  end
end
