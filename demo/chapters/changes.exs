defmodule Demo.Changes do
  # Another process hears of each commit, with the new values, and of nothing that is rolled back.
  @moduledoc false
  alias Demo.Terminal
  alias LibsqlPort.Changes

  def title, do: "Changes arrive in another process"

  def run(%{conn: conn, sidecar: sidecar, database: database}) do
    {:ok, _} = LibsqlPort.script(conn, "CREATE TABLE visit (id INTEGER PRIMARY KEY, zone TEXT NOT NULL)")
    listener = listen(sidecar, database)

    {:ok, inside} =
      LibsqlPort.transaction(conn, fn conn ->
        visit(conn, "Europe/Zurich")
        LibsqlPort.query!(conn, "SAVEPOINT mistake")
        visit(conn, "Europe/Atlantis")
        LibsqlPort.query!(conn, "ROLLBACK TO mistake")
        heard(listener)
      end)

    {:error, :changed_my_mind} =
      LibsqlPort.transaction(conn, fn conn ->
        visit(conn, "Pacific/Nowhere")
        LibsqlPort.rollback(conn, :changed_my_mind)
      end)

    # Messages come in the order of the commits: with the last one, all of them are there.
    visit(conn, "Asia/Tokyo")
    told = wait_for(listener, "Asia/Tokyo")
    for {zone, stored} <- told, do: Terminal.field("heard of", "#{zone}, which is then stored: #{stored}")
    zones = Enum.map(told, &elem(&1, 0))
    {:ok, [stored]} = LibsqlPort.query_one(conn, "SELECT group_concat(zone, ', ') FROM visit")
    send(listener, :stop)

    [
      {"heard before the commit", "#{length(inside)} changes", inside == []},
      {"changes heard of, after their commit", Enum.join(zones, ", "),
       zones == ["Europe/Zurich", "Asia/Tokyo"] and Enum.all?(told, &elem(&1, 1))},
      {"stored, and so nothing more to hear of", stored, stored == Enum.join(zones, ", ")}
    ]
  end

  defp visit(conn, zone), do: LibsqlPort.query!(conn, "INSERT INTO visit (zone) VALUES (?)", [zone])

  # Keeps what it is told, and whether the row could be read by then.
  defp listen(sidecar, database) do
    owner = self()

    listener =
      spawn_link(fn ->
        {:ok, conn} = LibsqlPort.connect(sidecar, database: database)
        {:ok, subscription} = Changes.subscribe(conn, tables: ["visit"], operations: [:insert], values: :new)
        send(owner, {:listens, self()})
        loop(conn, subscription, [])
      end)

    receive do: ({:listens, ^listener} -> listener)
  end

  defp loop(conn, subscription, told) do
    receive do
      %Changes{subscription: ^subscription, changes: changes} ->
        loop(conn, subscription, told ++ Enum.map(changes, &{&1.new["zone"], stored?(conn, &1.rowid)}))

      {:heard, from} ->
        send(from, {:heard, self(), told})
        loop(conn, subscription, told)

      :stop ->
        Changes.unsubscribe(subscription)
        LibsqlPort.close(conn)
    end
  end

  defp stored?(conn, id),
    do: {:ok, [1]} == LibsqlPort.query_one(conn, "SELECT 1 FROM visit WHERE id = ?", [id])

  defp heard(listener) do
    send(listener, {:heard, self()})
    receive do: ({:heard, ^listener, told} -> told)
  end

  defp wait_for(listener, zone) do
    told = heard(listener)
    if List.keymember?(told, zone, 0), do: told, else: Process.sleep(1) && wait_for(listener, zone)
  end
end
