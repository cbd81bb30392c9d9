defmodule LibsqlPort.Outcome do
  @moduledoc false
  # What a lost reply means for the request that awaited it. Asked only after a failure, so it may read the SQL text,
  # which the hot path never does.

  alias LibsqlPort.{Error, Exchange, Request}

  @doc "The error for a reply that will not come."
  @spec error(Exchange.lost(), Request.t()) :: Error.t()
  # An open transaction or a cursor was lost with the sidecar: more is gone than this request, and repeating it is not enough.
  def error(:not_sent, %Request{in_transaction?: true}) do
    Error.new(:sidecar_down, "the sidecar is not running; the open transaction is rolled back")
  end

  def error(:not_sent, %Request{effect: :cursor}) do
    Error.new(:sidecar_down, "the sidecar is not running; the cursor is lost")
  end

  def error(:not_sent, _request) do
    Error.new(:not_sent, "the connection's sidecar has ended; the request was not sent")
  end

  def error(:pipe_full, request) do
    Error.new(:timeout, "the sidecar read nothing for #{request.timeout} ms; the request was not sent")
  end

  def error({:too_large, size, bytes_max}, _request) do
    Error.new(
      :frame_too_large,
      "the request takes #{size} bytes, and the sidecar's frame_bytes_max is #{bytes_max}; " <>
        "send less at a time, or start the sidecar with a higher one"
    )
  end

  def error({:invalid, error}, _request), do: error

  def error(:down, request) do
    if commits?(request) do
      Error.new(
        :outcome_unknown,
        "the sidecar ended before it answered; the write may have been committed or not"
      )
    else
      Error.new(:sidecar_down, "the sidecar ended before it answered#{rolled_back(request.in_transaction?)}")
    end
  end

  def error(:unreadable, request) do
    if commits?(request) do
      Error.new(
        :outcome_unknown,
        "the sidecar's reply cannot be read; the write may have been committed or not"
      )
    else
      Error.new(
        :protocol_mismatch,
        "the sidecar's reply cannot be read; is the program of this client's version?"
      )
    end
  end

  def error(:silent, request) do
    if commits?(request) do
      Error.new(
        :outcome_unknown,
        "no answer within #{request.timeout} ms and the grace; the write may have been committed or not, " <>
          "and the connection is busy until the sidecar could stop it"
      )
    else
      Error.new(
        :timeout,
        "no answer within #{request.timeout} ms and the grace; the connection is busy until the sidecar could stop the request"
      )
    end
  end

  defp rolled_back(true), do: "; the open transaction is rolled back"
  defp rolled_back(false), do: ""

  @doc "Whether a request may have made something durable."
  @spec commits?(Request.t()) :: boolean
  def commits?(%Request{effect: effect, in_transaction?: in_transaction?}),
    do: commits?(effect, in_transaction?)

  defp commits?(effect, _in_transaction?) when effect in [:none, :cursor], do: false
  defp commits?(:write, _in_transaction?), do: true
  # COMMIT counts as read-only for SQLite.
  defp commits?({:read_only, sql}, _in_transaction?), do: keyword(sql) in ["commit", "end", "release"]
  defp commits?({:sql, sql}, true), do: keyword(sql) in ["commit", "end"]
  defp commits?({:sql, sql}, false), do: not read_only?(sql)
  defp commits?({:script, sql}, true), do: sql =~ ~r/\b(commit|end)\b/i
  defp commits?({:script, _sql}, false), do: true

  @reads ["select", "values", "explain", "begin", "savepoint", "rollback"]

  # Only what is certain: a common table expression may belong to an INSERT, and a pragma with a value may write. A word
  # in a string or a comment may make a read look uncertain, never a write look certain.
  defp read_only?(sql) do
    case keyword(sql) do
      "with" -> not (sql =~ ~r/\b(insert|replace|update|delete)\b/i)
      "pragma" -> not String.contains?(sql, ["=", "("])
      keyword -> keyword in @reads
    end
  end

  @doc "The first word of a statement, in lower case; spaces and comments before it are skipped."
  @spec keyword(String.t()) :: String.t()
  def keyword(<<char, rest::binary>>) when char in [?\s, ?\t, ?\n, ?\r, ?\f, ?;], do: keyword(rest)
  def keyword(<<"\uFEFF", rest::binary>>), do: keyword(rest)

  def keyword(<<"--", rest::binary>>) do
    case :binary.split(rest, "\n") do
      [_comment, rest] -> keyword(rest)
      _ -> ""
    end
  end

  def keyword(<<"/*", rest::binary>>) do
    case :binary.split(rest, "*/") do
      [_comment, rest] -> keyword(rest)
      _ -> ""
    end
  end

  def keyword(sql) do
    [word] = Regex.run(~r/\A[a-zA-Z]*/, sql)
    String.downcase(word, :ascii)
  end
end
