defmodule LibsqlPort.Modes do
  @moduledoc """
  Suites that hold wherever the database is: written once for a file, and compiled again for a database on a server and for a
  replica. `modes_test.exs` does it. What a mode cannot do stands in `modes_exclusions.exs`, with its reason, and in docs/modes.md.

  A test that is excluded runs all the same, and has to fail: so nothing stays on the list that is no longer true. One whose failure would
  take long, or leave something behind, is skipped: it stands there as `{:skip, name}`.
  """

  @tests Path.expand("..", __DIR__)
  @exclusions Path.expand("../modes_exclusions.exs", __DIR__)

  @type mode :: :remote | :replica
  @type exclusion :: %{suite: String.t(), test: String.t(), modes: [mode], reason: String.t(), run: boolean}

  @doc "What the modes cannot do: the reason, and the tests that show it, by suite and a part of their name."
  @spec exclusions() :: [exclusion]
  def exclusions do
    for {modes, reason, tests} <- listed(), {suite, names} <- tests, name <- names do
      {name, run} = if is_tuple(name), do: {elem(name, 1), false}, else: {name, true}
      %{suite: suite, test: name, modes: modes, reason: reason, run: run}
    end
  end

  defp listed do
    {listed, _} = Code.eval_file(@exclusions)
    listed
  end

  @doc "Compiles a suite for a mode. Returns the exclusions that were met."
  @spec compile(String.t(), mode) :: [exclusion]
  def compile(suite, mode) do
    path = Path.join(@tests, suite <> "_test.exs")
    quoted = path |> File.read!() |> Code.string_to_quoted!(file: path)
    _ = Process.put(__MODULE__, [])
    Code.eval_quoted(Macro.prewalk(quoted, &in_mode(&1, mode, suite)), [], file: path)
    Process.delete(__MODULE__)
  end

  # The module, under a name of its own, and its tests.
  defp in_mode({:defmodule, meta, [{:__aliases__, names, parts}, [do: body]]} = module, mode, _suite) do
    if parts |> List.last() |> Atom.to_string() |> String.ends_with?("Test") do
      name =
        {:__aliases__, names, parts ++ [mode |> Atom.to_string() |> Macro.camelize() |> String.to_atom()]}

      {:defmodule, meta, [name, [do: tagged(body, mode)]]}
    else
      module
    end
  end

  defp in_mode({:test, meta, [name | rest]} = test, mode, suite) do
    case Enum.split(rest, -1) do
      {context, [[do: body]]} ->
        body =
          quote(
            do: LibsqlPort.Modes.run(unquote(mode), unquote(suite), __ENV__.function, fn -> unquote(body) end)
          )

        # By another name, so that it is not met again.
        door = {:., meta, [{:__aliases__, meta, [:ExUnit, :Case]}, :test]}

        quote do
          @tag skip: LibsqlPort.Modes.skip(unquote(mode), unquote(suite), unquote(name))
          unquote({door, meta, [name | context] ++ [[do: body]]})
        end

      _no_body ->
        test
    end
  end

  defp in_mode(other, _mode, _suite), do: other

  defp tagged({:__block__, meta, expressions}, mode) do
    {before, [use | rest]} = Enum.split_while(expressions, &(not match?({:use, _, _}, &1)))

    tags =
      quote do
        @moduletag mode: unquote(mode)
        @moduletag :sqld
      end

    {:__block__, meta, before ++ [use, tags | rest]}
  end

  @doc "Why a test is skipped in a mode; `nil` for one that runs."
  @spec skip(mode, String.t(), String.t()) :: String.t() | nil
  def skip(mode, suite, name) do
    with %{} = exclusion <- exclusion(mode, suite, name) do
      Process.put(__MODULE__, [exclusion | Process.get(__MODULE__)])
      unless exclusion.run, do: exclusion.reason
    end
  end

  defp exclusion(mode, suite, name) do
    Enum.find(exclusions(), &(&1.suite == suite and mode in &1.modes and String.contains?(name, &1.test)))
  end

  @doc "Runs the body of a test. One that is excluded has to fail."
  @spec run(mode, String.t(), {atom, arity}, (() -> term)) :: term
  def run(mode, suite, {name, _arity}, body) do
    case exclusion(mode, suite, Atom.to_string(name)) do
      nil -> body.()
      exclusion -> fails!(exclusion.reason, body)
    end
  end

  defp fails!(reason, body) do
    failed? =
      try do
        body.()
        false
      rescue
        _error -> true
      catch
        _kind, _reason -> true
      end

    unless failed?, do: ExUnit.Assertions.flunk("it holds in this mode too, so it is no exclusion: #{reason}")
  end

  @doc "The exclusions as rows of docs/modes.md."
  @spec rows() :: [String.t()]
  def rows do
    for {modes, reason, tests} <- listed() do
      names =
        for {suite, names} <- tests, name <- names do
          name = if is_tuple(name), do: elem(name, 1), else: name
          "#{suite}: #{String.trim(name)}"
        end

      "| #{Enum.join(modes, ", ")} | #{reason} | #{Enum.join(names, "; ")} |"
    end
  end
end
