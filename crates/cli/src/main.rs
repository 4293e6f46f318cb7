//! The program: the command line with the built-in kinds alone.

fn main() -> std::process::ExitCode {
    mainspring_cli::run(mainspring::Registry::new())
}
