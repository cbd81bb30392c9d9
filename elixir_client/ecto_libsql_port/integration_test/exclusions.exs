# What the shared suites ask for and this adapter does not do; docs/ecto-suites.md tells the same in full.
[
  # SQLite lacks it.
  :bitstring_type,
  :duration_type,
  :on_delete_nilify_column_list,
  :on_delete_default_column_list,
  :transaction_isolation,
  {:test, :"test fragment array types"},
  {:test, :"test Converts empty array correctly"},

  # Values have a type, columns have not.
  :map_type_schemaless,
  {:test, :"test reset cache on returning query after alter column type"},
  {:test, :"test does not commit migration if insert into schema migration fails"},

  # UUIDs are stored as text unless told otherwise.
  {:test, :"test telemetry cast params"},

  # The lock needs no connection of the pool.
  :lock_for_migrations
]
