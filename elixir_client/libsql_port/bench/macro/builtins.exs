defmodule Bench.Builtins do
  # SQL functions that the sidecar brings, each beside SQLite's own of the same kind: the same rows, the same statement around it.
  # Of regular expressions SQLite has none; GLOB stands for an idea of what that means.
  @moduledoc false
  alias Bench.{Report, Statistics}

  @factor 1.2
  @rows 100_000

  # `{name, the sidecar's, SQLite's}`: statements that give one row.
  defp pairs do
    of = fn expression -> "SELECT count(#{expression}) FROM bulk" end

    [
      {"unicode_lower, ASCII, beside lower", of.("unicode_lower(long)"), of.("lower(long)")},
      {"unicode_upper, ASCII, beside upper", of.("unicode_upper(long)"), of.("upper(long)")},
      {"unicode_like beside LIKE", of.("unicode_like('%4_99%', long)"), of.("long LIKE '%4_99%'")},
      {"regexp beside GLOB", of.("long REGEXP '4.99'"), of.("long GLOB '*4?99*'")},
      {"NOCASE_UNICODE beside NOCASE, compared", of.("short = long COLLATE NOCASE_UNICODE"),
       of.("short = long COLLATE NOCASE")},
      {"NOCASE_UNICODE beside NOCASE, sorted", sorted("NOCASE_UNICODE"), sorted("NOCASE")},
      {"uuid4 beside hex(randomblob(16))", of.("uuid4()"), of.("hex(randomblob(16))")},
      {"generate_series beside a recursive query", "SELECT sum(value) FROM generate_series(1, #{@rows})",
       "SELECT sum(x) FROM (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT #{@rows}) SELECT x FROM c)"},
      {"haversine_m beside its formula", of.("haversine_m(47.4, 8.5, value / 200, id / 600.0)"),
       of.(haversine())}
    ]
  end

  defp sorted(collation),
    do: "SELECT count(*) FROM (SELECT long FROM bulk ORDER BY long COLLATE #{collation} LIMIT -1 OFFSET 1)"

  defp haversine do
    "2 * 6371008.8 * asin(sqrt(pow(sin(radians(value / 200 - 47.4) / 2), 2) + cos(radians(47.4)) * cos(radians(value / 200)) * " <>
      "pow(sin(radians(id / 600.0 - 8.5) / 2), 2)))"
  end

  def run(bench) do
    for {name, ours, sqlites} <- pairs() do
      ask = fn sql ->
        fn -> Statistics.time(fn -> {:ok, [_]} = LibsqlPort.query_one(bench.conn, sql) end) end
      end

      [pairs] = Statistics.in_pairs(Bench.setting(bench, 31, 3), ask.(sqlites), [ask.(ours)])
      Report.paired(name, unless(name =~ "GLOB", do: @factor), pairs, &Report.ms/1)
    end
  end
end
