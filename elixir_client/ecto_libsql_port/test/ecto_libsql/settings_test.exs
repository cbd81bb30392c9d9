defmodule EctoLibSql.SettingsTest do
  # Not async: they are of the whole application.
  use EctoLibSql.RepoCase

  alias EctoLibSql.{Options, Settings}
  doctest Settings

  @wrong [
    binary_id_type: :text,
    uuid_type: nil,
    map_type: "string",
    array_type: :json,
    datetime_type: :unix,
    utc_designator: "Z",
    json_library: nil,
    untyped_binaries: :blob,
    unique_constraint_names: :names
  ]

  test "each has a default, a check of its own, and its place in the documentation" do
    assert Enum.sort(Keyword.keys(@wrong)) == Enum.sort(Settings.names())
    {:docs_v1, _, _, _, %{"en" => documentation}, _, _} = Code.fetch_docs(Options)

    for {name, value} <- @wrong do
      assert documentation =~ "`:#{name}`"
      default = Settings.get(name)
      TestSettings.put([{name, value}])
      assert {:error, %{code: :invalid_option, message: message}} = Settings.reload()
      assert message =~ ~r/\Athe option :#{name} takes .*, not #{Regex.escape(inspect(value))}\z/
      assert_raise ArgumentError, message, fn -> Settings.get(name) end

      for {other, _} <- @wrong, other != name, do: Settings.get(other)
      Application.delete_env(:ecto_libsql_port, name)
      assert Settings.get(name) == default
      assert Settings.reload() == :ok
    end
  end

  test "a change takes effect when they are read again, or a pool starts" do
    time = ~N[2026-01-02 03:04:05]
    TestSettings.put(datetime_type: :iso8601)
    Application.put_env(:ecto_libsql_port, :datetime_type, :text_datetime)
    assert TestRepo.query!("SELECT ?", [time]).rows == [["2026-01-02T03:04:05"]]
    Settings.reload()
    assert TestRepo.query!("SELECT ?", [time]).rows == [["2026-01-02 03:04:05"]]

    Application.put_env(:ecto_libsql_port, :datetime_type, :iso8601)
    assert TestRepo.query!("SELECT ?", [time]).rows == [["2026-01-02 03:04:05"]]
    start_supervised!({EctoLibSql, database: ":memory:"})
    assert TestRepo.query!("SELECT ?", [time]).rows == [["2026-01-02T03:04:05"]]
  end

  test "untyped binaries are blobs by their content, also without a pool" do
    {:ok, state} = EctoLibSql.connect(database: ":memory:")
    on_exit(fn -> EctoLibSql.disconnect([], state) end)
    typeof = fn -> EctoLibSql.handle_execute("SELECT typeof(?)", [<<0, 255>>], [], state) end
    assert {:error, %{code: :invalid_parameter}, _} = typeof.()
    TestSettings.put(untyped_binaries: :text_or_blob)
    assert {:ok, _, %{rows: [["blob"]]}, _} = typeof.()
  end

  test "no pool starts with a wrong one" do
    TestSettings.put(map_type: :text)
    Process.flag(:trap_exit, true)
    assert {:error, %{code: :invalid_option, message: message}} = EctoLibSql.start_link(database: ":memory:")
    assert message == "the option :map_type takes :string or :binary, not :text"
  end

  test "without the application they are those of the configuration" do
    :persistent_term.erase(Settings)
    on_exit(fn -> :ok = Settings.reload() end)
    assert Settings.get(:datetime_type) == :iso8601
    Application.put_env(:ecto_libsql_port, :datetime_type, :text_datetime)
    on_exit(fn -> Application.delete_env(:ecto_libsql_port, :datetime_type) end)
    assert Settings.get(:datetime_type) == :text_datetime
  end
end
