defmodule EctoLibSql.CallOptionsTest do
  # Wrong values of options are told before a connection is taken, by every function that takes options, and the pool goes on.
  use EctoLibSql.RepoCase

  alias EctoLibSql.{CallOptions, Error}

  @wrong [
    [timeout: "1"],
    [timeout: nil],
    [timeout: 1.5],
    [timeout: :never],
    [namespace: "tenant_b"],
    [auth_token: "a"],
    [uri: "http://localhost:8080"],
    [journal_mode: :wal],
    [busy_timeout: 5],
    [deadline: "soon"],
    [deadline: 1.5],
    [queue: 3],
    [queue: nil],
    [checkout_retries: -1],
    [max_rows: 0],
    [max_rows: "x"],
    [chunk_bytes: :many],
    [stream: :liv],
    [policy: :read_only],
    [policy: nil],
    [defensive: 1],
    [:timeout],
    [5],
    [{"timeout", 5}],
    [{:queue, true} | :improper],
    %{timeout: 5},
    nil
  ]

  @right [timeout: 60_000] ++
           [timeout: :infinity, queue: true, checkout_retries: 0, max_rows: 1, chunk_bytes: 0, stream: :live] ++
           [stream: nil, deadline: nil, anything: :else]

  defmodule Ignoring do
    use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
  end

  setup do
    %{db: start_supervised!({EctoLibSql, database: ":memory:", pool_size: 1})}
  end

  test "an option of a connection says where it belongs, and an application may have one of that name" do
    assert {:error, %Error{code: :invalid_option, message: message}} = CallOptions.check(namespace: "b")
    assert message =~ "the option :namespace is one of a connection"
    assert CallOptions.check(namespace: "b", ignored_options: [:namespace]) == :ok

    assert {:error, %Error{message: message}} =
             CallOptions.check(namespace: "b", tls: true, ignored_options: [:namespace])

    assert message =~ ":tls"
    assert CallOptions.check(owner: self(), timeout: 5, policy: false, mode: :deferred) == :ok
  end

  # Of the pool, and in a transaction. The first ones return the error, the others raise it.
  defp returning(conn, options) do
    query = EctoLibSql.prepare("SELECT 1")

    [
      query: fn -> EctoLibSql.query(conn, "SELECT 1", [], options) end,
      query_many: fn -> EctoLibSql.query_many(conn, "SELECT 1", [], options) end,
      execute: fn -> EctoLibSql.execute(conn, query, [], options) end,
      prepare_execute: fn -> EctoLibSql.prepare_execute(conn, nil, "SELECT 1", [], options) end
    ]
  end

  defp raising(conn, options) do
    [
      query!: fn -> EctoLibSql.query!(conn, "SELECT 1", [], options) end,
      query_many!: fn -> EctoLibSql.query_many!(conn, "SELECT 1", [], options) end,
      transaction: fn -> EctoLibSql.transaction(conn, fn _ -> :ran end, options) end,
      checkout: fn -> EctoLibSql.checkout(conn, fn _ -> :ran end, options) end
    ]
  end

  defp streaming(conn, options) do
    query = EctoLibSql.prepare("SELECT 1")

    for statement <- ["SELECT 1", query],
        do: {:stream, fn -> conn |> EctoLibSql.stream(statement, [], options) |> Enum.to_list() end}
  end

  defp refused!(conn, options, streams) do
    for {name, call} <- returning(conn, options) do
      assert {^name, {:error, %Error{code: :invalid_option}}} = {name, call.()}
    end

    for {_name, call} <- raising(conn, options) ++ streams do
      assert %{code: :invalid_option} = assert_raise(Error, call)
    end
  end

  for options <- @wrong do
    test "#{inspect(options)}", %{db: db} do
      options = unquote(Macro.escape(options))
      refused!(db, options, [])
      # The only connection is there.
      assert EctoLibSql.query!(db, "SELECT 1").rows == [[1]]

      assert {:ok, :done} =
               EctoLibSql.transaction(db, fn conn ->
                 refused!(conn, options, streaming(conn, options))
                 assert EctoLibSql.query!(conn, "SELECT 1").rows == [[1]]
                 :done
               end)

      assert EctoLibSql.query!(db, "SELECT 1").rows == [[1]]
    end
  end

  # Ecto itself takes no other lists.
  for options <- Enum.filter(@wrong, &(is_list(&1) and &1 != [] and Keyword.keyword?(&1))) do
    test "of a Repo: #{inspect(options)}" do
      options = unquote(options)
      pool = Process.whereis(TestRepo)

      for call <- [
            fn -> TestRepo.query!("SELECT 1", [], options) end,
            fn -> TestRepo.query_many!("SELECT 1", [], options) end,
            fn -> TestRepo.all(from(s in "sqlite_schema", select: s.name), options) end,
            fn -> TestRepo.transaction(fn -> :ran end, options) end,
            fn -> TestRepo.checkout(fn -> :ran end, options) end,
            fn ->
              TestRepo.transaction(fn ->
                "sqlite_schema" |> select([s], s.name) |> TestRepo.stream(options) |> Enum.to_list()
              end)
            end
          ] do
        assert %{code: :invalid_option} = assert_raise(Error, call)
        assert TestRepo.query!("SELECT 1").rows == [[1]]
      end

      assert Process.whereis(TestRepo) == pool
    end
  end

  test "the message names the option and what it takes" do
    assert {:error, error} = CallOptions.check(timeout: 1.5)
    assert error.message == "the option :timeout takes milliseconds or :infinity, not 1.5"
    assert {:error, error} = CallOptions.check([5])
    assert error.message == "options are a keyword list, not [5]"
  end

  describe "a misspelt name" do
    # One letter left out, doubled or swapped with the next, of every option of calls that is long enough.
    test "is an error that names the one that was meant, in every call", %{db: db} do
      {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(EctoLibSql)
      [_, text] = String.split(text, "## Options of calls")
      [text, _] = String.split(text, "## Errors")
      names = for [name] <- Regex.scan(~r/\* `:([a-z_]{5,})` –/, text, capture: :all_but_first), do: name
      assert "policy" in names and "timeout" in names and length(names) > 5

      for name <- names ++ ~w(max_rows chunk_bytes stream read_ahead), at <- 1..(String.length(name) - 2) do
        {left, <<letter, next, rest::binary>>} = String.split_at(name, at)

        slips = [
          left <> <<next>> <> rest,
          left <> <<letter, letter, next>> <> rest,
          left <> <<next, letter>> <> rest
        ]

        for slip <- slips, slip != name, option = String.to_atom(slip) do
          assert {^slip, {:error, %{code: :invalid_option} = error}} =
                   {slip, CallOptions.check([{option, 1}])}

          assert error.message =~ "unknown option #{inspect(option)}; did you mean :#{name}?"
        end
      end

      assert {:ok, _} =
               EctoLibSql.transaction(db, fn conn ->
                 refused!(conn, [polcy: false], streaming(conn, polcy: false))
               end)

      refused!(db, [tiemout: 5], [])

      for call <- [
            fn -> TestRepo.query!("SELECT 1", [], polcy: false) end,
            fn -> TestRepo.all(from(s in "sqlite_schema", select: s.name), tiemout: 5) end,
            fn -> TestRepo.insert_all("nothing", [%{a: 1}], defnsive: false) end,
            fn -> TestRepo.transaction(fn -> :ran end, lock_timout: 0) end,
            fn -> TestRepo.checkout(fn -> :ran end, polcy: false) end
          ] do
        assert %{code: :invalid_option} = assert_raise(Error, ~r/did you mean/, call)
      end
    end

    test "of Ecto, of telemetry and of the application is its own matter", %{db: db} do
      others =
        ~w(model modes plane lang org_id tenant source prefix on_conflict returning conflict_target telemetry_options)a ++
          ~w(telemetry_event stale_error_field allow_stale force placeholders cast_params queue_target stacktrace)a ++
          ~w(skip_org_id soft_delete with_deleted read_only readonly log_level time_zone time deadlines_only polices x)a

      assert CallOptions.check(for name <- others, do: {name, 1}) == :ok
      # Found out once, and the same the second time.
      assert CallOptions.check(for name <- others, do: {name, 1}) == :ok
      assert {:ok, %{rows: [[1]]}} = EctoLibSql.query(db, "SELECT 1", [], [{:org_id, 1} | [tenant: 2]])
    end

    test "may be the application's, which says so in the call or for the Repo", %{db: db} do
      assert {:error, %{message: message}} = EctoLibSql.query(db, "SELECT 1", [], streams: 1)
      assert message =~ "did you mean :stream?" and message =~ ":ignored_options"
      options = [streams: 1, ignored_options: [:streams, :queues], queues: 2]
      assert {:ok, %{rows: [[1]]}} = EctoLibSql.query(db, "SELECT 1", [], options)
      assert {:error, %{message: message}} = EctoLibSql.query(db, "SELECT 1", [], options ++ [polcy: false])
      assert message =~ "did you mean :policy?"

      for wrong <- [:streams, ["streams"], [:streams | :queues]] do
        assert {:error, %{message: message}} =
                 EctoLibSql.query(db, "SELECT 1", [], streams: 1, ignored_options: wrong)

        assert message =~ ":ignored_options takes a list of names" or message =~ "did you mean"
      end

      start_supervised!(
        {Ignoring, database: ":memory:", pool_size: 1, log: false, ignored_options: [:streams]}
      )

      assert %{rows: [[1]]} = Ignoring.query!("SELECT 1", [], streams: 1)
      assert [] = Ignoring.all(from(s in "sqlite_schema", select: s.name), streams: 1)

      ran = fn ->
        assert {:ok, :ran} = Ignoring.transaction(fn -> :ran end, streams: 1)
        assert Ignoring.checkout(fn -> :ran end, streams: 1) == :ran
      end

      ran.()
      Ignoring.checkout(ran)
      Ignoring.transaction(ran)
      assert_raise Error, ~r/did you mean :policy/, fn -> Ignoring.query!("SELECT 1", [], polcy: 1) end
    end
  end

  test "what is right, and names that others know", %{db: db} do
    for option <- @right do
      for {_name, call} <- returning(db, [option]), do: assert(elem(call.(), 0) == :ok)
      for {_name, call} <- raising(db, [option]), do: assert(call.())

      EctoLibSql.transaction(db, fn conn ->
        for {_, call} <- streaming(conn, [option]), do: assert([_ | _] = call.())
      end)
    end
  end

  test "what checkouts would not have an effect by is refused", %{db: db} do
    for option <- [mode: :deferred, lock_timeout: 0],
        checkout <- [
          &TestRepo.checkout/2,
          fn fun, options -> EctoLibSql.checkout(db, fn _ -> fun.() end, options) end
        ] do
      refused = fn -> checkout.(fn -> :ran end, [option]) end
      assert assert_raise(Error, ~r/has no effect on a checkout/, refused).code == :invalid_option
    end

    assert TestRepo.transaction(fn -> :ran end, lock_timeout: 10) == {:ok, :ran}
  end

  defmodule Defaults do
    use Ecto.Repo, otp_app: :ecto_libsql_port, adapter: Ecto.Adapters.LibSql
    @impl true
    def default_options(_operation), do: [max_rows: 2, chunk_bytes: 1_000, stream: :live, read_ahead: false]
  end

  defmodule Item do
    use Ecto.Schema

    schema "items" do
      field :name, :string
    end
  end

  test "options of streams that a Repo has by default: streams have them, all others run" do
    start_supervised!({Defaults, database: ":memory:", pool_size: 1, log: false})
    Defaults.query!("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)", [], max_rows: 1)
    item = Defaults.insert!(%Item{name: "a"})
    assert {4, nil} = Defaults.insert_all(Item, for(name <- ~w(b c d e), do: %{name: name}))
    assert %{name: "x"} = item |> Ecto.Changeset.change(name: "x") |> Defaults.update!()
    assert length(Defaults.all(Item)) == 5
    assert {1, nil} = Defaults.delete_all(from i in Item, where: i.name == "b")
    assert Defaults.checkout(fn -> Defaults.aggregate(Item, :count) end, max_rows: 1) == 4
    assert Defaults.delete!(item)

    assert {:ok, names} = Defaults.transaction(fn -> Item |> Defaults.stream() |> Enum.map(& &1.name) end)
    assert Enum.sort(names) == ["c", "d", "e"]
    assert Defaults.exists?(Item)
  end

  test "a time that is up already is a timeout", %{db: db} do
    for timeout <- [0, -1],
        do: assert({:error, %Error{code: :timeout}} = EctoLibSql.query(db, "SELECT 1", [], timeout: timeout))
  end
end
