defmodule Ecto.Adapters.LibSql.ColumnSql do
  @moduledoc false
  # A column as it stands in CREATE TABLE and ALTER TABLE: type, default, null, check, collation, key and reference.
  # Called by `Ddl` and `Alter`.

  alias Ecto.Adapters.LibSql.{DataType, DecimalSql, FloatSql, Quoting}
  alias Ecto.Migration.{Reference, Table}
  alias EctoLibSql.{OptionSlips, Parameter, TimeSql}

  # Those of other adapters are passed over, as Ecto's own adapters do; a misspelt one of these is not.
  @options [:null, :default, :primary_key, :check, :collate, :collation, :generated, :stored, :autoincrement] ++
             [:size, :precision, :scale, :from, :comment, :after, :strict]

  @numbered [:id, :serial, :bigserial]

  @doc "A column's definition. `composite?` says that its table's primary key has several columns."
  @spec definition(Table.t(), atom | String.t(), term, keyword, boolean) :: iodata
  def definition(table, name, type, options, composite?) do
    check_options!(name, options)
    options = options(type, options)

    [
      [Quoting.name(name), ?\s, type(type, options)],
      key(type, options, composite?),
      null(type, options, composite?),
      default(Keyword.fetch(options, :default), type),
      collation(options[:collate] || options[:collation]),
      check(options[:check]),
      generated(options[:generated], options[:stored]),
      reference(table, name, type)
    ]
  end

  defp check_options!(column, options) do
    for {option, _value} <- options, message = OptionSlips.name(option, @options), is_binary(message) do
      raise ArgumentError, "column #{inspect(column)}: #{message}"
    end

    unless is_nil(options[:generated]) or is_binary(options[:generated]) do
      raise ArgumentError,
            "the option :generated of the column #{inspect(column)} takes an expression as text, " <>
              "not #{inspect(options[:generated])}"
    end
  end

  @doc "The options of a column, with those that its type stands for: `:citext` is a text that collates NOCASE."
  @spec options(term, keyword) :: keyword
  def options(%Reference{type: type}, options), do: options(type, options)

  def options(:citext, options) do
    if options[:collate] || options[:collation], do: options, else: Keyword.put(options, :collate, :nocase)
  end

  def options(_type, options), do: options

  @doc "The type that a column is declared with."
  @spec type(term, keyword) :: String.t()
  def type(%Reference{type: type}, options), do: DataType.column(type, options)
  def type(type, options), do: DataType.column(type, options)

  defp key(_type, _options, true), do: []

  defp key(type, options, false) do
    cond do
      options[:primary_key] in [nil, false] -> []
      type in @numbered and Keyword.get(options, :autoincrement, true) -> " PRIMARY KEY AUTOINCREMENT"
      true -> " PRIMARY KEY"
    end
  end

  # A primary key that is no rowid may be NULL in SQLite, for an old error's sake.
  defp null(type, options, composite?) do
    case Keyword.get(options, :null) do
      false -> " NOT NULL"
      true -> []
      nil -> if key_with_nulls?(type, options, composite?), do: " NOT NULL", else: []
    end
  end

  # A number in a key of several columns is left alone: nothing would give it a value but a NULL.
  defp key_with_nulls?(type, options, composite?) do
    options[:primary_key] not in [nil, false] and type not in @numbered and
      (composite? or type(type, options) != "INTEGER")
  end

  @doc "A `DEFAULT`, or nothing."
  @spec default({:ok, term} | :error, term) :: iodata
  def default(:error, _type), do: []
  def default({:ok, value}, type), do: [" DEFAULT ", literal(value, type)]

  defp literal(null, _type) when null in [nil, :null], do: "NULL"

  defp literal({:fragment, expression}, type) do
    case TimeSql.default(expression, type) do
      nil -> parenthesised(expression)
      present -> [?(, present, ?)]
    end
  end

  defp literal(true, _type), do: "1"
  defp literal(false, _type), do: "0"
  defp literal(float, _type) when is_float(float), do: FloatSql.literal(float)
  defp literal(integer, _type) when is_integer(integer), do: Quoting.integer(integer)
  defp literal(%Decimal{} = decimal, _type), do: DecimalSql.literal(decimal)

  defp literal(value, _type) when is_map(value) and not is_struct(value),
    do: Quoting.text(Parameter.json(value))

  defp literal(value, _type) when is_list(value), do: Quoting.text(Parameter.json(value))

  defp literal(bytes, :binary) when is_binary(bytes), do: Quoting.blob(bytes)

  defp literal(text, _type) when is_binary(text), do: Quoting.text(text)

  defp literal(%module{} = value, _type) when module in [Date, Time, NaiveDateTime, DateTime],
    do: Quoting.text(Parameter.encode(value))

  defp literal(other, type) do
    raise ArgumentError,
          "#{inspect(other)} is no default for #{inspect(type)}: it takes nil, a text, a number, a boolean, " <>
            "a calendar type, a list or map (as JSON), or fragment/1"
  end

  @doc "A `COLLATE`, or nothing."
  @spec collation(atom | String.t() | nil) :: iodata
  def collation(nil), do: []
  def collation(name), do: [" COLLATE ", name |> to_string() |> String.upcase()]

  @doc "A `CHECK`, or nothing."
  @spec check(map | String.t() | nil) :: iodata
  def check(nil), do: []
  def check(%{expr: expression} = check), do: [constraint(check[:name]), " CHECK ", parenthesised(expression)]
  def check(expression) when is_binary(expression), do: [" CHECK ", parenthesised(expression)]

  @doc "An expression in parentheses. A comment at its end does not take the closing one along."
  @spec parenthesised(String.t()) :: iodata
  def parenthesised(expression) do
    if String.contains?(expression, "--"), do: [?(, expression, "\n)"], else: [?(, expression, ?)]
  end

  defp constraint(nil), do: []
  defp constraint(name), do: [" CONSTRAINT ", Quoting.name(name)]

  @doc "A `GENERATED`, or nothing."
  @spec generated(String.t() | nil, boolean | nil) :: iodata
  def generated(nil, _stored), do: []

  # Either the whole clause, as other databases take it, or the expression.
  def generated(text, stored) do
    case Regex.run(~r/\A\s*(?:generated\s+)?(?:always\s+)?(?=as\s*\()/i, text) do
      [head] ->
        [
          " GENERATED ALWAYS ",
          binary_part(text, byte_size(head), byte_size(text) - byte_size(head)),
          kind(text, stored)
        ]

      nil ->
        [" GENERATED ALWAYS AS ", parenthesised(text), if(stored, do: " STORED", else: " VIRTUAL")]
    end
  end

  # A clause that ends with its parenthesis does not say it.
  defp kind(text, true), do: if(String.ends_with?(String.trim_trailing(text), ")"), do: " STORED", else: [])
  defp kind(_text, _stored), do: []

  # --- references -----------------------------------------------------------------------------------------------

  @doc "A `REFERENCES`, or nothing."
  @spec reference(Table.t(), atom | String.t(), term) :: iodata
  def reference(table, name, %Reference{with: []} = reference) do
    [
      constraint(reference_name(table, name, reference)),
      " REFERENCES ",
      target(table, reference, [reference.column || :id]),
      actions(reference)
    ]
  end

  def reference(_table, _name, _type), do: []

  @doc "A foreign key of several columns, which stands with the table."
  @spec table_reference(Table.t(), atom, Reference.t()) :: iodata
  def table_reference(table, name, %Reference{with: more} = reference) do
    if reference.match in [:full, :partial], do: refuse_match!(table, name, reference)
    {columns, targets} = Enum.unzip([{name, reference.column || :id} | more])

    [
      ["CONSTRAINT ", Quoting.name(reference_name(table, name, reference))],
      [" FOREIGN KEY (", Quoting.names(columns), ") REFERENCES ", target(table, reference, targets)],
      actions(reference)
    ]
  end

  # SQLite parses MATCH and does not enforce it. With one column all kinds of it are the same.
  defp refuse_match!(table, name, %Reference{with: more, match: match}) do
    [first | rest] = for column <- [name | Keyword.keys(more)], do: "#{column} IS NULL"

    raise ArgumentError,
          "SQLite has no match: #{inspect(match)} (the foreign key of #{table.name}.#{name}): a row whose key is NULL in " <>
            "part refers to nothing. Leave :match out; the check " <>
            "\"#{Enum.map_join(rest, " AND ", &"(#{first}) = (#{&1})")}\" refuses such rows, as :full does"
  end

  @doc "The name of a foreign key."
  @spec reference_name(Table.t(), atom | String.t(), Reference.t()) :: String.t() | atom
  def reference_name(table, column, %Reference{name: nil}), do: "#{table.name}_#{column}_fkey"
  def reference_name(_table, _column, %Reference{name: name}), do: name

  defp target(table, reference, columns) do
    prefix = Keyword.get(reference.options, :prefix, reference.prefix)

    if prefix not in [nil, table.prefix] do
      raise ArgumentError,
            "a foreign key of SQLite stays in its own database: #{table.name} cannot refer to #{prefix}.#{reference.table}"
    end

    [Quoting.name(reference.table), ?(, Quoting.names(columns), ?)]
  end

  defp actions(reference), do: [on_delete(reference.on_delete), on_update(reference.on_update)]

  defp on_delete(:delete_all), do: " ON DELETE CASCADE"
  defp on_delete(:nilify_all), do: " ON DELETE SET NULL"
  defp on_delete(:default_all), do: " ON DELETE SET DEFAULT"
  defp on_delete(:restrict), do: " ON DELETE RESTRICT"

  defp on_delete({action, _columns}) do
    raise ArgumentError,
          "SQLite sets all columns of a foreign key or none: on_delete takes no {#{inspect(action)}, columns}"
  end

  defp on_delete(_nothing), do: []

  defp on_update(:update_all), do: " ON UPDATE CASCADE"
  defp on_update(:nilify_all), do: " ON UPDATE SET NULL"
  defp on_update(:restrict), do: " ON UPDATE RESTRICT"
  defp on_update(_nothing), do: []
end
