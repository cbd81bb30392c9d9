# What the guide on the change feed uses of Phoenix, and a walk through its LiveView. Run by guides_test.exs between the guide's blocks.
defmodule Phoenix.PubSub do
  def child_spec(options), do: Registry.child_spec(keys: :duplicate, name: options[:name])

  def subscribe(pubsub, topic) do
    {:ok, _} = Registry.register(pubsub, topic, nil)
    :ok
  end

  def broadcast(pubsub, topic, message) do
    Registry.dispatch(pubsub, topic, fn entries -> for {pid, _} <- entries, do: send(pid, message) end)
  end
end

defmodule MyAppWeb do
  defmacro __using__(:live_view), do: quote(do: import(MyAppWeb))

  def connected?(_socket), do: true
  def stream(_socket, name, items, options \\ []), do: %{name => {items, options}}

  def stream_insert(socket, name, item) do
    %{^name => {items, options}} = socket
    %{name => {items ++ [item], options}}
  end
end

defmodule MyApp.Cities do
  def list(_country_id \\ nil), do: []
end

# --- the walk
[_repo, pubsub, broadcaster, _endpoint] = children
{:ok, supervisor} = Supervisor.start_link([pubsub, broadcaster], strategy: :one_for_one)
alias MyAppWeb.CityLive

next = fn socket ->
  receive do
    message -> CityLive.handle_info(message, socket)
  after
    30_000 -> raise "nothing was broadcast"
  end
end

{:ok, socket} = CityLive.mount(%{"country" => "3"}, %{}, %{})
%{id: id} = city = MyApp.Repo.insert!(%MyApp.City{name: "Oruro", country_id: 3})
{:noreply, %{cities: {[%{id: ^id, name: "Oruro"}], []}} = socket} = next.(socket)

# Of another country, and a change of another column: neither is a renamed city of this one.
elsewhere = MyApp.Repo.insert!(%MyApp.City{name: "Bern", country_id: 4})
{:noreply, socket} = next.(socket)
MyApp.Repo.update!(Ecto.Changeset.change(elsewhere, name: "Basel"))
MyApp.Repo.update!(Ecto.Changeset.change(city, population: 1))
MyApp.Repo.update!(Ecto.Changeset.change(city, name: "Uru Uru"))
{:noreply, %{cities: {cities, []}} = socket} = next.(socket)
["Oruro", "Bern", "Uru Uru"] = Enum.map(cities, & &1.name)

# What may have been missed is read anew.
{_, pid, _, _} = List.keyfind(Supervisor.which_children(supervisor), EctoLibSql.Changes.Broadcaster, 0)
GenServer.stop(pid, :shutdown)
{:noreply, %{cities: {[], [reset: true]}}} = next.(socket)
