defmodule Demo.Packages do
  # A second piece of real data, if the machine has one: the installed packages of a Debian system, or a list of words.
  @moduledoc false

  @status "/var/lib/dpkg/status"
  @words "/usr/share/dict/words"

  @doc "`{path, [{name, section or nil, KiB or nil}]}`, or nil."
  def read do
    cond do
      File.regular?(@status) -> {@status, from_status(File.read!(@status))}
      File.regular?(@words) -> {@words, from_words(File.read!(@words))}
      true -> nil
    end
  end

  defp from_status(text) do
    for paragraph <- String.split(text, "\n\n", trim: true),
        name = field(paragraph, "Package"),
        arch = field(paragraph, "Architecture") || "all" do
      size = field(paragraph, "Installed-Size")
      {name <> ":" <> arch, field(paragraph, "Section"), size && String.to_integer(size)}
    end
  end

  defp field(paragraph, name) do
    case Regex.run(~r/^#{name}: *(.*)$/m, paragraph) do
      [_, value] -> String.trim(value)
      nil -> nil
    end
  end

  defp from_words(text) do
    text |> String.split("\n", trim: true) |> Enum.uniq() |> Enum.map(&{&1, nil, nil})
  end
end
