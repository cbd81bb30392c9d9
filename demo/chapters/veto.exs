defmodule Demo.Veto do
  # A function in Elixir decides about each commit, by what the transaction has changed.
  @moduledoc false
  alias Demo.Terminal

  def title, do: "Elixir decides about a commit"

  def run(%{conn: conn}) do
    {:ok, _} =
      LibsqlPort.script(
        conn,
        "CREATE TABLE entry (id INTEGER PRIMARY KEY, account TEXT NOT NULL, cents INTEGER NOT NULL)"
      )

    :ok = LibsqlPort.set_commit_hook(conn, &balanced/1, tables: ["entry"], values: :new)
    {:ok, _} = transfer(conn, 5_000, -5_000)
    {:error, vetoed} = transfer(conn, 5_000, -4_999)
    Terminal.field("50.00 against 49.99", "#{inspect(vetoed.code)}: #{vetoed.message}")
    # An amount that the function does not expect makes it fail, which is no yes.
    {:error, failed} =
      LibsqlPort.query(
        conn,
        "INSERT INTO entry (account, cents) VALUES ('cash', 'x')"
      )

    Terminal.field("an entry of 'x'", "#{inspect(failed.code)}: #{first_line(failed.message)}")
    {:ok, [stored, sum]} = LibsqlPort.query_one(conn, "SELECT count(*), sum(cents) FROM entry")
    {:ok, status} = LibsqlPort.status(conn)
    {:ok, true} = LibsqlPort.remove_commit_hook(conn)

    [
      {"a transfer that does not balance is vetoed", inspect(vetoed.code),
       vetoed.code == :commit_vetoed and vetoed.message =~ "1 cent is missing"},
      {"a function that fails says no as well", inspect(failed.code), failed.code == :commit_hook_failed},
      {"entries stored, and their sum", "#{stored}, #{sum}", {stored, sum} == {2, 0}},
      {"a transaction left open by a veto", "#{not status.autocommit}", status.autocommit}
    ]
  end

  # What no CHECK and no trigger can say: it is about the transaction as a whole.
  defp balanced(commit) do
    case commit.changes |> Enum.map(& &1.new["cents"]) |> Enum.sum() do
      0 -> :ok
      1 -> {:error, "1 cent is missing"}
      cents -> {:error, "#{cents} cents are missing"}
    end
  end

  defp transfer(conn, debit, credit) do
    LibsqlPort.transaction(conn, fn conn ->
      for {account, cents} <- [{"cash", debit}, {"bank", credit}],
          do: LibsqlPort.query!(conn, "INSERT INTO entry (account, cents) VALUES (?, ?)", [account, cents])
    end)
  end

  defp first_line(text), do: text |> String.split("\n") |> hd()
end
