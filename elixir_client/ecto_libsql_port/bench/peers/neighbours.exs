defmodule Peers.Neighbours do
  # Other programs that want the processors: two for each, which compute without a pause.
  @moduledoc false

  @per_processor 2

  # Ends with the VM that started it, however that ends.
  @loop "while kill -0 $PPID 2>/dev/null; do i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done; done"

  @doc "The result of `fun`, called beside them."
  def beside(fun) do
    count = @per_processor * System.schedulers_online()
    pids = for _ <- 1..count, do: start()

    try do
      fun.()
    after
      System.cmd("kill", Enum.map(pids, &to_string/1))
    end
  end

  defp start do
    port = Port.open({:spawn_executable, "/bin/sh"}, args: ["-c", @loop])
    {:os_pid, pid} = Port.info(port, :os_pid)
    pid
  end
end
