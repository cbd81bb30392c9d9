defmodule Peers.Inserts do
  # Rows into an empty table. That they are there is looked at, and the table emptied again, when the time is taken.
  @moduledoc false
  alias Peers.{Entry, Measure, Repo}

  @bulk 10
  @bulk_rows 1_000
  @timeout 60_000

  @doc "The rows of `in_bulk/1`."
  def batches do
    for batch <- 1..@bulk, do: Enum.map(1..@bulk_rows, &values((batch - 1) * @bulk_rows + &1))
  end

  def in_bulk(_quick?) do
    batches = batches()

    [
      emptied(@bulk * @bulk_rows, fn ->
        Enum.each(batches, &({@bulk_rows, nil} = Repo.insert_all(Entry, &1)))
      end)
    ]
  end

  def one_by_one(quick?) do
    rows = Measure.setting(quick?, 10_000, 1_000)
    [emptied(rows, fn -> {:ok, :ok} = Repo.transaction(fn -> insert_each(rows) end, timeout: @timeout) end)]
  end

  def autocommit(quick?) do
    rows = Measure.setting(quick?, 2_000, 300)
    [rows * 1_000_000 / emptied(rows, fn -> insert_each(rows) end)]
  end

  def autocommit_8(quick?) do
    rows = Measure.setting(quick?, 500, 50)

    taken =
      emptied(8 * rows, fn -> 1..8 |> Enum.map(&insert_each_apart(&1, rows)) |> Task.await_many(:infinity) end)

    [8 * rows * 1_000_000 / taken]
  end

  defp insert_each_apart(caller, rows) do
    Task.async(fn -> insert_each(((caller - 1) * rows + 1)..(caller * rows)) end)
  end

  defp insert_each(rows) when is_integer(rows), do: insert_each(1..rows)

  defp insert_each(numbers) do
    Enum.each(numbers, fn number ->
      %Entry{id: id} = Repo.insert!(struct!(Entry, values(number)))
      true = is_integer(id)
    end)
  end

  defp values(number),
    do: %{
      name: "name #{number}",
      value: number / 3,
      count: number,
      note: "a note of some fifty characters, as they are made"
    }

  defp emptied(rows, work) do
    sum = div(rows * (rows + 1), 2)

    Measure.checked_apart(work, fn _ ->
      %{rows: [[^rows, ^sum, ^rows]]} =
        Repo.sql!("SELECT count(*), sum(count), count(DISTINCT name) FROM entries")

      Repo.sql!("DELETE FROM entries")
    end)
  end
end
