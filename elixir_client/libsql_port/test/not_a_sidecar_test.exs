defmodule LibsqlPort.NotASidecarTest do
  use ExUnit.Case, async: true

  alias LibsqlPort.Error

  # None of them may be sent a call that it does not know: it would crash, or take the whole time for nothing.
  test "what is given in the place of a sidecar is refused at once, and left alone" do
    agent = start_supervised!({Agent, fn -> 1 end})
    supervisor = start_supervised!({Task.Supervisor, []})
    name = :"not_a_sidecar_#{System.unique_integer([:positive])}"
    Process.register(self(), name)

    for other <- [agent, supervisor, self(), name, "text", 3, {:name, "node"}] do
      for call <- [
            &LibsqlPort.connect(&1, database: ":memory:", connect_timeout: 60_000),
            &LibsqlPort.status/1,
            &LibsqlPort.ping/1
          ] do
        assert {:error, %Error{code: :invalid_option, message: message}} = call.(other)
        assert message =~ "#{inspect(other)} is no sidecar"
      end
    end

    assert Agent.get(agent, & &1) == 1
    refute_received {:"$gen_call", _from, _request}
  end

  test "a sidecar that has ended, or was never started, is down" do
    {:ok, sidecar} = LibsqlPort.start_link()
    Supervisor.stop(sidecar)

    for gone <- [sidecar, :nobody, {:global, :nobody}, nil] do
      assert {:error, %Error{code: :sidecar_down}} = LibsqlPort.connect(gone, database: ":memory:")
    end
  end
end
