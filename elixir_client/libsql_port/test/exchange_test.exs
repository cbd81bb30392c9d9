defmodule LibsqlPort.ExchangeTest do
  use ExUnit.Case, async: true

  # Asks the compiler instead of a clock: a receive that it cannot mark searches the whole mailbox.
  test "no receive of a call searches the messages that were in the mailbox before" do
    receives = for {line, note} <- notes(LibsqlPort.Exchange), receive?(note), do: {line, marked?(note)}

    # The reply's in `call`, the next frame's, the last look before giving up, the answer to a sync, and flushing.
    assert length(receives) == 5
    assert Enum.reject(receives, fn {_line, marked?} -> marked? end) == []
  end

  test "the compiler does tell of a receive that searches" do
    forms = [
      {:attribute, 1, :module, :searches},
      {:attribute, 1, :export, [f: 1]},
      {:function, 1, :f, 1, [{:clause, 1, [{:tuple, 1, [{:var, 1, :Ref}]}], [], [receive_form()]}]}
    ]

    assert [{_line, note}] = Enum.filter(compiled(forms), fn {_line, note} -> receive?(note) end)
    refute marked?(note)
  end

  # receive {Ref, Reply} -> Reply end
  defp receive_form do
    pattern = {:tuple, 1, [{:var, 1, :Ref}, {:var, 1, :Reply}]}
    {:receive, 1, [{:clause, 1, [pattern], [], [{:var, 1, :Reply}]}]}
  end

  defp marked?(note), do: match?({:used_receive_marker, _}, note)
  defp receive?(note), do: marked?(note) or note in [:unoptimized_selective_receive, :matches_any_message]

  defp notes(module) do
    # Not `:code.which/1`, which knows no file of a module that `mix test --cover` has compiled anew.
    beam = :libsql_port |> Application.app_dir("ebin/#{module}.beam") |> String.to_charlist()
    {:ok, {^module, [debug_info: {:debug_info_v1, backend, data}]}} = :beam_lib.chunks(beam, [:debug_info])

    {:ok, forms} = backend.debug_info(:erlang_v1, module, data, [])
    compiled(forms)
  end

  defp compiled(forms) do
    {:ok, _module, _beam, files} = :compile.noenv_forms(forms, [:binary, :return_warnings, :recv_opt_info])
    for {_file, notes} <- files, {location, :beam_ssa_recv, note} <- notes, do: {location, note}
  end
end
