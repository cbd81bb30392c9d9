defmodule EctoLibSql.SinceEcto do
  @moduledoc false
  # Tests of what an older Ecto does not have: on one before `version` the block is not compiled.

  defmacro since_ecto(version, do: block) do
    if Version.match?(to_string(Application.spec(:ecto, :vsn)), ">= #{version}"), do: block
  end
end
