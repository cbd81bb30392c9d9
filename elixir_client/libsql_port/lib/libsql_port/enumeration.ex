defmodule LibsqlPort.Enumeration do
  @moduledoc false
  # The rows of one scan of a table function: a process that holds the suspended enumeration, reads on when it is asked, and
  # halts it when the scan ends, so that what `Stream.resource/3` has opened is closed.
  #
  # Looks after each row whether its runner is there: without one nobody wants more, and the enumeration is halted. Code that
  # hangs meanwhile is ended by a guard.

  alias LibsqlPort.{Callback, CallChain}

  # A chunk ends early when its binaries come to so many bytes.
  @chunk_bytes_max 1_048_576

  @type chunk :: %{callback: Callback.t(), rows_max: pos_integer, context: term, left_ms: non_neg_integer}

  # How long the code of a row may go on after the end of the runner.
  @grace_ms 5_000

  @doc "Begins an enumeration for the calling runner, and reads its first rows. The process ends when it is over."
  @spec open([term], chunk) :: pid
  def open(arguments, chunk), do: :proc_lib.spawn(__MODULE__, :run, [self(), arguments, chunk])

  @doc "Reads the next rows and answers the call."
  @spec next(pid, chunk) :: :ok
  def next(pid, chunk) do
    send(pid, {:next, chunk})
    :ok
  end

  @doc "Ends an enumeration."
  @spec close(pid) :: :ok
  def close(pid) do
    send(pid, :close)
    :ok
  end

  @doc false
  def run(runner, arguments, chunk) do
    reader = self()
    spawn(fn -> guard(runner, reader) end)
    enumerable = fn -> apply(chunk.callback.function.fun, arguments) end
    read({:begin, enumerable}, chunk, {runner, Process.monitor(runner)})
  end

  defp guard(runner, reader) do
    of_reader = Process.monitor(reader)
    of_runner = Process.monitor(runner)

    receive do
      {:DOWN, ^of_reader, :process, _, _} ->
        :ok

      {:DOWN, ^of_runner, :process, _, _} ->
        receive do
          {:DOWN, ^of_reader, :process, _, _} -> :ok
        after
          @grace_ms -> Process.exit(reader, :kill)
        end
    end
  end

  defp read(rest, chunk, {runner, _monitor} = of) do
    chain = CallChain.enter(chunk.context, {chunk.callback.handle.port, chunk.callback.connection})
    CallChain.begin(chain, chunk.left_ms)
    result = Callback.run(chunk.callback, fn -> rows(rest, chunk, runner) end)
    CallChain.finish()

    case result do
      {:ok, {rows, bytes, next}} ->
        Callback.answer(chunk.callback, {:ok, {rows, next == nil}}, bytes)
        if next, do: wait(next, of)

      {:error, _message} ->
        Callback.answer(chunk.callback, result)
    end
  end

  defp wait(next, {_runner, monitor} = of) do
    receive do
      {:next, chunk} -> read({:go_on, next}, chunk, of)
      :close -> halt(next)
      {:DOWN, ^monitor, :process, _, _} -> halt(next)
    end
  end

  # A halt that fails has nobody to tell.
  defp halt(next) do
    next.({:halt, {[], 0, 0}})
    :ok
  catch
    _kind, _reason -> :ok
  end

  # --- rows -----------------------------------------------------------------------------------------------------

  defp rows(rest, %{callback: %{function: function}, rows_max: rows_max}, runner) do
    limits = {rows_max, length(function.columns), runner}

    case reduce(rest, {:cont, {[], 0, 0}}, limits) do
      {:suspended, {rows, _count, bytes}, next} -> {:ok, {Enum.reverse(rows), bytes, next}}
      {_done_or_halted, {rows, _count, bytes}} -> {:ok, {Enum.reverse(rows), bytes, nil}}
    end
  catch
    {:libsql_port_no_row, message} -> {:error, message}
  end

  # What the enumeration is reduced by lasts for all its chunks, and so does `rows_max` of the first. The program asks for
  # more with each chunk, so each one's own is looked up where it is current.
  defp reduce({:begin, enumerable}, command, {rows_max, columns, runner}) do
    Process.put(:libsql_port_rows_max, rows_max)
    Enumerable.reduce(enumerable.(), command, &take(&1, &2, columns, runner))
  end

  defp reduce({:go_on, next}, command, {rows_max, _columns, _runner}) do
    Process.put(:libsql_port_rows_max, rows_max)
    next.(command)
  end

  defp take(row, {rows, count, bytes}, columns, runner) do
    {row, size} = row(row, columns)
    taken = {[row | rows], count + 1, bytes + size}

    cond do
      not Process.alive?(runner) -> {:halt, taken}
      count + 1 >= Process.get(:libsql_port_rows_max) or bytes + size >= @chunk_bytes_max -> {:suspend, taken}
      true -> {:cont, taken}
    end
  end

  defp row(row, columns) when is_tuple(row) and tuple_size(row) == columns and elem(row, 0) != :blob,
    do: row |> Tuple.to_list() |> row(columns)

  defp row(row, columns) when is_list(row) do
    if List.improper?(row) or length(row) != columns,
      do: no_row("a row of the table function must be a list of #{columns} values, one for each column"),
      else: {row, size(row, 1, 0)}
  end

  defp row(_other, columns),
    do: no_row("a row of the table function must be a list or tuple of #{columns} values")

  defp size([value | rest], column, size) do
    case Callback.value(value) do
      {:ok, binary} when is_binary(binary) -> size(rest, column + 1, size + byte_size(binary))
      {:ok, {:blob, blob}} -> size(rest, column + 1, size + byte_size(blob))
      {:ok, _small} -> size(rest, column + 1, size)
      {:error, message} -> no_row("column #{column} of a row: " <> message)
    end
  end

  defp size([], _column, size), do: size

  defp no_row(message), do: throw({:libsql_port_no_row, message})
end
