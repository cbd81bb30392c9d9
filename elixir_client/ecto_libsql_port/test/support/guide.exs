# Runs one guide's blocks of Elixir, in order, in a VM of their own: elixir … guide.exs PATH, in the directory of a
# scratch application `my_app`. Started by guides_test.exs.
#
# A block that begins with a path in a comment (`# config/config.exs`) is that file. Configuration is put into effect,
# a migration is only written, anything else is evaluated; what a block binds and imports, the next ones have.
[guide] = System.argv()
Logger.configure(level: :error)
{:ok, _} = Application.ensure_all_started(:ecto_libsql_port)
:ok = Application.load(:my_app)

write = fn path, text ->
  path |> Path.dirname() |> File.mkdir_p!()
  File.write!(path, text)
end

run = fn {line, text}, {binding, env} ->
  path =
    case Regex.run(~r/\A# ([\w\/.]+\.exs?)\n/, text) do
      [_, path] -> path
      nil -> nil
    end

  if path, do: write.(path, text)

  case path do
    "config/" <> _ ->
      path |> Config.Reader.eval!(text, env: :test) |> Application.put_all_env(persistent: true)
      {binding, env}

    "priv/repo/migrations/" <> _ ->
      {binding, env}

    _ ->
      quoted = Code.string_to_quoted!(text, file: guide, line: line)
      {_result, binding, env} = Code.eval_quoted_with_env(quoted, binding, env)
      {binding, env}
  end
end

# Line numbers are those of the guide, so that a failure names its place there.
blocks =
  guide
  |> File.read!()
  |> String.split("\n")
  |> Enum.with_index(1)
  |> Enum.reduce({[], nil}, fn
    {"```elixir", number}, {blocks, nil} ->
      {blocks, {number + 1, []}}

    {"```", _number}, {blocks, {line, lines}} ->
      {[{line, lines |> Enum.reverse() |> Enum.join("\n")} | blocks], nil}

    {text, _number}, {blocks, {line, lines}} ->
      {blocks, {line, [text | lines]}}

    _prose, outside ->
      outside
  end)
  |> then(fn {blocks, nil} -> Enum.reverse(blocks) end)

# In a process that stays until the end: tests that a guide shows run after its blocks, with what these have started.
parent = self()

spawn_link(fn ->
  Enum.reduce(blocks, {[], Code.env_for_eval(file: guide)}, fn {line, _text} = block, state ->
    try do
      run.(block, state)
    rescue
      error ->
        IO.puts("The block at #{guide}:#{line} failed.")
        reraise error, __STACKTRACE__
    end
  end)

  send(parent, :ran)
  Process.sleep(:infinity)
end)

receive do: (:ran -> IO.puts("#{length(blocks)} blocks ran"))
