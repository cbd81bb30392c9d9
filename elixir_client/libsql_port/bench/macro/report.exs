defmodule Bench.Report do
  # The table, and the conditions without which its figures mean nothing.
  @moduledoc false

  defmodule Row do
    @moduledoc false
    # `measured`, `best` and `limit` are texts with their units; `ratio` is what the limit is about: measured divided
    # by its yardstick, or by the limit itself where that is an absolute figure. `verdict` is :reached or :missed, or :none
    # where nothing was promised.
    @enforce_keys [:work, :measured, :best, :limit, :ratio, :verdict]
    defstruct [:work, :measured, :best, :limit, :ratio, :verdict, notes: []]
  end

  @header ["work", "measured", "best round", "limit", "ratio", "verdict"]

  @doc """
  A row that compares with a yardstick measured in the same rounds: at most `factor` times as much, medians compared.
  """
  def at_most(work, factor, measured, yardstick, format) do
    ratio = median(measured) / median(yardstick)

    %Row{
      work: work,
      measured: format.(median(measured)),
      best: format.(Enum.min(measured)),
      limit: "#{number(factor)} × #{format.(median(yardstick))}",
      ratio: ratio,
      verdict: verdict(ratio <= factor),
      notes: ["best round of the yardstick #{format.(Enum.min(yardstick))}"]
    }
  end

  @doc "A row that compares with a yardstick and has no limit."
  def compared(work, measured, yardstick, format) do
    %{
      at_most(work, 0, measured, yardstick, format)
      | limit: "- × #{format.(median(yardstick))}",
        verdict: :none
    }
  end

  @doc """
  A row of pairs (`Statistics.in_pairs/3`): the median of the pairs' ratios, at most `factor` if that is not `nil`. The note says
  how far they are apart.
  """
  def paired(work, factor, pairs, format) do
    {measured, beside} = Enum.unzip(pairs)
    ratios = Enum.map(pairs, fn {figure, yardstick} -> figure / yardstick end)
    ratio = median(ratios)
    [low, high] = Enum.map([0.25, 0.75], &fixed(Bench.Statistics.quantile(ratios, &1), 2))

    %Row{
      work: work,
      measured: format.(median(measured)),
      best: format.(Enum.min(measured)),
      limit: "#{if factor, do: number(factor), else: "-"} × #{format.(median(beside))}",
      ratio: ratio,
      verdict: if(factor, do: verdict(ratio <= factor), else: :none),
      notes: ["half of #{length(pairs)} pairs between #{low} and #{high}"]
    }
  end

  @doc "As `at_most/5`, for figures of which more is better."
  def at_least(work, factor, measured, yardstick, format) do
    ratio = median(measured) / median(yardstick)

    %Row{
      work: work,
      measured: format.(median(measured)),
      best: format.(Enum.max(measured)),
      limit: "≥ #{number(factor)} × #{format.(median(yardstick))}",
      ratio: ratio,
      verdict: verdict(ratio >= factor),
      notes: ["best round of the yardstick #{format.(Enum.max(yardstick))}"]
    }
  end

  @doc "A row with an absolute limit; the ratio is the share of it that is used up."
  def within(work, limit, measured, format) do
    ratio = median(measured) / limit

    %Row{
      work: work,
      measured: format.(median(measured)),
      best: format.(Enum.min(measured)),
      limit: format.(limit),
      ratio: ratio,
      verdict: verdict(ratio <= 1)
    }
  end

  @doc "Adds a remark, printed below the table."
  def note(row, text), do: %{row | notes: [text | row.notes]}

  def us(value), do: fixed(value, 1) <> " µs"
  def ms(microseconds), do: fixed(microseconds / 1_000, 1) <> " ms"
  def mb(bytes), do: fixed(bytes / 1_000_000, 1) <> " MB"
  def per_second(value), do: "#{round(value / 1_000)}k/s"

  def progress(work) do
    name = work |> Module.split() |> List.last() |> Macro.underscore() |> String.replace("_", " ")
    IO.puts("measuring: #{name}")
  end

  def conditions(bench) do
    {:ok, status} = LibsqlPort.status(bench.sidecar)

    IO.puts("""
    Macro benchmark: Elixir → driver → port → sidecar → engine and back
      goal        costs as ratios to the round trip of the same bytes, and to decoding the same rows
      fixed       one machine, one VM, one sidecar (process #{status.os_pid}) with its defaults, one WAL file
      varied      the work, the number of callers
      method      work and yardstick in turns, medians of rounds or of the ratios of pairs#{if bench.quick?, do: "; QUICK RUN, not to be quoted"}
    #{surroundings(bench.directory)}
    """)
  end

  @doc "The lines on the machine, the VM and the directory, without which no figure means anything."
  def surroundings(directory) do
    """
      machine     #{machine()}
      kernel      #{command("uname", ["-srm"])}
      VM          OTP #{otp()}, ERTS #{:erlang.system_info(:version)}, #{flavor()}, Elixir #{System.version()}, #{System.schedulers_online()} schedulers
      directory   #{directory} (#{command("stat", ["-f", "-c", "%T", directory])})
    """
    |> String.trim_trailing()
  end

  def table(rows) do
    IO.puts("")
    aligned([@header | Enum.map(rows, &cells/1)])
    IO.puts("")
    for %{notes: [_ | _]} = row <- rows, do: put("#{row.work}: #{Enum.join(row.notes, "; ")}")

    limits = Enum.count(rows, &(&1.verdict != :none))
    missed = Enum.count(rows, &(&1.verdict == :missed))
    IO.puts("\n#{limits - missed} of #{limits} limits reached, #{missed} missed")
  end

  @doc "Prints rows of texts, the first of them the header, in columns."
  def aligned(cells) do
    widths =
      cells
      |> Enum.zip_with(& &1)
      |> Enum.map(fn column -> column |> Enum.map(&String.length/1) |> Enum.max() end)

    for {row, index} <- Enum.with_index(cells) do
      row
      |> Enum.zip(widths)
      |> Enum.map_join("  ", fn {text, width} -> String.pad_trailing(text, width) end)
      |> put()

      if index == 0, do: widths |> Enum.map_join("  ", &String.duplicate("─", &1)) |> put()
    end
  end

  defp put(line), do: line |> String.trim_trailing() |> IO.puts()

  defp cells(row) do
    [row.work, row.measured, row.best, row.limit, fixed(row.ratio, 2), verdict_text(row.verdict)]
  end

  defp verdict(true), do: :reached
  defp verdict(false), do: :missed

  defp verdict_text(:reached), do: "reached"
  defp verdict_text(:missed), do: "MISSED"
  defp verdict_text(:none), do: "no limit"

  defp median(values), do: Bench.Statistics.median(values)

  defp number(value) when is_integer(value), do: Integer.to_string(value)
  defp number(value), do: value |> Float.to_string() |> String.pad_trailing(3, "0")

  defp fixed(value, decimals), do: :erlang.float_to_binary(value * 1.0, decimals: decimals)

  defp otp do
    # The release's file names the patch level, system_info only the major version.
    path = Path.join([:code.root_dir(), "releases", System.otp_release(), "OTP_VERSION"])

    case File.read(path) do
      {:ok, version} -> String.trim(version)
      {:error, _} -> System.otp_release()
    end
  end

  defp flavor, do: "emulator #{:erlang.system_info(:emu_flavor)}"

  @doc "Processor, cores and load of this machine."
  def machine, do: "#{cpu()}, #{:erlang.system_info(:logical_processors)} logical cores, load #{load()}"

  defp cpu do
    with {:ok, text} <- File.read("/proc/cpuinfo"),
         [_, name] <- Regex.run(~r/^model name\s*: (.*)$/m, text) do
      name
    else
      _ -> command("uname", ["-m"])
    end
  end

  defp load do
    case File.read("/proc/loadavg") do
      {:ok, text} -> text |> String.split() |> List.first()
      {:error, _} -> "unknown"
    end
  end

  defp command(program, arguments) do
    case System.cmd(program, arguments, stderr_to_stdout: true) do
      {text, 0} -> String.trim(text)
      _ -> "unknown"
    end
  rescue
    ErlangError -> "unknown"
  end
end
