//! The map of docs/architecture.md, compared with what the files of `src/` import: rooms import downwards, no file imports
//! in a circle, the C interface stays in its room.

mod imports;

use imports::{import_paths, without_comments_and_tests};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Rooms that the program and its benchmark use from outside of the library. What is `pub` in all others is private to it,
/// so that the compiler finds what nobody uses.
const PUBLIC: &[&str] = &["arguments", "bench", "descriptors", "logging", "server"];

/// Where the engine's C interface is spoken to.
const ENGINE: &str = "engine";

/// Modules besides the engine's that may hold `unsafe`: each wraps system calls.
const UNSAFE: &[&str] = &["clock", "database::file_lock", "descriptors", "memory"];

/// The keyword, by what may follow it: the engine's messages have the word too.
fn is_unsafe(text: &str) -> bool {
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait", "unsafe("]
        .iter()
        .any(|code| text.contains(code))
}

/// The files of a library by module path; the root is the empty path.
struct Library(BTreeMap<String, String>);

impl Library {
    fn read() -> Self {
        let mut files = BTreeMap::new();
        collect(&Path::new(ROOT).join("src"), &mut Vec::new(), &mut files);
        files.remove("main");
        Library(files)
    }

    /// The modules that `module` imports, by file: what is inside of one counts as that.
    fn imports(&self, module: &str) -> BTreeSet<String> {
        let here: Vec<&str> = module.split("::").filter(|name| !name.is_empty()).collect();
        let mut found = BTreeSet::new();
        for path in import_paths(&self.0[module]) {
            let Some(mut path) = self.resolved(&here, &path) else { continue };
            while !path.is_empty() && !self.0.contains_key(&path.join("::")) {
                path.pop();
            }
            if !path.is_empty() && path != here {
                found.insert(path.join("::"));
            }
        }
        found
    }

    /// The path from the root, or none if it leads out of the library.
    fn resolved<'p>(&self, here: &[&'p str], path: &'p [String]) -> Option<Vec<&'p str>> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match path[0] {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([here, &path[1..]].concat()),
            "super" => {
                let up = path.iter().take_while(|name| **name == "super").count();
                Some([&here[..here.len().checked_sub(up)?], &path[up..]].concat())
            }
            child => {
                let inside = [here, &[child]].concat();
                self.0.contains_key(&inside.join("::")).then(|| [here, &path].concat())
            }
        }
    }

    fn rooms(&self) -> BTreeSet<&str> {
        self.0.keys().map(|module| room(module)).filter(|room| !room.is_empty()).collect()
    }

    /// Everything that is not as the map says. `rooms`: from the highest line to the lowest.
    fn faults(&self, rooms: &[Vec<String>]) -> Vec<String> {
        let line_of = |room: &str| rooms.iter().position(|line| line.iter().any(|name| name == room));
        let mut faults = Vec::new();
        for room in self.rooms().into_iter().filter(|room| line_of(room).is_none()) {
            faults.push(format!("the room {room} is not in the map"));
        }
        for room in rooms.iter().flatten().filter(|room| !self.rooms().contains(room.as_str())) {
            faults.push(format!("the map names {room}, which is not there"));
        }
        for module in self.0.keys().filter(|module| !module.is_empty()) {
            for import in self.imports(module) {
                let (from, to) = (room(module), room(&import));
                if from != to && line_of(from) >= line_of(to) {
                    faults.push(format!("{module} imports {import}, which is not below it"));
                }
            }
        }
        for circle in self.circles() {
            faults.push(format!("a circle of imports: {circle}"));
        }
        for (module, text) in &self.0 {
            let engine = room(module) == ENGINE;
            if !engine && (text.contains("libsql_ffi") || text.contains("libsql::")) {
                faults.push(format!("{module} names libSQL's crates, which only {ENGINE} does"));
            }
            if !engine && !UNSAFE.contains(&module.as_str()) && is_unsafe(text) {
                faults.push(format!("{module} is unsafe"));
            }
        }
        let public: Vec<&str> = self.0[""].lines().filter_map(public_module).collect();
        if public.iter().collect::<BTreeSet<_>>() != PUBLIC.iter().collect() {
            faults.push(format!("public modules are {public:?} instead of {PUBLIC:?}"));
        }
        faults
    }

    /// Each way from a file over its imports back to itself, once.
    fn circles(&self) -> BTreeSet<String> {
        let mut circles = BTreeSet::new();
        let mut done = BTreeSet::new();
        for module in self.0.keys().filter(|module| !module.is_empty()) {
            self.follow(module, &mut Vec::new(), &mut done, &mut circles);
        }
        circles
    }

    fn follow(
        &self,
        module: &str,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
        circles: &mut BTreeSet<String>,
    ) {
        if let Some(at) = way.iter().position(|before| before == module) {
            circles.insert(way[at..].join(" → "));
        } else if !done.contains(module) {
            way.push(module.to_owned());
            for import in self.imports(module) {
                self.follow(&import, way, done, circles);
            }
            way.pop();
            done.insert(module.to_owned());
        }
    }
}

fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or("")
}

fn public_module(line: &str) -> Option<&str> {
    line.strip_prefix("pub mod ")?.split([' ', ';']).next()
}

fn collect(folder: &Path, path: &mut Vec<String>, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the library") {
        let entry = entry.expect("an entry").path();
        let name = entry.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        path.push(name.clone());
        if entry.is_dir() {
            collect(&entry, path, files);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let own = !matches!(name.as_str(), "mod" | "lib");
            let module = path[..path.len() - usize::from(!own)].join("::");
            let text = std::fs::read_to_string(&entry).expect("a Rust file");
            files.insert(module, without_comments_and_tests(&text));
        }
        path.pop();
    }
}

/// The block of docs/architecture.md that is marked `rooms`: a line of it imports from the lines below.
fn rooms(map: &str) -> Vec<Vec<String>> {
    let block = map.split("```rooms\n").nth(1).and_then(|rest| rest.split("```").next());
    let lines = block.expect("docs/architecture.md has a block of rooms").lines();
    lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn the_files_are_as_the_map_says() {
    let map = std::fs::read_to_string(Path::new(ROOT).join("docs/architecture.md")).unwrap();
    let library = Library::read();
    assert!(library.0.len() > 50, "the files were found");
    assert!(library.imports("server::router").contains("connection::inbox"), "and what they import");
    assert_eq!(library.faults(&rooms(&map)), Vec::<String>::new());
}

/// A library of these files, and the same lines of rooms for all.
fn faults(files: &[(&str, &str)]) -> Vec<String> {
    let root = (
        "",
        "pub mod arguments;\npub mod bench {}\npub mod descriptors;\npub mod logging;\npub mod server;\n",
    );
    let files = files.iter().chain([&root]);
    let files = files.map(|(module, text)| ((*module).to_owned(), without_comments_and_tests(text)));
    Library(files.collect()).faults(&rooms("```rooms\nserver\nlocal error\nengine\n```"))
}

const SERVER: (&str, &str) =
    ("server", "use crate::local::{open::{self as opening, Info}, session};\nuse crate::error::Error;");
const LOCAL: (&str, &str) = ("local", "pub mod open;");
const OPEN: (&str, &str) =
    ("local::open", "use crate::engine;\n#[cfg(test)]\nmod tests {\n    use crate::server;\n}");
const ERROR: (&str, &str) = ("error", "//! use crate::server;\nuse std::fmt;");
const INTERFACE: (&str, &str) = ("engine", "use libsql_ffi as ffi;\nunsafe fn call() {}");

#[test]
fn imports_go_downwards() {
    assert_eq!(faults(&[SERVER, LOCAL, OPEN, ERROR, INTERFACE]), Vec::<String>::new());
    let upwards = [
        ("engine", "use crate::local::open;", "engine imports local::open"),
        ("error", "fn f() { crate::server::run() }", "error imports server"),
        ("local::open", "use super::super::error::Error;", "local::open imports error"),
        ("error", "pub use crate::{engine, local::{open}};", "error imports local::open"),
    ];
    for (module, text, fault) in upwards {
        let mut files = [SERVER, LOCAL, OPEN, ERROR, INTERFACE];
        files.iter_mut().filter(|file| file.0 == module).for_each(|file| file.1 = text);
        assert!(faults(&files).contains(&format!("{fault}, which is not below it")), "{text}");
    }
}

#[test]
fn no_file_imports_in_a_circle() {
    let back = ("local::open", "use super::session::Session;");
    let session = ("local::session", "use crate::local::open::{self, Info};");
    assert_eq!(
        faults(&[SERVER, LOCAL, back, session, ERROR, INTERFACE]),
        ["a circle of imports: local::open → local::session"]
    );
    let parent = ("local", "pub mod open;\npub use open::Info;");
    let child = ("local::open", "use super::Session;");
    assert_eq!(
        faults(&[SERVER, parent, child, ERROR, INTERFACE]),
        ["a circle of imports: local → local::open"]
    );
}

#[test]
fn only_the_engine_speaks_to_the_engine() {
    let speaks = ("local::open", "use libsql_ffi::sqlite3_open;");
    let is_unsafe = ("error", "fn f() { unsafe { g() } }");
    let found = faults(&[SERVER, LOCAL, speaks, is_unsafe, INTERFACE]);
    assert_eq!(found, ["error is unsafe", "local::open names libSQL's crates, which only engine does"]);
}

#[test]
fn every_room_is_in_the_map_and_the_other_way_round() {
    let found = faults(&[SERVER, LOCAL, OPEN, ("errors", ""), INTERFACE]);
    assert_eq!(found, ["the room errors is not in the map", "the map names error, which is not there"]);
}
