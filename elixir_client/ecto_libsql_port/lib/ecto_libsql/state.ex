defmodule EctoLibSql.State do
  @moduledoc """
  A connection of the pool, as `DBConnection` carries it from caller to caller.

    * `conn_id` – identifies the connection
    * `trx_id` – of the open transaction, `nil` outside
    * `mode`, `sync` – how the database was opened

  The other fields belong to this library.
  """

  defstruct [
    :conn,
    :conn_id,
    :trx_id,
    :sidecar,
    :private_copy,
    :gauges,
    :schema_changes,
    :deadline,
    :checkout_deadline,
    :ended_by,
    mode: :local,
    sync: false,
    attached: false,
    private: %{},
    noted: false,
    begun: false,
    status: :idle,
    savepoints: 0,
    transaction_mode: :immediate,
    show_statement: true,
    disconnect_on: [],
    privileges: [],
    checkout_privileges: [],
    ahead: %{},
    cursors: %{}
  ]

  @typedoc """
  `attached` tells whether a statement has attached a database, `private` are the views and virtual tables that this connection has besides
  the database, and `noted` tells whether a statement may have changed them (`EctoLibSql.SchemaChanges`). `begun` tells that a transaction was begun through `DBConnection`, `status` what the engine said last. If they
  contradict each other, the engine has rolled the transaction back by itself. `deadline` and `checkout_deadline` are the
  absolute times (monotonic milliseconds) by which the transaction and the checkout have to end, `nil` for none. `ended_by` is the error with
  which a server has ended the open transaction for a reason that stays. `privileges` and
  `checkout_privileges` are those of `EctoLibSql.Privileges`. `ahead` are
  the streams' chunks that were asked for ahead, `cursors` those that the transaction has open (`EctoLibSql.ReadAhead`).
  """
  @type t :: %__MODULE__{
          conn: LibsqlPort.Connection.t() | nil,
          conn_id: String.t(),
          trx_id: String.t() | nil,
          sidecar: LibsqlPort.sidecar(),
          private_copy: :ets.table() | nil,
          gauges: EctoLibSql.PoolGauges.t() | nil,
          schema_changes: EctoLibSql.SchemaChanges.t() | nil,
          deadline: integer | nil,
          checkout_deadline: integer | nil,
          ended_by: LibsqlPort.Error.t() | nil,
          mode: :local | :remote | :remote_replica,
          sync: boolean,
          attached: boolean,
          private: %{optional(EctoLibSql.SchemaChanges.name()) => EctoLibSql.SchemaChanges.kind()},
          noted: boolean,
          begun: boolean,
          status: :idle | :transaction,
          savepoints: non_neg_integer,
          transaction_mode: :deferred | :immediate | :exclusive | :read_only,
          show_statement: boolean,
          disconnect_on: [atom],
          privileges: [keyword],
          checkout_privileges: keyword,
          ahead: %{optional(integer) => term},
          cursors: %{optional(integer) => LibsqlPort.Cursor.t()}
        }

  @doc false
  # Sidecars number their connections each by itself, so the number alone names none.
  @spec connection_id(LibsqlPort.Connection.t()) :: String.t()
  def connection_id(%LibsqlPort.Connection{handle: handle, id: id}), do: "#{handle.os_pid}-#{id}"

  @doc false
  # The state after the engine has said what the transaction's is; `nil` if it has not.
  @spec engine_status(t, LibsqlPort.Result.tx_status() | nil) :: t
  def engine_status(state, nil), do: state
  def engine_status(state, :none), do: %{state | status: :idle}
  def engine_status(state, _open), do: %{state | status: :transaction}

  @doc """
  What kind of database options name: `:local`, `:remote`, `:remote_replica`, or `:unknown` if none.

      iex> EctoLibSql.State.detect_mode(database: "app.db")
      :local
  """
  @spec detect_mode(keyword) :: :local | :remote | :remote_replica | :unknown
  def detect_mode(options) do
    remote? = options[:uri] != nil and options[:auth_token] != nil

    cond do
      remote? and options[:database] != nil and options[:sync] != nil -> :remote_replica
      remote? -> :remote
      options[:database] != nil -> :local
      true -> :unknown
    end
  end

  @doc "Whether options ask for a replica to be kept in step by itself."
  @spec detect_sync(keyword) :: :enable_sync | :disable_sync
  def detect_sync(options), do: if(options[:sync] == true, do: :enable_sync, else: :disable_sync)
end
