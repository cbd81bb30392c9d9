defmodule LibsqlPort.Changes.Witness do
  @moduledoc false
  # Beside each subscription, for the case that its process is killed, by which it can tell its subscriber nothing. Does nothing else, and
  # ends with the subscription.

  alias LibsqlPort.Changes.Ended
  alias LibsqlPort.Error

  @doc """
  Starts one for the calling process, a subscription of `subscriber`. It watches when this returns: of a process that has ended
  before, nobody would tell it how.
  """
  @spec start(pid) :: pid
  def start(subscriber) do
    subscription = self()
    watching = make_ref()

    {witness, started} =
      spawn_monitor(fn ->
        monitor = Process.monitor(subscription)
        send(subscription, {watching, :watching})
        wait(subscription, monitor, subscriber)
      end)

    receive do
      {^watching, :watching} ->
        Process.demonitor(started, [:flush])
        witness

      # Killed by somebody who knows nothing of it.
      {:DOWN, ^started, :process, ^witness, _reason} ->
        start(subscriber)
    end
  end

  @doc "The calling subscription tells its end itself."
  @spec told(pid) :: :ok
  def told(witness) do
    send(witness, {:told, self()})
    :ok
  end

  @doc "With what reason a subscription is ended from outside, of which nothing is to be told."
  @spec unsubscribed :: term
  def unsubscribed, do: {:shutdown, :unsubscribed}

  defp wait(subscription, monitor, subscriber) do
    receive do
      {:told, ^subscription} -> :ok
      {:DOWN, ^monitor, :process, ^subscription, :normal} -> :ok
      {:DOWN, ^monitor, :process, ^subscription, {:shutdown, :unsubscribed}} -> :ok
      {:DOWN, ^monitor, :process, ^subscription, reason} -> tell(subscription, subscriber, reason)
    end
  end

  defp tell(subscription, subscriber, reason) do
    message = "the process of the subscription has ended: " <> Exception.format_exit(reason)
    send(subscriber, %Ended{subscription: subscription, error: Error.new(:internal, message)})
  end
end
