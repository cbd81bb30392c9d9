defmodule EctoLibSql.Options do
  @moduledoc """
  The options of a Repo, of `EctoLibSql.start_link/1` and of `EctoLibSql.connect/1`.

  Options are checked when the pool starts. A wrong value or an unknown name is an error of code `:invalid_option` that
  names the option and what it takes, and the pool does not start. It does not start either if the database cannot be
  opened for a reason that will not pass, such as a directory that does not exist (`:cannot_open`); if the database is
  busy, the connections try again.

  The options of Ecto (`Ecto.Repo`) and of the pool (`DBConnection.start_link/2`: `:pool_size`, default 10, `:queue_target`,
  and others) are known. An application that keeps options of its own there names them in `:ignored_options`.
  `EctoLibSql.connect/1` passes over unknown names, unless they are almost one of these: `journal_mod: :wal` is refused. So is an
  option of this library that would have no effect, such as `:lane` for a database on a server: docs/modes.md has a table of them.

  ## Where the database is

    * `:database` – path of the file; `":memory:"` or `:memory` for one in memory, which all connections of the Repo share,
      whatever `:pool_size` and `:pool_count` are. A bare path is literal, whatever characters are in it. One that starts
      with `file:` is a URI as [SQLite has it](https://www.sqlite.org/uri.html): percent-encoded, with parameters such as
      `?mode=ro` or `?immutable=1`. `sqlite:`, `sqlite3:`, `libsql:` and `ecto:`, as in a `DATABASE_URL`, are read the same
      way, but `sqlite://app.db` is a relative path. Another scheme before `://` is refused. A relative path starts from the directory that the VM has when the
      Repo starts
    * `:url` – the same, for `EctoLibSql.connect/1`. A Repo's `:url` is read by Ecto itself, which asks for a host: write
      `database: System.fetch_env!("DATABASE_URL")` there
    * `:uri` – the address of a database on a server (sqld, Turso), such as `"libsql://app-org.turso.io"`; `:database` may hold one as
      well, as in a `DATABASE_URL`, with the token behind `?authToken=`. With a file in `:database` beside it, the file is a
      replica of that database. See the guide on remote databases
    * `:auth_token`, `:namespace`, `:tls`, `:ca_file`, `:client_cert_file`, `:client_key_file`, `:roots`, `:proxy`,
      `:server_connect_timeout`, `:stream_idle`, `:response_bytes_max` – who asks, and the way there: as in `LibsqlPort.Options`
    * `:consistency`, `:max_lag`, `:when_stale`, `:sync_interval`, `:offline`, `:sync_silence`, `:sync_protocol` – of a replica, as in
      `LibsqlPort.Options`. ecto_libsql's `sync: false` and `read_your_writes: false` are `consistency: :local`. `Repo.all(query,
      consistency: :latest)` and `max_lag:` hold for one call. See the guide on replicas
    * `:admin_url`, `:admin_auth_key` – the address and the key of the server's admin API, with which `mix ecto.create` and
      `mix ecto.drop` make and remove the namespace. It is asked as the database is: `:tls`, `:ca_file`, `:client_cert_file`,
      `:client_key_file` and `:proxy` hold for it too. With `roots: :webpki` it trusts `:ca_file` alone
    * `:migration_lock_lease` – seconds for which a migrator has the lock of a database on a server; default 900
    * `:mode` – `:read_write_create` (default), `:read_write`, `:read_only`
    * `:attach` – a keyword list of further databases, `[archive: "archive.db"]`, each as `:database`; the name is Ecto's
      `:prefix`. Their journal mode is left as it is. In one that is not in WAL mode, a reader keeps every transaction of
      connections that have it attached from committing: run `PRAGMA archive.journal_mode = wal` once, it stays in the file

  ## Transactions and time

    * `:default_transaction_mode` – `:immediate` (default), `:deferred`, `:exclusive`, `:read_only`. The option `:mode` of
      `Repo.transaction/2` overrides it
    * `:busy_timeout` – ms to wait for locks of foreign programs; default 5000. The turns of connections are not locks:
      they wait as long as the request's own timeout says
    * `:lock_timeout` – ms that a request may wait for the writer turn and for locks before it is `:busy`; 0 tries at once;
      default none: until its `:timeout`. Each query may say otherwise: `Repo.insert(user, lock_timeout: 0)`
    * `:timeout` – of each request, and of a checkout as `DBConnection` has it; default 15000

  ## Repeating

    * `:retry` – whether a single statement that took no effect is sent again (the codes `:busy` and `:remote_unavailable`), and how often: `true`,
      `false`, or a keyword list of `:attempts` (all together, default 4), `:base` and `:max` (ms: the longest first and the longest
      pause, default 25 and 1000). Pauses are random and double, all within the call's `:timeout`; of 10 calls at most one
      is repeated in the long run. Each repetition is an event `[:ecto_libsql_port, :retry]`. What may have taken effect is never
      sent again. Default `true` for a database on a server, `false` otherwise. Of Repos and pools; a call with `retry: false` is not
      repeated. See `EctoLibSql.transaction_with_retry/3` for transactions

  ## The pool

  Beside those of `DBConnection.start_link/2`; without effect in the sandbox or with a `:pool` of another module:

    * `:pool_size_min` – how many connections are always there. The others (`:pool_size` is the sum) are opened when calls
      wait, one after the other, and closed when they were not needed during `:pool_idle_timeout` (milliseconds, default 30000).
      Default: all are opened at the start
    * `:queue_max` – how many calls may wait for a connection. The next one gets a `DBConnection.ConnectionError` with the
      reason `:queue_full` at once. Default `:infinity`: DBConnection drops calls that wait too long (`:queue_target`)
    * `:queue_threshold` – milliseconds after which a wait for a connection is an event; default 50. See
      `EctoLibSql.PoolStatus`

  ## Safety

    * `:defensive` – `true` (default): SQL cannot write what would corrupt the file or the program's memory
    * `:untrusted_sql` – `true`: SQL, and so `:attach`, opens no further files, but for those of `:allowed_directories`.
      Default `false`
    * `:allowed_directories` – folders whose files SQL may open: `ATTACH`, `VACUUM INTO`, and so `:attach`
    * `:limits` – limits of SQLite for each statement, `[length: 1_000_000]`. All four as in `LibsqlPort.Options`
    * `:policy` – what SQL may do: the name of a ready-made policy such as `:read_only` or a list of rules; see
      `LibsqlPort.Policy`. It holds for all connections of the Repo, those of the lane and the sandbox included, and so for its
      migrations: run them by a Repo without it. `Repo.query!(sql, params, policy: false)` runs one statement as the
      application's own

  ## Functions

    * `:functions` – SQL functions that are written in Elixir, a list of `{:scalar, name, arity, fun, options}`,
      `{:aggregate, name, arity, definition, options}`, `{:table, name, definition, options}` and
      `{:collation, name, definition}`. Each connection has them before anything else uses it. See `LibsqlPort.Function` and
      the guide on SQL functions

    * `:commit_hook` – a function that decides about the commits of each connection, those of migrations and of the lane included, or
      `{function, options}`: see `LibsqlPort.set_commit_hook/3`. A write by itself that is refused returns or raises an
      `EctoLibSql.Error` with the code `:commit_vetoed`. So does `c:Ecto.Repo.transaction/2`: it raises. In a sandbox nothing is
      committed, so nobody is asked

  ## Sidecar

    * `:sidecar` – the name or pid of a `LibsqlPort` that is started elsewhere and before the Repo, for Repos that share
      one. Otherwise a Repo starts its own, which all its pools share (`:pool_count`)
    * `:sidecar_options` – options of `LibsqlPort.start_link/1` for it. Its name is that of the Repo and `Sidecar`, such as
      `MyApp.Repo.Sidecar`, by which `LibsqlPort.status/1` and `LibsqlPort.connect/2` find it

  ## The lane

  A single statement outside of transactions and checkouts needs no connection of its own. It goes past the pool to one of a
  few connections that all callers of the Repo share, one at a time, if it is a SELECT, VALUES, INSERT, REPLACE, UPDATE or
  DELETE that was run before. They are opened as they are needed, with all options of the pool's connections, and closed when
  nobody uses them. If none is free, the statement takes the pool. So does one that writes to a temporary table or to a
  database in memory of `:attach`, which each connection has for itself.

    * `:lane` – `true`, `false`, or a keyword list of `:size` (how many connections there may be beside those of the pool;
      default: as many as the pool has, and 32 at least) and `:idle_timeout` (milliseconds until one that is not used is closed; default
      30000). Default `true`; `false` for a Repo with `pool_size: 1`, because there a temporary table or a pragma that one call leaves
      on the connection is met by the next. Has no effect in the sandbox, with a `:pool` of another module, or with
      `:configure`. Of Repos alone. `Repo.all(query, lane: false)` takes the pool

  ## Errors

    * `:show_statement` – whether errors hold the statement; default `true`
    * `:disconnect_on_error_codes` – a list of codes of `LibsqlPort.ErrorCode` after which the connection is closed and
      replaced; default `[]`
    * `:ignored_options` – a list of names that are passed over, among these options and those of calls, although neither the adapter nor
      Ecto knows them; default `[]`. A call's options may be the application's own, unless they are almost one of ours:
      `Repo.all(query, tiemout: 50)` raises

  ## Telemetry

    * `:telemetry` – whether each request is an event of the driver beside Ecto's own, with the times in the sidecar: see
      `LibsqlPort.Telemetry`. Default `true`, which costs nothing to speak of until a handler is attached

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

  For the whole application, `config :ecto_libsql_port, binary_id_type: :binary`. They are read when the application and each
  Repo starts; see `EctoLibSql.Settings`.

    * `:binary_id_type`, `:uuid_type` – `:string` (default) or `:binary`, 16 bytes
    * `:map_type`, `:array_type` – `:string` (default) or `:binary`, the declared type of the column
    * `:datetime_type` – `:iso8601` (default), or `:text_datetime` with a space for the T
    * `:utc_designator` – `true` stores a `DateTime` with the `Z` of ISO 8601, as ecto_sqlite3 and ecto_libsql do. Default
      `false`
    * `:json_library` – default `Jason`
    * `:untyped_binaries` – `:text` (default): a binary without a type is text, and refused if it is not UTF-8; or
      `:text_or_blob`, as in ecto_libsql: then it is a blob
    * `:unique_constraint_names` – `:index` (default), the name that the index has, or `:columns`, the one that Ecto would
      have given it
  """

  alias EctoLibSql.{ExqliteOptions, Location, OptionSlips, ServerLocation}
  alias LibsqlPort.OptionCheck

  # Those of a connection that are passed on as they are.
  @driver_options LibsqlPort.Options.connection_names() -- [:database, :url, :memory, :timeout, :owner]

  # The others that are read here and by the pool, by their names in Options' documentation and in ecto_libsql's.
  @own_options [
    :database,
    :url,
    :attach,
    :default_transaction_mode,
    :timeout,
    :sidecar,
    :sidecar_options,
    :show_statement,
    :disconnect_on_error_codes,
    :ignored_options,
    :lane,
    :pool_size_min,
    :pool_idle_timeout,
    :queue_max,
    :queue_threshold,
    :uri,
    :retry,
    :migration_lock_lease,
    :admin_url,
    :admin_auth_key,
    :remote_encryption_key,
    :encryption_key
  ]

  @known @driver_options ++ @own_options ++ ExqliteOptions.names()

  @transaction_modes [:deferred, :immediate, :exclusive, :read_only]

  @doc false
  # The names of all options that are read here, those of a connection included.
  @spec names() :: [atom]
  def names, do: @known

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
         {:ok, _} <- LibsqlPort.Options.connection(driver_options, ServerLocation.option(options)) do
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
    with :ok <- OptionSlips.check(options, @known),
         {:ok, place} <- ServerLocation.of(options),
         do: driver(place, options)
  end

  # The driver refuses what a server does not take.
  defp driver({:remote, address}, options) do
    with {:ok, options} <- ExqliteOptions.translate(options),
         do: {:ok, [url: address] ++ timeout(options[:timeout]) ++ Keyword.take(options, @driver_options)}
  end

  defp driver({:replica, address}, options) do
    with {:ok, driver_options} <- driver(:local, options),
         do: {:ok, [{:url, address} | driver_options] |> consistent(options)}
  end

  defp driver(:local, options) do
    with {:ok, location} <- location(options),
         {:ok, attached} <- attached(options),
         :ok <- trusted(options, attached),
         {:ok, options} <- options |> with_mode(location) |> ExqliteOptions.translate() do
      names = [Location.name(location) | Keyword.values(attached)]

      {:ok,
       database(location, options[:memory_name]) ++
         timeout(options[:timeout]) ++
         (options |> Keyword.take(@driver_options) |> with_uris(Enum.any?(names, &Location.uri?/1)))}
    end
  end

  # By ecto_libsql's names: writes do not wait for the file, and reads not for writes.
  defp consistent(driver_options, options) do
    if options[:sync] == false or options[:read_your_writes] == false,
      do: Keyword.put_new(driver_options, :consistency, :local),
      else: driver_options
  end

  # Said at the start: the sidecar would refuse each connection of the pool, again and again.
  defp trusted(options, attached) do
    if options[:untrusted_sql] && options[:allowed_directories] in [nil, []] &&
         Enum.any?(attached, fn {_, name} -> name != ":memory:" end),
       do:
         {:error,
          "the option :attach opens files, which :untrusted_sql forbids: leave one of them out, or name their " <>
            "folders in :allowed_directories"},
       else: :ok
  end

  defp timeout(nil), do: []
  defp timeout(timeout), do: [timeout: timeout]

  # A database in memory is shared by name, so that the connections of a pool see the same tables; `EctoLibSql.Pool` gives it.
  defp database(%Location{path: :memory}, nil), do: [database: ":memory:"]
  defp database(%Location{path: :memory}, name), do: [database: name, memory: true]
  defp database(location, _memory_name), do: [database: Location.name(location)]

  # A URI may say how its file is opened; the option says it louder.
  defp with_mode(options, %Location{mode: nil}), do: options
  defp with_mode(options, %Location{mode: mode}), do: Keyword.put_new(options, :mode, mode)

  @uri_flag 0x40

  defp with_uris(options, false), do: options

  defp with_uris(options, true) do
    Keyword.update(options, :open_flags, [:uri], fn
      flags when is_integer(flags) -> Bitwise.bor(flags, @uri_flag)
      # What cannot be is told by the driver.
      flags -> if(OptionCheck.list?(flags), do: Enum.uniq([:uri | flags]), else: flags)
    end)
  end

  @doc "The path of the database, absolute; `:memory` for one in memory, `:remote` for one on a server."
  @spec path(keyword) :: {:ok, String.t() | :memory | :remote} | {:error, String.t()}
  def path(options) do
    with {:ok, place} <- ServerLocation.of(options), do: path(place, options)
  end

  defp path({:remote, _address}, _options), do: {:ok, :remote}
  defp path(_file, options), do: with({:ok, %Location{path: path}} <- location(options), do: {:ok, path})

  defp location(options), do: Location.parse(options[:database] || options[:url])

  @doc "The databases of `:attach`, each as ATTACH takes it."
  @spec attached(keyword) :: {:ok, keyword(String.t())} | {:error, String.t()}
  def attached(options) do
    Enum.reduce_while(options[:attach] || [], {:ok, []}, fn {name, path}, {:ok, attached} ->
      case Location.parse(if(is_atom(path) and path != :memory, do: to_string(path), else: path)) do
        {:ok, location} -> {:cont, {:ok, attached ++ [{name, Location.name_with_mode(location)}]}}
        {:error, message} -> {:halt, {:error, "the option :attach, #{name}: #{message}"}}
      end
    end)
  end

  @doc """
  The same options with the places of databases fixed: a connection that is opened later finds the same file although the
  VM's directory is another one then.
  """
  @spec anchored(keyword) :: keyword
  def anchored(options) do
    with false <- ServerLocation.remote?(options),
         {:ok, location} <- location(options),
         {:ok, attached} <- attached(options) do
      options = options |> with_mode(location) |> Keyword.put(:database, Location.name(location))
      if attached == [], do: options, else: Keyword.put(options, :attach, attached)
    else
      _on_a_server_or_said_by_check -> options
    end
  end
end
