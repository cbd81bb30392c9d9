defmodule EctoLibSql.CallOptions do
  @moduledoc false
  # Checks the options of a call before it enters the pool. DBConnection takes them as they are: a `:timeout` of 1.5 raises
  # after the connection was taken and never gives it back, a `:queue` that is no boolean ends the pool. Called by `EctoLibSql`.
  #
  # Calls bear the names of Ecto, its telemetry and the application as well, so an unknown name is no error. One that is almost a name of ours
  # is: `polcy: false` would be passed over, and the statement run under the policy. What a name is taken for is found out once: names are
  # those of a program's text. Those that nearly every call bears are in clauses, and looked up nowhere.
  #
  # Options that bound the chunks of a stream (`:max_rows`, `:chunk_bytes`, `:stream`, `:read_ahead`) change no rows, so all other calls pass
  # them over: a Repo's `default_options/1` gives them to every call. A checkout refuses what its calls would not be run with though they were
  # told to be safer by it. `:policy` and `:defensive` of a transaction or a checkout hold for all their statements (`EctoLibSql.Privileges`). `:consistency` and `:max_lag` say how
  # new a replica has to be; a file and a server always are.

  alias EctoLibSql.{Error, OptionSlips}
  alias EctoLibSql.Lane.Slots
  alias EctoLibSql.Retry
  alias LibsqlPort.OptionCheck

  @takes [
    timeout: "milliseconds or :infinity",
    deadline: "a time of System.monotonic_time(:millisecond) or nil",
    queue: "true or false",
    checkout_retries: "an integer, 0 or more",
    max_rows: "an integer, 1 or more",
    chunk_bytes: "an integer, 0 or more",
    stream: ":live or nil",
    read_ahead: "true or false",
    policy: "false, in a call",
    defensive: "true or false",
    lane: "false, in a call",
    retry: "false, in a call",
    consistency: ":local, :read_your_writes or :latest",
    max_lag: "milliseconds, 1 or more",
    ignored_options: "a list of names"
  ]

  # Read by `EctoLibSql.Protocol` and checked there, or by the driver.
  @ours [:lock_timeout, :mode, :isolation_level]

  # Put here by the adapter.
  @internal [
    :json,
    :single,
    :returned_rowid,
    :pragmas,
    :schema_changes,
    :retries,
    :server,
    :migration_lock_lease
  ]

  # Of `DBConnection`, Ecto and its migrator.
  @others ~w(log pool pool_size queue_target queue_interval ownership_timeout name caller label source prefix)a ++
            ~w(cast_params cache_statement telemetry_event telemetry_options stacktrace returning on_conflict)a ++
            ~w(conflict_target replace_changed placeholders force allow_stale stale_error_field)a ++
            ~w(stale_error_message query_cache schema_migration repo sandbox in_parallel on_preloader_spawn)a ++
            ~w(wrap_in_transaction analyze verbose format type)a

  # What a slip may have been meant to be. Shorter names are one letter from too many words.
  @meant for name <- Keyword.keys(@takes) ++ @ours, byte_size(Atom.to_string(name)) > 4, do: name

  # Of a connection, and of a Repo: a call that names a tenant would run on the Repo's own database. The owner of something may be the
  # application's.
  @of_connections [:uri | LibsqlPort.Options.connection_names()] --
                    (Keyword.keys(@takes) ++ @ours ++ @internal ++ @others ++ [:owner])

  @elsewhere "An option of the application's own is passed over if :ignored_options of the Repo or of the call names it"

  # What none of a checkout's statements would be run with. No defaults of a Repo reach checkouts.
  @refused_by_checkouts [:mode, :lock_timeout]

  @doc "Returns `:ok`, or an error of code `:invalid_option` that names the option and what it takes."
  @spec check(term) :: :ok | {:error, Error.t()}
  def check(options), do: options |> unfit() |> told(options)

  defp told(unfit, options) do
    case unfit do
      nil ->
        :ok

      {:slip, name, meant, rest} ->
        if name in ignored(options),
          do: rest |> unfit() |> told(options),
          else: error("unknown option #{inspect(name)}; did you mean #{inspect(meant)}? #{@elsewhere}")

      {:of_connections, name, rest} ->
        if name in ignored(options),
          do: rest |> unfit() |> told(options),
          else:
            error(
              "the option #{inspect(name)} is one of a connection, and has no effect on a call: give it to the Repo, or start another " <>
                "one. #{@elsewhere}"
            )

      {name, value} when is_atom(name) ->
        error("the option #{inspect(name)} takes #{@takes[name]}, not #{inspect(value)}")

      _other ->
        error("options are a keyword list, not #{inspect(options)}")
    end
  end

  @doc "Raises that error, also for an option without effect on a checkout."
  @spec check!(:transaction | :checkout, term) :: :ok
  def check!(:transaction, options), do: check!(options)

  def check!(:checkout, options) do
    check!(options)

    for {name, _value} <- options, name in @refused_by_checkouts do
      with {:error, error} <-
             error("the option #{inspect(name)} has no effect on a checkout: give it to the calls in it"),
           do: raise(error)
    end

    :ok
  end

  @doc "Raises that error."
  @spec check!(term) :: :ok
  def check!(options), do: with({:error, error} <- check(options), do: raise(error))

  # The first one that is wrong. Every call comes by here, so nothing is looked up.
  defp unfit([{:timeout, value} | rest]) when is_integer(value) or value == :infinity, do: unfit(rest)
  defp unfit([{:deadline, value} | rest]) when is_integer(value) or value == nil, do: unfit(rest)
  defp unfit([{:queue, value} | rest]) when is_boolean(value), do: unfit(rest)
  defp unfit([{:checkout_retries, value} | rest]) when is_integer(value) and value >= 0, do: unfit(rest)
  defp unfit([{:max_rows, value} | rest]) when is_integer(value) and value > 0, do: unfit(rest)
  defp unfit([{:chunk_bytes, value} | rest]) when is_integer(value) and value >= 0, do: unfit(rest)
  defp unfit([{:stream, value} | rest]) when value in [:live, nil], do: unfit(rest)
  defp unfit([{:read_ahead, value} | rest]) when is_boolean(value), do: unfit(rest)
  defp unfit([{:policy, false} | rest]), do: unfit(rest)
  defp unfit([{:defensive, value} | rest]) when is_boolean(value), do: unfit(rest)

  defp unfit([{:max_lag, value} | rest]) when is_integer(value) and value > 0, do: unfit(rest)

  defp unfit([{:consistency, value} | rest]) when value in [:local, :read_your_writes, :latest],
    do: unfit(rest)

  # What is no `false` is the lane itself. The adapter puts it in front of the Repo's own options, which were checked when that started.
  defp unfit([{:lane, false} | rest]), do: unfit(rest)
  defp unfit([{:lane, %Slots{}} | _of_the_repo]), do: nil
  defp unfit([{:retry, value} | rest]) when value == false or is_struct(value, Retry), do: unfit(rest)

  defp unfit([{:ignored_options, value} = given | rest]),
    do: if(OptionCheck.list_of?(value, &is_atom/1), do: unfit(rest), else: given)

  for {name, _takes} <- Keyword.delete(@takes, :ignored_options) do
    defp unfit([{unquote(name), _value} = wrong | _rest]), do: wrong
  end

  for name <- @of_connections do
    defp unfit([{unquote(name), _value} | rest]), do: {:of_connections, unquote(name), rest}
  end

  for name <- @ours ++ @internal ++ @others do
    defp unfit([{unquote(name), _value} | rest]), do: unfit(rest)
  end

  defp unfit([{name, _value} | rest]) when is_atom(name) do
    case meant(name) do
      nil -> unfit(rest)
      meant -> {:slip, name, meant, rest}
    end
  end

  defp unfit([]), do: nil
  defp unfit(_no_keyword_list), do: :none

  # Only ever added to, so nothing is collected for it.
  defp meant(name) do
    key = {__MODULE__, name}

    with :unknown <- :persistent_term.get(key, :unknown) do
      meant = OptionSlips.meant(name, @meant)
      :persistent_term.put(key, meant)
      meant
    end
  end

  # Of the call and of its Repo. One that is no list is told in its turn.
  defp ignored([{:ignored_options, names} | rest]),
    do: if(OptionCheck.list?(names), do: names ++ ignored(rest), else: ignored(rest))

  defp ignored([_other | rest]), do: ignored(rest)
  defp ignored(_end), do: []

  defp error(message), do: {:error, %Error{code: :invalid_option, message: message}}
end
