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
  def assign(socket, name, value), do: Map.put(socket, :assigns, %{name => value})
  def stream(socket, name, items, options \\ []), do: Map.put(socket, name, {items, options})

  def stream_insert(socket, name, item) do
    %{^name => {items, options}} = socket
    %{socket | name => {items ++ [item], options}}
  end

  def stream_delete_by_dom_id(socket, name, dom_id) do
    %{^name => {items, options}} = socket
    %{socket | name => {Enum.reject(items, &("cities-#{&1.id}" == dom_id)), options}}
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
{:noreply, %{cities: {[%{id: ^id, name: "Oruro"}], _}} = socket} = next.(socket)

# Of another country, and a change of another column: neither is a renamed city of this one.
elsewhere = MyApp.Repo.insert!(%MyApp.City{name: "Bern", country_id: 4})
{:noreply, ^socket} = next.(socket)
MyApp.Repo.update!(Ecto.Changeset.change(elsewhere, name: "Basel"))
{:noreply, ^socket} = next.(socket)
MyApp.Repo.update!(Ecto.Changeset.change(city, population: 1))
MyApp.Repo.update!(Ecto.Changeset.change(city, name: "Uru Uru"))
{:noreply, %{cities: {cities, _}} = socket} = next.(socket)
["Oruro", "Uru Uru"] = Enum.map(cities, & &1.name)

# One that is gone when it is read, and one that was listed.
MyApp.Repo.transaction(fn ->
  MyApp.Repo.delete!(MyApp.Repo.insert!(%MyApp.City{name: "Sucre", country_id: 3}))
end)

{:noreply, socket} = next.(socket)
{:noreply, %{cities: {^cities, _}} = socket} = next.(socket)
MyApp.Repo.delete!(city)
{:noreply, %{cities: {[], _}} = socket} = next.(socket)

# What may have been missed is read anew.
[pid] = for {{EctoLibSql.Changes.Broadcaster, _}, pid, _, _} <- Supervisor.which_children(supervisor), do: pid

GenServer.stop(pid, :shutdown)
{:noreply, %{cities: {[], [reset: true]}}} = next.(socket)
