defmodule LibsqlPort.OptionsTest do
  use ExUnit.Case, async: true

  alias LibsqlPort.{Error, Executable, Options}

  doctest LibsqlPort.Executable

  defp wire(options), do: elem(Options.connection([database: "a.db"] ++ options), 1).wire

  describe "of a connection" do
    test "defaults are left to the program" do
      assert {:ok, options} = Options.connection(database: "a.db")
      assert options.path == "a.db"
      assert options.wire == %{}
      assert options.owner == self()
      assert options.timeout == 15_000
    end

    test "what is given travels" do
      assert wire(mode: :read_only, busy_timeout: 7, lock_timeout: 0, statement_cache: 0, checkpoint_pages: 0) ==
               %{
                 "lock_timeout" => 0,
                 "mode" => :read_only,
                 "busy_timeout" => 7,
                 "statement_cache" => 0,
                 "checkpoint_pages" => 0
               }

      assert wire(open_flags: [:uri, :nofollow]) == %{"open_flags" => 0x1000040}
      assert wire(memory: true) == %{"memory" => true}
      assert wire(allowed_directories: ["/a", "/b c"]) == %{"allowed_directories" => ["/a", "/b c"]}
      assert wire(allowed_directories: []) == %{"allowed_directories" => []}
    end

    test "memory without a name is the private database" do
      assert {:ok, %{path: ":memory:", wire: wire}} = Options.connection(memory: true)
      assert wire == %{}
    end

    test "pragmas in the list and by their own name" do
      assert wire(pragmas: [synchronous: :full, cache_size: -100], journal_mode: :wal, foreign_keys: false) ==
               %{
                 "pragmas" => %{
                   "synchronous" => "full",
                   "cache_size" => -100,
                   "journal_mode" => "wal",
                   "foreign_keys" => false
                 }
               }
    end

    test "errors name the option and what it takes" do
      for {options, words} <- [
            {[], ["database"]},
            {[database: "a", databse: 1], [":databse", ":busy_timeout", ":journal_mode"]},
            {[database: "a", mode: :rw], [":mode", ":read_write", ":rw"]},
            {[database: "a", busy_timeout: -1], [":busy_timeout", "from 0"]},
            {[database: "a", lock_timeout: :infinity], [":lock_timeout", "from 0"]},
            {[database: "a", timeout: 0], [":timeout", "1 to"]},
            {[database: "a", memory: "x"], [":memory", "true or false"]},
            {[database: "a", open_flags: [:nope]], [":open_flags", ":uri"]},
            {[database: "a", owner: :me], [":owner", "process id"]},
            {[database: "a", allowed_directories: "/a"], [":allowed_directories", "absolute paths"]},
            {[database: "a", allowed_directories: ["a"]], [":allowed_directories", "absolute paths"]},
            {[database: "a", allowed_directories: [:a]], [":allowed_directories", "absolute paths"]},
            {[database: "a", allowed_directories: List.duplicate("/a", 65)],
             [":allowed_directories", "at most 64"]},
            {[database: ~c"a"], [":database", "string"]},
            {[database: String.duplicate("a", 4_097)], [":database", "4096 bytes", "4097"]},
            {[database: String.duplicate("a", 4_097), memory: true], [":database", "4096 bytes", "4097"]},
            {[database: "a", journal_mode: :fast], [":journal_mode", ":wal", ":fast"]},
            {[database: "a", pragmas: [nonsense: 1]], [":nonsense", ":synchronous"]},
            {[database: "a", pragmas: [busy_timeout: 1]], [":busy_timeout", "cannot be set"]},
            {[database: "a", pragmas: 5], [":pragmas", "keyword list"]},
            {[1, 2], ["keyword list"]}
          ] do
        assert {:error, %Error{code: :invalid_option, message: message}} = Options.connection(options)
        for word <- words, do: assert(message =~ word, "#{message} lacks #{word}")
      end
    end
  end

  describe "of a sidecar" do
    test "become arguments" do
      assert {:ok, options} = Options.sidecar(frame_bytes_max: 100_000, log_format: :json, args: ["--x"])

      assert Executable.arguments(options) ==
               ["--frame-bytes-max", "100000", "--log-format", "json", "--log-to", "client", "--x"] ++
                 ["--shutdown-grace-ms", "4000"]

      given = ["--shutdown-grace-ms", "9"]

      for {options, arguments} <- [
            {[], ["--shutdown-grace-ms", "4000"]},
            {[shutdown_grace: 0], ["--shutdown-grace-ms", "1"]},
            {[shutdown_grace: 600_000], ["--shutdown-grace-ms", "60000"]},
            {[args: given], given}
          ] do
        assert {:ok, options} = Options.sidecar([log_to: :stderr] ++ options)
        assert Executable.arguments(options) == arguments
      end
    end

    test "every limit reaches the program" do
      limits = [
        frame_bytes_max: 100_000,
        connections_max: 1,
        queue_requests_max: 2,
        queue_bytes_max: 3,
        statements_max: 4,
        cursors_max: 5,
        result_rows_max: 6,
        result_bytes_max: 7,
        heap_bytes_max: 8,
        spin_us_max: 9,
        stuck_limit: 10,
        log_lines_per_second: 11,
        temp_bytes_max: 12,
        changes_bytes_max: 13,
        statement_bytes_max: 13,
        denials_per_second_max: 14
      ]

      {:ok, defaults} = Options.sidecar([])

      unsaid =
        for {name, nil} <- defaults,
            name not in [:name, :executable, :log_level, :log_format, :temp_directory],
            do: name

      assert Enum.sort(unsaid) == Enum.sort(Keyword.keys(limits)), "a limit that this test does not know"
      {:ok, options} = Options.sidecar(limits)
      given = Executable.arguments(options)
      for {_, value} <- limits, do: assert(to_string(value) in given)
    end

    test "errors name the option and what it takes" do
      for {options, words} <- [
            {[nme: 1], [":nme", ":name"]},
            {[name: "text"], [":name", "an atom"]},
            {[log_level: :loud], [":log_level", ":warn"]},
            {[args: "x"], [":args", "list of strings"]},
            {[env: [a: 1]], [":env", "pairs of strings"]},
            {[start_timeout: 0], [":start_timeout", "1 to"]}
          ] do
        assert {:error, %Error{code: :invalid_option, message: message}} = LibsqlPort.start_link(options)
        for word <- words, do: assert(message =~ word, "#{message} lacks #{word}")
      end
    end
  end

  test "no program is an error that says what to do" do
    assert {:error, %Error{code: :executable_not_found, message: message}} = Executable.find("/nowhere/x")
    assert message =~ "/nowhere/x"
    assert message =~ "cargo build --release"
    assert message =~ "LIBSQL_PORT_EXECUTABLE"
  end

  test "a timeout is a number of milliseconds or :infinity" do
    assert LibsqlPort.Wire.timeout_ms(:infinity) == 0
    assert LibsqlPort.Wire.timeout_ms(5) == 5

    for wrong <- [0, -1, 1.5, nil, 2_147_483_648],
        do: assert_raise(ArgumentError, fn -> LibsqlPort.Wire.timeout_ms(wrong) end)
  end
end
