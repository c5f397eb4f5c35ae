use std::path::PathBuf;

/// Shows the main job: four devices find each other, pair, and a running task moves between them.
///
/// Starts a phone, a TV, a car computer and a sensor as four processes of this program on this machine's
/// loopback, each with its own data folder and key. Nothing leaves this machine, and nothing is left behind
/// but the finished picture.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  softbus demo
  softbus demo --input holiday.jpg --out ./out
  softbus demo --report report.json")]
pub struct DemoArgs {
    /// The picture to work on (PNG or JPEG); a sample comes with the program
    #[arg(long, value_name = "PICTURE")]
    pub input: Option<PathBuf>,
    /// Folder for the finished picture (made if it is not there)
    #[arg(long, value_name = "DIR", default_value = "out")]
    pub out: PathBuf,
    /// Also write what was measured to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Show the logs of the four devices too
    #[arg(long)]
    pub verbose: bool,
}
