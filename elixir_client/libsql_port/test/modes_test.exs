# The suites of a database in a file, for databases on a server and for replicas: see LibsqlPort.Modes.
alias LibsqlPort.Modes

suites = ["query", "transaction", "cursor", "begun_by_hand", "claims", "request_options"]
modes = [:remote]

met = for suite <- suites, mode <- modes, exclusion <- Modes.compile(suite, mode), do: exclusion

defmodule LibsqlPort.ModesTest do
  use ExUnit.Case, async: true

  @met met
  @modes modes
  @document Path.expand("../../../docs/modes.md", __DIR__)

  test "each exclusion names a test" do
    for exclusion <- Modes.exclusions(), Enum.any?(exclusion.modes, &(&1 in @modes)) do
      assert exclusion in @met, "no test of #{exclusion.suite} begins with #{inspect(exclusion.test)}"
    end
  end

  test "the document has them all, and no others" do
    rows = for "| remote" <> _ = line <- File.stream!(@document, [], :line), do: String.trim_trailing(line)

    replicas =
      for "| replica" <> _ = line <- File.stream!(@document, [], :line), do: String.trim_trailing(line)

    assert Enum.sort(rows ++ replicas) == Enum.sort(Modes.rows())
  end
end
