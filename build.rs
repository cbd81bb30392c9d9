//! Tells the program for which target it was built; `--version` and `hello` say it.

fn main() {
    let target = std::env::var("TARGET").unwrap_or_else(|_| "unknown".to_owned());
    println!("cargo:rustc-env=LIBSQL_PORT_TARGET={target}");
    println!("cargo:rerun-if-changed=build.rs");
}
