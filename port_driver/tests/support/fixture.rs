//! Reads the frames under `tests/fixtures`; its README says what their lines mean.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One file.
pub struct Fixture {
    pub name: String,
    /// The whole frame, length included.
    pub frame: Vec<u8>,
    expectations: BTreeMap<String, String>,
}

impl Fixture {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.expectations.get(key).map(String::as_str)
    }

    /// The frame's tag, if it is a frame.
    pub fn tag(&self) -> u8 {
        self.frame[4 + 9]
    }

    /// The payload's term, if it is a frame.
    pub fn payload(&self) -> &[u8] {
        &self.frame[4 + 10..]
    }
}

pub fn directory() -> PathBuf {
    // Above the crate that this file is compiled into, which is not always the same one.
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().expect("the package's directory");
    let found = package.ancestors().map(|above| above.join("tests/fixtures")).find(|path| path.is_dir());
    found.expect("tests/fixtures above the package")
}

/// Every file of a directory, in the order of their names.
pub fn read_all(name: &str) -> Vec<Fixture> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory().join(name))
        .expect("the fixtures are beside the crate")
        .map(|entry| entry.expect("a readable directory").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Fixture {
    let name = path.file_stem().expect("a file name").to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).expect("a fixture in UTF-8");
    let mut fixture = Fixture { name, frame: Vec::new(), expectations: BTreeMap::new() };
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once(": ") {
            Some((key, value)) => {
                let before = fixture.expectations.insert(key.to_owned(), value.to_owned());
                assert!(before.is_none(), "{}: {key} twice", fixture.name);
            }
            None => fixture.frame.extend(line.split_whitespace().map(|digits| {
                u8::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("{}: {line}", fixture.name))
            })),
        }
    }
    fixture
}
