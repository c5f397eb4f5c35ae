//! The `softbus` program. See the library of this crate.

fn main() -> std::process::ExitCode {
    softbus_cli::main()
}
