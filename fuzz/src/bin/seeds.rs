//! Writes the seed corpora: run it after a message changed its form, and commit what it wrote. What a fuzzer found
//! since stays; files of its own that it would write otherwise now are replaced.
//!
//! ```text
//! cargo run -p softbus-fuzz --bin seeds
//! ```

use std::path::Path;

/// Corpora are small: a fuzzer makes the rest.
const CORPUS_BYTES: usize = 320 << 10;

#[allow(clippy::print_stdout)] // this is a program
fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut total = 0;
    for target in softbus_fuzz::TARGETS {
        let folder = corpus.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for old in std::fs::read_dir(&folder)? {
            let old = old?;
            if old.file_name().to_string_lossy().starts_with("seed-") {
                std::fs::remove_file(old.path())?;
            }
        }
        let seeds = (target.seeds)();
        let bytes: usize = seeds.iter().map(Vec::len).sum();
        for (n, seed) in seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{n:02}")), seed)?;
        }
        let understood = seeds.iter().filter(|seed| (target.run)(seed)).count();
        println!("{:20} {:3} seeds, {understood:3} understood, {bytes:6} bytes", target.name, seeds.len());
        total += bytes;
    }
    println!("{total} bytes in all");
    if total > CORPUS_BYTES {
        return Err(std::io::Error::other(format!("more than {CORPUS_BYTES} bytes of seeds")));
    }
    Ok(())
}
