defmodule LibsqlPort.ErrorCode do
  @moduledoc """
  The closed table of error codes. `tests/fixtures/error_codes.txt` is its source; the tests of both languages compare
  theirs with it.

  | codes | about |
  |---|---|
  | `:timeout`, `:cancelled`, `:busy`, `:locked`, `:connection_closed`, `:unknown_connection`, `:unknown_statement`, `:unknown_cursor`, `:limit_exceeded`, `:internal`, `:unsupported` | time, concurrency, life cycle |
  | `:invalid_request`, `:invalid_option`, `:invalid_parameter`, `:integer_out_of_range`, `:parameter_count`, `:parameter_name`, `:frame_too_large`, `:result_too_large`, `:no_rows`, `:too_many_rows`, `:empty_statement`, `:multiple_statements`, `:transaction_open`, `:no_transaction` | what was asked |
  | `:constraint_unique`, `:constraint_primary_key`, `:constraint_not_null`, `:constraint_check`, `:constraint_foreign_key`, `:constraint_trigger`, `:constraint_rowid`, `:constraint_datatype`, `:constraint` | constraints |
  | `:sql_error`, `:read_only`, `:corrupt`, `:not_a_database`, `:disk_full`, `:io_error`, `:cannot_open`, `:out_of_memory`, `:too_big`, `:type_mismatch`, `:schema_changed`, `:not_authorized`, `:permission_denied`, `:engine_error` | the engine |
  | `:file_replaced`, `:foreign_wal` | a database file that was removed, replaced or restored |
  | `:callback_failed`, `:callback_timeout`, `:callback_reentered`, `:unknown_function` | functions written in Elixir |
  | `:commit_vetoed`, `:commit_hook_failed` | a commit hook written in Elixir (`LibsqlPort.set_commit_hook/3`) |
  | `:transaction_lost`, `:unauthorized`, `:forbidden`, `:remote_unavailable`, `:remote_protocol` | databases on a server |
  | `:too_stale` | a replica (`LibsqlPort.Replica`) that is older than a read allows |
  | `:outcome_unknown` | a write whose answer was lost, with the sidecar or on the way to a server |
  | `:sidecar_down`, `:protocol_mismatch`, `:executable_not_found`, `:not_sent` | seen by this client alone |
  | `:unknown` | a number that this client does not know; the error keeps it |
  """

  @codes [
    timeout: 1,
    cancelled: 2,
    busy: 3,
    locked: 4,
    connection_closed: 5,
    unknown_connection: 6,
    unknown_statement: 7,
    unknown_cursor: 8,
    limit_exceeded: 9,
    internal: 10,
    unsupported: 11,
    invalid_request: 20,
    invalid_option: 21,
    invalid_parameter: 22,
    integer_out_of_range: 23,
    parameter_count: 24,
    parameter_name: 25,
    frame_too_large: 26,
    result_too_large: 27,
    no_rows: 28,
    too_many_rows: 29,
    empty_statement: 30,
    multiple_statements: 31,
    transaction_open: 32,
    no_transaction: 33,
    constraint_unique: 40,
    constraint_primary_key: 41,
    constraint_not_null: 42,
    constraint_check: 43,
    constraint_foreign_key: 44,
    constraint_trigger: 45,
    constraint_rowid: 46,
    constraint_datatype: 47,
    constraint: 48,
    sql_error: 60,
    read_only: 61,
    corrupt: 62,
    not_a_database: 63,
    disk_full: 64,
    io_error: 65,
    cannot_open: 66,
    out_of_memory: 67,
    too_big: 68,
    type_mismatch: 69,
    schema_changed: 70,
    not_authorized: 71,
    permission_denied: 72,
    engine_error: 73,
    file_replaced: 74,
    foreign_wal: 75,
    callback_failed: 76,
    callback_timeout: 77,
    unknown_function: 78,
    callback_reentered: 79,
    commit_vetoed: 90,
    commit_hook_failed: 91,
    transaction_lost: 92,
    unauthorized: 93,
    forbidden: 94,
    remote_unavailable: 95,
    remote_protocol: 96,
    too_stale: 97,
    sidecar_down: 100,
    outcome_unknown: 101,
    protocol_mismatch: 102,
    executable_not_found: 103,
    not_sent: 104
  ]

  @type t :: atom

  @doc """
  All codes with their numbers.

      iex> LibsqlPort.ErrorCode.all()[:timeout]
      1
  """
  @spec all() :: [{t, pos_integer}]
  def all, do: @codes

  @doc """
  The name of a number, `:unknown` for one from a newer program.

      iex> LibsqlPort.ErrorCode.name(40)
      :constraint_unique
      iex> LibsqlPort.ErrorCode.name(9999)
      :unknown
  """
  @spec name(integer) :: t
  for {name, number} <- @codes do
    def name(unquote(number)), do: unquote(name)
  end

  def name(_number), do: :unknown

  @doc """
  The number of a name.

      iex> LibsqlPort.ErrorCode.number(:busy)
      3
  """
  @spec number(t) :: pos_integer
  for {name, number} <- @codes do
    def number(unquote(name)), do: unquote(number)
  end
end
