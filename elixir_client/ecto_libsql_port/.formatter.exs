# The macros of Ecto that are called without parentheses here. They are listed instead of imported, so that the sources
# can be formatted where Ecto itself is not at hand.
schema = [
  belongs_to: 2,
  belongs_to: 3,
  embeds_many: 2,
  embeds_many: 3,
  embeds_one: 2,
  embeds_one: 3,
  field: 1,
  field: 2,
  field: 3,
  has_many: 2,
  has_many: 3,
  has_one: 2,
  has_one: 3,
  many_to_many: 2,
  many_to_many: 3,
  timestamps: 1
]

query = [from: 2]

migration = [
  add: 2,
  add: 3,
  add_if_not_exists: 2,
  add_if_not_exists: 3,
  alter: 2,
  create: 1,
  create: 2,
  create_if_not_exists: 1,
  create_if_not_exists: 2,
  drop: 1,
  drop: 2,
  drop_if_exists: 1,
  drop_if_exists: 2,
  execute: 1,
  execute: 2,
  modify: 2,
  modify: 3,
  remove: 1,
  remove: 2,
  remove: 3,
  remove_if_exists: 1,
  remove_if_exists: 2,
  rename: 2,
  rename: 3
]

[
  locals_without_parens: schema ++ query ++ migration,
  inputs: ["{mix,.formatter}.exs", "{lib,test,bench,integration_test}/**/*.{ex,exs}"],
  line_length: 110
]
