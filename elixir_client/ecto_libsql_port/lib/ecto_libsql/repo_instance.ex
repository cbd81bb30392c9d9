defmodule EctoLibSql.RepoInstance do
  @moduledoc false
  # Which Repo is meant: a module, whose dynamic Repo (`put_dynamic_repo/1`) is that of the calling process, or a running one by its name
  # or process. Called by whatever works for a Repo in a process of its own, which has to be told.

  alias LibsqlPort.Error

  @typedoc "The module, and what its `put_dynamic_repo/1` takes."
  @type t :: {module, atom | pid}

  @doc "A module need not run yet."
  @spec of(term) :: {:ok, t} | {:error, Error.t()}
  def of(repo) do
    if module?(repo), do: {:ok, {repo, named(repo.get_dynamic_repo())}}, else: running(repo)
  end

  @doc "The same, with the dynamic Repo of a module given beside it."
  @spec of(term, atom | pid | nil) :: {:ok, t} | {:error, Error.t()}
  def of(repo, nil), do: of(repo)

  def of(repo, dynamic) do
    if module?(repo), do: {:ok, {repo, named(dynamic)}}, else: {:error, unknown(repo)}
  end

  @doc "The Repo of a module, in the calling process; raises for another term."
  @spec of!(term) :: t
  def of!(repo) do
    case of(repo) do
      {:ok, instance} -> instance
      {:error, error} -> raise error
    end
  end

  @doc "Calls a function with the Repo's module, whose functions use the Repo that is meant meanwhile; raises for what is no Repo."
  @spec within(term, (module -> result)) :: result when result: var
  def within(repo, fun) do
    {module, dynamic} = of!(repo)
    before = module.get_dynamic_repo()

    if named(before) == dynamic do
      fun.(module)
    else
      module.put_dynamic_repo(dynamic)

      try do
        fun.(module)
      after
        module.put_dynamic_repo(before)
      end
    end
  end

  @doc "Makes it the one that the module's functions use in the calling process."
  @spec enter(t) :: module
  def enter({module, dynamic}) do
    module.put_dynamic_repo(dynamic)
    module
  end

  defp module?(repo) do
    is_atom(repo) and Code.ensure_loaded?(repo) and function_exported?(repo, :get_dynamic_repo, 0)
  end

  defp running(repo) do
    with pid when is_pid(pid) <- whereis(repo),
         %{repo: module} when is_atom(module) <- Ecto.Adapter.lookup_meta(pid) do
      {:ok, {module, named(if(is_atom(repo), do: repo, else: pid))}}
    else
      _none -> {:error, unknown(repo)}
    end
  rescue
    # No process that Ecto knows.
    ArgumentError -> {:error, unknown(repo)}
  end

  defp whereis(pid) when is_pid(pid), do: pid
  defp whereis(name) when is_atom(name) or is_tuple(name), do: GenServer.whereis(name)
  defp whereis(_other), do: nil

  # By its name it is found again after a restart, and one Repo is one however it is named.
  defp named(pid) when is_pid(pid) do
    case node(pid) == node() && Process.info(pid, :registered_name) do
      {:registered_name, name} -> name
      _none -> pid
    end
  end

  defp named(name), do: name

  defp unknown(repo) do
    Error.new(
      :invalid_option,
      "#{inspect(repo)} is no Repo: give a module that uses Ecto.Repo, or the name or process of one that runs"
    )
  end
end
