defmodule Peers.Adapters do
  # The adapters that are compared, where their code is found, and how their Repos are set up. Ecto and all else that
  # this project itself depends on is taken from its own build for all of them.
  @moduledoc false

  @enforce_keys [:name, :module, :app, :code_path, :config]
  defstruct @enforce_keys

  # The same for all, so that adapters are compared and not their defaults.
  @pragmas [journal_mode: :wal, synchronous: :normal, cache_size: -64_000, temp_store: :memory]

  # The driver stays: `Peers.Way` uses it in every VM, and nothing else does.
  @own_apps ~w(ecto_libsql_port)
  @peers [
    {"ecto_libsql", "ECTO_LIBSQL_LIB"},
    {"ecto_sqlite3", "ECTO_SQLITE3_LIB"}
  ]

  @doc "This project's adapter first, then the peers that the environment names."
  def at_hand do
    {given, missing} =
      Enum.split_with(@peers, fn {_name, variable} -> System.get_env(variable) not in [nil, ""] end)

    if missing != [] do
      IO.puts(
        "not compared: " <> Enum.map_join(missing, ", ", fn {name, variable} -> "#{name} (#{variable})" end)
      )
    end

    [own() | Enum.map(given, fn {name, variable} -> peer(name, System.fetch_env!(variable)) end)]
  end

  defp own do
    %__MODULE__{
      name: "ecto_libsql_port",
      module: Ecto.Adapters.LibSql,
      app: :ecto_libsql_port,
      code_path: code_path(),
      # On by default here, off in the others: the engine looks at each cell of a page that it reads.
      config: @pragmas ++ [pragmas: [cell_size_check: false]]
    }
  end

  defp peer("ecto_libsql" = name, lib) do
    %__MODULE__{
      name: name,
      module: Ecto.Adapters.LibSql,
      app: :ecto_libsql,
      code_path: code_path(lib),
      # It has no options for pragmas.
      config: [after_connect: {Peers.Repo, :set_pragmas, [EctoLibSql.Query, @pragmas]}]
    }
  end

  defp peer("ecto_sqlite3" = name, lib) do
    %__MODULE__{
      name: name,
      module: Ecto.Adapters.SQLite3,
      app: :ecto_sqlite3,
      code_path: code_path(lib),
      config: @pragmas
    }
  end

  # The path of this VM: what Mix has built for the project, and Elixir's own libraries; without the protocols that Mix
  # has consolidated for this project alone (see inside/protocols.exs).
  defp code_path do
    otp = List.to_string(:code.lib_dir())

    Enum.filter(Enum.map(:code.get_path(), &Path.expand/1), fn path ->
      Path.basename(path) == "ebin" and File.dir?(path) and not String.starts_with?(path, otp)
    end)
  end

  # The peer's build gives only what this project's has not, and nothing of this adapter is left.
  defp code_path(lib) do
    common = Enum.reject(code_path(), &(app(&1) in @own_apps))
    apps = MapSet.new(common, &app/1)
    added = lib |> Path.expand() |> Path.join("*/ebin") |> Path.wildcard() |> Enum.reject(&(app(&1) in apps))
    if added == [], do: raise("there is no built application in #{lib}")
    added ++ common
  end

  defp app(ebin), do: ebin |> Path.dirname() |> Path.basename()
end
