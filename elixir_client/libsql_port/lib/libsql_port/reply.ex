defmodule LibsqlPort.Reply do
  @moduledoc false
  # The one door through which replies become values: decodes a frame, tells an error reply from the others, and joins
  # the rows that came in frames before it. Pure.

  alias LibsqlPort.{Error, Result, Wire}

  @type chunk :: {non_neg_integer, binary}
  @type times :: {non_neg_integer, non_neg_integer, non_neg_integer} | nil

  @ok Wire.tag(:ok)
  @error Wire.tag(:error)
  @result Wire.tag(:result)
  @batch Wire.tag(:batch_reply)
  @more_rows Wire.tag(:more_rows)
  @last_rows Wire.tag(:last_rows)

  @doc "The value of a reply, with the times that it tells, in microseconds."
  @spec read(binary, [chunk]) :: {:ok, term, times} | {:error, Error.t()}
  def read(frame, chunks) do
    {_id, tag, payload} = :erlang.binary_to_term(frame, [:safe])
    value(tag, payload, chunks)
  end

  defp value(@ok, value, []), do: {:ok, value, nil}
  defp value(@error, error, _chunks), do: {:error, Error.from_wire(error)}

  defp value(@result, result, chunks) do
    {_, _, _, _, _, _, queue, lock, run} = result
    {:ok, joined(Result.from_wire(result), chunks), {queue, lock, run}}
  end

  defp value(@batch, {items, status, queue, lock, run}, []) do
    status = Result.tx_status(status)
    {:ok, Enum.map(items, &item(&1, status)), {queue, lock, run}}
  end

  defp value(@more_rows, rows, []), do: {:ok, {:more, rows}, nil}
  defp value(@last_rows, rows, []), do: {:ok, {:done, rows}, nil}

  defp joined(result, []), do: result
  defp joined(result, chunks), do: %{result | rows: Wire.join_rows(chunks)}

  defp item({:error, error}, _status), do: {:error, Error.from_wire(error)}
  defp item(item, status), do: Result.from_item(item, status)
end
