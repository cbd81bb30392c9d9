defmodule EctoLibSql.TestSettings do
  @moduledoc false
  # Settings of the whole application for the length of a test, which is not async then.

  alias EctoLibSql.Settings

  def put(settings) do
    for {name, value} <- settings, do: Application.put_env(:ecto_libsql_port, name, value)
    _ = Settings.reload()

    ExUnit.Callbacks.on_exit(fn ->
      for {name, _value} <- settings, do: Application.delete_env(:ecto_libsql_port, name)
      :ok = Settings.reload()
    end)
  end
end
