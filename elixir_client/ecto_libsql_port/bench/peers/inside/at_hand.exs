defmodule Peers.AtHand do
  # An adapter without a database: every answer is at hand as it would come from another program, and costs its decoding.
  # What a call takes with it is Ecto's own part, the floor of any adapter.
  @moduledoc false
  @behaviour Ecto.Adapter
  @behaviour Ecto.Adapter.Queryable
  @behaviour Ecto.Adapter.Schema

  @impl Ecto.Adapter
  defmacro __before_compile__(_env), do: :ok

  @impl Ecto.Adapter
  def ensure_all_started(_config, _type), do: {:ok, []}

  @impl Ecto.Adapter
  def init(_config), do: {:ok, Supervisor.child_spec({Agent, fn -> nil end}, []), %{}}

  @impl Ecto.Adapter
  def checkout(_meta, _config, fun), do: fun.()

  @impl Ecto.Adapter
  def checked_out?(_meta), do: false

  @impl Ecto.Adapter
  def loaders(_primitive, type), do: [type]

  @impl Ecto.Adapter
  def dumpers(_primitive, type), do: [type]

  @impl Ecto.Adapter.Queryable
  def prepare(_operation, _query), do: {:cache, nil}

  @impl Ecto.Adapter.Queryable
  def execute(_meta, _query_meta, _prepared, [_key], _options), do: {1, decoded(:row)}
  def execute(_meta, _query_meta, _prepared, [], _options), do: {Peers.Data.items(), decoded(:rows)}

  @impl Ecto.Adapter.Queryable
  def stream(_meta, _query_meta, _prepared, _params, _options) do
    Stream.map(:persistent_term.get({__MODULE__, :chunks}), &{500, :erlang.binary_to_term(&1)})
  end

  @impl Ecto.Adapter.Schema
  def autogenerate(_type), do: nil

  # The parameters in one list, as SQL has them.
  @impl Ecto.Adapter.Schema
  def insert_all(_meta, _schema, header, rows, _on_conflict, _returning, _placeholders, _options) do
    parameters = Enum.flat_map(rows, fn row -> Enum.map(header, &Keyword.fetch!(row, &1)) end)
    {div(length(parameters), length(header)), nil}
  end

  @impl Ecto.Adapter.Schema
  def insert(_meta, _schema, _fields, _on_conflict, _returning, _options), do: raise("not measured")

  @impl Ecto.Adapter.Schema
  def update(_meta, _schema, _fields, _filters, _returning, _options), do: raise("not measured")

  @impl Ecto.Adapter.Schema
  def delete(_meta, _schema, _filters, _returning, _options), do: raise("not measured")

  @doc "Keeps the rows of `items`: a row, all of them, and chunks as a stream has them."
  def keep(rows) do
    keep(:row, Enum.take(rows, 1))
    keep(:rows, rows)

    :persistent_term.put(
      {__MODULE__, :chunks},
      rows |> Enum.chunk_every(500) |> Enum.map(&:erlang.term_to_binary/1)
    )
  end

  defp keep(name, rows), do: :persistent_term.put({__MODULE__, name}, :erlang.term_to_binary(rows))
  defp decoded(name), do: :erlang.binary_to_term(:persistent_term.get({__MODULE__, name}))
end

defmodule Peers.AtHandRepo do
  @moduledoc false
  use Ecto.Repo, otp_app: :peers, adapter: Peers.AtHand
end

