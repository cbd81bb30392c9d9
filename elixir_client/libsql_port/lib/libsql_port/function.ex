defmodule LibsqlPort.Function do
  @moduledoc """
  SQL functions that are written in Elixir: what they are made of.

  `LibsqlPort.create_function/5`, `LibsqlPort.create_aggregate/5`, `LibsqlPort.create_table_function/4` and
  `LibsqlPort.create_collation/4` register one on a connection, or on a sidecar for all its connections, those that are
  opened later and after a restart of the program included. The option `:functions` of `LibsqlPort.connect/2` and of
  `LibsqlPort.start_link/1` takes a list of them, each as a tuple:

  | tuple | |
  |---|---|
  | `{:scalar, name, arity, fun}` | a value for the values of a row |
  | `{:aggregate, name, arity, definition}` | a value for the rows of a group; with `:inverse` also a window function |
  | `{:table, name, definition}` | rows for arguments: `SELECT * FROM name(1, 2)` |
  | `{:collation, name, definition}` | an order of texts: `ORDER BY title COLLATE name` |

  Each may have a keyword list of options behind it.

      {:ok, conn} =
        LibsqlPort.connect(MyApp.Sidecar,
          database: "app.db",
          functions: [{:scalar, "double", 1, fn x -> x * 2 end, deterministic: true}]
        )

      [42] = LibsqlPort.query_one!(conn, "SELECT double(21)")

  A function replaces what has the same name and number of arguments, SQLite's own included, and those count again when it
  is dropped.

  ## Arguments and results

  An argument is a value as in a result: text and blobs are binaries, NULL is `nil`. A result is a value as in a parameter:
  a binary is text and must be UTF-8, `{:blob, binary}` is a blob, `true` and `false` are 1 and 0. Anything else fails the
  statement.

  The arity is the number of arguments, and the function gets them one by one. With `:any` it gets one list. A name may be
  registered with several arities.

  ## Options

    * `:deterministic` - `true` says that the same arguments always give the same result. SQLite then computes a call with
      constant arguments once, and allows the function in indexes, generated columns and CHECK constraints. A function that
      is called deterministic and is not makes wrong indexes. Default `false`. Of scalar functions
    * `:directonly` - `true` allows the function in statements alone; `false` also in what is stored in the database: views,
      triggers, indexes, CHECK constraints, generated columns. A database file can come from a stranger, so what is stored in
      it calls your code only if you say so. Default `true`. Of scalar, aggregate and table functions
    * `:timeout` - milliseconds that each call may take, or `:infinity`; default 5000. A call never takes longer than
      the rest of its request's `:timeout`. Then the statement fails with `:callback_timeout`, and the process that ran the
      function is killed

  One of a sidecar is there until the supervisor that `LibsqlPort.start_link/1` has started ends; the option `:functions` of that is for the next
  one. One of a connection goes with the connection.

  ## Definitions

  Of an aggregate, a keyword list:

    * `:start` - the accumulator of a group without rows, or a function of no argument that returns it; defaults to `nil`
    * `:step` - a function that gets the arguments of a row one by one (with the arity `:any` as one list), then the
      accumulator, and returns the next accumulator. Required
    * `:finish` - a function that makes a value of the accumulator; by default it is the value
    * `:inverse` - as `:step`, for the row that leaves a window's frame
    * `:value` - as `:finish`, for the current row of a window; defaults to `:finish`

  The accumulator is any term. Rows travel in blocks.

  Of a table function, a keyword list:

    * `:columns` - the names of 1 to 100 columns. Required
    * `:parameters` - the names of up to 32 parameters; defaults to `[]`. One that is not given is `nil`
    * `:rows` - a function of as many arguments as there are parameters. Returns an enumerable of rows, each a list or a
      tuple with a value for each column. Required

  Rows are taken from the enumerable in chunks, as they are needed: it may be endless if the statement has a LIMIT. It is halted
  when the statement has ended, so that `Stream.resource/3` closes what it has opened.

  Of a collation `[key: fun]`: a function that makes a sort key, any binary, of a text. Texts are in the order of their keys'
  bytes, and equal if the keys are. The key of a text is computed once and kept. Do not create an index with a collation
  whose keys may change: it would be wrong afterwards.

  ## Where a function runs

  In a process of the driver, one for each connection, started at the first call. Calls of one connection run one after
  another. Each enumeration of a table function has a process of its own. `$callers` and Logger metadata are those of the
  process that runs the statement, so that `Ecto.Adapters.SQL.Sandbox`, Mox and log lines find it.

  The connection waits while a function runs. If the function, or a `Task` that it has started, uses this connection, it gets
  a `:callback_reentered` error at once; another connection works. A request that a function makes gets no more time than is
  left to the function.

  ## Errors

  | what the function does | what the statement gets |
  |---|---|
  | raises, throws or exits | `:callback_failed` with the exception's message |
  | returns what is no SQL value | `:callback_failed`, and the message says what it returned |
  | takes longer than its `:timeout` | `:callback_timeout` |
  | its process is killed, or linked to one that crashes | `:callback_failed` |

  A failed statement is undone as after any other error. Each failure is an event `[:libsql_port, :callback, :exception]`
  (see `LibsqlPort.Telemetry`), with the stack trace.

  A database whose schema uses a function or a collation can be opened without it. Statements that need it then fail with
  `:unknown_function`, and the message names it.
  """

  alias LibsqlPort.{Error, OptionCheck}

  @enforce_keys [:kind, :name]
  defstruct [
    :kind,
    :name,
    :fun,
    :start,
    :step,
    :inverse,
    :value,
    :finish,
    :filter,
    arguments: -1,
    columns: [],
    parameters: [],
    deterministic: false,
    directonly: true,
    timeout: 5_000
  ]

  @type kind :: :scalar | :aggregate | :window | :table | :collation | :commit | :authorizer | :auth_token
  @type name :: String.t() | atom
  @type arity_of_call :: 0..100 | :any

  @type t :: %__MODULE__{
          kind: kind,
          name: String.t(),
          fun: (... -> term) | nil,
          start: term,
          step: (... -> term) | nil,
          inverse: (... -> term) | nil,
          value: (term -> term) | nil,
          finish: (term -> term) | nil,
          # Of a commit hook: which changes it is asked about.
          filter: map | nil,
          arguments: -1..100,
          columns: [String.t()],
          parameters: [String.t()],
          deterministic: boolean,
          directonly: boolean,
          timeout: pos_integer | :infinity
        }

  @typedoc "A function as the option `:functions` takes it."
  @type spec :: tuple

  @name_bytes_max 255
  @arguments_max 100
  @columns_max 100
  @parameters_max 32
  @timeout_ms_max 2_147_483_647

  @options %{
    scalar: [:deterministic, :directonly, :timeout],
    aggregate: [:directonly, :timeout],
    window: [:directonly, :timeout],
    table: [:directonly, :timeout],
    collation: [:timeout]
  }

  @doc false
  # Checks a function and fills in the defaults; the error names what is wrong with it.
  @spec new(spec) :: {:ok, t} | {:error, Error.t()}
  def new({:scalar, name, arity, fun}), do: new({:scalar, name, arity, fun, []})
  def new({:aggregate, name, arity, definition}), do: new({:aggregate, name, arity, definition, []})
  def new({:table, name, definition}), do: new({:table, name, definition, []})
  def new({:collation, name, definition}), do: new({:collation, name, definition, []})

  def new({:scalar, name, arity, fun, options}) do
    with {:ok, function} <- named(:scalar, name),
         {:ok, arguments} <- arguments(function, arity),
         :ok <- takes(function, :fun, fun, called_with(arguments)) do
      options(%{function | arguments: arguments, fun: fun}, options)
    end
  end

  def new({:aggregate, name, arity, definition, options}) do
    with {:ok, function} <- named(:aggregate, name),
         {:ok, arguments} <- arguments(function, arity),
         :ok <- definition(function, definition, [:start, :step, :finish, :inverse, :value], [:step]),
         finish = Keyword.get(definition, :finish, &Function.identity/1),
         function = %{
           function
           | kind: if(definition[:inverse], do: :window, else: :aggregate),
             arguments: arguments,
             start: definition[:start],
             step: definition[:step],
             inverse: definition[:inverse],
             finish: finish,
             value: Keyword.get(definition, :value, finish)
         },
         :ok <- takes(function, :step, function.step, called_with(arguments) + 1),
         :ok <- takes(function, :finish, function.finish, 1),
         :ok <- takes(function, :value, function.value, 1),
         :ok <- window(function) do
      options(function, options)
    end
  end

  def new({:table, name, definition, options}) do
    with {:ok, function} <- named(:table, name),
         :ok <- definition(function, definition, [:columns, :parameters, :rows], [:columns, :rows]),
         {:ok, columns} <- names(function, :columns, definition[:columns], 1, @columns_max),
         {:ok, parameters} <- names(function, :parameters, definition[:parameters] || [], 0, @parameters_max),
         :ok <- distinct(function, columns ++ parameters),
         :ok <- takes(function, :rows, definition[:rows], length(parameters)) do
      options(%{function | columns: columns, parameters: parameters, fun: definition[:rows]}, options)
    end
  end

  def new({:collation, name, definition, options}) do
    with {:ok, function} <- named(:collation, name),
         :ok <- definition(function, definition, [:key], [:key]),
         :ok <- takes(function, :key, definition[:key], 1) do
      options(%{function | fun: definition[:key]}, options)
    end
  end

  def new(other) do
    error(
      "a function is {:scalar, name, arity, fun}, {:aggregate, name, arity, definition}, {:table, name, definition} or " <>
        "{:collation, name, definition}, each with a list of options behind it or without, not #{inspect(other)}"
    )
  end

  @doc false
  # The same for a list of them.
  @spec all([spec]) :: {:ok, [t]} | {:error, Error.t()}
  def all(specs), do: all(specs, [], specs)

  defp all([spec | rest], functions, given) do
    with {:ok, function} <- new(spec), do: all(rest, [function | functions], given)
  end

  defp all([], functions, _given), do: {:ok, Enum.reverse(functions)}

  defp all(_no_list, _functions, given),
    do: error("the option :functions takes a list of functions, not #{inspect(given)}")

  @doc false
  # The name and number of arguments of something that is to be dropped, as a function without code.
  @spec named(kind, name, arity_of_call) :: {:ok, t} | {:error, Error.t()}
  def named(kind, name, arity) do
    with {:ok, function} <- named(kind, name),
         {:ok, arguments} <- arguments(function, arity),
         do: {:ok, %{function | arguments: arguments}}
  end

  @doc false
  # What of its kind is replaced by another: SQLite compares names without regard to the case of ASCII letters.
  @spec key(t) :: term
  def key(%__MODULE__{kind: kind}) when kind in [:commit, :authorizer, :auth_token], do: kind

  def key(%__MODULE__{kind: kind} = function) do
    space = if kind in [:table, :collation], do: kind, else: :function
    {space, String.downcase(function.name, :ascii), function.arguments}
  end

  @doc false
  # The requests that register something of this kind, and end that.
  @spec requests(kind) :: {atom, atom}
  def requests(kind) when kind in [:commit, :authorizer], do: {:set_hook, :remove_hook}
  def requests(_function), do: {:create_function, :drop_function}

  @doc false
  # The function as it travels, under its number.
  @spec wire(t, non_neg_integer) :: map
  def wire(%__MODULE__{kind: kind} = hook, callback) when kind in [:commit, :authorizer] do
    Map.merge(hook.filter, %{
      "callback" => callback,
      "kind" => kind,
      "timeout" => if(hook.timeout == :infinity, do: 0, else: hook.timeout)
    })
  end

  def wire(%__MODULE__{} = function, callback) do
    map = %{
      "callback" => callback,
      "name" => function.name,
      "kind" => function.kind,
      "directonly" => function.directonly,
      "timeout" => if(function.timeout == :infinity, do: 0, else: function.timeout)
    }

    case function.kind do
      :table ->
        Map.merge(map, %{"columns" => function.columns, "parameters" => function.parameters})

      :collation ->
        map

      _of_values ->
        Map.merge(map, %{"arguments" => function.arguments, "deterministic" => function.deterministic})
    end
  end

  # --- checking -------------------------------------------------------------------------------------------------

  defp named(kind, name) when is_atom(name) and name not in [nil, true, false],
    do: named(kind, Atom.to_string(name))

  defp named(kind, name) when is_binary(name) and name != "" and byte_size(name) <= @name_bytes_max do
    if String.valid?(name) and not String.contains?(name, "\0"),
      do: {:ok, %__MODULE__{kind: kind, name: name}},
      else: error("the name of a function is text in UTF-8 without NUL, not #{inspect(name)}")
  end

  defp named(_kind, name),
    do:
      error(
        "the name of a function is a string or an atom of 1 to #{@name_bytes_max} bytes, not #{inspect(name)}"
      )

  defp arguments(_function, :any), do: {:ok, -1}
  defp arguments(_function, arity) when arity in 0..@arguments_max, do: {:ok, arity}

  defp arguments(function, arity) do
    error(function, "the arity is an integer from 0 to #{@arguments_max} or :any, not #{inspect(arity)}")
  end

  # With any number of arguments a function gets a list.
  defp called_with(-1), do: 1
  defp called_with(arguments), do: arguments

  defp definition(function, definition, known, required) do
    cond do
      not Keyword.keyword?(definition) ->
        error(function, "the definition is a keyword list of #{listed(known)}, not #{inspect(definition)}")

      unknown = Enum.find(Keyword.keys(definition), &(&1 not in known)) ->
        hint = OptionCheck.hint(unknown, known)
        error(function, "unknown #{inspect(unknown)}#{hint}; known are #{listed(known)}")

      missing = Enum.find(required, &(not Keyword.has_key?(definition, &1))) ->
        error(function, "#{inspect(missing)} is missing")

      true ->
        :ok
    end
  end

  defp takes(_function, _key, fun, arity) when is_function(fun, arity), do: :ok

  defp takes(function, key, other, arity) do
    arguments = if arity == 1, do: "1 argument", else: "#{arity} arguments"
    error(function, "#{inspect(key)} is a function of #{arguments}, not #{inspect(other)}")
  end

  defp window(%{inverse: nil}), do: :ok

  defp window(%{arguments: 0} = function),
    do: error(function, "a window function takes at least one argument")

  defp window(function), do: takes(function, :inverse, function.inverse, called_with(function.arguments) + 1)

  defp names(function, key, names, min, max) do
    if OptionCheck.list_of?(names, &name?/1) and length(names) in min..max,
      do: {:ok, Enum.map(names, &to_string/1)},
      else: error(function, "#{inspect(key)} is a list of #{min} to #{max} names, not #{inspect(names)}")
  end

  defp name?(name) when is_atom(name), do: name not in [nil, true, false]

  defp name?(name),
    do: is_binary(name) and name != "" and String.valid?(name) and not String.contains?(name, "\0")

  defp distinct(function, names) do
    names = Enum.map(names, &String.downcase(&1, :ascii))

    case names -- Enum.uniq(names) do
      [] -> :ok
      [twice | _] -> error(function, "the name #{inspect(twice)} is given twice among columns and parameters")
    end
  end

  defp options(function, options) do
    known = Map.fetch!(@options, function.kind)

    if Keyword.keyword?(options),
      do: Enum.reduce_while(options, {:ok, function}, &option(&1, &2, known)),
      else: error(function, "options are a keyword list, not #{inspect(options)}")
  end

  defp option({name, value}, {:ok, function}, known) do
    cond do
      name not in known ->
        hint = OptionCheck.hint(name, known)
        {:halt, error(function, "unknown option #{inspect(name)}#{hint}; known are #{listed(known)}")}

      fits?(name, value) ->
        {:cont, {:ok, Map.put(function, name, value)}}

      true ->
        {:halt, error(function, "the option #{inspect(name)} takes #{allowed(name)}, not #{inspect(value)}")}
    end
  end

  defp fits?(:timeout, value), do: value == :infinity or value in 1..@timeout_ms_max
  defp fits?(_flag, value), do: is_boolean(value)

  defp allowed(:timeout), do: ":infinity or milliseconds from 1 to #{@timeout_ms_max}"
  defp allowed(_flag), do: "true or false"

  defp listed(names), do: Enum.map_join(names, ", ", &inspect/1)

  defp error(%__MODULE__{} = function, message), do: error("the function #{function.name}: " <> message)
  defp error(message) when is_binary(message), do: {:error, Error.new(:invalid_option, message)}
end
