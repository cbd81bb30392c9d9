defmodule EctoLibSql.Properties do
  @moduledoc false
  # PropEr without its macros, which are Erlang's, and generators of the values that Ecto's types have. PropEr is no
  # dependency: whoever uses this tags its tests `:proper`.

  # Every day that a date of ISO 8601 with four digits can name.
  @days {0, 3_652_424}
  @microseconds 86_400_000_000

  @doc "Holds the property for so many random cases, or fails with the smallest one that breaks it."
  def check!(type, property, cases \\ 60) do
    forall = apply(:proper, :forall, [type, &holds?(property, &1)])

    with broken when broken != true <-
           apply(:proper, :quickcheck, [forall, [:long_result, :quiet, numtests: cases]]) do
      ExUnit.Assertions.flunk("broken by #{inspect(broken, limit: :infinity)}\n#{Process.get(__MODULE__)}")
    end
  end

  # PropEr 1.2 cannot read the stack of an exception on newer Erlangs, so none may reach it.
  defp holds?(property, instance) do
    property.(instance)
  rescue
    error ->
      Process.put(__MODULE__, Exception.format(:error, error, __STACKTRACE__))
      false
  end

  def type(name, arguments \\ []), do: apply(:proper_types, name, arguments)
  def range({from, to}), do: type(:integer, [from, to])
  def one_of(types), do: type(:oneof, [types])
  def list(type), do: type(:list, [type])

  @doc "What a function makes of a generated value; smaller cases are sought among the made ones' sources."
  def map(type, fun), do: apply(:proper_types, :bind, [type, fun, false])

  @doc "Up to 20 values, some of them nil."
  def column(type), do: map(list(one_of([type, type, type, nil])), &Enum.take(&1, 20))

  def int64, do: one_of([type(:integer), range({-0x8000000000000000, 0x7FFFFFFFFFFFFFFF})])

  @doc "Characters of all planes, NUL among them."
  def text do
    map(list(one_of([range({0, 127}), range({0, 0xD7FF}), range({0xE000, 0x10FFFF})])), &List.to_string/1)
  end

  @doc "Decimals of up to 40 digits, far beyond what a float holds."
  def decimal do
    coef = one_of([range({0, 1_000}), range({0, 0xFFFFFFFFFFFFFFFF}), range({0, Integer.pow(10, 40)})])
    map({one_of([1, -1]), coef, range({-40, 40})}, fn {sign, coef, exp} -> Decimal.new(sign, coef, exp) end)
  end

  @doc "The decimal that `text` writes, of any length: `Decimal.new/1` of Decimal 3 takes no more than 34 digits."
  def decimal!(text) do
    Code.ensure_loaded!(Decimal)
    new? = function_exported?(Decimal, :parse, 2)
    unlimited = if new?, do: [[max_digits: :infinity, max_exponent: :infinity]], else: []
    {decimal, ""} = apply(Decimal, :parse, [text | unlimited])
    decimal
  end

  @doc "Decimals of at most 34 digits when written out: Ecto with Decimal 3 reads no more in embeds."
  def json_decimal do
    map({range({-0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF}), range({-30, 10})}, fn {coef, exp} ->
      Decimal.new(if(coef < 0, do: -1, else: 1), abs(coef), exp)
    end)
  end

  def date, do: map(range(@days), &Date.from_gregorian_days/1)

  def time_usec do
    map(range({0, @microseconds - 1}), &Time.add(Time.from_iso8601!("00:00:00.000000"), &1, :microsecond))
  end

  def time, do: map(time_usec(), &Time.truncate(&1, :second))
  def naive_usec, do: map({date(), time_usec()}, fn {date, time} -> NaiveDateTime.new!(date, time) end)
  def naive, do: map(naive_usec(), &NaiveDateTime.truncate(&1, :second))
  def utc_usec, do: map(naive_usec(), &DateTime.from_naive!(&1, "Etc/UTC"))
  def utc, do: map(naive(), &DateTime.from_naive!(&1, "Etc/UTC"))

  def uuid do
    map(list(range({0, 255})), fn bytes ->
      Ecto.UUID.load!(binary_part(:binary.list_to_bin(bytes) <> <<0::128>>, 0, 16))
    end)
  end

  @doc "What JSON can say, two levels deep."
  def json_object, do: object(one_of([scalar(), list(scalar()), object(scalar())]))

  def object(value), do: map(list({text(), value}), &Map.new/1)
  def scalar, do: one_of([nil, true, false, int64(), type(:float), text()])
end
