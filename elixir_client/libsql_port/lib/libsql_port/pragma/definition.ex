defmodule LibsqlPort.Pragma.Definition do
  @moduledoc false
  # The pragmas that hold a value, as a table: name, type, access. From https://www.sqlite.org/pragma.html; the
  # deprecated and the debugging ones are left out. Pure: knows SQL literals, but no connection.
  #
  # Read-only here although SQLite would let them be set:
  #   * `busy_timeout`: setting it replaces the busy handler that keeps deadlines; there is an option of `connect/2`;
  #   * `wal_autocheckpoint`: checkpoints are made by the sidecar in the writer turn; there is `checkpoint/2`.

  @int_max 2_147_483_647
  @int64_max 9_223_372_036_854_775_807

  @int {:integer, -@int_max - 1, @int_max}
  @count {:integer, 0, @int_max}
  @bytes {:integer, -1, @int64_max}

  @auto_vacuum {:one_of, none: 0, full: 1, incremental: 2}
  @encoding {:one_of, "UTF-8": "UTF-8", "UTF-16le": "UTF-16le", "UTF-16be": "UTF-16be"}
  @journal_mode {:one_of,
                 delete: "delete",
                 truncate: "truncate",
                 persist: "persist",
                 memory: "memory",
                 wal: "wal",
                 off: "off"}
  @locking_mode {:one_of, normal: "normal", exclusive: "exclusive"}
  @secure_delete {:one_of, off: 0, on: 1, fast: 2}
  @synchronous {:one_of, off: 0, normal: 1, full: 2, extra: 3}
  @temp_store {:one_of, default: 0, file: 1, memory: 2}

  @pragmas [
    analysis_limit: {@count, :read_write},
    application_id: {@int, :read_write},
    auto_vacuum: {@auto_vacuum, :read_write},
    automatic_index: {:boolean, :read_write},
    busy_timeout: {@count, :read},
    cache_size: {@int, :read_write},
    cache_spill: {@count, :read_write},
    case_sensitive_like: {:boolean, :write},
    cell_size_check: {:boolean, :read_write},
    checkpoint_fullfsync: {:boolean, :read_write},
    data_version: {@int, :read},
    defer_foreign_keys: {:boolean, :read_write},
    encoding: {@encoding, :read_write},
    foreign_keys: {:boolean, :read_write},
    freelist_count: {@count, :read},
    fullfsync: {:boolean, :read_write},
    hard_heap_limit: {@bytes, :read},
    ignore_check_constraints: {:boolean, :read_write},
    journal_mode: {@journal_mode, :read_write},
    journal_size_limit: {@bytes, :read_write},
    legacy_alter_table: {:boolean, :read_write},
    locking_mode: {@locking_mode, :read_write},
    max_page_count: {@bytes, :read_write},
    mmap_size: {@bytes, :read_write},
    page_count: {@count, :read},
    page_size: {{:integer, 512, 65_536}, :read_write},
    query_only: {:boolean, :read_write},
    read_uncommitted: {:boolean, :read_write},
    recursive_triggers: {:boolean, :read_write},
    reverse_unordered_selects: {:boolean, :read_write},
    schema_version: {@int, :read},
    secure_delete: {@secure_delete, :read_write},
    soft_heap_limit: {@bytes, :read},
    synchronous: {@synchronous, :read_write},
    temp_store: {@temp_store, :read_write},
    threads: {@count, :read_write},
    trusted_schema: {:boolean, :read_write},
    user_version: {@int, :read_write},
    wal_autocheckpoint: {@int, :read},
    writable_schema: {:boolean, :read}
  ]

  @type access :: :read | :write | :read_write
  @type type :: :boolean | {:integer, integer, integer} | {:one_of, keyword}

  @doc "All names with type and access."
  @spec all() :: [{atom, {type, access}}]
  def all, do: @pragmas

  @doc "The definition of a pragma, by atom or string."
  @spec fetch(atom | String.t()) :: {:ok, atom, type, access} | {:error, String.t()}
  def fetch(name) do
    case Enum.find(@pragmas, fn {known, _} -> known == name or Atom.to_string(known) == name end) do
      {name, {type, access}} -> {:ok, name, type, access}
      nil -> {:error, "unknown pragma #{inspect(name)}; known are #{names()}"}
    end
  end

  defp names, do: Enum.map_join(@pragmas, ", ", fn {name, _} -> inspect(name) end)

  @doc "A pragma that is to be set: its name and the form in which the value is written."
  @spec assignment(atom | String.t(), term) ::
          {:ok, atom, boolean | integer | String.t()} | {:error, String.t()}
  def assignment(name, value) do
    case fetch(name) do
      {:ok, name, _type, :read} -> {:error, "the pragma #{inspect(name)} cannot be set"}
      {:ok, name, type, _access} -> with {:ok, dumped} <- dump(name, type, value), do: {:ok, name, dumped}
      {:error, _} = error -> error
    end
  end

  @doc "The form in which a value is written: a boolean, an integer or a string."
  @spec dump(atom, type, term) :: {:ok, boolean | integer | String.t()} | {:error, String.t()}
  def dump(_name, :boolean, value) when is_boolean(value), do: {:ok, value}

  def dump(_name, {:integer, min, max}, value) when is_integer(value) and value >= min and value <= max,
    do: {:ok, value}

  def dump(name, {:one_of, values} = type, value) do
    case Enum.find(values, fn {known, _} -> known == value or same_text?(known, value) end) do
      {known, _stored} -> {:ok, Atom.to_string(known)}
      nil -> wrong(name, type, value)
    end
  end

  def dump(name, type, value), do: wrong(name, type, value)

  defp same_text?(known, value) when is_binary(value) do
    String.downcase(value, :ascii) == String.downcase(Atom.to_string(known), :ascii)
  end

  defp same_text?(_known, _value), do: false

  defp wrong(name, type, value) do
    {:error, "the pragma #{inspect(name)} takes #{allowed(type)}, not #{inspect(value)}"}
  end

  defp allowed(:boolean), do: "true or false"
  defp allowed({:integer, min, max}), do: "an integer from #{min} to #{max}"
  defp allowed({:one_of, values}), do: "one of " <> Enum.map_join(Keyword.keys(values), ", ", &inspect/1)

  @doc "What SQLite answered, typed; a value outside the table stays as it is."
  @spec load(type, term) :: term
  def load(:boolean, 0), do: false
  def load(:boolean, 1), do: true

  def load({:one_of, values}, stored) do
    case Enum.find(values, fn {name, known} -> known == stored or same_text?(name, stored) end) do
      {name, _} -> name
      nil -> stored
    end
  end

  def load(_type, stored), do: stored

  @doc "The SQL literal of a dumped value."
  @spec literal(boolean | integer | String.t()) :: String.t()
  def literal(true), do: "1"
  def literal(false), do: "0"
  def literal(value) when is_integer(value), do: Integer.to_string(value)
  def literal(value) when is_binary(value), do: quoted(value, "'")

  @doc "An SQL name."
  @spec name(atom | String.t()) :: String.t()
  def name(name), do: name |> to_string() |> quoted("\"")

  defp quoted(text, quote), do: quote <> String.replace(text, quote, quote <> quote) <> quote
end
