defmodule Demo.Functions do
  # A function written in Elixir, in queries, in an index, and from Ecto where Ecto is there.
  @moduledoc false
  alias Demo.Terminal

  def title, do: "A function in Elixir, used by SQL"

  @doc "Europe/Zürich → europe-zurich: what SQLite cannot do and Elixir can."
  def slugify(nil), do: nil

  def slugify(text) do
    text
    |> String.normalize(:nfd)
    |> String.replace(~r/\p{Mn}/u, "")
    |> String.downcase()
    |> String.replace(~r/[^a-z0-9]+/u, "-")
    |> String.trim("-")
  end

  def run(%{conn: conn, sidecar: sidecar} = context) do
    options = [deterministic: true, directonly: false]
    :ok = LibsqlPort.create_function(sidecar, "slugify", 1, &slugify/1, options)
    {:ok, [greeting]} = LibsqlPort.query_one(conn, "SELECT slugify('Zürich, São Tomé & Ürümqi')")
    Terminal.field("in a query", greeting)

    {time_us, %{rows: rows}} =
      :timer.tc(fn -> LibsqlPort.query!(conn, "SELECT name, slugify(name) FROM zone") end)

    right = Enum.count(rows, fn [name, slug] -> slug == slugify(name) end)
    Terminal.field("for each row", "#{length(rows)} calls in #{Terminal.ms(time_us)}")

    [
      {"a function in Elixir, called by SQL", greeting, greeting == "zurich-sao-tome-urumqi"},
      {"its answers, row by row", "#{right} of #{length(rows)}", right == length(rows) and rows != []}
    ] ++ index(conn) ++ from_ecto(context)
  end

  @by_slug "SELECT name FROM zone WHERE slugify(name) = ?"

  defp index(conn) do
    {:ok, _} = LibsqlPort.query(conn, "CREATE INDEX zone_slug ON zone (slugify(name))")

    plan =
      LibsqlPort.query!(conn, "EXPLAIN QUERY PLAN " <> @by_slug, ["europe-zurich"]).rows |> List.flatten()

    {:ok, [found]} = LibsqlPort.query_one(conn, @by_slug, ["europe-zurich"])
    Terminal.field("in an index", "#{found}, by #{List.last(plan)}")

    [
      {"an index on the function finds", found,
       found == "Europe/Zurich" and List.last(plan) =~ "USING INDEX zone_slug"},
      without(conn)
    ]
  end

  # What somebody sees who opens the database without the function.
  defp without(%{path: path}) do
    {:ok, plain} = LibsqlPort.start_link(log_level: :off)
    {:ok, conn} = LibsqlPort.connect(plain, database: path)
    {:error, error} = LibsqlPort.query(conn, "UPDATE zone SET name = name")
    Supervisor.stop(plain)
    Terminal.field("without the function", "#{inspect(error.code)}: #{error.message}")

    {"a write without the function is refused", inspect(error.code),
     error.code == :unknown_function and error.message =~ "slugify"}
  end

  defp from_ecto(context) do
    if Code.ensure_loaded?(Ecto.Adapters.LibSql) do
      Code.require_file("ecto.exs", __DIR__)
      apply(Demo.FromEcto, :run, [context])
    else
      Terminal.field("from Ecto", "left out: the adapter's dependencies cannot be had here")
      []
    end
  end
end
