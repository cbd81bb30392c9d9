# An application would say `import_deps: [:ecto, :ecto_sql]`. This one is also formatted where Ecto is not at hand.
{adapter, _} = Code.eval_file("../../elixir_client/ecto_libsql_port/.formatter.exs", __DIR__)

[
  locals_without_parens: adapter[:locals_without_parens],
  inputs: ["{mix,.formatter}.exs", "{config,lib,priv,test}/**/*.{ex,exs}"],
  line_length: 110
]
