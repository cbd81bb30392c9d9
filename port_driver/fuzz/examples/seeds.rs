//! Makes the first corpus of each target out of the fixtures: `cargo run --example seeds`.

#[path = "../../tests/support/fixture.rs"]
#[allow(dead_code)]
mod fixture;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in ["frame", "term", "request"] {
        std::fs::create_dir_all(corpus.join(target))?;
    }
    for directory in ["golden", "wrong", "broken"] {
        for fixture in fixture::read_all(directory) {
            let name = format!("{directory}_{}", fixture.name);
            // The frame target reads its numbers off the end of its input.
            let frame = [&fixture.frame[..], &[7, 0xff, 0xff]].concat();
            std::fs::write(corpus.join("frame").join(&name), frame)?;
            if fixture.frame.len() > 14 {
                std::fs::write(corpus.join("term").join(&name), fixture.payload())?;
                let request = [&[fixture.tag()], fixture.payload()].concat();
                std::fs::write(corpus.join("request").join(&name), request)?;
            }
        }
    }
    Ok(())
}
