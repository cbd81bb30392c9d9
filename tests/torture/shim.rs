//! The library that is preloaded into the program (shim.c), compiled once.

use crate::support::{Process, Sidecar};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Where it is; compiles it at the first call.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture/shim.c");
        let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("torture_shim.so");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .args([library.as_os_str(), source.as_os_str(), "-ldl".as_ref()])
            .status();
        match status {
            Ok(status) if status.success() => library,
            other => panic!("{} cannot be compiled with cc: {other:?}", source.display()),
        }
    })
}

/// The program with these options and with the library, which reads these variables.
pub fn start(arguments: &[&str], variables: &[(&str, String)]) -> Sidecar {
    let mut command = Command::new(env!("CARGO_BIN_EXE_libsql_port"));
    command.args(arguments).env("LD_PRELOAD", library());
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    Sidecar::of(Process::spawn(&mut command, Stdio::piped()))
}
