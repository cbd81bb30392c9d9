defmodule LibsqlPort.Options do
  @moduledoc """
  The options of `LibsqlPort.start_link/1` and `LibsqlPort.connect/2`, checked by hand: an unknown name or a wrong value
  is an error of code `:invalid_option` that names the option and says what it takes.

  ## Of the sidecar (`start_link/1`, child specification)

    * `:name` – the name to register and to give to `LibsqlPort.connect/2`
    * `:executable` – path of the program (see `LibsqlPort.Executable`)
    * `:start_timeout` – ms within which the program must say hello; default 10000
    * `:shutdown_grace` – ms that a program may take to go after its input was closed, before it is killed; default 5000.
      It interrupts what runs at once; the time is for closing the files, which writes the log back into them
    * `:reply_grace` – ms that a caller waits beyond its timeout for the sidecar's own `:timeout` answer; default 1000
    * `:heartbeat` – ms between two signs of life, `:infinity` for none; default 15000. A program that answers none
      within that time is replaced
    * `:backoff_min`, `:backoff_max` – a program that has ended is started again at once; one that ends again before it
      has run for `:backoff_max` ms, after a pause that doubles from the first to the second figure; default 100 and 5000.
      Meanwhile `LibsqlPort.connect/2` waits, up to its `:connect_timeout`
    * `:max_restarts`, `:max_seconds` – restart intensity of the processes in this VM; default 10 in 10. The end of a
      program does not count
    * `:frame_bytes_max`, `:connections_max` and the others of the table below – limits. A request that exceeds one gets a
      typed error
    * `:spin_us_max` – microseconds to look for the next request of a caller in a hurry before sleeping; default 200, 0 for
      none
    * `:log_level` – `:off`, `:error`, `:warn` (default), `:info`, `:debug`; `:log_format` – `:text` (default), `:json`;
      `:log_lines_per_second` – further lines are counted, not written; default 100
    * `:stuck_limit` – ms that a request may run on beyond its timeout, its cancellation or the end of its connection, in
      code of the engine that nothing stops; then the program tells what was committed, ends (exit status 75) and is started
      again. Default 60000, 0 for no limit. The log names the connection and the files that it keeps from being written
    * `:temp_directory` – folder for temporary files. They have no names there and go with the program. The program does not start
      if none can be made there. Default: the first that can be written of `SQLITE_TMPDIR`, `TMPDIR`, `/var/tmp`, `/usr/tmp`,
      `/tmp` and the working folder. If there is none, connections sort in memory
    * `:log_to` – `:logger` (default): the program's log lines become messages of `Logger`, with the metadata `:sidecar`
      (its name), `:os_pid` and `:domain` (`[:elixir, :libsql_port]`); `:stderr`: the program writes them to the VM's standard error
    * `:args` – further arguments for the program, a list of strings
    * `:env` – environment variables for the program, a list of pairs of strings
    * `:functions` – SQL functions of all connections (see `LibsqlPort.Function`); default `[]`
    * `:commit_hook` – a function that decides about the commits of all connections, or `{function, options}` (see
      `LibsqlPort.set_commit_hook/3`); default none

  | limit | of what | default | no limit |
  |---|---|---|---|
  | `:frame_bytes_max` | one request, bytes | 16 MiB | |
  | `:connections_max` | open connections | 4,096 | |
  | `:queue_requests_max` | requests that wait on one connection | 1,024 | |
  | `:queue_bytes_max` | requests that wait on all connections, bytes | 256 MiB | |
  | `:statements_max` | prepared statements of one connection | 1,000 | |
  | `:statement_bytes_max` | compiled statements of one connection, bytes: those prepared, and again as much in its cache | 64 MiB | 0 |
  | `:cursors_max` | open cursors of one connection | 100 | |
  | `:result_rows_max` | rows of a result that is not streamed; `:rows_max` of a request overrides it | 10,000,000 | 0 |
  | `:result_bytes_max` | its bytes; `:bytes_max` of a request overrides it | 512 MiB | 0 |
  | `:heap_bytes_max` | what the engine has allocated, for all connections together, bytes | 16 GiB | 0 |
  | `:denials_per_second_max` | denials of policies that are told as events and log lines in a second; further ones are counted | 100 | |
  | `:temp_bytes_max` | temporary files of sorting, grouping, VACUUM and cursors, all together, bytes | 32 GiB | 0 |
  | `:changes_bytes_max` | changes of one transaction that are kept for subscribers (`LibsqlPort.Changes`), bytes | 64 MiB | |

  ## Of a connection (`connect/2`)

  `:database` for a file, `:url` for a database on a server ([below](#module-of-a-database-on-a-server)), both for a replica.

    * `:database` – path of the file, or `":memory:"`; up to 4096 bytes
    * `:memory` – `true`: a database in memory, named by `:database`, shared by all connections of this sidecar that
      give the same name; without a name a private one
    * `:mode` – `:read_write_create` (default), `:read_write`, `:read_only`
    * `:timeout` – default timeout of the connection's requests in ms, or `:infinity`; default 15000
    * `:connect_timeout` – ms for opening, a restart of the sidecar included; default 15000
    * `:owner` – the process with whose end the connection is closed; default the caller, `nil` for none
    * `:busy_timeout` – ms to wait for locks of foreign programs; default 5000
    * `:lock_timeout` – ms that a request may wait for the writer turn and for locks, all together, before it is `:busy`;
      0 tries at once; default none: until the request's `:timeout`. Each request may say otherwise
    * `:statement_cache` – statements kept prepared; default 100
    * `:checkpoint_pages`, `:checkpoint_idle` – WAL pages, and ms of rest, after which a checkpoint is made; 0 for never
    * `:defensive` – `true` (default): SQL cannot write what would corrupt the file or the program's memory: tables that belong
      to virtual tables and vector indexes, the text of the schema, `PRAGMA journal_mode = off`. A single
      `LibsqlPort.query/4` may have `defensive: false`
    * `:untrusted_sql` – `true`: for SQL of strangers; neither `ATTACH` nor `VACUUM INTO` opens further files, but for those of
      `:allowed_directories`. Default `false`: SQL may open and write every file that the program may
    * `:allowed_directories` – absolute paths of folders, up to 64: `ATTACH` and `VACUUM INTO` open files in or below them alone,
      whatever way the name is written, with links resolved. `[]`: none. Default: every file, or none with `:untrusted_sql`
    * `:policy` – what SQL may do: `:read_only`, `:no_schema_changes`, `:untrusted_sql`, or a list of rules; see `LibsqlPort.Policy`.
      Default `nil`: everything. (`policy: :untrusted_sql` forbids what `untrusted_sql: true` does, and much more)
    * `:limits` – limits of SQLite for each statement, a keyword list of the names in the table below
    * `:open_flags` – a list of `:uri`, `:nofollow`, `:exrescode`, `:privatecache`, `:nomutex`, or SQLite's integer
    * `:show_statement` – whether telemetry events and log lines may bear the SQL text; default `true`
    * `:functions` – SQL functions of this connection (see `LibsqlPort.Function`); default `[]`
    * `:commit_hook` – a function that decides about its commits, or `{function, options}` (see `LibsqlPort.set_commit_hook/3`);
      default none
    * `:authorizer` – a function that decides what its statements may do, or `{function, options}` (see
      `LibsqlPort.set_authorizer/3`); default none
    * `:telemetry` – whether requests are told as events (see `LibsqlPort.Telemetry`); default `true`
    * `:pragmas` – a keyword list or map of pragmas (see `LibsqlPort.Pragma`)
    * `:journal_mode`, `:synchronous`, `:foreign_keys`, `:cache_size`, `:temp_store`, `:mmap_size`, `:auto_vacuum`,
      `:locking_mode`, `:secure_delete`, `:journal_size_limit`, `:recursive_triggers` – pragmas by their own name

  ## Of a database on a server

  A libSQL server: sqld, or Turso. The options of a connection above that concern files, locks, functions and hooks are refused beside
  `:url`, with the reason; `:statement_cache` is how many statements' descriptions are kept.

    * `:url` – `libsql://` and `https://` (and `wss://`) speak TLS; `http://` (`ws://`, `libsql://…?tls=0`) does not, and is refused
      for another machine than this one unless `tls: false` is said. A token may stand in it, `?authToken=…`
    * `:auth_token` – the token: a text, a `LibsqlPort.Secret`, or a function without arguments (`{module, function, arguments}`), which
      is asked when a token is needed and again when the server refuses it. It returns the token, `{:ok, token}`,
      `{:ok, token, lifetime_ms}` or `{:error, reason}`, and runs as SQL functions do, within the time of the request that needs
      it. No error, log line, event or `inspect/2` shows a token. So of a function that fails only the class is told: the module of an
      exception, and of a `reason` atoms, such as `{:error, :vault_sealed}` or `{:error, {:http, 503}}`
    * `:namespace` – which of the server's databases; default the one that the server itself takes the host's name for
    * `:tls` – `false`: what is sent to another machine need not be encrypted; `true`: what is sent to this one has to be, too
    * `:ca_file` – certificates in PEM form that sign the server's, beside the roots. This and the next three are refused for an
      address that is not encrypted
    * `:client_cert_file`, `:client_key_file` – the client's certificate and its key, for servers that ask for one
    * `:roots` – whose certificates are trusted: `:native` (default), those of the system, or `:webpki`, Mozilla's as they were when the
      program was built
    * `:proxy` – the URL of an HTTP proxy, as text or a `LibsqlPort.Secret`, `""` for none; default as `HTTPS_PROXY`,
      `ALL_PROXY` and `NO_PROXY` say
    * `:server_connect_timeout` – ms for DNS, TCP, proxy and TLS together, 0 for as long as the request may take; default 10000
    * `:stream_idle` – ms that a stream of the server is kept for the next statement, 0 for not at all; default 2000, up to 8000
    * `:response_bytes_max` – the longest answer of a server to one request, bytes, 0 for no limit; default 64 MiB
    * `:idle_sockets_max`, `:socket_idle` – sockets to a server that are kept for the next request, and for how many ms; default 32 and 15000

  Several servers:

    * `:replica_urls` – up to 64 servers that follow the one of `:url`, the *primary*. Only statements that read, outside of a
      transaction, go to them; the token and the way there are the primary's
    * `:read_from` – `:primary` (default), `:replica`: the servers that follow, in turn, or `:nearest`: the one that answers soonest.
      A read is sent to a server that follows once that says that it has what this program has written. `LibsqlPort.Result` says which
      server it was
    * `:fallback_reads` – `true`, or some of `:replica_urls`: they are read while the primary does not answer, and the result is marked
      `stale`. Default `false`. Writes and transactions fail at once with `:remote_unavailable`
    * `:replica_wait` – ms that a server is waited for until it has what this program has written, before the next one is asked; default 1000
    * `:measure_interval` – ms between two measurements for `:nearest`; default 10000
    * `:breaker_failures` – so many failures, one after the other (no connection, a broken one, no answer by the deadline), and a server is
      asked nothing any more: requests fail with `:remote_unavailable` at once, until a probe is answered. Shared by the connections of a
      sidecar that give the same options; 0 for never; default 5
    * `:breaker_delay`, `:breaker_delay_max` – ms until the first probe, and what the doubled delay grows to; default 1000 and 30000. The
      true delay is between half of it and all
    * `:probe_timeout` – ms that a probe is waited for; default 2000

  ## Of a replica

  `:url` and `:database`: a file that follows a database on a server (see `LibsqlPort.Replica`). It takes the options of both above, but for
  what runs on the server: no commit hook and no authorizer, and `:policy` and `:untrusted_sql` with `mode: :read_only` alone.

    * `:consistency` – what reads have to have: `:local`, whatever the file has; `:read_your_writes` (default), also all that was
      written through connections of this sidecar; `:latest`, also what the server has as the read begins, by a sync before each.
      `LibsqlPort.query/4` and its like take it too
    * `:max_lag` – how old what is read may be, in ms since the last successful sync of this sidecar began; default: as old as it is. Older than
      that, a read goes to the server. `LibsqlPort.query/4` and its like take it too
    * `:when_stale` – `:server` (default), or `:error`: such a read returns an error of code `:too_stale`, and so do all of them with
      `mode: :read_only`
    * `:sync_interval` – ms from the end of a sync to the next one, 0 (default) for none but those that are asked for, those that
      follow commits and, while what was written is missing, retries (after 1 s, doubled up to 30 s). The newest connection's wish counts for the file
    * `:offline` – `true`: the server is not asked while the connection is opened. Default `false`: a file without data waits for its
      first sync, within `:connect_timeout`; another one is opened at once, and a sync begins
    * `:sync_silence` – ms that the server may be silent in the midst of a sync; default 30000
    * `:sync_protocol` – `:v1` (default). `:v2` and `:auto` are refused, with the reason
    * `:promote` – without `:url`: `true` makes the replica a database of its own before it is opened (see `LibsqlPort.Replica.promote/3`)

  ## Limits of statements

  | name in `:limits` | what is limited ([SQLite](https://sqlite.org/limits.html)) | default | least |
  |---|---|---|---|
  | `:length` | a value or a row, bytes | 256 MiB | 1000 |
  | `:sql_length` | the text of a statement, bytes | 64 MiB | 1000 |
  | `:column` | columns of a table, an index or a result, terms of ORDER BY and GROUP BY | 2000 | 16 |
  | `:expr_depth` | nesting of an expression | 1000 | 10 |
  | `:compound_select` | terms of UNION and the like, 0 for no limit | 500 | 0 |
  | `:vdbe_op` | instructions of a compiled statement | 10,000,000 | 1000 |
  | `:function_arg` | arguments of a function | 127 | 8 |
  | `:attached` | attached databases | 10 | 0 |
  | `:like_pattern_length` | a pattern of LIKE, GLOB or REGEXP, bytes | 50,000 | 100 |
  | `:variable_number` | parameters of a statement | 32,766 | 8 |
  | `:trigger_depth` | nesting of triggers and foreign key actions | 1000 | 0 |

  The sidecar's own statements need the least value. A smaller one returns an `:invalid_option` error, and so does reading a
  database whose schema exceeds a limit. The error of a statement that exceeds one names it.

  `:length` and `:sql_length` can be raised to 1,000,000,000, `:vdbe_op` to 250,000,000. The other defaults are the greatest values.
  """

  alias LibsqlPort.{
    Authorizer,
    CommitHook,
    Error,
    Function,
    OptionCheck,
    Policy,
    Secret,
    ServerOptions,
    ServerUrl,
    Wire
  }

  alias LibsqlPort.Pragma.Definition

  @int_max 2_147_483_647
  # No system takes a longer path.
  @path_bytes_max 4_096
  @folders_max 64

  # Name, default, what is allowed.
  @sidecar [
    {:name, nil, :name},
    {:executable, nil, :path},
    {:start_timeout, 10_000, {:integer, 1, @int_max}},
    {:shutdown_grace, 5_000, {:integer, 0, 600_000}},
    {:reply_grace, 1_000, {:integer, 0, 600_000}},
    {:heartbeat, 15_000, :timeout},
    {:backoff_min, 100, {:integer, 1, 600_000}},
    {:backoff_max, 5_000, {:integer, 1, 600_000}},
    {:max_restarts, 10, {:integer, 0, @int_max}},
    {:max_seconds, 10, {:integer, 1, @int_max}},
    {:frame_bytes_max, nil, {:integer, 65_536, 1_073_741_824}},
    {:connections_max, nil, {:integer, 1, @int_max}},
    {:queue_requests_max, nil, {:integer, 1, @int_max}},
    {:queue_bytes_max, nil, {:integer, 1, 1_099_511_627_776}},
    {:statements_max, nil, {:integer, 1, @int_max}},
    {:statement_bytes_max, nil, {:integer, 0, 1_099_511_627_776}},
    {:cursors_max, nil, {:integer, 1, @int_max}},
    {:result_rows_max, nil, {:integer, 0, @int_max}},
    {:result_bytes_max, nil, {:integer, 0, 1_099_511_627_776}},
    {:heap_bytes_max, nil, {:integer, 0, 1_099_511_627_776}},
    {:temp_bytes_max, nil, {:integer, 0, 1_099_511_627_776}},
    {:changes_bytes_max, nil, {:integer, 0, 1_073_741_824}},
    {:denials_per_second_max, nil, {:integer, 0, @int_max}},
    {:temp_directory, nil, :folder},
    {:spin_us_max, nil, {:integer, 0, 10_000}},
    {:stuck_limit, nil, {:integer, 0, 86_400_000}},
    {:log_to, :logger, {:one_of, [:logger, :stderr]}},
    {:log_level, nil, {:one_of, [:off, :error, :warn, :info, :debug]}},
    {:log_lines_per_second, nil, {:integer, 1, @int_max}},
    {:log_format, nil, {:one_of, [:text, :json]}},
    {:args, [], :strings},
    {:env, [], :env},
    {:functions, [], :functions},
    {:commit_hook, nil, :hook}
  ]

  @flags [uri: 0x40, nomutex: 0x8000, privatecache: 0x40000, nofollow: 0x1000000, exrescode: 0x2000000]

  # The same, with the key under which the option travels; `nil` for one that stays here.
  @local [
    {:database, nil, :path, nil},
    {:memory, false, :boolean, "memory"},
    {:mode, nil, {:one_of, [:read_write_create, :read_write, :read_only]}, "mode"},
    {:timeout, 15_000, :timeout, nil},
    {:connect_timeout, 15_000, {:integer, 1, @int_max}, nil},
    {:owner, :caller, :owner, nil},
    {:busy_timeout, nil, {:integer, 0, @int_max}, "busy_timeout"},
    {:lock_timeout, nil, {:integer, 0, @int_max}, "lock_timeout"},
    {:statement_cache, nil, {:integer, 0, 10_000}, "statement_cache"},
    {:checkpoint_pages, nil, {:integer, 0, @int_max}, "checkpoint_pages"},
    {:checkpoint_idle, nil, {:integer, 0, @int_max}, "checkpoint_idle"},
    {:defensive, nil, :boolean, "defensive"},
    {:untrusted_sql, nil, :boolean, "untrusted_sql"},
    {:allowed_directories, nil, :folders, "allowed_directories"},
    {:policy, nil, :policy, "policy"},
    {:limits, nil, :limits, "limits"},
    {:open_flags, nil, {:flags, @flags}, "open_flags"},
    {:show_statement, true, :boolean, nil},
    {:telemetry, true, :boolean, nil},
    {:functions, [], :functions, nil},
    {:commit_hook, nil, :hook, nil},
    {:authorizer, nil, :hook, nil},
    {:promote, nil, :boolean, "promote"},
    {:pragmas, [], :pragmas, nil}
  ]
  @connection @local ++ ServerOptions.table()

  @pragmas [
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

  # What requests take, by their names on the wire. The mode of a BEGIN is an argument there.
  @of_request [timeout: :timeout, in_transaction: :boolean, lock_timeout: {:integer, 0, @int_max}]
  @of_result @of_request ++
               [
                 rows_max: {:integer, 0, @int_max},
                 bytes_max: {:integer, 0, 1_099_511_627_776},
                 consistency: {:one_of, [:local, :read_your_writes, :latest]},
                 max_lag: {:integer, 1, 86_400_000}
               ]
  @of_execute @of_result ++ [defensive: :boolean, policy: {:one_of, [false]}]
  @of_fetch @of_request ++ [chunk_rows: {:integer, 0, @int_max}, chunk_bytes: {:integer, 0, @int_max}]

  @requests (for {name, _tag} <- Wire.requests(), into: %{} do
               options =
                 cond do
                   name == :execute ->
                     @of_execute

                   name in [:query_one, :execute_prepared] ->
                     @of_result

                   name == :fetch ->
                     @of_fetch

                   name == :declare ->
                     @of_request ++ [live: :boolean, owner: :owner]

                   name == :sync ->
                     @of_request ++ [until: :frame]

                   name == :checkpoint ->
                     @of_request ++ [mode: {:one_of, [:passive, :full, :restart, :truncate]}]

                   name == :batch ->
                     @of_request ++ [atomic: :boolean]

                   name in [:prepare, :begin] ->
                     @of_request ++ [owner: :owner]

                   name in [:ping, :status] ->
                     [timeout: :timeout]

                   true ->
                     @of_request
                 end

               {name, Map.new(options)}
             end)

  # What is made of several requests.
  @compound %{
    transaction: Map.new(@of_request ++ [mode: {:one_of, [:deferred, :immediate, :exclusive, :read_only]}]),
    stream: Map.new(@of_fetch ++ [live: :boolean, owner: :owner, chunks: :boolean])
  }

  @known Map.merge(@requests, @compound)

  # What a single statement may have, and is asked for elsewhere too.
  @of_statements "LibsqlPort.query/4 takes it, for a single statement. Streams, batches, scripts and prepared statements run as the " <>
                   "connection allows"
  @elsewhere %{policy: @of_statements, defensive: @of_statements}

  @type connection :: %{
          path: String.t(),
          wire: map,
          # What is asked for the token of a server.
          token: Function.t() | nil,
          timeout: pos_integer | :infinity,
          connect_timeout: pos_integer,
          show_statement: boolean,
          telemetry: boolean,
          functions: [Function.t()],
          owner: pid | nil
        }

  @doc "The names of the options of a sidecar."
  @spec sidecar_names() :: [atom]
  def sidecar_names, do: Enum.map(@sidecar, &elem(&1, 0))

  @doc "The names of the options of a connection."
  @spec connection_names() :: [atom]
  def connection_names, do: Enum.map(@connection, &elem(&1, 0)) ++ @pragmas

  @doc "Checks the options of a sidecar and fills in the defaults."
  @spec sidecar(keyword) :: {:ok, map} | {:error, Error.t()}
  def sidecar(options) do
    with :ok <- keyword(options),
         {:ok, values} <- read(options, @sidecar, []),
         {:ok, functions} <- functions(values),
         do: {:ok, %{Map.delete(values, :commit_hook) | functions: functions}}
  end

  @doc """
  Checks the options of a connection and brings them into the form that travels. `address`: what errors call the option `:url`,
  where the caller has taken it from another one.
  """
  @spec connection(keyword, atom) :: {:ok, connection} | {:error, Error.t()}
  def connection(options, address \\ :url) do
    with :ok <- keyword(options),
         table = for({name, default, type, _key} <- @connection, do: {name, default, type}),
         {:ok, values} <- read(Keyword.drop(options, @pragmas), table, @pragmas),
         {:ok, place} <- ServerOptions.place(values, given(options), address),
         {:ok, path} <- path(values, place),
         {:ok, functions} <- functions(values),
         {:ok, pragmas} <- pragmas(values.pragmas, Keyword.take(options, @pragmas)) do
      {:ok,
       %{
         path: path,
         wire: wire(values, pragmas, place),
         token: if(place != :local, do: place.token),
         timeout: values.timeout,
         connect_timeout: values.connect_timeout,
         show_statement: values.show_statement,
         telemetry: values.telemetry,
         functions: functions,
         owner: if(values.owner == :caller, do: self(), else: values.owner)
       }}
    end
  end

  # A hook is registered as functions are.
  defp functions(values) do
    with {:ok, functions} <- Function.all(values.functions),
         {:ok, hooks} <- CommitHook.of_option(values.commit_hook),
         {:ok, authorizer} <- Authorizer.of_option(values[:authorizer]),
         do: {:ok, functions ++ hooks ++ authorizer}
  end

  # By the name that was written, and that of the option it belongs to. What is given with its default says nothing.
  defp given(options) do
    for {name, value} <- options,
        value != nil,
        not match?({^name, ^value, _, _}, List.keyfind(@local, name, 0)),
        do: {name, if(name in @pragmas, do: :pragmas, else: name)}
  end

  @doc "Whether this names a database on a server."
  @spec remote?(term) :: boolean
  defdelegate remote?(path), to: ServerUrl, as: :url?

  defp path(%{database: path}, _place) when is_binary(path) and byte_size(path) > @path_bytes_max do
    error("the option :database takes up to #{@path_bytes_max} bytes, not #{byte_size(path)}")
  end

  defp path(%{database: nil, memory: true}, :local), do: {:ok, ":memory:"}

  defp path(%{database: nil}, :local),
    do:
      error("the option :database is missing: a path, or \":memory:\"; for a database on a server give :url")

  # A database on a server has no file here.
  defp path(%{database: path}, _place), do: {:ok, path || ""}

  defp wire(values, pragmas, place) do
    # A shared database needs a name; without one `memory: true` means the private one.
    values = if values.memory and values.database == nil, do: %{values | memory: false}, else: values

    given =
      for {name, default, _, key} <- @connection, key != nil, value <- [values[name]], value != default do
        {key, value}
      end

    given = if place == :local, do: Map.new(given), else: Map.merge(Map.new(given), place.wire)
    if map_size(pragmas) == 0, do: given, else: Map.put(given, "pragmas", pragmas)
  end

  defp pragmas(given, shorthands) do
    Enum.reduce_while(Enum.concat(given, shorthands), {:ok, %{}}, fn {name, value}, {:ok, pragmas} ->
      case pragma(name, value) do
        {:ok, name, value} -> {:cont, {:ok, Map.put(pragmas, name, value)}}
        {:error, message} -> {:halt, error(message)}
      end
    end)
  end

  # The form in which a pragma travels among the options of `open`.
  defp pragma(name, value) do
    with {:ok, name, dumped} <- Definition.assignment(name, value), do: {:ok, Atom.to_string(name), dumped}
  end

  @doc """
  Checks the options of a request, by the request's name on the wire such as `:execute`, or those of a `:transaction` or a
  `:stream`.

      iex> LibsqlPort.Options.request(:execute, timeout: 5_000, rows_max: 10)
      :ok
      iex> {:error, error} = LibsqlPort.Options.request(:execute, tiemout: 5_000)
      iex> {error.code, error.message =~ "unknown option :tiemout"}
      {:invalid_option, true}
  """
  @spec request(atom, keyword) :: :ok | {:error, Error.t()}
  def request(_name, []), do: :ok

  def request(name, options) do
    known = Map.fetch!(@known, name)

    case unfit(options, known) do
      :ok -> :ok
      {option, value} -> wrong(option, value, known)
      :no_list -> error("options are a keyword list, not #{inspect(options)}")
    end
  end

  defp unfit([], _known), do: :ok

  defp unfit([{option, value} | rest], known) do
    case known do
      %{^option => type} -> if fits?(value, type), do: unfit(rest, known), else: {option, value}
      _ -> {option, value}
    end
  end

  defp unfit(_other, _known), do: :no_list

  # The usual ones first: every request with options comes by here.
  defp fits?(value, :timeout) when is_integer(value), do: value > 0 and value <= @int_max
  defp fits?(value, :boolean), do: is_boolean(value)
  defp fits?(value, type), do: match?({:ok, _}, cast(value, type))

  defp wrong(option, value, known) do
    case known do
      %{^option => type} ->
        error("the option #{inspect(option)} takes #{allowed(type)}, not #{inspect(value)}")

      _ ->
        names = known |> Map.keys() |> Enum.sort()
        elsewhere = if more = @elsewhere[option], do: ". " <> more, else: ""

        error(
          "unknown option #{inspect(option)}#{OptionCheck.hint(option, names)}; known are " <>
            Enum.map_join(names, ", ", &inspect/1) <> elsewhere
        )
    end
  end

  # --- checking -------------------------------------------------------------------------------------------------

  defp keyword(options) do
    if Keyword.keyword?(options), do: :ok, else: error("options are a keyword list, not #{inspect(options)}")
  end

  defp read(options, table, also) do
    case Enum.find(options, fn {name, _} -> not List.keymember?(table, name, 0) end) do
      nil ->
        read_each(options, table)

      {name, _} ->
        known = Enum.map(table, &elem(&1, 0)) ++ also
        where = elsewhere(name) || OptionCheck.hint(name, known)
        error("unknown option #{inspect(name)}#{where}; known are #{Enum.map_join(known, ", ", &inspect/1)}")
    end
  end

  # A name that is unknown here is known to the other of the two functions.
  defp elsewhere(name) do
    cond do
      List.keymember?(@sidecar, name, 0) ->
        " of a connection. It is one of the sidecar: give it to LibsqlPort.start_link/1"

      name in connection_names() ->
        " of a sidecar. It is one of a connection: give it to LibsqlPort.connect/2"

      true ->
        nil
    end
  end

  defp read_each(options, table) do
    Enum.reduce_while(table, {:ok, %{}}, fn {name, default, type}, {:ok, values} ->
      case Keyword.fetch(options, name) do
        {:ok, value} -> check(name, value, type, values)
        :error -> {:cont, {:ok, Map.put(values, name, default)}}
      end
    end)
  end

  defp check(name, value, type, values) do
    case cast(value, type) do
      {:error, message} ->
        {:halt, error("the option #{inspect(name)}: #{message}")}

      {:ok, value} ->
        {:cont, {:ok, Map.put(values, name, value)}}

      :error ->
        {:halt, error("the option #{inspect(name)} takes #{allowed(type)}, not #{inspect(value)}")}
    end
  end

  defp cast(value, {:integer, min, max}) when is_integer(value) and value >= min and value <= max,
    do: {:ok, value}

  defp cast(value, :boolean) when is_boolean(value), do: {:ok, value}

  defp cast({log, index}, :frame) when is_binary(log) and is_integer(index) and index >= 0,
    do: {:ok, {log, index}}

  defp cast(index, :frame) when is_integer(index) and index >= 0, do: {:ok, index}
  defp cast(:infinity, :timeout), do: {:ok, :infinity}
  defp cast(value, :timeout), do: cast(value, {:integer, 1, @int_max})
  defp cast(nil, :path), do: {:ok, nil}
  defp cast(value, :path) when is_binary(value), do: {:ok, value}
  defp cast(value, :folder), do: if(value == "", do: :error, else: cast(value, :path))

  defp cast(value, :folders) do
    if OptionCheck.list_of?(value, &(is_binary(&1) and Path.type(&1) == :absolute)) and
         length(value) <= @folders_max,
       do: {:ok, value},
       else: :error
  end

  defp cast(value, :policy), do: Policy.dump(value)

  # Looked at together afterwards. A message must not show them.
  defp cast(value, type) when type in [:server_url, :auth_token, :server_urls, :fallback_reads],
    do: {:ok, value}

  defp cast(nil, type) when type in [:namespace, :proxy], do: {:ok, nil}

  defp cast(value, :namespace) when is_binary(value) and value != "",
    do: if(String.valid?(value), do: {:ok, value}, else: :error)

  # It may bear a password.
  defp cast(%Secret{} = secret, :proxy), do: secret |> Secret.reveal() |> cast(:proxy)

  defp cast(value, :proxy) do
    if is_binary(value) and value =~ ~r{\A(|http://[^/]+/?)\z}i,
      do: {:ok, value},
      else: {:error, "it takes the URL of a proxy such as \"http://proxy:3128\", or \"\" for none"}
  end

  defp cast(value, :owner) when is_pid(value) or value in [nil, :caller], do: {:ok, value}
  defp cast(value, :name) when is_atom(value), do: {:ok, value}
  defp cast({:global, _} = value, :name), do: {:ok, value}
  defp cast({:via, module, _} = value, :name) when is_atom(module), do: {:ok, value}

  defp cast(value, {:one_of, allowed}), do: if(value in allowed, do: {:ok, value}, else: :error)

  defp cast(value, {:flags, _}) when is_integer(value) and value >= 0, do: {:ok, value}

  defp cast(value, {:flags, flags}) do
    if OptionCheck.list_of?(value, &(is_atom(&1) and Keyword.has_key?(flags, &1))),
      do: {:ok, value |> Enum.uniq() |> Enum.map(&flags[&1]) |> Enum.sum()},
      else: :error
  end

  # Looked at one by one afterwards, because each error says more than that.
  defp cast(value, type) when type in [:functions, :hook], do: {:ok, value}

  defp cast(value, :strings),
    do: if(OptionCheck.list_of?(value, &is_binary/1), do: {:ok, value}, else: :error)

  defp cast(value, :env) do
    if OptionCheck.list_of?(value, &match?({name, text} when is_binary(name) and is_binary(text), &1)),
      do: {:ok, value},
      else: :error
  end

  defp cast(value, :limits) when is_list(value) do
    if Keyword.keyword?(value) and
         Enum.all?(value, fn {_, most} -> is_integer(most) and most in 0..@int_max end),
       do: {:ok, Map.new(value)},
       else: :error
  end

  defp cast(value, :pragmas) when is_map(value) and not is_struct(value), do: {:ok, Map.to_list(value)}

  defp cast(value, :pragmas),
    do: if(OptionCheck.list_of?(value, &match?({_, _}, &1)), do: {:ok, value}, else: :error)

  defp cast(_value, _type), do: :error

  defp allowed({:integer, min, max}), do: "an integer from #{min} to #{max}"
  defp allowed(:boolean), do: "true or false"
  defp allowed(:frame), do: "the index of a frame, or {log, index}"
  defp allowed(:timeout), do: ":infinity or milliseconds from 1 to #{@int_max}"
  defp allowed(:path), do: "a path as a string"
  defp allowed(:folder), do: "the path of a folder as a string"
  defp allowed(:folders), do: "a list of at most #{@folders_max} absolute paths of folders"
  defp allowed(:namespace), do: "the name of a namespace as a string"
  defp allowed(:owner), do: "a process id or nil"
  defp allowed(:name), do: "an atom, {:global, term} or {:via, module, term}"
  defp allowed({:one_of, values}), do: "one of " <> Enum.map_join(values, ", ", &inspect/1)

  defp allowed({:flags, flags}),
    do: "a list of " <> Enum.map_join(Keyword.keys(flags), ", ", &inspect/1) <> " or an integer"

  defp allowed(:limits), do: "a keyword list of integers from 0 to #{@int_max}"
  defp allowed(:strings), do: "a list of strings"
  defp allowed(:env), do: "a list of pairs of strings"
  defp allowed(:pragmas), do: "a keyword list or a map"

  defp error(message), do: {:error, Error.new(:invalid_option, message)}

  @doc false
  # The request, with the number under which the token is asked for.
  @spec encoded(connection, pos_integer | nil) :: iodata
  def encoded(options, number \\ nil) do
    wire = if number, do: Map.put(options.wire, "ask_auth_token", number), else: options.wire
    Wire.encode({Wire.timeout_ms(options.connect_timeout), options.path, wire})
  end
end
