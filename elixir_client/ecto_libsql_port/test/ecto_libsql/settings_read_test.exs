defmodule EctoLibSql.SettingsReadTest do
  # The options of the application are read when a Repo starts, each one once however many connections it has, and by no call.
  use EctoLibSql.RepoCase

  alias EctoLibSql.Settings

  defmodule Item do
    use Ecto.Schema

    schema "items" do
      field(:info, :map)
      field(:tags, {:array, :string})
      field(:token, Ecto.UUID)
      field(:at, :utc_datetime_usec)
      field(:price, :decimal)
      field(:bytes, :binary)
    end
  end

  # Which options of this application a function reads, in this process and in those that it starts.
  defp read(fun) do
    tracer = spawn_link(fn -> collect([]) end)
    patterns = [{Application, :get_env, 3}, {Application, :get_env, 2}, {:application, :get_env, 2}]
    for pattern <- patterns, do: :erlang.trace_pattern(pattern, true, [])
    :erlang.trace(self(), true, [:call, :set_on_spawn, {:tracer, tracer}])

    try do
      fun.()
    after
      :erlang.trace(:all, false, [:call, :set_on_spawn])
      for pattern <- patterns, do: :erlang.trace_pattern(pattern, false, [])
    end

    delivered = :erlang.trace_delivered(:all)
    receive do: ({:trace_delivered, :all, ^delivered} -> send(tracer, {:tell, self()}))
    receive do: ({^tracer, names} -> Enum.frequencies(names))
  end

  defp collect(names) do
    receive do
      {:trace, _pid, :call, {Application, :get_env, [:ecto_libsql_port, name | _]}} -> collect([name | names])
      {:tell, test} -> send(test, {self(), names})
      _other -> collect(names)
    end
  end

  test "a start reads each of them once" do
    once = Map.new(Settings.names(), &{&1, 1})

    assert once == read(fn -> {:ok, _} = EctoLibSql.start_link(database: ":memory:", pool_size: 5) end)
  end

  test "no call reads any" do
    script(
      "CREATE TABLE items (id INTEGER PRIMARY KEY, info TEXT, tags TEXT, token TEXT, at TEXT, price, bytes BLOB)"
    )

    item = %Item{
      info: %{"a" => 1},
      tags: ["x"],
      token: Ecto.UUID.generate(),
      at: ~U[2026-01-02 03:04:05.678900Z],
      price: Decimal.new("1.5"),
      bytes: <<0, 255>>
    }

    assert %{} ==
             read(fn ->
               %{id: id} = TestRepo.insert!(item)
               assert %{price: %Decimal{}} = TestRepo.get!(Item, id)
               TestRepo.insert_all(Item, [[info: %{"b" => 2}, tags: ["y"]]])
               TestRepo.transaction(fn -> Item |> TestRepo.stream() |> Enum.to_list() end)
               TestRepo.all(from(i in Item, where: i.at < ^item.at and i.price in ^[item.price]))
               TestRepo.query!("SELECT ?", [%{"untyped" => ~D[2026-01-02]}])
               TestRepo.update_all(Item, set: [at: item.at])
             end)
  end
end
