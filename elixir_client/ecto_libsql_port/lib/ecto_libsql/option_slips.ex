defmodule EctoLibSql.OptionSlips do
  @moduledoc false
  # Options that nothing below the adapter would refuse: a misspelt name, and values of options that the adapter itself
  # reads. Called by `Options` before anything is opened.
  #
  # A Repo's options belong to Ecto, DBConnection and the application as well, so an unknown name is no error. One that is
  # almost a name of ours is: `encryption_kye: …` or `synchronos: :full` would be passed over, and nobody would see that the
  # data is not protected as was asked for.

  alias LibsqlPort.OptionCheck

  # Jaro's similarity of two names with more than one slip, such as `syncronus`. The names of Ecto, DBConnection and other
  # adapters are below it (the nearest is `:encryption`, 0.905).
  @alike 0.93

  @doc "Returns `:ok`, or an error whose message names the option and what to write."
  @spec check(keyword, [atom]) :: :ok | {:error, String.t()}
  def check(options, known) do
    if Keyword.keyword?(options),
      do: Enum.find_value(options, :ok, &slip(&1, known)),
      else: {:error, "options are a keyword list, not #{inspect(options)}"}
  end

  defp slip({name, value}, known) do
    case if(name in known, do: value(name, value), else: name(name, known)) do
      :ok -> nil
      message -> {:error, message}
    end
  end

  @doc "Returns `:ok` for a name that is known or unlike all that are, else a message with the one that was meant."
  @spec name(atom, [atom]) :: :ok | String.t()
  def name(name, known) do
    case meant(name, known) do
      nil -> :ok
      meant -> "unknown option #{inspect(name)}; did you mean #{inspect(meant)}?"
    end
  end

  @doc "The known name that an unknown one is almost; `nil` for one that is known or unlike all that are."
  @spec meant(atom, [atom]) :: atom | nil
  def meant(name, known) do
    text = Atom.to_string(name)
    if name in known, do: nil, else: Enum.find(known, &alike?(text, Atom.to_string(&1)))
  end

  # Names of three letters (`:url`, `:uri`, `:key`) are too near to each other.
  defp alike?(text, name) when byte_size(name) < 4 or byte_size(text) < 3, do: false
  defp alike?(text, name), do: one_slip?(text, name) or String.jaro_distance(text, name) > @alike

  # One letter too many, too few, swapped with the next, or, in a longer name, another.
  defp one_slip?(text, name) do
    start = :binary.longest_common_prefix([text, name])
    rest = min(byte_size(text), byte_size(name)) - start
    tail = min(:binary.longest_common_suffix([text, name]), rest)

    case {middle(text, start, tail), middle(name, start, tail)} do
      {<<_>>, ""} -> true
      {"", <<_>>} -> true
      {<<a, b>>, <<b, a>>} -> true
      {<<_>>, <<_>>} -> byte_size(name) > 5
      _ -> false
    end
  end

  defp middle(text, start, tail), do: binary_part(text, start, byte_size(text) - start - tail)

  # What a path may be is for `Location`.
  defp value(:attach, value) do
    takes(:attach, value, "a keyword list such as [archive: \"archive.db\"]", fn
      nil -> true
      list -> Keyword.keyword?(list) and Enum.all?(list, &attached?/1)
    end)
  end

  defp value(:pragmas, value), do: pairs(:pragmas, value, "[query_only: true]")
  defp value(:custom_pragmas, value), do: pairs(:custom_pragmas, value, "[query_only: true]")
  defp value(:show_statement, value), do: takes(:show_statement, value, "true or false", &is_boolean/1)

  defp value(:wal_auto_check_point, value),
    do: takes(:wal_auto_check_point, value, "a number of pages", &is_integer/1)

  defp value(:sidecar_options, value),
    do:
      takes(
        :sidecar_options,
        value,
        "a keyword list of options of LibsqlPort.start_link/1",
        &Keyword.keyword?/1
      )

  defp value(:disconnect_on_error_codes, value) do
    codes = Enum.map(LibsqlPort.ErrorCode.all(), &elem(&1, 0))

    takes(:disconnect_on_error_codes, value, "a list of codes of LibsqlPort.ErrorCode", fn value ->
      OptionCheck.list_of?(value, &(&1 in codes))
    end)
  end

  defp value(_name, _value), do: :ok

  # The names of a connection's own databases are taken.
  defp attached?({name, path}), do: name not in [:main, :temp] and (is_binary(path) or is_atom(path))

  # ecto_sqlite3 takes names of pragmas as text, too.
  defp pairs(option, value, example) do
    takes(option, value, "a keyword list or a map of pragmas such as #{example}", fn value ->
      is_map(value) or
        OptionCheck.list_of?(value, &match?({name, _} when is_atom(name) or is_binary(name), &1))
    end)
  end

  defp takes(option, value, what, fits?) do
    if fits?.(value), do: :ok, else: "the option #{inspect(option)} takes #{what}, not #{inspect(value)}"
  end
end
