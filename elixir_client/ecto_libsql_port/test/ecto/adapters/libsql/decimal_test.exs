defmodule Ecto.Adapters.LibSql.DecimalTest do
  use EctoLibSql.RepoCase

  import EctoLibSql.Properties, except: [date: 0, time: 0, text: 0]

  alias EctoLibSql.Error

  defmodule Line do
    use Ecto.Schema

    schema "lines" do
      field(:price, :decimal)
      field(:tax, :decimal, source: :vat)
      field(:qty, :integer)
      field(:kind, :string)
      field(:parts, {:array, :decimal})
    end
  end

  defmodule CreateLines do
    use Ecto.Migration

    def change do
      create table(:lines) do
        add(:price, :decimal, precision: 10, scale: 2)
        add(:vat, :decimal, default: Decimal.new("12345678901234567890.123"))
        add(:qty, :integer)
        add(:kind, :string)
        add(:parts, {:array, :decimal})
      end

      create(index(:lines, [:price]))
    end
  end

  # The same number in several precisions, numbers that are stored as integers, floats and digits, and both signs.
  @sorted ~w(-1E+400 -12345678901234567890.1234 -3 -0.1 0 5E-324 0.1 1.1 2 3 9007199254740993
             12345678901234567890.1233 12345678901234567890.1234 1E+25 1E+400)

  setup do
    migrate(CreateLines)
    :ok
  end

  defp d(text), do: decimal!(text)

  defp insert(prices, more \\ []),
    do: for(p <- prices, do: TestRepo.insert!(struct!(Line, [{:price, p && d(p)} | more])))

  defp same!(a, b), do: assert(Enum.map(List.wrap(a), &key/1) == Enum.map(List.wrap(b), &key/1))
  defp key(nil), do: nil
  defp key(text) when is_binary(text), do: key(d(text))
  defp key(%Decimal{coef: 0}), do: 0

  defp key(%Decimal{coef: coef, exp: exp} = x) when rem(coef, 10) == 0,
    do: key(%{x | coef: div(coef, 10), exp: exp + 1})

  defp key(%Decimal{sign: sign, coef: coef, exp: exp}), do: {sign * coef, exp}

  test "numbers are sorted as numbers, however they are stored" do
    insert(Enum.shuffle(@sorted))
    same!(TestRepo.all(from(l in Line, order_by: l.price, select: l.price)), @sorted)
    same!(TestRepo.all(from(l in Line, order_by: [desc: l.price], select: l.price)), Enum.reverse(@sorted))
    same!(TestRepo.one(from(l in Line, select: min(l.price))), hd(@sorted))
    same!(TestRepo.one(from(l in Line, select: max(l.price))), List.last(@sorted))

    for {text, index} <- Enum.with_index(@sorted) do
      x = d(text)
      {below, [_ | above]} = Enum.split(@sorted, index)
      prices = from(l in Line, order_by: l.price, select: l.price)
      same!(TestRepo.all(where(prices, [l], l.price < ^x)), below)
      same!(TestRepo.all(where(prices, [l], l.price > ^x)), above)
      same!(TestRepo.all(where(prices, [l], l.price >= ^x and l.price <= ^x)), [text])
      same!(TestRepo.all(where(prices, [l], l.price == ^x)), [text])
      same!(TestRepo.all(where(prices, [l], l.price in ^[x])), [text])
      same!(TestRepo.all(where(prices, [l], l.price != ^x)), below ++ above)
    end
  end

  test "equal numbers of any precision are one value" do
    insert(["1.10", "1.1", "1.100", "-0.0", "0"])
    assert TestRepo.aggregate(from(l in Line, where: l.price == ^d("1.1000")), :count) == 3
    assert TestRepo.aggregate(from(l in Line, where: l.price in ^[d("1.1000"), d("0.00")]), :count) == 5

    assert [[_, 2], [_, 3]] =
             TestRepo.all(from(l in Line, group_by: l.price, order_by: count(), select: [l.price, count()]))

    assert length(TestRepo.all(from(l in Line, distinct: true, select: l.price))) == 2
    assert length(TestRepo.all(from(l in Line, distinct: l.price, select: l.id))) == 2
    assert TestRepo.one(from(l in Line, select: count(l.price, :distinct))) == 2

    same!(
      TestRepo.one(from(l in Line, select: sum(fragment("DISTINCT ?", l.price)) |> type(:decimal))),
      "1.1"
    )
  end

  test "arithmetic is exact, division as documented" do
    insert(["3.00"], qty: 2, tax: d("0.1"))

    for {expected, query} <- [
          {"1.5", from(l in Line, select: type(l.price / 2, :decimal))},
          {"1.5", from(l in Line, select: type(l.price / l.qty, :decimal))},
          {"0.6666666666666666666666666667", from(l in Line, select: type(l.qty / l.price, :decimal))},
          {"0.3", from(l in Line, select: type(l.tax + l.tax + l.tax, :decimal))},
          {"0.2", from(l in Line, select: type(l.price * l.tax - l.tax, :decimal))},
          {"30", from(l in Line, select: type(l.price / l.tax, :decimal))},
          {nil, from(l in Line, select: type(l.price / (l.price - l.price), :decimal))},
          {"3.1", from(l in Line, select: type(coalesce(l.price, l.tax) + type(^"0.1", :decimal), :decimal))}
        ] do
      same!([TestRepo.one(query)], [expected])
    end

    assert TestRepo.exists?(from(l in Line, where: l.tax * 3 == ^d("0.3")))
    assert TestRepo.exists?(from(l in Line, where: l.tax + l.tax + l.tax <= ^d("0.30")))
  end

  test "an expression of decimals is a decimal whatever its size" do
    insert(["3.00", "12345678901234567890.1234", nil], qty: 2)

    assert [%Decimal{} = a, %Decimal{} = b, nil] =
             TestRepo.all(from(l in Line, order_by: l.id, select: l.price / 2))

    same!([a, b], ["1.5", "6172839450617283945.0617"])

    assert [%{half: %Decimal{}}, _, _] =
             TestRepo.all(from(l in Line, order_by: l.id, select: %{half: l.price / 2}))

    assert [%Decimal{}, %Decimal{}, nil] =
             TestRepo.all(from(l in Line, distinct: l.id, order_by: l.id, select: l.price * l.qty))

    for query <- [
          from(l in Line, select: sum(l.price * l.qty)),
          from(l in Line, select: avg(l.price + 1) |> filter(l.qty > 1)),
          from(l in Line, limit: 1, select: over(max(l.price - 1))),
          from(l in Line, limit: 1, select: coalesce(l.price, l.qty)),
          from(l in Line, limit: 1, select: subquery(from(m in Line, select: min(m.price))))
        ] do
      assert %Decimal{} = TestRepo.one(query)
    end

    assert {3, [%Decimal{}, %Decimal{}, nil]} =
             TestRepo.update_all(from(l in Line, select: l.price + 1), set: [qty: 1])
  end

  test "aggregates, also with filter and over" do
    insert(["0.1", "0.2", nil, "12345678901234567890.1234"], kind: "a")
    insert(["0.3"], kind: "b")
    a = from(l in Line, where: l.kind == "a")
    same!(TestRepo.one(from(l in a, select: sum(l.price))), "12345678901234567890.4234")
    same!(TestRepo.aggregate(a, :avg, :price), "4115226300411522630.141133333")
    same!(TestRepo.aggregate(a, :max, :price), "12345678901234567890.1234")
    same!(TestRepo.one(from(l in Line, select: filter(max(l.price), l.kind == "b"))), "0.3")
    same!(TestRepo.one(from(l in Line, select: filter(sum(l.price), l.price < 1))), "0.6")
    assert TestRepo.one(from(l in Line, where: false, select: sum(l.price))) == nil

    windows =
      from(l in Line,
        windows: [w: [order_by: l.id, frame: fragment("ROWS BETWEEN 1 PRECEDING AND CURRENT ROW")]],
        order_by: l.id,
        select: [over(sum(l.price), :w), over(min(l.price), :w), over(avg(l.price), :w)]
      )

    for {row, expected} <-
          Enum.zip(TestRepo.all(windows), [
            ~w(0.1 0.1 0.1),
            ~w(0.3 0.1 0.15),
            ~w(0.2 0.2 0.2),
            ~w(12345678901234567890.1234 12345678901234567890.1234 12345678901234567890.1234),
            ~w(12345678901234567890.4234 0.3 6172839450617283945.2117)
          ]) do
      same!(row, expected)
    end

    partitions = from(l in Line, select: over(max(l.price), partition_by: l.kind, order_by: l.price))

    same!(
      Enum.max_by(TestRepo.all(partitions), &(&1 || 0), &(Decimal.compare(&1, &2) != :lt)),
      "12345678901234567890.1234"
    )

    assert ["a"] =
             TestRepo.all(from(l in Line, group_by: l.kind, having: sum(l.price) > ^d("0.3"), select: l.kind))

    by_sum =
      from(l in Line, group_by: l.kind, select: %{kind: l.kind, total: selected_as(sum(l.price), :total)})

    assert [%{kind: "b"}, %{kind: "a"}] = TestRepo.all(order_by(by_sum, selected_as(:total)))
    assert [%{kind: "a"}] = TestRepo.all(having(by_sum, selected_as(:total) > ^1))
  end

  test "types are known through subqueries, common tables, values and the parent" do
    insert(["12345678901234567890.1234", "5", "0.5"])
    inner = from(l in Line, select: %{half: l.price / 2, price: l.price})
    halves = ["0.25", "2.5", "6172839450617283945.0617"]

    same!(TestRepo.all(from(s in subquery(inner), order_by: s.half, select: type(s.half, :decimal))), halves)

    "cte"
    |> with_cte("cte", as: ^inner)
    |> order_by([c], c.half)
    |> select([c], type(c.half, :decimal))
    |> TestRepo.all()
    |> same!(halves)

    twice =
      from(s in subquery(inner),
        join: t in subquery(inner),
        on: t.price > s.price and t.price < s.half + s.half + 100
      )

    assert TestRepo.aggregate(twice, :count) == 1

    above =
      from(l in Line,
        as: :line,
        where: exists(from(m in Line, where: m.price < parent_as(:line).price, select: 1))
      )

    assert TestRepo.aggregate(above, :count) == 2
  end

  test "unions are sorted by their decimals" do
    insert(Enum.shuffle(@sorted), kind: "a")
    half = div(length(@sorted), 2)
    pivot = d(Enum.at(@sorted, half))
    above = from(l in Line, where: l.price >= ^pivot, select: %{price: l.price, kind: l.kind})
    all = from(l in Line, where: l.price < ^pivot, select: %{price: l.price, kind: l.kind}, union: ^above)
    prices = fn query -> query |> TestRepo.all() |> Enum.map(& &1.price) end
    same!(prices.(from(l in all, order_by: l.price)), @sorted)

    same!(
      prices.(from(l in all, order_by: [l.kind, desc: l.price], limit: 2)),
      @sorted |> Enum.reverse() |> Enum.take(2)
    )

    nested =
      from(s in subquery(from(l in all, order_by: [desc: l.price], limit: 3)),
        order_by: s.price,
        select: s.price
      )

    same!(TestRepo.all(nested), Enum.take(@sorted, -3))
  end

  test "inc adds exactly, in updates and in upserts" do
    [%{id: id}] = insert(["0.1"])
    for _ <- 1..2, do: TestRepo.update_all(Line, inc: [price: d("0.1")])
    same!(TestRepo.get!(Line, id).price, "0.3")

    TestRepo.insert!(%Line{id: id, price: d("1")}, on_conflict: [inc: [price: d("0.6")]], conflict_target: :id)

    same!(TestRepo.get!(Line, id).price, "0.9")

    assert {1, [%Decimal{} = x]} =
             TestRepo.update_all(from(l in Line, select: l.price), set: [price: d("1E+30")])

    same!(x, "1E+30")
    TestRepo.update_all(from(l in Line, update: [set: [price: l.price - 1]]), [])
    same!(TestRepo.get!(Line, id).price, "999999999999999999999999999999")
  end

  test "defaults and literals keep every digit" do
    TestRepo.query!("INSERT INTO lines (price) VALUES (1)")
    same!(TestRepo.one!(Line).tax, "12345678901234567890.123")
    assert TestRepo.exists?(from(l in Line, where: l.tax == ^d("12345678901234567890.123")))
    assert TestRepo.exists?(from(l in Line, where: l.tax > 12_345_678_901_234_567_890))
  end

  test "arrays of decimals" do
    long = d("0.12345678901234567")
    TestRepo.insert!(%Line{parts: [long]})
    TestRepo.update_all(Line, push: [parts: d("12345678901234567890.123")])
    same!(TestRepo.one!(Line).parts, ["0.12345678901234567", "12345678901234567890.123"])

    for x <- [long, d("12345678901234567890.123")],
        do: assert(TestRepo.exists?(from(l in Line, where: ^x in l.parts)))

    TestRepo.update_all(Line, pull: [parts: d("12345678901234567890.123")])
    same!(TestRepo.one!(Line).parts, ["0.12345678901234567"])
  end

  test "what is no decimal, or too large a one, is refused" do
    for text <- ["NaN", "Infinity", "-Infinity"] do
      # Ecto itself refuses it.
      assert_raise ArgumentError, ~r/not supported/, fn -> TestRepo.insert!(%Line{price: d(text)}) end
      assert_raise ArgumentError, ~r/cannot be stored/, fn -> TestRepo.query!("SELECT ?", [d(text)]) end
    end

    for text <- ["1E+1000000000", "1E-1000000000", String.duplicate("9", 1001)] do
      assert_raise ArgumentError, ~r/at most 1000 significant digits/, fn ->
        TestRepo.insert!(%Line{price: d(text)})
      end

      assert {:error, %Error{code: :too_big}} = TestRepo.query("SELECT decimal(?)", [text])
    end

    assert {:error, %Error{code: :type_mismatch}} = TestRepo.query("SELECT decimal_add('one', 1)")

    assert {:error, %Error{code: :too_big}} =
             TestRepo.query("SELECT decimal_sum(value) FROM json_each('[\"1e9999\", \"1e-9999\"]')")

    assert {:error, %Error{code: :type_mismatch}} = TestRepo.query("SELECT decimal_of_key(x'99')")
    assert {:error, %Error{code: :type_mismatch}} = TestRepo.query("SELECT decimal(9e999)")
    assert TestRepo.aggregate(Line, :count) == 0
  end

  test "an index serves equality, and one on decimal_key the order" do
    plan = fn query -> Enum.join(TestRepo.explain(:all, query) |> List.wrap(), "\n") end

    assert plan.(from(l in Line, where: l.price == ^d("1.1"))) =~
             "SEARCH l0 USING INDEX lines_price_index (price=?)"

    assert plan.(from(l in Line, where: l.price in ^[d("1.1")])) =~ "lines_price_index"

    for query <- [
          where(Line, [l], l.price > ^d("1.1")),
          where(Line, [l], 2 >= l.price),
          where(Line, [l], l.price < 2.5)
        ],
        do: assert(plan.(query) =~ "MULTI-INDEX OR")

    TestRepo.query!("CREATE INDEX lines_key ON lines (decimal_key(price))")
    assert plan.(from(l in Line, where: l.price > ^d("1.1"))) =~ "lines_key"
    assert plan.(from(l in Line, order_by: l.price, limit: 1)) =~ "lines_key"
    assert plan.(from(l in Line, select: max(l.price))) =~ "lines_key"
  end

  test "comparisons hold whatever a column is declared as, and for rows that other programs wrote" do
    for declared <- ["DECIMAL", "NUMERIC", "TEXT", "BLOB", "REAL", "ANY", ""] do
      script("""
      DROP TABLE lines;
      CREATE TABLE lines (id INTEGER PRIMARY KEY, price #{declared});
      CREATE INDEX lines_price ON lines (price);
      """)

      texts = ~w(-10 -9.5 0 9 10 10.25 100)
      for text <- texts, do: TestRepo.query!("INSERT INTO lines (price) VALUES ('#{text}'), (NULL)")

      for {text, index} <- Enum.with_index(texts) do
        {below, [_ | above]} = Enum.split(texts, index)
        prices = from(l in "lines", order_by: type(l.price, :decimal), select: type(l.price, :decimal))

        typed = fn condition ->
          TestRepo.all(from(l in {"lines", Line}, where: ^condition, order_by: l.price, select: l.price))
        end

        same!(typed.(dynamic([l], l.price < ^d(text))), below)
        same!(typed.(dynamic([l], ^d(text) < l.price)), above)
        same!(typed.(dynamic([l], not (l.price <= ^d(text)))), above)
        same!(typed.(dynamic([l], l.price < ^d("1E+400"))), texts)
        same!(typed.(dynamic([l], l.price > ^d("-12345678901234567890.5"))), texts)
        assert length(TestRepo.all(prices)) == 2 * length(texts)
      end
    end
  end

  test "the functions stand in checks, generated columns, views and triggers" do
    script("""
    CREATE TABLE sums (a DECIMAL, b DECIMAL, total AS (decimal_add(a, b)), CHECK (decimal_cmp(a, b) <= 0));
    CREATE VIEW totals AS SELECT decimal_sum(total) AS total FROM sums;
    CREATE TABLE log (total);
    CREATE TRIGGER logged AFTER INSERT ON sums BEGIN INSERT INTO log VALUES (decimal_mul(NEW.a, NEW.b)); END;
    INSERT INTO sums VALUES (0.1, 0.2), ('0.2', x'302E32');
    """)

    assert TestRepo.query!("SELECT total FROM totals").rows == [[0.7]]
    assert TestRepo.query!("SELECT total FROM log").rows == [[0.02], [0.04]]
    assert {:error, %Error{code: :constraint_check}} = TestRepo.query("INSERT INTO sums VALUES (2, 1.9)")
  end

  test "a double that lies between two decimals is the same one on both sides" do
    for whole <- 562_949_953_421_312..562_949_953_421_400,
        fraction <- [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875] do
      double = whole + fraction
      value = Decimal.from_float(double)
      other = Decimal.sub(Decimal.new("#{2 * whole + 1}"), value)

      %{rows: [row]} =
        TestRepo.query!(
          """
          SELECT decimal_abs(?1), decimal_abs(?2), decimal_abs(?2) = ?2,
            decimal_add(?3, 0), decimal_add(?3, 0) = ?3, decimal_sub(?4, ?2), decimal_sub(?4, ?2) = ?3
          """,
          [double, value, other, 2 * whole + 1]
        )

      assert [abs, abs_of_value, 1, sum, 1, difference, 1] = row
      same!(Enum.map([abs, abs_of_value, sum, difference], &load/1), [value, value, other, other])
    end
  end

  @tag :proper
  test "every operation gives what Elixir's Decimal gives" do
    check!({decimal(), decimal(), range({-45, 45})}, fn {x, y, places} ->
      exact = %Decimal.Context{precision: 2_000, rounding: :half_up}
      precision = Enum.max([28 | Enum.map([x, y], &(&1 |> key() |> digits()))])
      rounded = %Decimal.Context{precision: precision, rounding: :half_up}

      expected =
        Decimal.Context.with(exact, fn ->
          [Decimal.add(x, y), Decimal.sub(x, y), Decimal.mult(x, y)] ++
            [if(y.coef == 0, do: nil, else: Decimal.Context.with(rounded, fn -> Decimal.div(x, y) end))] ++
            [Decimal.round(x, places, :half_up), Decimal.abs(x), Decimal.negate(x), Decimal.max(x, y)]
        end)

      %{rows: [row]} =
        TestRepo.query!(
          """
          SELECT decimal_add(?1, ?2), decimal_sub(?1, ?2), decimal_mul(?1, ?2), decimal_div(?1, ?2),
            decimal_round(?1, ?3), decimal_abs(?1), decimal_neg(?1), decimal_of_key(max(decimal_key(?1), decimal_key(?2)))
          """,
          [x, y, places]
        )

      same!(Enum.map(row, &load/1), expected)
      order = %{lt: -1, eq: 0, gt: 1}[Decimal.compare(x, y)]

      %{rows: [[cmp, keys, equal]]} =
        TestRepo.query!(
          "SELECT decimal_cmp(?1, ?2), (decimal_key(?1) > decimal_key(?2)) - (decimal_key(?1) < decimal_key(?2)), ?1 = ?2",
          [x, y]
        )

      assert {cmp, keys, equal} == {order, order, if(order == 0, do: 1, else: 0)}

      # The sidecar stores as the adapter does.
      %{rows: [[same]]} =
        TestRepo.query!("SELECT typeof(decimal(?1)) = typeof(?2) AND decimal(?1) = ?2", [
          Decimal.to_string(x),
          x
        ])

      assert same == 1
    end)
  end

  @tag :proper
  test "sums, averages and extremes of random rows" do
    check!(list(decimal()), fn numbers ->
      TestRepo.delete_all(Line)
      for x <- numbers, do: TestRepo.insert!(%Line{price: x})

      [sum, avg, min, max] =
        TestRepo.one(from(l in Line, select: [sum(l.price), avg(l.price), min(l.price), max(l.price)]))

      %{rows: [row]} =
        TestRepo.query!("SELECT decimal_sum(price), decimal_min(price), decimal_max(price) FROM lines")

      if numbers == [] do
        assert [sum, avg, min, max | row] == List.duplicate(nil, 7)
      else
        Decimal.Context.with(%Decimal.Context{precision: 2_000}, fn ->
          total = Enum.reduce(numbers, &Decimal.add/2)
          {low, high} = {Enum.reduce(numbers, &Decimal.min/2), Enum.reduce(numbers, &Decimal.max/2)}
          same!([sum, min, max], [total, low, high])
          same!(Enum.map(row, &load/1), [total, low, high])
          precision = max(28, digits(key(total)))

          Decimal.Context.with(%Decimal.Context{precision: precision, rounding: :half_up}, fn ->
            same!(avg, Decimal.div(total, length(numbers)))
          end)
        end)

        sorted = TestRepo.all(from(l in Line, order_by: l.price, select: l.price))
        same!(sorted, Enum.sort(numbers, &(Decimal.compare(&1, &2) != :gt)))
      end

      true
    end)
  end

  defp digits({coef, _exp}), do: coef |> abs() |> Integer.to_string() |> byte_size()
  defp digits(0), do: 1
  defp load(nil), do: nil
  defp load(value), do: Ecto.Type.adapter_load(Ecto.Adapters.LibSql, :decimal, value) |> elem(1)
end
