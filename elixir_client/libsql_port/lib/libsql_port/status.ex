defmodule LibsqlPort.Status do
  @moduledoc false
  # Status maps: from the wire's text keys to atoms. Keys of a newer program are dropped.

  alias LibsqlPort.Error

  @sidecar %{
    "os_pid" => :os_pid,
    "uptime_ms" => :uptime,
    "connections" => :connections,
    "statements" => :statements,
    "cursors" => :cursors,
    "threads" => :threads,
    "queued_requests" => :queued_requests,
    "requests" => :requests,
    "memory_bytes" => :memory,
    "rss_bytes" => :rss,
    "bytes_in" => :bytes_in,
    "bytes_out" => :bytes_out
  }

  @file_keys %{
    "path" => :path,
    "connections" => :connections,
    "wal_pages" => :wal_pages,
    "writer" => :writer,
    "waiting" => :waiting
  }

  @connection %{
    "requests" => :requests,
    "rows" => :rows,
    "changes" => :changes,
    "errors" => :errors,
    "timeouts" => :timeouts,
    "cancelled" => :cancelled,
    "autocommit" => :autocommit,
    "cache_size" => :cache_size,
    "cache_used" => :cache_used,
    "cache_hits" => :cache_hits,
    "cache_misses" => :cache_misses,
    "statements" => :statements,
    "cursors" => :cursors
  }

  @server %{
    "url" => :url,
    "role" => :role,
    "breaker" => :breaker,
    "failures" => :failures,
    "reason" => :reason,
    "since_ms" => :since,
    "probe_ms" => :probe,
    "latency_us" => :latency,
    "answered_ms" => :answered,
    "replication_index" => :replication_index
  }

  # Of a newer program a word may be another one: it stays a text.
  @words %{
    "primary" => :primary,
    "replica" => :replica,
    "closed" => :closed,
    "open" => :open,
    "half_open" => :half_open
  }

  @memory %{
    "page_cache_bytes" => :page_cache,
    "schema_bytes" => :schema,
    "statement_bytes" => :statement
  }

  @replica %{
    "path" => :path,
    "log" => :log,
    "index" => :index,
    "server_index" => :server_index,
    "write_index" => :write_index,
    "age_ms" => :age,
    "syncing" => :syncing,
    "frames_done" => :frames_done,
    "frames_known" => :frames_known
  }

  @spec replica(map) :: map
  def replica(map), do: map |> rename(@replica) |> Map.put(:error, failure(map["error"]))

  @doc "Why a replica is not synced."
  @spec failure(nil | {integer, String.t()}) :: Error.t() | nil
  def failure(nil), do: nil

  def failure({code, message}) when is_integer(code) and is_binary(message),
    do: Error.from_wire({code, message, nil, nil, nil, nil, nil})

  @spec sidecar(map) :: map
  def sidecar(map) do
    map
    |> rename(@sidecar)
    |> Map.put(:files, Enum.map(map["files"] || [], &rename(&1, @file_keys)))
    |> Map.put(:replicas, Enum.map(map["replicas"] || [], &replica/1))
  end

  @spec connection(map) :: map
  def connection(map) do
    map
    |> rename(@connection)
    |> Map.put(:tx_status, LibsqlPort.Result.tx_status(map["tx_status"]))
    |> Map.put(:memory, rename(map["memory"] || %{}, @memory))
    |> Map.put(:servers, Enum.map(map["servers"] || [], &server/1))
  end

  defp server(map) do
    server = rename(map, @server)
    Map.merge(server, Map.new([:role, :breaker], &{&1, word(server[&1])}))
  end

  defp word(word), do: Map.get(@words, word, word)

  defp rename(map, names) do
    for {key, value} <- map, name = names[key], into: %{}, do: {name, value}
  end
end
