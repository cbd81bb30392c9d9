defmodule Scaling.Blobs do
  # A blob of 1 KiB to 256 MiB: put into a row as a bound value, a transaction each, and read back. Two defaults are too low for
  # the largest ones: a request of more than 16 MiB needs a longer frame, a row with a value of 256 MiB a longer length.
  @moduledoc false
  alias Bench.Statistics
  alias Scaling.{Quantity, Room, Table}

  @kib 1_024
  @mib 1_024 * @kib
  @bytes [@kib, 8 * @kib, 64 * @kib, 512 * @kib, 4 * @mib, 32 * @mib, 256 * @mib]
  @raised [frame_bytes_max: 257 * @mib]
  @limits [length: 257 * @mib]
  # Bytes that a round moves at least, and how often it does so at most.
  @work 8 * @mib
  @repetitions 200
  # The blob is in the VM twice and in the sidecar five times at most, on the disk in the log and in the file.
  @copies_in_memory 8
  @copies_on_disk 4

  def plots, do: [{"blobs", "Bytes of a blob: written as a bound value, read back"}]

  def run(scaling) do
    {sizes, left_out} =
      Room.split(
        Bench.setting(scaling, @bytes, [@kib, 64 * @kib, 4 * @mib]),
        scaling.directory,
        &%{memory: @copies_in_memory * &1, disk: @copies_on_disk * &1}
      )

    Scaling.with_sidecar(@raised, fn sidecar ->
      conn = Scaling.connect(sidecar, Path.join(scaling.directory, "blobs.db"), limits: @limits)
      {:ok, _} = LibsqlPort.script(conn, "CREATE TABLE blobs (id INTEGER PRIMARY KEY, bytes BLOB)")

      measured =
        Statistics.in_turns(Bench.setting(scaling, 5, 2), Enum.map(sizes, &round_of(sidecar, conn, &1)))

      for {key, series, title, bound} <- works() do
        points =
          for {bytes, rounds} <- Enum.zip(sizes, measured) do
            also = [{"sidecar's peak", rounds |> Enum.map(& &1.peak[key]) |> peak()}]
            figures = Enum.map(rounds, & &1[key])
            kib = bytes / @kib
            Table.point(bytes, figures, kib, also)
          end

        %Table{
          plot: "blobs",
          series: series,
          title: title,
          sizes: "bytes of the blob",
          kind: :binary_bytes,
          operation: "a call",
          unit: "KiB",
          points: points,
          bound: bound,
          left_out: left_out,
          notes: [
            "options raised: " <>
              Enum.map_join(@raised ++ @limits, ", ", fn {name, bytes} ->
                "#{name} #{Quantity.size(:binary_bytes, bytes)}"
              end)
          ]
        }
      end
    end)
  end

  defp works do
    [
      {:insert, "INSERT", "INSERT of a blob as a bound value", {64 * @kib, 2}},
      {:select, "SELECT", "SELECT of the same blob", {64 * @kib, 2}}
    ]
  end

  defp peak(peaks) do
    if Enum.all?(peaks), do: Quantity.cost(:bytes, Statistics.median(peaks)), else: "unknown"
  end

  defp round_of(sidecar, conn, bytes) do
    repetitions = Scaling.repetitions(bytes, @work, @repetitions)

    fn ->
      blob = blob(bytes)
      {insert, insert_peak} = measured(sidecar, repetitions, fn -> insert(conn, blob) end)
      {select, select_peak} = measured(sidecar, repetitions, fn -> select(conn, bytes) end)
      {:ok, _} = LibsqlPort.query(conn, "DELETE FROM blobs")
      {:ok, _} = LibsqlPort.checkpoint(conn, mode: :truncate)
      %{insert: insert, select: select, peak: %{insert: insert_peak, select: select_peak}}
    end
  end

  # In a process of its own, which takes the binaries that it got with it.
  defp measured(sidecar, repetitions, fun) do
    Scaling.forget_peak(sidecar)
    before = Scaling.processor(sidecar)
    taken = Task.await(Task.async(fn -> Scaling.average(repetitions, fun) end), :infinity)
    processor = Scaling.per_operation(before, Scaling.processor(sidecar), repetitions)
    {{taken, processor}, Scaling.process(sidecar).peak}
  end

  defp insert(conn, blob) do
    {:ok, _} = LibsqlPort.query(conn, "INSERT OR REPLACE INTO blobs VALUES (1, ?1)", [{:blob, blob}])
  end

  defp select(conn, bytes) do
    {:ok, [blob]} = LibsqlPort.query_one(conn, "SELECT bytes FROM blobs WHERE id = 1")
    ^bytes = byte_size(blob)
  end

  # Nothing that compresses well matters here, but no two pages of a megabyte are alike.
  defp blob(bytes) when bytes <= @mib, do: :rand.bytes(bytes)
  defp blob(bytes), do: :binary.copy(:rand.bytes(@mib), div(bytes, @mib))
end
