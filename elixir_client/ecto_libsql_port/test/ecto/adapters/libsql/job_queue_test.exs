defmodule Ecto.Adapters.LibSql.JobQueueTest do
  # The shapes of queries that Oban's engine for SQLite makes, on a table of ours. Oban itself is no dependency.
  use EctoLibSql.RepoCase

  defmodule Task do
    use Ecto.Schema

    schema "tasks" do
      field(:state, :string, default: "available")
      field(:queue, :string, default: "default")
      field(:args, :map)
      field(:meta, :map, default: %{})
      field(:tags, {:array, :string}, default: [])
      field(:errors, {:array, :map}, default: [])
      field(:attempt, :integer, default: 0)
      field(:attempts_max, :integer, default: 20)
      field(:priority, :integer, default: 0)
      field(:claimed_by, {:array, :string})
      field(:inserted_at, :utc_datetime_usec)
      field(:scheduled_at, :utc_datetime_usec)
      field(:claimed_at, :utc_datetime_usec)
      field(:completed_at, :utc_datetime_usec)
      field(:cancelled_at, :utc_datetime_usec)
    end
  end

  defmodule CreateTasks do
    use Ecto.Migration

    def change do
      now = fragment("(strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))")

      create table(:tasks, primary_key: false) do
        add(:id, :bigserial, primary_key: true)
        add(:state, :text, null: false)
        add(:queue, :text, null: false)
        for name <- [:args, :meta], do: add(name, :json, null: false, default: %{})
        for name <- [:tags, :errors, :claimed_by], do: add(name, :json, null: false, default: [])
        for name <- [:attempt, :attempts_max, :priority], do: add(name, :integer, null: false)

        for name <- [:inserted_at, :scheduled_at],
            do: add(name, :utc_datetime_usec, null: false, default: now)

        for name <- [:claimed_at, :completed_at, :cancelled_at], do: add(name, :utc_datetime_usec)
      end

      create(index(:tasks, [:state, :queue, :priority, :scheduled_at, :id]))
    end
  end

  setup do
    migrate(CreateTasks)
    :ok
  end

  defp insert!(fields \\ []) do
    TestRepo.insert!(struct!(%Task{args: %{"n" => 1}, scheduled_at: DateTime.utc_now()}, fields))
  end

  defp seconds_from_now(seconds), do: DateTime.add(DateTime.utc_now(), seconds)
  defp get!(%{id: id}), do: TestRepo.get!(Task, id)

  # A JSON text that is appended as a text, not as an object.
  defp append_error(query, error) do
    update(query, [t], set: [errors: fragment("json_insert(?, '$[#]', ?)", t.errors, ^Jason.encode!(error))])
  end

  test "a job inserted with the table's defaults" do
    {:ok, %{id: id}} = TestRepo.insert(%Task{args: %{}}, [])
    assert %Task{errors: [], tags: [], claimed_by: [], scheduled_at: %DateTime{}} = TestRepo.get!(Task, id)
  end

  test "many at once, answered, though they give different columns" do
    rows = [%{args: %{n: 1}, state: "available", queue: "a", attempt: 0, attempts_max: 20, priority: 0}]

    rows =
      rows ++ [hd(rows) |> Map.put(:scheduled_at, ~U[2030-01-02 03:04:05.678901Z]) |> Map.put(:tags, ["x"])]

    assert {2, [first, second]} = TestRepo.insert_all(Task, rows, on_conflict: :nothing, returning: true)
    assert %Task{args: %{"n" => 1}, tags: [], errors: []} = first
    assert %Task{scheduled_at: ~U[2030-01-02 03:04:05.678901Z], tags: ["x"]} = second
  end

  test "claimed by one update that answers the rows, in the order of their priority" do
    urgent = insert!(priority: 0, queue: "mail")
    _last = insert!(priority: 1, queue: "mail")
    _spent = insert!(attempt: 20, queue: "mail")
    _other = insert!(queue: "other")

    due =
      from(t in Task,
        select: [:id],
        where: t.state == "available",
        where: t.queue == ^"mail",
        where: t.attempt < t.attempts_max,
        order_by: [asc: t.priority, asc: t.scheduled_at, asc: t.id],
        limit: ^1
      )

    query = from(t in Task, where: t.id in subquery(due), select: t)

    changes = [
      set: [state: "executing", claimed_at: DateTime.utc_now(), claimed_by: ["node"]],
      inc: [attempt: 1]
    ]

    assert {1, [task]} = TestRepo.update_all(query, changes)
    assert task.id == urgent.id
    assert %Task{state: "executing", attempt: 1, claimed_by: ["node"], args: %{"n" => 1}} = task
  end

  test "a job that failed, twice, is read with its errors" do
    task = insert!(state: "executing", attempt: 1)

    for attempt <- 1..2 do
      error = %{attempt: attempt, at: DateTime.utc_now(), error: ~s[** (RuntimeError) "o\\no"]}
      query = from(t in Task, where: [id: ^task.id]) |> append_error(error)
      query = update(query, set: [state: "retryable", scheduled_at: ^seconds_from_now(10)])
      assert {1, nil} = TestRepo.update_all(query, [])
    end

    assert %Task{state: "retryable", errors: [first, second]} = get!(task)
    assert %{"attempt" => 1, "at" => _, "error" => ~s[** (RuntimeError) "o\\no"]} = first
    assert %{"attempt" => 2} = second
  end

  test "a job with errors is claimed again, and completed" do
    task = insert!()
    {1, nil} = TestRepo.update_all(append_error(from(t in Task, where: [id: ^task.id]), %{attempt: 1}), [])
    query = from(t in Task, where: t.id == ^task.id, select: t)
    assert {1, [%Task{errors: [%{"attempt" => 1}]}]} = TestRepo.update_all(query, inc: [attempt: 1])
    done = [set: [state: "completed", completed_at: DateTime.utc_now()]]
    assert {1, nil} = TestRepo.update_all(from(t in Task, where: [id: ^task.id]), done)
    assert %Task{state: "completed", errors: [%{"attempt" => 1}]} = get!(task)
  end

  test "errors of objects and of texts side by side, written back by a changeset" do
    task = insert!(errors: [%{"attempt" => 1}])
    {1, nil} = TestRepo.update_all(append_error(from(t in Task, where: [id: ^task.id]), %{attempt: 2}), [])
    task = get!(task)
    assert task.errors == [%{"attempt" => 1}, %{"attempt" => 2}]
    task |> Ecto.Changeset.change(errors: task.errors ++ [%{"attempt" => 3}]) |> TestRepo.update!()
    assert [%{"attempt" => 1}, %{"attempt" => 2}, %{"attempt" => 3}] = get!(task).errors
    texts = "SELECT count(*) FROM tasks, json_each(errors) WHERE type <> 'object'"
    assert TestRepo.query!(texts).rows == [[0]]
  end

  test "snoozed: a map set and a negative inc" do
    task = insert!(state: "executing", attempt: 3)

    changes = [
      set: [state: "scheduled", scheduled_at: seconds_from_now(60), meta: %{"snoozed" => 1}],
      inc: [attempt: -1]
    ]

    assert {1, nil} = TestRepo.update_all(from(t in Task, where: [id: ^task.id]), changes)
    assert %Task{attempt: 2, meta: %{"snoozed" => 1}} = get!(task)
  end

  test "those cancelled are answered, whatever their state was" do
    kept = insert!(state: "completed")
    cancelled = for state <- ~w(available executing retryable), do: insert!(state: state)

    query =
      from(t in Task,
        where: t.state not in ["cancelled", "completed", "discarded"],
        select: map(t, [:id, :queue, :state])
      )

    assert {3, rows} = TestRepo.update_all(query, set: [state: "cancelled", cancelled_at: DateTime.utc_now()])
    assert rows |> Enum.map(& &1.id) |> Enum.sort() == Enum.map(cancelled, & &1.id)
    assert %{queue: "default", state: "cancelled"} = hd(rows)
    assert get!(kept).state == "completed"
  end

  test "retried by a join with the rows themselves, which answers the joined ones" do
    for state <- ~w(available executing), do: insert!(state: state)
    task = insert!(state: "completed", completed_at: DateTime.utc_now(), attempt: 20)
    subquery = where(Task, [t], t.state not in ["available", "executing"])

    query =
      from(t in Task,
        join: x in subquery(subquery),
        on: t.id == x.id,
        select: map(x, [:id, :queue, :state]),
        update: [
          set: [
            state: "available",
            attempts_max: fragment("MAX(?, ? + 1)", t.attempts_max, t.attempt),
            scheduled_at: ^DateTime.utc_now(),
            completed_at: nil
          ]
        ]
      )

    assert {1, [row]} = TestRepo.update_all(query, [])
    assert %{id: id, queue: "default", state: "available"} = row
    assert id == task.id
    assert %Task{completed_at: nil, attempts_max: 21} = get!(task)
  end

  test "staged, pruned and deleted: chosen first, then changed by a list of ids" do
    due = insert!(state: "scheduled", scheduled_at: seconds_from_now(-1))
    _later = insert!(state: "scheduled", scheduled_at: seconds_from_now(60))
    old = insert!(state: "completed", completed_at: seconds_from_now(-100))
    old_too = insert!(state: "cancelled", cancelled_at: seconds_from_now(-100))
    _fresh = insert!(state: "completed", completed_at: seconds_from_now(-1))

    staged =
      TestRepo.all(
        from(t in Task,
          select: map(t, [:id, :queue, :state]),
          where: t.state in ~w(scheduled retryable),
          where: t.scheduled_at <= ^DateTime.utc_now(),
          limit: ^10
        )
      )

    assert Enum.map(staged, & &1.id) == [due.id]
    ids = Enum.map(staged, & &1.id)
    assert {1, nil} = TestRepo.update_all(where(Task, [t], t.id in ^ids), set: [state: "available"])

    before = seconds_from_now(-60)

    prunable =
      from(t in Task,
        select: t.id,
        where: t.state == "completed" and t.completed_at < ^before,
        or_where: t.state == "cancelled" and t.cancelled_at < ^before,
        limit: ^10
      )

    assert Enum.sort(TestRepo.all(prunable)) == [old.id, old_too.id]
    assert {2, nil} = TestRepo.delete_all(where(Task, [t], t.id in ^TestRepo.all(prunable)))
    assert TestRepo.aggregate(Task, :count) == 3
  end

  test "orphans are rescued, or discarded after their last attempt" do
    [orphan, spent, young] =
      for {age, attempt} <- [{90, 1}, {90, 20}, {1, 1}],
          do: insert!(state: "executing", claimed_at: seconds_from_now(-age), attempt: attempt)

    cut = seconds_from_now(-60)

    base =
      from(t in Task,
        where: t.state == "executing" and t.claimed_at < ^cut,
        select: map(t, [:id, :queue, :state])
      )

    rescued = where(base, [t], t.attempt < t.attempts_max)
    discarded = where(base, [t], t.attempt >= t.attempts_max)
    assert {1, [%{id: id}]} = TestRepo.update_all(rescued, set: [state: "available"])
    assert id == orphan.id
    assert {1, [%{id: id}]} = TestRepo.update_all(discarded, set: [state: "discarded"])
    assert id == spent.id
    assert get!(young).state == "executing"
  end

  describe "a unique job is looked up" do
    setup do
      {:ok,
       task: insert!(args: %{"a" => 1, "b" => %{"c" => [1, 2]}, "d" => "x"}, inserted_at: DateTime.utc_now())}
    end

    # Whether each key of an object has the same value in a column; both may be a parameter.
    defmacrop has(json, object) do
      quote do
        fragment(
          "SELECT 0 NOT IN (SELECT json_extract(?, '$.' || t.key) = t.value FROM json_each(?) t)",
          unquote(json),
          unquote(object)
        )
      end
    end

    defp unique(dynamic) do
      since = seconds_from_now(-60)

      TestRepo.one(
        from(t in Task,
          where: t.state in ^~w(available scheduled),
          where: fragment("datetime(?) >= datetime(?)", field(t, ^:inserted_at), ^since),
          where: ^dynamic,
          limit: 1
        )
      )
    end

    test "by some of its arguments", %{task: %{id: id}} do
      for {object, found?} <- [
            {%{"a" => 1}, true},
            {%{"a" => 1, "b" => %{"c" => [1, 2]}}, true},
            {%{"d" => "x"}, true},
            {%{"a" => 2}, false},
            {%{"b" => %{"c" => []}}, false}
          ] do
        task =
          unique(
            dynamic([t], has(field(t, ^:args), ^Jason.encode!(object)) and field(t, ^:queue) == ^"default")
          )

        assert (task && task.id) == if(found?, do: id), inspect(object)
      end
    end

    test "by all of them", %{task: %{id: id, args: args}} do
      same = fn object ->
        json = Jason.encode!(object)
        unique(dynamic([t], has(field(t, ^:args), ^json) and has(^json, field(t, ^:args)) and true))
      end

      assert %Task{id: ^id} = same.(args)
      assert same.(Map.delete(args, "a")) == nil
    end

    test "by an empty object, and replaced" do
      assert unique(dynamic([t], field(t, ^:args) == ^%{})) == nil
      %{id: id} = insert!(args: %{}, inserted_at: DateTime.utc_now())
      assert %Task{id: ^id} = task = unique(dynamic([t], field(t, ^:args) == ^%{}))
      assert {:ok, %Task{priority: 3}} = TestRepo.update(Ecto.Changeset.change(task, priority: 3))
    end
  end
end
