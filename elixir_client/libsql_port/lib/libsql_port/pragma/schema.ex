defmodule LibsqlPort.Pragma.Table do
  @moduledoc "A table, view or virtual table, as `PRAGMA table_list` shows it."
  defstruct [:schema, :name, :type, :columns, :without_rowid, :strict]

  @type t :: %__MODULE__{
          schema: String.t(),
          name: String.t(),
          type: :table | :view | :shadow | :virtual | String.t(),
          columns: non_neg_integer,
          without_rowid: boolean,
          strict: boolean
        }
end

defmodule LibsqlPort.Pragma.Column do
  @moduledoc """
  A column of a table. `primary_key` is its place in the key from 1, 0 outside; `hidden` tells ordinary columns from
  hidden ones of virtual tables and from generated ones.
  """
  defstruct [:position, :name, :type, :not_null, :default, :primary_key, :hidden]

  @type t :: %__MODULE__{
          position: non_neg_integer,
          name: String.t(),
          type: String.t(),
          not_null: boolean,
          default: String.t() | nil,
          primary_key: non_neg_integer,
          hidden: :no | :hidden | :generated_virtual | :generated_stored
        }
end

defmodule LibsqlPort.Pragma.Index do
  @moduledoc "An index of a table; `origin` tells `CREATE INDEX` from what a constraint brought."
  defstruct [:position, :name, :unique, :origin, :partial]

  @type t :: %__MODULE__{
          position: non_neg_integer,
          name: String.t(),
          unique: boolean,
          origin: :create_index | :unique | :primary_key | String.t(),
          partial: boolean
        }
end

defmodule LibsqlPort.Pragma.IndexColumn do
  @moduledoc """
  A column of an index. `table_position` is -1 for the rowid and -2 for an expression, whose `name` is `nil`;
  `descending`, `collation` and `key` are `nil` if asked with `index_info`, which does not tell them.
  """
  defstruct [:position, :table_position, :name, :descending, :collation, :key]

  @type t :: %__MODULE__{
          position: non_neg_integer,
          table_position: integer,
          name: String.t() | nil,
          descending: boolean | nil,
          collation: String.t() | nil,
          key: boolean | nil
        }
end

defmodule LibsqlPort.Pragma.ForeignKey do
  @moduledoc "One column of a foreign key; those of one key share the `id`. `to` is `nil` for the parent's primary key."
  defstruct [:id, :position, :table, :from, :to, :on_update, :on_delete, :match]

  @type action :: :no_action | :restrict | :set_null | :set_default | :cascade | String.t()
  @type t :: %__MODULE__{
          id: non_neg_integer,
          position: non_neg_integer,
          table: String.t(),
          from: String.t(),
          to: String.t() | nil,
          on_update: action,
          on_delete: action,
          match: String.t()
        }
end

defmodule LibsqlPort.Pragma.ForeignKeyViolation do
  @moduledoc "A row whose foreign key finds no parent. `key` is the `id` of `LibsqlPort.Pragma.ForeignKey`."
  defstruct [:table, :rowid, :parent, :key]

  @type t :: %__MODULE__{
          table: String.t(),
          rowid: integer | nil,
          parent: String.t(),
          key: non_neg_integer
        }
end

defmodule LibsqlPort.Pragma.Database do
  @moduledoc "An attached database; `file` is empty for one in memory."
  defstruct [:position, :name, :file]

  @type t :: %__MODULE__{position: non_neg_integer, name: String.t(), file: String.t()}
end

defmodule LibsqlPort.Pragma.Function do
  @moduledoc "An SQL function; `arguments` is -1 for any number."
  defstruct [:name, :builtin, :type, :encoding, :arguments, :flags]

  @type t :: %__MODULE__{
          name: String.t(),
          builtin: boolean,
          type: :scalar | :window | :aggregate | String.t(),
          encoding: String.t(),
          arguments: integer,
          flags: integer
        }
end
