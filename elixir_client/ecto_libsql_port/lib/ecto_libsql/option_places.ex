defmodule EctoLibSql.OptionPlaces do
  @moduledoc false
  # Which of this library's own options have an effect where: in a Repo, in a pool of `EctoLibSql.start_link/1`, or on a connection of
  # `EctoLibSql.connect/1`; and for a database in a file, on a server, or in a replica. One that would have none is refused, because to
  # pass it over would be to promise what is not done. Called by `StartOptions` and by `EctoLibSql.connect/1`.
  #
  # The driver does the same for the options of a connection (`LibsqlPort.Options`). Those of Ecto and DBConnection are passed over: the
  # configuration of a Repo is shared by its tests and its Mix tasks. Those that say how a server is reached are not, beside one.

  alias EctoLibSql.{Error, ServerLocation}

  @starts [:repo, :pool, :connection]
  @places [:local, :remote, :replica]

  @pooled [:repo, :pool]
  @no_pool "a connection that is opened by hand is in no pool"
  @file "it is for a database on a server, and this one is in a file"

  # The starts and the places where it has an effect, and what is said elsewhere.
  @table [
    retry:
      {@pooled, @places,
       connection:
         "nothing is repeated on a connection that is opened by hand: start a pool by EctoLibSql.start_link/1, or repeat the call"},
    lane:
      {[:repo], [:local, :replica],
       pool: "only a Repo has a lane",
       connection: @no_pool,
       remote: "a statement takes far longer on its way to a server than through the pool"},
    pool_count:
      {[:repo], @places, pool: "only a Repo has several pools: start several of these", connection: @no_pool},
    pool_size_min: {@pooled, @places, connection: @no_pool},
    pool_idle_timeout: {@pooled, @places, connection: @no_pool},
    queue_max: {@pooled, @places, connection: @no_pool},
    queue_threshold: {@pooled, @places, connection: @no_pool},
    sidecar_options:
      {@pooled, @places,
       connection:
         "connections that are opened by hand share a sidecar: start one with these options by LibsqlPort.start_link/1, and name it by " <>
           ":sidecar"},
    migration_lock_lease:
      {[:repo], [:remote, :replica],
       pool: "only a Repo is migrated",
       connection: "only a Repo is migrated",
       local: @file <> ". Its migrators take turns by a lock beside the file"},
    admin_url:
      {[:repo], [:remote],
       pool: "it is for mix ecto.create and mix ecto.drop of a Repo",
       connection: "it is for mix ecto.create and mix ecto.drop of a Repo",
       local: @file,
       replica: "mix ecto.create makes the file of a replica, not the database on the server"},
    admin_auth_key:
      {[:repo], [:remote],
       pool: "it is for mix ecto.create and mix ecto.drop of a Repo",
       connection: "it is for mix ecto.create and mix ecto.drop of a Repo",
       local: @file,
       replica: "mix ecto.create makes the file of a replica, not the database on the server"}
  ]

  @on_address "the address says where the server is"
  @on_tls "TLS is spoken where the address is https:// or libsql://, and :ca_file, :client_cert_file and :roots say whom to trust"
  @on_token "a server knows its clients by the option :auth_token"
  @on_socket "the sidecar opens the connections"

  # Of Ecto and of other adapters. Beside a file they are what a configuration has left over; beside the address of a server they
  # look as if they said how it is reached.
  @foreign [
    hostname: @on_address,
    port: @on_address,
    ssl: @on_tls,
    ssl_opts: @on_tls,
    username: @on_token,
    password: @on_token,
    socket_options: @on_socket,
    socket: @on_socket,
    socket_dir: @on_socket,
    parameters: @on_address
  ]

  @type start :: :repo | :pool | :connection

  @doc "The options, and where each has an effect."
  @spec table() :: [{atom, [start], [:local | :remote | :replica]}]
  def table, do: for({name, {starts, places, _elsewhere}} <- @table, do: {name, starts, places})

  @doc "Returns `:ok`, or an error of code `:invalid_option` that names an option without effect here, and what to do."
  @spec check(start, keyword) :: :ok | {:error, Error.t()}
  def check(start, options) when start in @starts do
    case ServerLocation.of(options) do
      {:ok, place} -> check(start, kind(place), options)
      # Whoever reads it says why.
      {:error, _message} -> :ok
    end
  end

  defp kind({kind, _address}), do: kind
  defp kind(:local), do: :local

  defp check(start, place, options) do
    with :ok <- two_sidecars(options),
         :ok <- foreign(place, options) do
      Enum.find_value(@table, :ok, fn {name, {starts, places, elsewhere}} ->
        cond do
          off?(name, options[name]) -> nil
          start not in starts -> refused(name, elsewhere[start])
          place not in places -> refused(name, elsewhere[place])
          true -> nil
        end
      end)
    end
  end

  defp foreign(:local, _options), do: :ok

  defp foreign(_server, options) do
    Enum.find_value(@foreign, :ok, fn {name, why} ->
      unless off?(name, options[name]), do: refused(name, why)
    end)
  end

  # What is so anyway.
  defp off?(_name, value) when value in [nil, false, []], do: true
  defp off?(:pool_count, 1), do: true
  defp off?(_name, _value), do: false

  defp two_sidecars(options) do
    if options[:sidecar] != nil and not off?(:sidecar_options, options[:sidecar_options]),
      do:
        refused(
          :sidecar_options,
          "they are for a sidecar that is started, and :sidecar names one that runs: give them where that is started"
        ),
      else: :ok
  end

  defp refused(name, why) do
    {:error,
     %Error{
       code: :invalid_option,
       message:
         "the option #{inspect(name)} has no effect here: #{why}. Leave it out, or set it where it belongs"
     }}
  end
end
