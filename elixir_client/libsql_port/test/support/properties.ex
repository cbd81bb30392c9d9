defmodule LibsqlPort.Properties do
  @moduledoc "PropEr without its macros, which are Erlang's."

  @doc "Holds the property for so many random cases, or fails with the smallest one that breaks it."
  def check!(type, property, cases \\ 200) do
    forall = apply(:proper, :forall, [type, &holds?(property, &1)])
    options = [:long_result, :quiet, {:numtests, cases}]

    case apply(:proper, :quickcheck, [forall, options]) do
      true ->
        true

      counterexample ->
        raised = Process.delete(:libsql_port_property_raised)
        ExUnit.Assertions.flunk("broken by #{inspect(counterexample, limit: :infinity)}\n#{raised}")
    end
  end

  # PropEr 1.2 asks for the stack of an exception in a way that newer Erlangs no longer know, so it is to see none.
  defp holds?(property, instance) do
    property.(instance)
  rescue
    error ->
      Process.put(:libsql_port_property_raised, Exception.format(:error, error, __STACKTRACE__))
      false
  end

  def type(name, arguments \\ []), do: apply(:proper_types, name, arguments)

  def one_of(types), do: type(:oneof, [types])
  def list(type), do: type(:list, [type])

  @doc "A value as SQL knows it, text in UTF-8."
  def value do
    one_of([
      nil,
      true,
      false,
      :infinity,
      :neg_infinity,
      type(:integer),
      type(:integer, [-9_223_372_036_854_775_808, 9_223_372_036_854_775_807]),
      one_of([0, 127, 128, 255, 256, 2_147_483_647, 2_147_483_648, -2_147_483_648, -2_147_483_649]),
      type(:float),
      text(),
      {:blob, type(:binary)}
    ])
  end

  @doc "Characters of all planes, NUL among them."
  def text do
    char = one_of([type(:integer, [0, 0xD7FF]), type(:integer, [0xE000, 0x10FFFF]), type(:integer, [0, 127])])
    apply(:proper_types, :bind, [list(char), &List.to_string/1, false])
  end
end
