defmodule TimeZones.DiaryTest do
  use TimeZones.DataCase, async: true

  alias TimeZones.Diary
  alias TimeZones.Diary.Appointment

  setup :small_world

  defp params(zone, more \\ %{}) do
    Map.merge(
      %{
        title: "Tea",
        starts_at: ~U[2026-11-20 15:00:00.000001Z],
        minutes: 20,
        people: ["Ada"],
        zone_id: zone.id
      },
      more
    )
  end

  test "what was entered is what is read", %{zurich: zurich} do
    assert {:ok, %{id: id}} = Diary.enter(params(zurich))

    assert %Appointment{starts_at: ~U[2026-11-20 15:00:00.000001Z], people: ["Ada"]} =
             Repo.get!(Appointment, id)
  end

  test "a time that is taken, no minutes, and a zone that is not there", %{zurich: zurich} do
    {:ok, _} = Diary.enter(params(zurich))
    assert errors(Diary.enter(params(zurich))) == [starts_at: "is taken"]
    assert errors(Diary.enter(params(%{id: 0}))) == [zone_id: "does not exist"]

    assert errors(Diary.enter(params(zurich, %{minutes: 0, starts_at: ~U[2026-11-21 08:00:00Z]}))) ==
             [minutes: "must be more than none"]
  end

  test "all or none", %{zurich: zurich} do
    later = %{starts_at: ~U[2026-11-21 15:00:00Z]}
    assert {:error, {1, %Ecto.Changeset{}}} = Diary.enter_all([params(zurich), params(zurich)])
    assert Repo.aggregate(Appointment, :count) == 0
    assert {:ok, [_, _]} = Diary.enter_all([params(zurich), params(zurich, later)])
  end

  test "appointments are moved in the database, to the microsecond", %{zurich: zurich} do
    {:ok, %{id: id}} = Diary.enter(params(zurich))
    assert Diary.shift(zurich.id, 90) == 1
    assert Repo.get!(Appointment, id).starts_at == ~U[2026-11-20 16:30:00.000001Z]
  end

  test "people are found in the list", %{zurich: zurich} do
    {:ok, _} = Diary.enter(params(zurich, %{people: ["Ada", "Alan"]}))
    assert [%Appointment{zone: %{name: "Europe/Zurich"}}] = Diary.of("Alan")
    assert Diary.of("Ala") == []
  end

  test "a zone with appointments stays", %{zurich: zurich} do
    {:ok, _} = Diary.enter(params(zurich))

    assert {:error, changeset} =
             zurich
             |> Ecto.Changeset.change()
             |> Ecto.Changeset.no_assoc_constraint(:appointments)
             |> Repo.delete()

    assert errors({:error, changeset}) == [appointments: "are still associated with this entry"]
  end

  defp errors({:error, changeset}), do: for({field, {message, _}} <- changeset.errors, do: {field, message})
end
