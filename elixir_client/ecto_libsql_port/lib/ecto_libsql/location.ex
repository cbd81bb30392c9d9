defmodule EctoLibSql.Location do
  @moduledoc false
  # Where a database is: what the options `:database`, `:url` and `:attach` say, read once and by one set of rules, those of
  # SQLite (https://www.sqlite.org/uri.html). Used by `EctoLibSql.Options`, and through it by whatever needs the path:
  # connections, storage, structure.
  #
  #   * A bare path is literal, whatever characters are in it. What begins with another scheme and `://` is none.
  #   * `file:` is a URI: percent-encoded, with parameters behind a question mark. The authority is empty or `localhost`.
  #   * `sqlite:`, `sqlite3:`, `libsql:` and `ecto:`, as in a `DATABASE_URL`, are the same, but for `sqlite://app.db`,
  #     which is a relative path there.
  #   * A relative path starts from the directory of this VM, when it is read.

  @enforce_keys [:path]
  defstruct [:path, :mode, parameters: []]

  @typedoc """
  `path` is absolute, or `:memory`. `mode` is what a URI says of how to open it. `parameters` are those of a URI that the
  engine itself has to see.
  """
  @type t :: %__MODULE__{
          path: String.t() | :memory,
          mode: :read_write_create | :read_write | :read_only | nil,
          parameters: [{String.t(), String.t()}]
        }

  @schemes ["file:", "sqlite3:", "sqlite:", "libsql:", "ecto:"]
  @modes %{"ro" => :read_only, "rw" => :read_write, "rwc" => :read_write_create, "memory" => :memory}
  # Others are passed over, as SQLite does. `cache` as well: connections of one sidecar share what can be shared.
  @for_the_engine ["vfs", "psow", "nolock", "immutable", "modeof"]

  @doc "Reads a value of `:database`."
  @spec parse(term) :: {:ok, t} | {:error, String.t()}
  def parse(nil), do: {:error, "the option :database is missing: the path of the file, or :memory"}
  def parse(:memory), do: {:ok, %__MODULE__{path: :memory}}

  def parse(text) when is_binary(text) do
    cond do
      String.contains?(text, <<0>>) ->
        {:error, "the option :database has a zero byte"}

      LibsqlPort.Options.remote?(text) ->
        {:error, "a database on a server is none that can be attached or opened as a file"}

      scheme = Enum.find(@schemes, &String.starts_with?(text, &1)) ->
        text |> binary_part(byte_size(scheme), byte_size(text) - byte_size(scheme)) |> uri(scheme)

      scheme = foreign(text) ->
        {:error, "the option :database #{scheme}. A file whose path begins so has ./ before it"}

      true ->
        located(text, nil, [])
    end
  end

  def parse(other), do: {:error, "the option :database takes a path or :memory, not #{inspect(other)}"}

  # The address of a server that is misspelt would be a path with a token in it, which errors show, and a folder to be made. A drive has
  # one letter.
  defp foreign(text) do
    with [_, scheme] <- Regex.run(~r"\A\s*([A-Za-z][A-Za-z0-9+.-]+)://", text) do
      known = Enum.map(@schemes, &String.trim_trailing(&1, ":"))

      if String.downcase(scheme, :ascii) in known or LibsqlPort.Options.remote?(String.trim_leading(text)),
        do: "has white space before #{scheme}://, or capital letters in it",
        else:
          "begins with #{scheme}://, which is neither a file (#{Enum.join(known, ", ")}) nor a server (libsql, https, http, wss, ws)"
    end
  end

  defp uri(text, scheme) do
    [text | _fragment] = String.split(text, "#", parts: 2)
    {path, query} = cut(text, "?")

    with {:ok, path} <- without_authority(path, scheme),
         {:ok, path} <- decoded(path),
         {:ok, parameters} <- parameters(query),
         {:ok, mode} <- mode(List.keyfind(parameters, "mode", 0)) do
      located(path, mode, Enum.filter(parameters, fn {name, _} -> name in @for_the_engine end))
    end
  end

  defp cut(text, mark) do
    case String.split(text, mark, parts: 2) do
      [before, rest] -> {before, rest}
      [all] -> {all, ""}
    end
  end

  defp without_authority("//" <> rest, "file:") do
    {authority, path} = cut(rest, "/")

    cond do
      authority in ["", "localhost"] -> {:ok, "/" <> path}
      true -> {:error, "the URI file://#{rest} names the host #{inspect(authority)}; a file is on localhost"}
    end
  end

  defp without_authority("//" <> path, _database_url), do: {:ok, path}
  defp without_authority(path, _scheme), do: {:ok, path}

  # A percent sign without two hexadecimal digits stands for itself. %00 would end the text in C.
  defp decoded(text) do
    decoded =
      Regex.replace(~r/%([0-9A-Fa-f]{2})/, text, fn _, digits -> <<String.to_integer(digits, 16)>> end)

    if String.contains?(decoded, <<0>>),
      do: {:error, "the URI has a zero byte: #{inspect(text)}"},
      else: {:ok, decoded}
  end

  defp parameters(query) do
    query
    |> String.split("&", trim: true)
    |> Enum.reduce_while({:ok, []}, fn parameter, {:ok, parameters} ->
      {name, value} = cut(parameter, "=")

      with {:ok, name} <- decoded(name), {:ok, value} <- decoded(value) do
        {:cont, {:ok, parameters ++ [{name, value}]}}
      else
        error -> {:halt, error}
      end
    end)
  end

  defp mode(nil), do: {:ok, nil}

  defp mode({"mode", name}) do
    case @modes do
      %{^name => mode} -> {:ok, mode}
      _ -> {:error, "there is no access mode #{inspect(name)}; a URI's mode is ro, rw, rwc or memory"}
    end
  end

  defp located(_path, :memory, _parameters), do: {:ok, %__MODULE__{path: :memory}}
  defp located(":memory:", _mode, _parameters), do: {:ok, %__MODULE__{path: :memory}}
  defp located("", _mode, _parameters), do: {:error, "the option :database is empty"}

  # Not `Path.expand/1`: a tilde is a character like any other, and `..` behind a symbolic link is not its parent.
  defp located(path, mode, parameters) do
    {:ok, %__MODULE__{path: Path.absname(path), mode: mode, parameters: parameters}}
  end

  @doc "The location as SQLite takes it: a bare path, or a URI if it has parameters for the engine."
  @spec name(t) :: String.t()
  def name(%__MODULE__{path: :memory}), do: ":memory:"
  def name(%__MODULE__{path: path, parameters: []}), do: path

  def name(%__MODULE__{path: path, parameters: parameters}) do
    "file:" <>
      encoded(path, "/") <>
      "?" <> Enum.map_join(parameters, "&", fn {name, value} -> encoded(name) <> "=" <> encoded(value) end)
  end

  @doc "The same, with the mode among the parameters, for ATTACH."
  @spec name_with_mode(t) :: String.t()
  def name_with_mode(%__MODULE__{mode: nil} = location), do: name(location)

  def name_with_mode(%__MODULE__{mode: mode, parameters: parameters} = location) do
    {word, ^mode} = Enum.find(@modes, fn {_word, value} -> value == mode end)
    name(%{location | parameters: parameters ++ [{"mode", word}]})
  end

  @doc """
  Why a database could not be opened, as far as the file system tells, with the mend; `nil` if it does not. Takes a name
  of `name/1`.
  """
  @spec trouble(String.t(), atom) :: String.t() | nil
  def trouble(name, mode \\ nil) do
    case parse(name) do
      {:ok, %__MODULE__{path: path} = location} when is_binary(path) ->
        trouble_at(path, location.mode || mode)

      _memory_or_error ->
        nil
    end
  end

  defp trouble_at(path, mode) do
    directory = Path.dirname(path)

    cond do
      not File.exists?(directory) ->
        "the directory #{directory} does not exist. Create it (mix ecto.create does so for :database), or correct the path"

      not File.dir?(directory) ->
        "#{directory} is not a directory. Correct the path"

      File.dir?(path) ->
        "it is a directory. Give the path of a file"

      not File.exists?(path) and mode in [:read_only, :read_write] ->
        "there is no such file, and the mode #{inspect(mode)} creates none. Correct the path, or create the database " <>
          "with mix ecto.create or mode: :read_write_create"

      true ->
        nil
    end
  end

  @doc "Whether `name/1` gives a URI."
  @spec uri?(String.t()) :: boolean
  def uri?(name), do: String.starts_with?(name, "file:")

  defp encoded(text, also \\ ""), do: URI.encode(text, &(URI.char_unreserved?(&1) or <<&1>> == also))
end
