defmodule EctoLibSql.Options do
  @moduledoc """
  The options of a Repo, and of `EctoLibSql.connect/1`.

  ## Where the database is

    * `:database` – path of the file, bare or as a `DATABASE_URL` gives it: `file:app.db`, `sqlite:app.db`, `libsql:app.db`;
      `":memory:"`, `:memory` or `"file::memory:"` for one in memory, which all connections of the pool share
    * `:url` – the same, for `EctoLibSql.connect/1`. A Repo's `:url` is read by Ecto itself, which asks for a host: write
      `database: System.fetch_env!("DATABASE_URL")` there
    * `:mode` – `:read_write_create` (default), `:read_write`, `:read_only`
    * `:attach` – a keyword list of further databases, `[archive: "archive.db"]`; the name is Ecto's `:prefix`

  ## Transactions and time

    * `:default_transaction_mode` – `:immediate` (default), `:deferred`, `:exclusive`, `:read_only`. The option `:mode` of
      `Repo.transaction/2` overrides it
    * `:busy_timeout` – ms to wait for locks of foreign programs; default 5000. The turns of connections are not locks:
      they wait as long as the request's own timeout says
    * `:timeout` – of each request, and of a checkout as `DBConnection` has it; default 15000

  ## Sidecar

    * `:sidecar` – the name of a `LibsqlPort` that is started elsewhere, for Repos that share one. Otherwise a Repo starts
      its own
    * `:sidecar_options` – options of `LibsqlPort.start_link/1` for it

  ## Errors

    * `:show_statement` – whether errors bear the statement; default `true`
    * `:disconnect_on_error_codes` – codes of `LibsqlPort.ErrorCode` after which the connection is opened anew

  ## Pragmas

  `:journal_mode`, `:synchronous`, `:foreign_keys`, `:cache_size`, `:temp_store`, `:mmap_size`, `:auto_vacuum`,
  `:locking_mode`, `:secure_delete`, `:journal_size_limit`, `:recursive_triggers`, `:case_sensitive_like`, `:cache_spill`,
  and `:pragmas` for all others; see `LibsqlPort.Pragma`. `:statement_cache`, `:checkpoint_pages`, `:checkpoint_idle`
  and `:open_flags` are passed to `LibsqlPort.connect/2`.

  ## From ecto_sqlite3

  Its options and values are understood: `:on` and `:off` for switches, `:wal_auto_check_point` (`:checkpoint_pages`),
  `:custom_pragmas` (`:pragmas`), `:mode` as `:readonly`, `:readwrite` or a list. `:key`, `:load_extensions`,
  `:serialized`, `:before_disconnect` and the heap limits are refused, not passed over.

  ## How values are stored

  For the whole application, `config :ecto_libsql_port, binary_id_type: :binary`:

    * `:binary_id_type`, `:uuid_type` – `:string` (default) or `:binary`, 16 bytes
    * `:map_type`, `:array_type` – `:string` (default) or `:binary`, the declared type of the column
    * `:datetime_type` – `:iso8601` (default), or `:text_datetime` with a space for the T
    * `:json_library` – default `Jason`
    * `:untyped_binaries` – `:text` (default): a binary without a type is text, and refused if it is not UTF-8; or
      `:text_or_blob`, as in ecto_libsql: then it is a blob
    * `:unique_constraint_names` – `:index` (default), the name that the index has, or `:columns`, the one that Ecto would
      have given it
  """

  alias EctoLibSql.ExqliteOptions

  @driver_options [
    :mode,
    :busy_timeout,
    :statement_cache,
    :checkpoint_pages,
    :checkpoint_idle,
    :open_flags,
    :pragmas,
    :journal_mode,
    :synchronous,
    :foreign_keys,
    :cache_size,
    :temp_store,
    :mmap_size,
    :auto_vacuum,
    :locking_mode,
    :secure_delete,
    :journal_size_limit,
    :recursive_triggers
  ]

  @transaction_modes [:deferred, :immediate, :exclusive, :read_only]

  @doc "The modes that a transaction may have."
  @spec transaction_modes() :: [atom]
  def transaction_modes, do: @transaction_modes

  @doc "What is said to a mode that there is not."
  @spec wrong_mode(term) :: String.t()
  def wrong_mode(mode) do
    modes = Enum.map_join(@transaction_modes, ", ", &inspect/1)
    "a transaction's mode is one of #{modes}, not #{inspect(mode)}"
  end

  @doc """
  The options of `LibsqlPort.connect/2` among those of a Repo, and the mode of its transactions; an error names the option
  that cannot be. Nothing is opened.
  """
  @spec check(keyword) :: {:ok, keyword, atom} | {:error, EctoLibSql.Error.t()}
  def check(options) do
    with {:ok, driver_options} <- driver(options),
         {:ok, mode} <- transaction_mode(options[:default_transaction_mode] || :immediate),
         {:ok, _} <- LibsqlPort.Options.connection(driver_options) do
      {:ok, driver_options, mode}
    else
      {:error, %LibsqlPort.Error{} = error} -> {:error, EctoLibSql.Error.new(error, nil)}
      {:error, message} -> {:error, %EctoLibSql.Error{code: :invalid_option, message: message}}
    end
  end

  defp transaction_mode(mode) when mode in @transaction_modes, do: {:ok, mode}

  defp transaction_mode(mode) do
    modes = Enum.map_join(@transaction_modes, ", ", &inspect/1)
    {:error, "the option :default_transaction_mode is one of #{modes}, not #{inspect(mode)}"}
  end

  @doc "The options of `LibsqlPort.connect/2` among those of a Repo."
  @spec driver(keyword) :: {:ok, keyword} | {:error, String.t()}
  def driver(options) do
    with :ok <- built(options),
         {:ok, database} <- database(options),
         {:ok, options} <- options |> with_uri_mode() |> ExqliteOptions.translate() do
      {:ok, database ++ timeout(options[:timeout]) ++ Keyword.take(options, @driver_options)}
    end
  end

  # Options of ecto_libsql that must not be passed over: a file would be opened beside the primary, or in plain text.
  defp built(options) do
    cond do
      options[:uri] -> {:error, "remote databases and replicas (the option :uri) are not supported yet"}
      options[:encryption_key] -> {:error, "encryption (the option :encryption_key) is not supported yet"}
      true -> :ok
    end
  end

  defp timeout(nil), do: []
  defp timeout(timeout), do: [timeout: timeout]

  defp database(options) do
    case path(options) do
      {:ok, :memory} -> {:ok, memory(options[:memory_name])}
      {:ok, path} -> {:ok, [database: path]}
      {:error, _} = error -> error
    end
  end

  # One that is shared by name, so that the connections of a pool see the same tables; `EctoLibSql.Pool` gives the name.
  defp memory(nil), do: [database: ":memory:"]
  defp memory(name), do: [database: name, memory: true]

  @doc "The path of the database, `:memory` for one in memory."
  @spec path(keyword) :: {:ok, String.t() | :memory} | {:error, String.t()}
  def path(options) do
    case options[:database] || options[:url] do
      nil -> {:error, "the option :database is missing: the path of the file, or :memory"}
      :memory -> {:ok, :memory}
      text when is_binary(text) -> local(text)
      other -> {:error, "the option :database takes a path or :memory, not #{inspect(other)}"}
    end
  end

  @remote ["libsql://", "http://", "https://", "ws://", "wss://"]

  defp local(text) do
    cond do
      String.starts_with?(text, @remote) ->
        {:error, "remote databases (#{text}) are not supported yet: :database takes the path of a file"}

      true ->
        if uri_mode(text) == "memory",
          do: {:ok, :memory},
          else: text |> without_scheme() |> without_query() |> named()
    end
  end

  # A file's URI may say how it is opened: https://www.sqlite.org/uri.html
  defp with_uri_mode(options) do
    case uri_mode(options[:database] || options[:url]) do
      "ro" -> Keyword.put_new(options, :mode, :read_only)
      "rw" -> Keyword.put_new(options, :mode, :read_write)
      _ -> options
    end
  end

  defp uri_mode("file:" <> rest) do
    case String.split(rest, "?", parts: 2) do
      [_path, query] -> URI.decode_query(query)["mode"]
      _ -> nil
    end
  end

  defp uri_mode(_database), do: nil

  defp without_scheme(text) do
    Enum.find_value(["file:", "sqlite3:", "sqlite:", "libsql:", "ecto:"], text, fn scheme ->
      if String.starts_with?(text, scheme) do
        text |> binary_part(byte_size(scheme), byte_size(text) - byte_size(scheme)) |> without_authority()
      end
    end)
  end

  # `file:///var/db` and `file:/var/db` name the same file, `sqlite://app.db` a relative one.
  defp without_authority("//" <> path), do: path
  defp without_authority(path), do: path

  defp without_query(path), do: path |> String.split("?", parts: 2) |> hd()

  defp named(""), do: {:error, "the option :database is empty"}
  defp named(":memory:"), do: {:ok, :memory}
  defp named(path), do: {:ok, path}
end
