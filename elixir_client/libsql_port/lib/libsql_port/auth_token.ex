defmodule LibsqlPort.AuthToken do
  @moduledoc false
  # The token of a database on a server: given as text, or by a function of the application that is asked when the token is
  # needed. Such a function is called as SQL functions are (`LibsqlPort.Runner`), but is registered with the request that opens the
  # connection, which needs it already. No message that is made here bears a token, and none repeats what the function has returned or raised: it may be
  # the answer of whoever gives tokens out, or hold one.

  alias LibsqlPort.{Callback, Error, Function, Secret}

  @lifetime_ms_max 2_147_483_647

  @doc "What the option `:auth_token` holds: nothing, a text, or something to ask."
  @spec of_option(term) :: {:ok, nil | String.t() | Function.t()} | {:error, Error.t()}
  def of_option(nil), do: {:ok, nil}
  def of_option(%Secret{} = secret), do: secret |> Secret.reveal() |> of_option()

  def of_option(token) when is_binary(token) do
    if token?(token), do: {:ok, token}, else: error("is a text that is no token: " <> trouble(token))
  end

  def of_option(fun) when is_function(fun, 0), do: {:ok, function(fun)}

  def of_option({module, name, arguments}) when is_atom(module) and is_atom(name) and is_list(arguments),
    do: {:ok, function(fn -> apply(module, name, arguments) end)}

  # It may be a token in a wrong place.
  def of_option(_other),
    do: error("takes a text, a function without arguments, or {module, function, arguments}")

  defp function(fun), do: %Function{kind: :auth_token, name: "auth_token", fun: fun, filter: %{}}

  @doc "Asks the function; what the program is to be answered."
  @spec ask(Callback.t()) :: Callback.outcome()
  def ask(callback), do: answer(callback.function.fun.())

  defp answer({:ok, token}), do: answer(token)
  defp answer({:ok, token, lifetime_ms}), do: answer(token, lifetime_ms)
  defp answer({:error, reason}), do: {:error, "there is no token: the function returned " <> reason(reason)}
  defp answer(%Secret{} = secret), do: secret |> Secret.reveal() |> answer()

  defp answer(token) when is_binary(token) do
    if token?(token),
      do: {:ok, token},
      else: {:error, "the function returned a text that is no token: " <> trouble(token)}
  end

  defp answer(_other),
    do:
      {:error,
       "the function returned neither a token nor {:ok, token}, {:ok, token, lifetime_ms}, {:error, reason}"}

  defp answer(token, lifetime_ms) when lifetime_ms in 1..@lifetime_ms_max do
    with {:ok, token} <- answer(token), do: {:ok, {token, lifetime_ms}}
  end

  defp answer(_token, _lifetime),
    do: {:error, "the lifetime of a token is milliseconds from 1 to #{@lifetime_ms_max}"}

  # What is told of a reason is a name, or names and numbers such as `{:http, 503}`.
  defp reason(%struct{}), do: "{:error, %#{inspect(struct)}{}}"

  defp reason(reason) do
    if class?(reason),
      do: inspect({:error, reason}),
      else: "{:error, reason} with a reason that is not shown, since it may hold a token: atoms are"
  end

  defp class?(reason) when is_tuple(reason) and tuple_size(reason) in 1..4,
    do: reason |> Tuple.to_list() |> Enum.all?(&(is_atom(&1) or is_integer(&1)))

  defp class?(reason), do: is_atom(reason)

  @doc "What is told of a function that raised, threw or exited, in a message, and in an event."
  @spec failed(:error | :throw | :exit, term, Exception.stacktrace()) ::
          {message :: String.t(), reason :: term, Exception.stacktrace()}
  def failed(kind, reason, stacktrace) do
    class =
      case kind do
        :error -> Exception.normalize(:error, reason, stacktrace).__struct__
        _thrown_or_exited -> :not_shown
      end

    {words(kind, class), class, Enum.map(stacktrace, &without_arguments/1)}
  end

  defp words(:error, exception), do: "the function raised #{inspect(exception)}, which is not shown" <> why()
  defp words(:throw, _class), do: "the function threw something that is not shown" <> why()
  defp words(:exit, _class), do: "the function exited with a reason that is not shown" <> why()

  defp why, do: ", since it may hold a token"

  # A call without a clause that fits has its arguments in the stacktrace; what else is beside a place may quote them.
  defp without_arguments({module, name, arity, location}),
    do: {module, name, arity(arity), Keyword.take(location, [:file, :line])}

  defp without_arguments({fun, arity, location}),
    do: {fun, arity(arity), Keyword.take(location, [:file, :line])}

  defp arity(arguments) when is_list(arguments), do: length(arguments)
  defp arity(arity), do: arity

  # It travels in the header of a request.
  defp token?(token), do: token != "" and for(<<byte <- token>>, byte not in 0x21..0x7E, do: byte) == []

  defp trouble(""), do: "it is empty"

  defp trouble(token) do
    if token?(String.trim(token)),
      do: "there is white space before or after it, such as a line break of the file that it comes from",
      else: "it has characters that are not visible ASCII"
  end

  defp error(message), do: {:error, Error.new(:invalid_option, "the option :auth_token " <> message)}
end