defmodule Peers.Way do
  # As `Peers.AtHand`, but the answer to a query by key comes from another program: the driver's round trip to one that does
  # nothing (`examples/port_echo.rs`), with frames as long as those of the same query. What a call takes is the floor of an adapter
  # whose engine runs in a program of its own.
  @moduledoc false
  @behaviour Ecto.Adapter
  @behaviour Ecto.Adapter.Queryable
  alias LibsqlPort.{Exchange, Request, Wire}
  alias Peers.AtHand

  @request_bytes 120
  @reply_bytes 240

  @impl Ecto.Adapter
  defmacro __before_compile__(_env), do: :ok

  @impl Ecto.Adapter
  def ensure_all_started(_config, _type), do: {:ok, []}

  @impl Ecto.Adapter
  def init(_config) do
    echo = System.fetch_env!("PORT_ECHO_EXECUTABLE")
    {:ok, Supervisor.child_spec({LibsqlPort, name: __MODULE__, executable: echo}, []), %{}}
  end

  @impl Ecto.Adapter
  defdelegate checkout(meta, config, fun), to: AtHand

  @impl Ecto.Adapter
  defdelegate checked_out?(meta), to: AtHand

  @impl Ecto.Adapter
  defdelegate loaders(primitive, type), to: AtHand

  @impl Ecto.Adapter
  defdelegate dumpers(primitive, type), to: AtHand

  @impl Ecto.Adapter.Queryable
  defdelegate prepare(operation, query), to: AtHand

  @impl Ecto.Adapter.Queryable
  def execute(meta, query_meta, prepared, params, options) do
    {handle, request} = :persistent_term.get(__MODULE__)
    {:ok, frame, []} = Exchange.call(handle, request)
    _zeros = Wire.payload(frame)
    AtHand.execute(meta, query_meta, prepared, params, options)
  end

  @impl Ecto.Adapter.Queryable
  def stream(_meta, _query_meta, _prepared, _params, _options), do: raise("not measured")

  @doc "Keeps what each call needs: for the Repo that was just started."
  def keep do
    {:ok, handle} = LibsqlPort.Supervisor.handle(__MODULE__, System.monotonic_time(:millisecond) + 5_000)
    payload = Wire.encode({@reply_bytes, :binary.copy("x", @request_bytes)})
    :persistent_term.put(__MODULE__, {handle, %Request{name: :ping, payload: payload, timeout: 15_000}})
  end
end

defmodule Peers.WayRepo do
  @moduledoc false
  use Ecto.Repo, otp_app: :peers, adapter: Peers.Way
end

defmodule Peers.Floor do
  # The works of the other modules with `Peers.AtHand`.
  @moduledoc false
  alias Bench.Statistics
  alias Peers.{AtHand, AtHandRepo, Entry, Inserts, Item, Measure, Processor, Repo, Way, WayRepo}

  @doc "`Peers.RepoGet` over the way: the p50 of one caller, calls per second of 8 and of 32, processor time of 32."
  def way(quick?) do
    keep()
    {:ok, repo} = WayRepo.start_link()

    try do
      Way.keep()
      calls = Measure.setting(quick?, 700, 200)
      per_second = &Statistics.per_second(&1, calls, fn _number -> fn -> get(WayRepo) end end)

      [
        Measure.p50(Measure.setting(quick?, 3_000, 500), fn -> get(WayRepo) end),
        per_second.(8),
        per_second.(32),
        Processor.time(fn -> per_second.(32) end) / (32 * calls)
      ]
    after
      Supervisor.stop(repo)
    end
  end

  @doc "Calls per second of 8 and of 32, for rows beside neighbours."
  def busy_way(quick?) do
    keep()
    {:ok, repo} = WayRepo.start_link()

    try do
      Way.keep()
      calls = Measure.setting(quick?, 700, 200)
      Enum.map([8, 32], &Statistics.per_second(&1, calls, fn _number -> fn -> get(WayRepo) end end))
    after
      Supervisor.stop(repo)
    end
  end

  def run(quick?) do
    keep()

    batches = Inserts.batches()
    {:ok, repo} = AtHandRepo.start_link()

    try do
      [
        Statistics.per_second(32, Measure.setting(quick?, 700, 200), fn _number ->
          fn -> get(AtHandRepo) end
        end),
        Measure.checked_apart(fn -> AtHandRepo.all(Item) end, & &1),
        Measure.checked_apart(fn -> Item |> AtHandRepo.stream() |> Enum.reduce(0, &(&1.id + &2)) end, & &1),
        Measure.checked(fn -> Enum.each(batches, &AtHandRepo.insert_all(Entry, &1)) end, & &1)
      ]
    after
      Supervisor.stop(repo)
    end
  end

  defp keep do
    if :persistent_term.get({AtHand, :rows}, nil) == nil,
      do: AtHand.keep(Repo.sql!("SELECT id, short, value, long, empty, bytes FROM items").rows)
  end

  defp get(repo), do: %Item{} = repo.get(Item, :rand.uniform(Peers.Data.items()))
end
