[
  import_deps: [:ecto, :ecto_sql],
  inputs: ["{mix,.formatter}.exs", "{lib,test,bench,integration_test}/**/*.{ex,exs}"],
  line_length: 110
]
