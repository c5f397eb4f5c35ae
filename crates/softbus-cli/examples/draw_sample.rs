//! Draws the project's sample picture anew: `cargo run -p softbus-cli --example draw_sample`.

#![allow(clippy::print_stdout)]

fn main() -> anyhow::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/sample.png");
    std::fs::write(path, softbus_cli::picture::draw_sample()?)?;
    println!("{path}");
    Ok(())
}
