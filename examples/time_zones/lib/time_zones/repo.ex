defmodule TimeZones.Repo do
  @moduledoc "The database of the application."
  use Ecto.Repo, otp_app: :time_zones, adapter: Ecto.Adapters.LibSql
end
