defmodule EctoLibSql.ExqliteOptions do
  @moduledoc false
  # Options that an application on ecto_sqlite3 has in its configuration, in the driver's words: what has another name
  # here, or the same name and other values. Called by `Options`, which passes on what comes out. Knows no connection.
  #
  # Nothing that would change what the application does is passed over: what cannot be had is an error. Only
  # `:chunk_size` and `:progress_handler_steps` are left aside; they tune a path that is not there.

  # Switches in SQLite; the driver takes `true` and `false`.
  @switches [
    :automatic_index,
    :case_sensitive_like,
    :cell_size_check,
    :checkpoint_fullfsync,
    :defer_foreign_keys,
    :foreign_keys,
    :fullfsync,
    :ignore_check_constraints,
    :legacy_alter_table,
    :query_only,
    :read_uncommitted,
    :recursive_triggers,
    :reverse_unordered_selects,
    :trusted_schema
  ]

  # Pragmas that ecto_sqlite3 has as options and the driver under `:pragmas`.
  @pragmas [:case_sensitive_like, :cache_spill]

  @refused [
    key: "encryption (the option :key) is not supported yet",
    load_extensions: "native extensions (the option :load_extensions) are not supported yet",
    serialized: "the option :serialized is not supported",
    before_disconnect:
      "the option :before_disconnect is not supported: its function takes a connection of Exqlite",
    soft_heap_limit: "the option :soft_heap_limit is not supported",
    hard_heap_limit:
      "the option :hard_heap_limit is not supported; results are limited by " <>
        "sidecar_options: [result_bytes_max: bytes]"
  ]

  @doc "The names of ecto_sqlite3 that are read or refused here."
  @spec names() :: [atom]
  def names, do: [:wal_auto_check_point, :custom_pragmas] ++ @pragmas ++ Keyword.keys(@refused)

  @doc "Those of them that are refused."
  @spec refused() :: [atom]
  def refused, do: Keyword.keys(@refused)

  @doc "The same options, all in the driver's words."
  @spec translate(keyword) :: {:ok, keyword} | {:error, String.t()}
  def translate(options) do
    {custom, options} = Keyword.pop(options, :custom_pragmas, [])
    custom = Enum.map(custom, fn {name, value} -> {to_string(name), value} end)

    with :ok <- possible(options, custom) do
      {:ok,
       options
       |> Keyword.replace_lazy(:mode, &mode/1)
       |> Keyword.replace_lazy(:foreign_keys, &value("foreign_keys", &1))
       |> Keyword.replace_lazy(:recursive_triggers, &value("recursive_triggers", &1))
       |> checkpoint_pages(options[:wal_auto_check_point])
       |> custom(custom)
       |> Keyword.update(:pragmas, more_pragmas(options), &(Enum.to_list(&1) ++ more_pragmas(options)))
       |> Keyword.drop([:wal_auto_check_point | @pragmas])}
    end
  end

  defp possible(options, custom) do
    Enum.find_value(@refused, :ok, fn {name, message} ->
      if options[name] not in [nil, []] or List.keymember?(custom, Atom.to_string(name), 0),
        do: {:error, message}
    end)
  end

  defp more_pragmas(options) do
    for name <- @pragmas,
        {:ok, given} <- [Keyword.fetch(options, name)],
        do: {name, value(to_string(name), given)}
  end

  # Two pragmas are options of the driver, which does what they say in its own way.
  defp custom(options, pragmas) do
    Enum.reduce(pragmas, options, fn
      {"busy_timeout", given}, options ->
        Keyword.put(options, :busy_timeout, value("busy_timeout", given))

      {"wal_autocheckpoint", given}, options ->
        checkpoint_pages(options, value("wal_autocheckpoint", given))

      {name, given}, options ->
        pragma = {name, value(name, given)}
        Keyword.update(options, :pragmas, [pragma], &(Enum.to_list(&1) ++ [pragma]))
    end)
  end

  # Nothing and less than nothing turn automatic checkpoints off in SQLite.
  defp checkpoint_pages(options, pages) when is_integer(pages),
    do: Keyword.put_new(options, :checkpoint_pages, max(pages, 0))

  defp checkpoint_pages(options, _none), do: options

  # The flags of sqlite3_open_v2 as words. The handles here are one thread's anyway.
  defp mode(:readwrite), do: :read_write
  defp mode(:readonly), do: :read_only
  defp mode(:create), do: :read_write_create

  defp mode(words) when is_list(words) do
    case Enum.sort(words -- [:nomutex]) do
      [:readonly] -> :read_only
      [:readwrite] -> :read_write
      [:create, :readwrite] -> :read_write_create
      _ -> words
    end
  end

  defp mode(other), do: other

  for name <- @switches do
    defp value(unquote(Atom.to_string(name)), given), do: switch(given)
  end

  # SQLite takes a switch here as well as a number of pages.
  defp value("cache_spill", given) do
    case switch(given) do
      true -> 1
      false -> 0
      pages -> pages
    end
  end

  defp value(_name, given) when is_binary(given) do
    case Integer.parse(given) do
      {number, ""} -> number
      _ -> given
    end
  end

  defp value(_name, given), do: given

  defp switch(given) when given in [:on, 1], do: true
  defp switch(given) when given in [:off, 0], do: false

  defp switch(given) when is_binary(given) do
    case String.downcase(given, :ascii) do
      word when word in ["on", "true", "yes", "1"] -> true
      word when word in ["off", "false", "no", "0"] -> false
      _ -> given
    end
  end

  defp switch(given), do: given
end
