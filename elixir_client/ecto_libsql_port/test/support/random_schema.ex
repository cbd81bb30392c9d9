defmodule EctoLibSql.RandomSchema do
  @moduledoc false
  # Random databases such as people have: two to five tables with keys of all kinds, references, checks, defaults,
  # generated columns, indexes, views, triggers, comments and odd names, in `main` and in an attached database `arch`,
  # and rows of all types. The same seed makes the same database.
  #
  # A statement is a text, or a CREATE TABLE as `{head, items, tail}` whose items are lists of pieces, so that
  # `smaller/1` can leave out any of them. The engine may refuse a statement (a reference without its key, a row that a
  # check rejects): whoever runs them skips those.

  @type statement :: String.t() | {String.t(), [[String.t()]], String.t()}

  @names [
    "a",
    "b",
    "users",
    "Posts",
    "order",
    "group",
    "select",
    "check",
    "constraint",
    "references",
    "primary",
    "index",
    "table",
    "my table",
    "a.b",
    "x\"y",
    "it's",
    "b`k",
    "br[1]",
    "semi;colon",
    "--dash",
    "/*c*/",
    "(p)",
    "a, b",
    "naïve",
    "日本",
    "🙂",
    "1st",
    "$x",
    "UPPER",
    "sqlite",
    "sqlitefoo",
    "libsql_mine",
    "end",
    "trailing ",
    "null",
    "default",
    "unique",
    "generated",
    "always",
    "as",
    "collate",
    "foreign",
    "k%_",
    "back\\slash",
    "tab\tnew\nline"
  ]

  @keywords ~w(order group select check constraint references primary index table end null default unique generated
    always as collate foreign)

  @doc "The statements of a database."
  @spec generate(integer) :: [statement]
  def generate(seed) do
    :rand.seed(:exsss, {seed, seed, seed})
    main = tables(nil, between(2, 4))
    arch = if chance(0.5), do: tables("arch", between(1, 3)), else: []
    tables = main ++ arch

    Enum.map(tables, & &1.statement) ++
      Enum.flat_map(tables, &indexes/1) ++
      audits(tables) ++
      Enum.flat_map([main, arch], &views/1) ++
      Enum.flat_map(tables, &triggers(&1, tables)) ++
      Enum.flat_map(tables, &rows(&1, tables)) ++ deletions(tables)
  end

  @doc "A statement's text."
  @spec sql(statement) :: String.t()
  def sql({head, items, tail}), do: head <> "(" <> Enum.map_join(items, ",", &Enum.join/1) <> ")" <> tail
  def sql(text), do: text

  @doc "Databases with one thing less: a run of statements, a statement, an item of a table, a piece of an item."
  @spec smaller([statement]) :: Enumerable.t()
  def smaller(statements) do
    Stream.concat([runs(statements), Stream.flat_map(index(statements), &smaller_tables(statements, &1))])
  end

  defp runs(statements) do
    count = length(statements)
    sizes = count |> Stream.iterate(&div(&1, 2)) |> Stream.drop(1) |> Enum.take_while(&(&1 > 0))

    for size <- sizes, from <- 0..(count - size)//size do
      Enum.take(statements, from) ++ Enum.drop(statements, from + size)
    end
  end

  defp smaller_tables(statements, {{head, items, tail}, n}) do
    fewer = for {_, i} <- index(items), do: List.delete_at(items, i)

    shorter =
      for {pieces, i} <- index(items),
          {_, p} <- index(pieces),
          p > 0,
          do: List.replace_at(items, i, List.delete_at(pieces, p))

    plain = if tail == "", do: [], else: [List.replace_at(statements, n, {head, items, ""})]

    plain ++
      for items <- fewer ++ shorter, items != [], do: List.replace_at(statements, n, {head, items, tail})
  end

  defp smaller_tables(_statements, _text), do: []

  defp index(list), do: Enum.with_index(list)

  # --- tables ---------------------------------------------------------------------------------------------------

  defp tables(schema, count) do
    Enum.reduce(1..count, [], fn n, tables -> tables ++ [table(schema, n, tables)] end)
  end

  defp table(schema, n, before) do
    name = fresh(Enum.map(before, & &1.name))
    strict? = chance(0.15)
    key = key()
    table = %{schema: schema, name: name, strict?: strict?, key: key, number: n, columns: [], constraints: []}
    table = Enum.reduce(key_columns(key, strict?), table, &add_column/2)
    table = Enum.reduce(1..between(1, 5), table, fn _, table -> add_column(column(table), table) end)
    table = Enum.reduce(1..between(0, 2)//1, table, fn _, table -> add_reference(table, before) end)
    table = if chance(0.3), do: add_column(generated(table), table), else: table

    constraints =
      key_constraint(key, table) ++ Enum.flat_map(1..between(0, 2)//1, fn _ -> constraint(table) end)

    constraints = constraints ++ Enum.reverse(table.constraints)
    tail = tail(key, strict?)
    head = Enum.join(["CREATE", sp(), "TABLE ", prefix(schema), quoted(name), sp_or_none()])
    items = Enum.map(Enum.reverse(table.columns), & &1.pieces) ++ constraints
    items = List.update_at(items, -1, &(&1 ++ [pick(["", "", "\n", " -- last\n", " /* last */ "])]))
    Map.put(table, :statement, {head, items, tail})
  end

  defp add_column(column, table) do
    {name, rest} = column
    lead = pick(["", " ", "\n  ", "\n  ", " /* , a column */ ", " -- next, (\n  "])
    pieces = [lead <> quoted(name), Map.get(rest, :type, "") | Map.get(rest, :clauses, [])]

    %{
      table
      | columns: [
          Map.merge(%{name: name, pieces: pieces, reference: nil, generated?: false}, rest) | table.columns
        ]
    }
  end

  defp key do
    pick([
      :integer,
      :integer,
      :autoincrement,
      :autoincrement,
      :text,
      :composite,
      :none,
      :without_rowid,
      :wide,
      :random
    ])
  end

  defp key_columns(:integer, _),
    do: [{"id", %{type: " INTEGER", clauses: [sp() <> "PRIMARY KEY" <> pick(["", " ASC", " NOT NULL"])]}}]

  defp key_columns(:autoincrement, _),
    do: [
      {"id",
       %{
         type: " INTEGER",
         clauses: [" PRIMARY" <> sp() <> "KEY" <> sp() <> pick(~w(AUTOINCREMENT autoincrement))]
       }}
    ]

  defp key_columns(:text, _),
    do: [{"id", %{type: " TEXT", clauses: [" PRIMARY KEY" <> pick(["", " NOT NULL", " COLLATE NOCASE"])]}}]

  defp key_columns(:random, false), do: [{"id", %{type: " INTEGER", clauses: [" PRIMARY KEY"]}}]
  defp key_columns(:random, strict?), do: key_columns(:integer, strict?)
  defp key_columns(:none, _), do: []
  defp key_columns(:without_rowid, _), do: [{"id", %{type: " INTEGER", clauses: [" PRIMARY KEY"]}}]

  defp key_columns(key, _) when key in [:composite, :wide],
    do: [{"id", %{type: " INTEGER"}}, {"id2", %{type: " TEXT", clauses: pick([[], [" NOT NULL"]])}}]

  defp key_constraint(key, _table) when key in [:composite, :wide],
    do: [[sp() <> named() <> "PRIMARY KEY (id," <> sp() <> "\"id2\"" <> pick(["", " DESC"]) <> ")"]]

  defp key_constraint(_key, _table), do: []

  defp tail(key, strict?) do
    without = if key in [:without_rowid, :wide], do: [pick(["WITHOUT ROWID", "without  rowid"])], else: []
    random = if key == :random and not strict?, do: ["RANDOM ROWID"], else: []
    strict = if strict?, do: [pick(["STRICT", "strict"])], else: []

    case without ++ random ++ strict do
      [] -> pick(["", "", "", " ", " /* done */"])
      options -> sp() <> Enum.join(options, "," <> sp())
    end
  end

  @types [
    " INTEGER",
    " int",
    " TEXT",
    " BLOB",
    " REAL",
    " NUMERIC",
    " DECIMAL(10,2)",
    " decimal (10, 2)",
    " VARCHAR(255)",
    " unsigned big int",
    " \"double precision\"",
    " [datetime]",
    " ANY",
    ""
  ]
  @strict_types [" INTEGER", " INT", " TEXT", " BLOB", " REAL", " ANY", " \"TEXT\""]

  defp column(table) do
    name = fresh(taken(table))
    type = pick(if table.strict?, do: @strict_types, else: @types)
    clauses = for make <- shuffled(column_clauses()), clause = make.(name), clause != nil, do: clause
    {name, %{type: type, clauses: clauses}}
  end

  defp column_clauses do
    [
      fn _ -> if chance(0.2), do: sp() <> named(0.3) <> "NOT" <> sp() <> "NULL" <> on_conflict() end,
      fn _ -> if chance(0.4), do: sp() <> named(0.1) <> default() end,
      fn name ->
        if chance(0.3), do: sp() <> named(0.5) <> "CHECK" <> sp_or_none() <> "(" <> condition(name) <> ")"
      end,
      fn _ -> if chance(0.15), do: " COLLATE " <> pick(["NOCASE", "rtrim", "BINARY", "\"NOCASE\""]) end,
      fn _ -> if chance(0.15), do: sp() <> named(0.3) <> "UNIQUE" <> on_conflict() end,
      fn _ -> if chance(0.05), do: " NULL" end
    ]
  end

  defp on_conflict, do: if(chance(0.1), do: " ON CONFLICT " <> pick(~w(IGNORE REPLACE ABORT FAIL)), else: "")

  defp default do
    "DEFAULT" <>
      pick([
        " 5",
        " -5",
        " +1.5e-7",
        " 0x1F",
        " 1E3",
        " .5",
        " 'it''s a (b) . c , d -- no'",
        " ''",
        " x'CAFE'",
        " X'00ff'",
        " NULL",
        " CURRENT_TIMESTAMP",
        " TRUE",
        " false",
        " (1 + 2)",
        "(datetime('now'))",
        " ('a' || 'b, c')",
        " abc",
        " \"quoted \"\"text\"",
        " /* no */ 7",
        " (CASE WHEN 1 >= 0 THEN 'x' ELSE 'y' END)"
      ])
  end

  # True for nearly all values, so that there are rows.
  defp condition(column) do
    c = quoted(column, [?", ?`, ?[])

    pick([
      "#{c} IS NULL OR #{c} <> 'a (b) . c , d'",
      "length(#{c}) >= 0",
      "#{c}>=-9e99 OR 1",
      "#{c} || 'x' != 'y'",
      "typeof(#{c}) IN ('integer', 'real', 'text' , 'blob', 'null')",
      "NOT (#{c} == x'00FFAA')",
      "#{c} NOT LIKE '%--%' ESCAPE '\\' OR 1 <> 2",
      "#{c} IS NOT /* ) , ' */ 17",
      "#{c} -- a comment ), '\n IS NOT 18",
      "CASE WHEN json_valid(#{c}) THEN #{c} ->> '$.k' IS NOT 'v' ELSE 1 END",
      "#{c} NOT BETWEEN 1000000 AND 1.0e+7",
      "(~1 | 2 & 3 << 1 >> 1) % 7 <= 7 OR #{c} GLOB '*'",
      "coalesce(#{c}, 'check (') NOT IN ('references', 'x''y')",
      "#{c} ISNULL OR #{c} NOTNULL",
      "'#{c |> String.replace("'", "''")}' <> 'constraint' AND 1"
    ])
  end

  defp generated(table) do
    of = pick(table.columns)
    c = quoted(of.name, [?", ?`, ?[])
    expression = pick(["length(#{c})", "#{c} || ' , )'", "coalesce(#{c}, 'x') /* ) */", "(#{c}) IS NULL"])
    type = if table.strict?, do: " ANY", else: pick(["", " TEXT", " INTEGER"])
    start = pick([" GENERATED ALWAYS AS (", " AS (", " AS(", " generated" <> sp() <> "always AS ("])
    kind = pick(["", " VIRTUAL", " STORED", " stored"])
    clauses = [start <> expression <> ")" <> kind] ++ if(chance(0.2), do: [" NOT NULL"], else: [])
    {fresh(taken(table)), %{type: type, clauses: clauses, generated?: true}}
  end

  # --- references -----------------------------------------------------------------------------------------------

  defp add_reference(table, before) do
    parent = pick(if before == [] or chance(0.3), do: [Map.put(table, :self?, true)], else: before)

    case parent.key do
      :none ->
        table

      composite when composite in [:composite, :wide] ->
        {one, two} = {fresh(taken(table)), fresh(["one" | taken(table)])}

        if one == two do
          table
        else
          key =
            "#{sp()}#{named(0.5)}FOREIGN KEY (#{quoted(one)}, #{quoted(two)}) REFERENCES #{quoted(parent.name)}"

          key = key <> pick([" (id, id2)", "(\"id\" , [id2])"]) <> actions()
          table = add_column({one, %{type: " INTEGER", reference: {parent, "id", one}}}, table)
          table = add_column({two, %{type: " TEXT", reference: {parent, "id2", one}}}, table)
          %{table | constraints: [[key] | table.constraints]}
        end

      _single ->
        name = fresh(taken(table))
        type = if parent.key == :text, do: " TEXT", else: " INTEGER"
        target = "REFERENCES" <> sp() <> quoted(parent.name) <> pick(["(id)", " (\"id\")", ""]) <> actions()

        if chance(0.6) do
          more = if chance(0.2), do: [" DEFAULT NULL"], else: []
          clauses = shuffled([sp() <> named(0.5) <> target | more])
          add_column({name, %{type: type, clauses: clauses, reference: {parent, "id", name}}}, table)
        else
          table = add_column({name, %{type: type, reference: {parent, "id", name}}}, table)
          key = "#{sp()}#{named(0.5)}FOREIGN KEY (#{quoted(name)}) #{target}"
          %{table | constraints: [[key] | table.constraints]}
        end
    end
  end

  defp actions do
    pick([
      "",
      "",
      " ON DELETE CASCADE",
      " ON DELETE SET NULL",
      " ON DELETE RESTRICT",
      "\n ON DELETE NO ACTION",
      " ON DELETE SET DEFAULT"
    ]) <>
      pick(["", "", " ON UPDATE CASCADE", " ON UPDATE SET NULL", " MATCH FULL"]) <>
      pick(["", "", "", " DEFERRABLE INITIALLY DEFERRED", " NOT DEFERRABLE", " deferrable"])
  end

  # --- table constraints ----------------------------------------------------------------------------------------

  defp constraint(table) do
    columns = Enum.reject(table.columns, & &1.generated?)

    case {pick([:unique, :check, :check]), columns} do
      {_, []} ->
        []

      {:unique, _} ->
        names =
          columns
          |> shuffled()
          |> Enum.take(between(1, 2))
          |> Enum.map_join(" , ", &(quoted(&1.name) <> pick(["", " COLLATE NOCASE", " DESC"])))

        [[sp() <> named(0.5) <> "UNIQUE (" <> names <> ")" <> on_conflict()]]

      {:check, _} ->
        [[sp() <> named(0.6) <> "CHECK (" <> condition(pick(columns).name) <> ")"]]
    end
  end

  defp named(probability \\ 0.4) do
    if chance(probability),
      do: "CONSTRAINT" <> sp() <> quoted(pick(@names) <> " #{:rand.uniform(999)}") <> sp(),
      else: ""
  end

  # --- indexes, views, triggers ---------------------------------------------------------------------------------

  defp indexes(table) do
    for _ <- 1..between(0, 2)//1, table.columns != [] do
      column = pick(table.columns)
      c = quoted(column.name, [?", ?`, ?[])

      columns =
        pick([
          c,
          "#{c} DESC",
          "#{c} COLLATE NOCASE",
          "lower(#{c})",
          "#{c} || ', )'",
          "#{c} /* x */ , length(#{c})"
        ])

      where = pick(["", "", "", " WHERE #{c} IS NOT NULL", " WHERE #{c} <> 'a , b' AND #{c} > -1"])
      unique = if chance(0.25), do: "UNIQUE" <> sp(), else: ""

      "CREATE #{unique}INDEX#{sp()}#{prefix(table.schema)}#{quoted("ix " <> pick(@names) <> "#{:rand.uniform(9999)}")}#{sp()}ON #{quoted(table.name)}#{sp_or_none()}(#{columns})#{where}"
    end
  end

  # Triggers write here: a migration that fires one shows.
  defp audits(tables) do
    for schema <- tables |> Enum.map(& &1.schema) |> Enum.uniq(),
        do: "CREATE TABLE #{prefix(schema)}audit (what TEXT, of ANY)"
  end

  defp views([]), do: []

  defp views(tables) do
    schema = hd(tables).schema

    for n <- 1..between(0, 3)//1 do
      [one, two] = [pick(tables), pick(tables)]
      name = "v#{n} " <> pick(@names)

      select =
        pick([
          "SELECT * FROM #{quoted(one.name)}",
          "SELECT #{quoted(pick(one.columns).name, [?", ?`, ?[])} AS x FROM #{quoted(one.name, [?", ?`, ?[])} WHERE 'a;b' <> ''",
          "SELECT one.#{quoted(pick(one.columns).name, [?", ?`, ?[])}, /* and */ count(*) FROM #{quoted(one.name)} AS one JOIN #{quoted(two.name)} AS two GROUP BY 1",
          "WITH c AS (SELECT 1 AS n) SELECT c.n, t.* FROM c, #{quoted(one.name)} t -- end",
          "SELECT count(*) FROM #{quoted("v#{n + 1} " <> pick(@names))}"
        ])

      "CREATE VIEW #{prefix(schema)}#{quoted(name)}#{pick(["", ""])} AS\n#{select}"
    end
  end

  defp triggers(table, tables) do
    for n <- 1..between(0, 1)//1, table.columns != [] do
      column = pick(table.columns)
      event = pick(["INSERT", "DELETE", "UPDATE", "UPDATE OF #{quoted(column.name, [?", ?`, ?[])}"])
      row = if event == "DELETE", do: "old", else: "new"
      other = pick(Enum.filter(tables, &(&1.schema == table.schema)))
      value = "#{row}.#{quoted(column.name, [?", ?`, ?[])}"

      action =
        pick([
          writes(other, value),
          writes(other, value),
          "INSERT INTO audit VALUES ('#{event |> String.replace("'", "''")}; fired', #{value});",
          "INSERT INTO audit SELECT 'end;', count(*) FROM #{quoted(other.name, [?", ?`, ?[])}; /* ; */ DELETE FROM audit WHERE what = 'never; END';",
          "SELECT CASE WHEN #{value} = 'x;' THEN raise(ABORT, 'no; END') END; INSERT INTO audit VALUES ('b', NULL);"
        ])

      "CREATE TRIGGER #{prefix(table.schema)}#{quoted("tr#{n} " <> pick(@names) <> "#{table.number}")}#{sp()}#{pick(~w(AFTER BEFORE))} #{event} ON #{quoted(table.name)}" <>
        pick(["", " FOR EACH ROW", " WHEN 1 <> 2"]) <> " BEGIN\n #{action}\nEND"
    end
  end

  # Writes to another table, which find no row.
  defp writes(table, value) do
    to = quoted(table.name, [?", ?`, ?[])

    column =
      table.columns |> Enum.reject(& &1.generated?) |> pick() |> Map.fetch!(:name) |> quoted([?", ?`, ?[])

    audit = "INSERT INTO audit VALUES ('writes', NULL);"

    audit <>
      pick([
        "UPDATE #{to} SET #{column} = #{value} WHERE 0;",
        "INSERT INTO #{to} (#{column}) SELECT #{value} WHERE 0;",
        "INSERT INTO #{to} SELECT * FROM #{to} WHERE 0;",
        "DELETE FROM #{to} WHERE #{column} = #{value} AND 0;",
        "INSERT INTO audit SELECT 'reads', #{column} FROM #{to} WHERE 0;",
        if(table.key in [:integer, :autoincrement, :text],
          do:
            "INSERT INTO #{to} (id) SELECT NULL WHERE 0 ON CONFLICT (id) DO UPDATE SET #{column} = excluded.#{column};",
          else:
            "INSERT INTO audit (what) SELECT 'view' WHERE EXISTS (SELECT * FROM #{to} WHERE #{column} = 1);"
        )
      ])
  end

  # --- rows -----------------------------------------------------------------------------------------------------

  defp rows(table, _tables) do
    for n <- 1..between(0, 6)//1 do
      columns = table.columns |> Enum.reject(& &1.generated?) |> Enum.reverse()
      # A reference of several columns takes all of its values from one row.
      offsets = Map.new(columns, &{&1.reference && elem(&1.reference, 2), :rand.uniform(4) - 1})
      values = Enum.map(columns, &value(&1, table, n, offsets))
      names = Enum.map_join(columns, ", ", &quoted(&1.name, [?"]))

      "INSERT INTO #{prefix(table.schema)}#{quoted(table.name, [?"])} (#{names}) VALUES (#{Enum.join(values, ", ")})"
    end
  end

  defp value(%{reference: {parent, key, _}} = column, table, _n, offsets) do
    offset = offsets[elem(column.reference, 2)]

    if offset == 3 do
      "NULL"
    else
      "(SELECT #{key} FROM #{prefix(table.schema)}#{quoted(parent.name, [?"])} ORDER BY 1 LIMIT 1 OFFSET #{offset})"
    end
  end

  defp value(%{name: "id"}, %{key: :text}, n, _offsets), do: pick(["'k#{n}'", "'Ü #{n}'"])
  defp value(%{name: "id"}, %{key: :autoincrement}, n, _offsets), do: to_string(n * 7)

  defp value(%{name: "id"}, _table, n, _offsets),
    do: pick(["#{n}", "#{n}", "#{n + 9_000_000_000_000_000_000}", "-#{n}"])

  defp value(%{name: "id2"}, _table, n, _offsets), do: "'z#{n}'"

  defp value(%{pieces: [_, type | _]}, %{strict?: true}, n, _offsets) do
    case String.trim(type, " ") |> String.trim("\"") do
      int when int in ["INTEGER", "INT"] -> integer(n)
      "TEXT" -> text(n)
      "BLOB" -> blob(n)
      "REAL" -> float(n)
      "ANY" -> any(n)
    end
  end

  defp value(_column, _table, n, _offsets), do: any(n)

  defp any(n), do: pick([integer(n), text(n), blob(n), float(n), integer(n), text(n), "NULL"])

  defp integer(n),
    do: pick(["#{n}", "-#{n}", "9223372036854775807", "-9223372036854775808", "#{n * 1_000_003}"])

  defp float(n), do: pick(["#{n}.5", "1e308", "0.1", "-0.0", "#{n}.0", "5e-324"])
  defp blob(n), do: pick(["x'00FF0#{n}'", "x''", "zeroblob(#{n})"])

  defp text(n),
    do:
      pick([
        "'t#{n}'",
        "'12'",
        "'1.50'",
        "' a;b -- '",
        "'日本 🙂 #{n}'",
        "''",
        "'it''s #{n}'",
        "char(0, #{n + 64})",
        "'{\"k\": #{n}}'"
      ])

  # So that sqlite_sequence is ahead of the highest identifier.
  defp deletions(tables) do
    for %{key: :autoincrement} = table <- tables, chance(0.6) do
      "DELETE FROM #{prefix(table.schema)}#{quoted(table.name, [?"])} WHERE id = (SELECT max(id) FROM #{prefix(table.schema)}#{quoted(table.name, [?"])})"
    end
  end

  # --- names and spaces -----------------------------------------------------------------------------------------

  defp taken(table), do: ["id", "id2", "rowid" | Enum.map(table.columns, & &1.name)]

  defp fresh(taken) do
    name = pick(@names)
    taken = Enum.map(taken, &String.downcase/1)
    if String.downcase(name) in ["audit" | taken], do: fresh(taken), else: name
  end

  defp quoted(name, quotes \\ [?", ?", ?`, ?[, ?', nil]) do
    case pick(quotes) do
      ?[ ->
        if name =~ "]", do: quoted(name, quotes), else: "[#{name}]"

      nil ->
        if name =~ ~r/\A[a-z_][a-z_0-9$]*\z/iu and name not in @keywords, do: name, else: quoted(name, [?"])

      quote ->
        <<quote>> <> String.replace(name, <<quote>>, <<quote, quote>>) <> <<quote>>
    end
  end

  defp prefix(nil), do: ""
  defp prefix(schema), do: "#{schema}."

  defp sp,
    do: if(chance(0.9), do: " ", else: pick(["\n", "  \t", " /* it's ( , */ ", " -- (it's \",\n ", "\r\n"]))

  defp sp_or_none, do: pick([" ", " ", "", sp()])

  defp chance(probability), do: :rand.uniform() < probability
  defp between(low, high), do: low + :rand.uniform(high - low + 1) - 1
  defp shuffled(list), do: Enum.sort_by(list, fn _ -> :rand.uniform() end)
  defp pick(list), do: Enum.at(list, :rand.uniform(length(list)) - 1)
end
