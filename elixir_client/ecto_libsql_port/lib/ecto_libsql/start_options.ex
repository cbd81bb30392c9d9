defmodule EctoLibSql.StartOptions do
  @moduledoc false
  # What is checked once, when a pool starts, beside the options of a connection: names that nobody knows, and values of
  # options that belong to `DBConnection` and Ecto, which would crash a process of theirs or be ignored. Called by
  # `EctoLibSql.Pool` and `EctoLibSql.Pools`.
  #
  # Unknown names are refused here and not in `Options.check/1`: Mix tasks pass their own arguments to connections.

  alias EctoLibSql.{AdminApi, Error, ExqliteOptions, OptionPlaces, Options, Retry, Settings}
  alias LibsqlPort.OptionCheck

  @levels [:debug, :info, :notice, :warning, :error, :critical, :alert, :emergency]

  # Options of DBConnection and Ecto with a value that can be checked.
  @checked [
    pool_size: {:integer, 1},
    pool_count: {:integer, 1},
    queue_target: {:integer, 1},
    queue_interval: {:integer, 1},
    pool_size_min: {:integer, 1},
    pool_idle_timeout: {:integer, 1},
    queue_max: :queue_max,
    queue_threshold: {:integer, 0},
    idle_interval: {:integer, 1},
    idle_limit: {:integer, 0},
    checkout_retries: {:integer, 0},
    backoff_min: {:integer, 0},
    backoff_max: {:integer, 0},
    backoff_type: {:one_of, [:stop, :exp, :rand, :rand_exp]},
    max_restarts: {:integer, 0},
    max_seconds: {:integer, 1},
    max_lifetime: :range,
    after_connect: :function,
    after_connect_timeout: :timeout,
    configure: :function,
    connection_listeners: :listeners,
    pool: :pool,
    lane: :lane,
    ownership_timeout: :timeout,
    ownership_mode: :ownership_mode,
    ownership_log: {:one_of, [nil | @levels]},
    log: {:one_of, [false | @levels]},
    log_stacktrace_mfa: :mfa,
    stacktrace: {:one_of, [true, false, nil]},
    telemetry_prefix: :names,
    show_sensitive_data_on_connection_error: :boolean,
    name: :name,
    sidecar: :sidecar,
    retry: :retry,
    migration_lock_lease: {:integer, 1},
    admin_url: :text,
    admin_auth_key: :secret,
    # ecto_libsql's. A file and a server are always in step.
    sync: :boolean,
    read_your_writes: :boolean,
    ignored_options: :names
  ]

  # Names that are passed over: of Ecto, its migrator and generators, of DBConnection, of a `DATABASE_URL`, and of the
  # adapters from which applications come.
  @others [:otp_app, :adapter, :repo, :priv] ++
            [:telemetry_options, :telemetry_event, :query_cache, :prepare] ++
            [:migration_source, :migration_lock, :migration_repo, :migration_primary_key] ++
            [:migration_foreign_key, :migration_timestamps, :migration_default_prefix] ++
            [:migration_cast_version_column, :migration_advisory_lock_retry_interval_ms] ++
            [:migration_advisory_lock_max_tries, :start_apps_before_migration, :migrator] ++
            [:dump_path, :dump_prefixes, :structure_path, :ecto_repos, :read_only, :default_dynamic_repo] ++
            [:pool_index, :label, :types, :caller] ++
            [:scheme, :hostname, :username, :password, :port, :ssl, :ssl_opts, :parameters, :query] ++
            [:socket_options, :socket_dir, :socket, :charset, :collation, :encoding, :template] ++
            [:maintenance_database, :database_url, :show_sensitive_data_on_errors] ++
            [:chunk_size, :progress_handler_steps]

  # Those of `EctoLibSql.Options` that are set for the whole application.
  @of_application Settings.names()

  # A name that the pool has as well (`:backoff_min`) is the pool's.
  @of_sidecar LibsqlPort.Options.sidecar_names()

  # Of this adapter alone.
  @internal [
    :repeated,
    :sidecar_name,
    :memory_name,
    :private_copy,
    :lane_ref,
    :lane_elsewhere,
    :schema_changes
  ]

  @doc "Returns `:ok`, or an error of code `:invalid_option` that names the option and what it takes."
  @spec check(keyword) :: :ok | {:error, Error.t()}
  def check(options) do
    with {:ok, _driver_options, _mode} <- Options.check(options),
         :ok <- values(options),
         :ok <- sizes(options[:pool_size_min], Keyword.get(options, :pool_size, 1)),
         :ok <- names(options),
         :ok <- OptionPlaces.check(start(options), options),
         :ok <- admin_api(options),
         do: sidecar_options(options[:sidecar_options])
  end

  # Ecto names the Repo among the options that it starts one with.
  defp start(options), do: if(options[:repo], do: :repo, else: :pool)

  defp values(options) do
    Enum.find_value(options, :ok, fn {name, value} ->
      type = @checked[name]

      if type && not fits?(type, value),
        do: error("the option #{inspect(name)} takes #{takes(type)}#{shown(type, value)}")
    end)
  end

  defp shown(:secret, _value), do: ""
  defp shown(_type, value), do: ", not #{inspect(value)}"

  defp sizes(min, max) when min > max and min != nil,
    do: error("the option :pool_size_min, #{min}, is more than :pool_size, #{max}")

  defp sizes(_min, _max), do: :ok

  defp names(options) do
    ignored = options[:ignored_options] || []

    case Enum.find(options, fn {name, _value} -> not (known?(name) or name in ignored) end) do
      nil ->
        :ok

      {name, value} when name in @of_application ->
        error(
          "the option #{inspect(name)} is one of the application, not of a Repo: write " <>
            "`config :ecto_libsql_port, #{name}: #{inspect(value)}`"
        )

      {name, value} when name in @of_sidecar ->
        error(
          "the option #{inspect(name)} is one of the sidecar, not of a Repo: write " <>
            "sidecar_options: [#{name}: #{inspect(value)}]"
        )

      {name, _value} ->
        known =
          ((Options.names() -- ExqliteOptions.refused()) ++ Keyword.keys(@checked))
          |> Enum.uniq()
          |> Enum.sort()

        error(
          "unknown option #{inspect(name)}#{OptionCheck.hint(name, known)}; known are " <>
            "#{Enum.map_join(known, ", ", &inspect/1)}. One that belongs to the application is passed over if " <>
            ":ignored_options names it"
        )
    end
  end

  defp known?(name), do: name in Options.names() or name in (Keyword.keys(@checked) ++ @others ++ @internal)

  # Asked by Mix tasks alone, which are not the time to learn that it never could have been.
  defp admin_api(options) do
    with {:error, message} <- AdminApi.check(options), do: error(message)
  end

  # Those of `LibsqlPort.start_link/1`, before a process is started with them.
  defp sidecar_options(nil), do: :ok

  defp sidecar_options(options) do
    case LibsqlPort.Options.sidecar(options) do
      {:ok, _} -> :ok
      {:error, error} -> error("the option :sidecar_options: " <> error.message)
    end
  end

  defp fits?({:integer, min}, value), do: is_integer(value) and value >= min
  defp fits?({:one_of, values}, value), do: value in values
  defp fits?(:boolean, value), do: is_boolean(value)
  defp fits?(:retry, value), do: match?({:ok, _}, Retry.of_option(value))
  defp fits?(:secret, %LibsqlPort.Secret{}), do: true
  defp fits?(type, value) when type in [:text, :secret], do: is_binary(value) or value == nil
  defp fits?(:timeout, value), do: value == :infinity or fits?({:integer, 1}, value)
  defp fits?(:queue_max, value), do: value == :infinity or fits?({:integer, 1}, value)
  defp fits?(:range, value), do: match?(%Range{first: first} when first >= 0, value)
  # Ecto puts its own pool in the place of a sandbox, which is none.
  defp fits?(:pool, value) do
    is_atom(value) and Code.ensure_loaded?(value) and
      (function_exported?(value, :checkout, 3) or function_exported?(value, :unboxed_run, 2))
  end

  defp fits?(:lane, value) when is_boolean(value), do: true

  defp fits?(:lane, value) do
    Keyword.keyword?(value) and Keyword.keys(value) -- [:size, :idle_timeout] == [] and
      Enum.all?(value, fn {_name, number} -> fits?({:integer, 1}, number) end)
  end

  defp fits?(:ownership_mode, {:shared, owner}), do: is_pid(owner)
  defp fits?(:ownership_mode, value), do: value in [:auto, :manual]

  defp fits?(:mfa, {module, name, arguments}),
    do: is_atom(module) and is_atom(name) and is_list(arguments)

  defp fits?(:mfa, _value), do: false
  defp fits?(:names, value), do: OptionCheck.list_of?(value, &is_atom/1)
  defp fits?(:function, nil), do: true

  defp fits?(:function, value), do: is_function(value, 1) or fits?(:mfa, value)
  defp fits?(:listeners, {listeners, _tag}), do: fits?(:listeners, listeners)
  defp fits?(:listeners, value), do: OptionCheck.list_of?(value, &(is_pid(&1) or is_atom(&1)))
  defp fits?(:sidecar, nil), do: true
  defp fits?(:sidecar, {name, node}) when is_atom(name) and is_atom(node), do: true
  defp fits?(:sidecar, value), do: is_pid(value) or fits?(:name, value)
  defp fits?(:name, {:global, _term}), do: true
  defp fits?(:name, {:via, module, _term}), do: is_atom(module)
  defp fits?(:name, value), do: is_atom(value)

  defp takes({:integer, 0}), do: "an integer, 0 or more"
  defp takes({:integer, 1}), do: "an integer, 1 or more"
  defp takes({:one_of, values}), do: "one of " <> Enum.map_join(values, ", ", &inspect/1)
  defp takes(:boolean), do: "true or false"
  defp takes(:retry), do: Retry.takes()
  defp takes(type) when type in [:text, :secret], do: "a text"
  defp takes(:timeout), do: ":infinity or milliseconds from 1"
  defp takes(:queue_max), do: ":infinity or an integer, 1 or more"
  defp takes(:range), do: "a range of milliseconds such as 60_000..120_000"
  defp takes(:lane), do: "true, false or a list of :size and :idle_timeout, each an integer, 1 or more"
  defp takes(:pool), do: "a module that implements a pool of DBConnection"
  defp takes(:ownership_mode), do: ":auto, :manual or {:shared, process}"
  defp takes(:mfa), do: "{module, function, arguments}"
  defp takes(:names), do: "a list of names"
  defp takes(:function), do: "a function of one argument or {module, function, arguments}"
  defp takes(:listeners), do: "a list of processes, or {list, tag}"
  defp takes(:sidecar), do: "the name or process of a running LibsqlPort"
  defp takes(:name), do: "an atom, {:global, term} or {:via, module, term}"

  defp error(message), do: {:error, %Error{code: :invalid_option, message: message}}
end
