defmodule LibsqlPort.DocumentationTest do
  # Every example of the documentation runs: `iex>` ones as doctests, blocks without a prompt here, each function's in a
  # database of its own. What a block matches is what it asserts.
  use LibsqlPort.SidecarCase, async: true

  alias LibsqlPort.Sqld

  @moduletag connect: false

  doctest LibsqlPort
  doctest LibsqlPort.Changes
  doctest LibsqlPort.Error
  doctest LibsqlPort.ErrorCode
  doctest LibsqlPort.Secret

  {:ok, modules} = :application.get_key(:libsql_port, :modules)

  @modules Enum.reject(
             modules,
             &(inspect(&1) =~ ~r/Mix\.|Case|Stub|Double|Properties|Table\.Reader|Sqld|Proxy|Modes/)
           )

  @schema """
  CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);
  CREATE TABLE guests (name TEXT);
  INSERT INTO users (id, name) VALUES (1, 'Ada'), (2, 'Grace'), (3, 'Joan');
  """

  # Blocks behind an empty line; what is indented in a list follows its item at once.
  @block ~r/(?:\A|\n\s*\n)((?: {4}.*\n?|[ ]*\n)+)/

  blocks = fn text ->
    for [_, block] <- Regex.scan(@block, text),
        block =~ ~r/^ {4}\S/,
        not (block =~ ~r/^ {4,}(iex>|\$)/m),
        do: block
  end

  examples =
    for module <- @modules,
        {:docs_v1, _, :elixir, _, module_doc, _, functions} <- [Code.fetch_docs(module)],
        {label, %{"en" => text}} <-
          [{"moduledoc", module_doc}] ++
            for({{:function, name, arity}, _, _, doc, _} <- functions, do: {"#{name}/#{arity}", doc}),
        block <- blocks.(text),
        # Needs :telemetry, of which life_test.exs has a double.
        label != "attach_default_handler/0" do
      {inspect(module) <> " " <> label, block}
    end

  test "there is an example for each public function of LibsqlPort" do
    labels = for {label, _} <- unquote(Macro.escape(examples)), do: label

    for {name, arity} <- LibsqlPort.__info__(:functions), name != :child_spec, arity_max?(name, arity) do
      assert "LibsqlPort #{name}/#{arity}" in labels
    end
  end

  # Of a function with default arguments, the documented arity is the greatest; `cancel/1` has documentation of its own.
  defp arity_max?(:cancel, arity), do: arity in [1, 3]

  defp arity_max?(name, arity) do
    arity == Enum.max(for {^name, arity} <- LibsqlPort.__info__(:functions), do: arity)
  end

  {of_replicas, examples} = Enum.split_with(examples, &(elem(&1, 0) =~ "LibsqlPort.Replica "))

  for {label, block} <- of_replicas do
    @tag :sqld
    test "example of a replica, #{label}", %{sidecar: sidecar, tmp_dir: folder} do
      path = Path.join(folder, "replica.db")
      url = Sqld.start!().url
      {:ok, conn} = LibsqlPort.connect(sidecar, database: path, url: url)
      LibsqlPort.script!(conn, @schema)

      {_, _} =
        unquote(block)
        |> with_name(sidecar)
        |> String.replace(inspect("replica.db"), inspect(path))
        |> String.replace(inspect("standalone.db"), inspect(Path.join(folder, "standalone.db")))
        |> String.replace(inspect("libsql://app.example.org"), inspect(url))
        |> Code.eval_string([conn: conn, token: "none"], __ENV__)

      _ = LibsqlPort.close(conn)
    end
  end

  for {{label, block}, number} <- Enum.with_index(examples) do
    test "example #{number}, #{label}", %{sidecar: sidecar, database: database} do
      {:ok, conn} = LibsqlPort.connect(sidecar, database: database)
      LibsqlPort.script!(conn, @schema)
      statement = LibsqlPort.prepare!(conn, "INSERT INTO users (name) VALUES (?1)")
      {:ok, cursor} = LibsqlPort.Cursor.declare(conn, "SELECT id FROM users", [])
      binding = [conn: conn, statement: statement, cursor: cursor]

      {_, _} =
        unquote(block)
        |> with_name(sidecar)
        |> String.replace(inspect("app.db"), inspect(database))
        |> Code.eval_string(binding, __ENV__)

      _ = LibsqlPort.close(conn)
    end
  end

  # An example that starts a sidecar gets a name that no other has; the others get the one of this test.
  defp with_name(block, sidecar) do
    if block =~ "name: MyApp.Sidecar" do
      String.replace(block, "MyApp.Sidecar", ":documentation_#{System.unique_integer([:positive])}")
    else
      block
      |> String.replace("MyApp.Sidecar", "sidecar")
      |> String.replace_prefix("", "sidecar = #{pid(sidecar)}\n_ = sidecar\n")
    end
  end

  defp pid(sidecar), do: ":erlang.list_to_pid(#{inspect(:erlang.pid_to_list(sidecar))})"
end
