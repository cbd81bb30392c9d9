defmodule TimeZones.Diary do
  @moduledoc "Appointments: entered, moved, and found by who takes part."

  import Ecto.Query

  alias TimeZones.Diary.Appointment
  alias TimeZones.Repo

  @doc "Enters an appointment."
  @spec enter(map) :: {:ok, Appointment.t()} | {:error, Ecto.Changeset.t()}
  def enter(params), do: %Appointment{} |> Appointment.changeset(params) |> Repo.insert()

  @doc "Enters all of them or none; the first that cannot be is told with its place in the list."
  @spec enter_all([map]) :: {:ok, [Appointment.t()]} | {:error, {non_neg_integer, Ecto.Changeset.t()}}
  def enter_all(list) do
    Repo.transaction(fn ->
      for {params, place} <- Enum.with_index(list) do
        case enter(params) do
          {:ok, appointment} -> appointment
          {:error, changeset} -> Repo.rollback({place, changeset})
        end
      end
    end)
  end

  @doc "Moves all appointments of a zone by some minutes, and says how many they were."
  @spec shift(pos_integer, integer) :: non_neg_integer
  def shift(zone_id, minutes) do
    shifted =
      from a in Appointment,
        where: a.zone_id == ^zone_id,
        update: [set: [starts_at: datetime_add(a.starts_at, ^minutes, "minute")]]

    {count, _} = Repo.update_all(shifted, [])
    count
  end

  @doc "What a person takes part in, the earliest first, each with its zone."
  @spec of(String.t()) :: [Appointment.t()]
  def of(person) do
    Repo.all(from a in Appointment, where: ^person in a.people, order_by: a.starts_at, preload: :zone)
  end
end
