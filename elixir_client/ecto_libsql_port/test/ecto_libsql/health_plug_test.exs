# Plug is no dependency: as much of it as the plug of health calls.
unless Code.ensure_loaded?(Plug.Conn) do
  defmodule Plug.Conn do
    defstruct method: "GET",
              path_info: [],
              status: nil,
              resp_headers: [],
              resp_body: nil,
              state: :unset,
              halted: false

    def put_resp_header(%__MODULE__{state: :unset} = conn, name, value)
        when is_binary(name) and is_binary(value),
        do: %{conn | resp_headers: [{name, value} | conn.resp_headers]}

    def send_resp(%__MODULE__{state: :unset} = conn, status, body) when status in 100..599,
      do: %{conn | state: :sent, status: status, resp_body: IO.iodata_to_binary(body)}

    def halt(%__MODULE__{} = conn), do: %{conn | halted: true}
  end
end

defmodule EctoLibSql.HealthPlugTest do
  use ExUnit.Case, async: true

  alias EctoLibSql.{Error, HealthPlug}

  setup do
    db = start_supervised!({EctoLibSql, database: ":memory:", pool_size: 1})
    {:ok, db: db}
  end

  defp get(options, conn \\ []), do: Plug.Conn |> struct(conn) |> HealthPlug.call(HealthPlug.init(options))

  test "answers 200 while all is well, and 503 with the reason otherwise", %{db: db} do
    conn = get(repo: db, timeout: 60_000)
    assert {conn.status, conn.halted} == {200, true}
    assert Jason.decode!(conn.resp_body) == %{"healthy" => true, "reasons" => []}
    assert {"content-type", "application/json; charset=utf-8"} in conn.resp_headers
    assert {"cache-control", "no-store"} in conn.resp_headers

    conn = get(repo: :no_such_repo)
    assert conn.status == 503
    assert Jason.decode!(conn.resp_body) == %{"healthy" => false, "reasons" => ["not_running"]}
  end

  test "tells details to those who may know them", %{db: db} do
    details = Jason.decode!(get(repo: db, timeout: 60_000, details: true).resp_body)

    assert %{"healthy" => true, "mode" => "local", "pool" => %{"size" => 1}, "sidecar" => %{"os_pid" => _}} =
             details

    assert Enum.map(details["paths"], & &1["path"]) == ["pool", "sidecar"]
    refute Map.has_key?(details, "healthy?")
  end

  test "answers one path, or all", %{db: db} do
    at = [repo: db, at: "/internal/health", timeout: 60_000]
    assert get(at, path_info: ["internal", "health"]).status == 200

    for path <- [[], ["internal"], ["internal", "health", "more"]] do
      conn = get(at, path_info: path)
      assert {conn.status, conn.halted} == {nil, false}
    end

    assert get([repo: db, timeout: 60_000], path_info: ["any"]).status == 200
  end

  test "answers GET and HEAD", %{db: db} do
    assert get([repo: db, timeout: 60_000], method: "HEAD").status == 200
    conn = get([repo: db], method: "POST")
    assert conn.status == 405
    assert {"allow", "GET, HEAD"} in conn.resp_headers
  end

  test "wrong options are said when it is initialized" do
    for {options, words} <- [
          {[], ":repo"},
          {[repo: MyApp.Repo, at: "health"], ":at"},
          {[repo: MyApp.Repo, details: :all], ":details"},
          {[repo: MyApp.Repo, timeout: 0], ":timeout"},
          {[repo: MyApp.Repo, tiemout: 1], "did you mean :timeout"},
          {:repo, "keyword list"}
        ] do
      error = assert_raise(Error, fn -> HealthPlug.init(options) end)
      assert error.code == :invalid_option
      assert error.message =~ words
    end
  end
end
