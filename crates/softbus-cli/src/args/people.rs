//! Commands about whom to trust.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use softbus_trust::Role;

use super::parse_expiry;
use crate::control::{Expiry, PairTerms};

/// What to do with circles.
#[derive(Subcommand, Debug)]
pub enum CircleCommand {
    /// Show circles, their members and the access rules (the default)
    Show {
        /// Only this one
        circle: Option<String>,
    },
    /// Found a circle with this device as its owner; prints recovery words, once
    #[command(after_help = "Example:
  softbus circle found \"our home\"

The recovery words take the circle back when its last owner is lost. They are
shown once and kept nowhere: write them down, and keep them apart from your
devices.")]
    Found {
        /// Its name
        name: String,
    },
    /// Show recovery words that were not shown yet, once
    #[command(after_help = "Whoever founds a circle, or pairs two devices that are in none, is shown its
recovery words. If that was cut short, they wait in the data folder, for its
owner only, until this command has shown them.")]
    Words,
    /// Leave a circle
    Leave {
        /// Which (not needed if there is only one)
        circle: Option<String>,
        /// Also if this device is its last owner
        #[arg(long)]
        force: bool,
    },
    /// Give a member another role
    #[command(after_help = "Examples:
  softbus circle set-role laptop owner
  softbus circle set-role visitor guest --service camera/1 --expires 2d

Without --expires its membership ends when it would have ended anyway. (A guest's
must end: one that had no end gets 1d.)")]
    SetRole {
        /// Name, id or end of the id of the device
        device: String,
        /// owner, member or guest
        role: Role,
        /// Until when: 30d (at least 1d), never; without it the end stays as it is
        #[arg(long, value_parser = parse_expiry)]
        expires: Option<Expiry>,
        /// A service that a guest may open; may be given more than once
        #[arg(long = "service", value_name = "NAME/VERSION")]
        services: Vec<String>,
        /// In which circle
        #[arg(long)]
        circle: Option<String>,
    },
    /// Give a membership a new end
    #[command(after_help = "Example:
  softbus circle renew tv --expires 365d")]
    Renew {
        /// Name, id or end of the id of the device
        device: String,
        /// Until when: 365d (at least 1d), never
        #[arg(long, default_value = "365d", value_parser = parse_expiry)]
        expires: Expiry,
        /// In which circle
        #[arg(long)]
        circle: Option<String>,
    },
    /// Put a new device in a lost one's place, with its role and end
    #[command(after_help = "Example:
  softbus circle replace phone 5c0a…        (the whole id: `softbus key` on it)

The lost device is out of the circle at once. The new one is in it as soon as it
is paired with a device of the circle.")]
    Replace {
        /// The lost device
        old: String,
        /// The new device: its id (`softbus key` on it), or its name if it is in the circle already
        new: String,
        /// Until when: 30d (at least 1d), never; without it until the lost one's membership would have ended
        #[arg(long, value_parser = parse_expiry)]
        expires: Option<Expiry>,
        /// In which circle
        #[arg(long)]
        circle: Option<String>,
    },
    /// Take back a circle that lost its last owner, by its recovery words
    Recover {
        /// Which (not needed if there is only one)
        circle: Option<String>,
        /// File with the words; without it they are asked for
        #[arg(long, value_name = "FILE")]
        words_file: Option<PathBuf>,
        /// An owner that stays owner; may be given more than once. All other owners are removed
        #[arg(long = "keep", value_name = "DEVICE")]
        keep: Vec<String>,
    },
    /// Access rules of this device: who may open which service
    #[command(after_help = "Examples:
  softbus circle rules
  softbus circle rules allow camera/1 --role guest
  softbus circle rules deny task/1 --device tv
  softbus circle rules reset camera/1

The rule of `camera/1` goes before that of `camera`, but what either denies to a
device stays denied.

By default members may open everything but `admin`, and guests what their
membership names; beside that roster/1 (their host's name and kind) and
circle/1 (the circle's statements), which every guest needs.")]
    Rules {
        /// What to do
        #[command(subcommand)]
        command: Option<RuleCommand>,
    },
}

/// What to do with rules.
#[derive(Subcommand, Debug)]
pub enum RuleCommand {
    /// Show those that differ from the default (the default)
    Show,
    /// Allow a service to a device, or to a role and those above it
    Allow(RuleArgs),
    /// Deny a service to a device, or to a role and those below it
    Deny(RuleArgs),
    /// Back to the default
    Reset {
        /// The service, such as camera/1
        service: String,
        /// Forget only what is said of this device
        #[arg(long)]
        device: Option<String>,
    },
}

/// To whom and what.
#[derive(Args, Debug)]
pub struct RuleArgs {
    /// The service, such as camera/1
    pub service: String,
    /// All devices of this role, and those above (allow) or below (deny) it
    #[arg(long, required_unless_present = "device", conflicts_with = "device")]
    pub role: Option<Role>,
    /// This device
    #[arg(long)]
    pub device: Option<String>,
}

/// Options of `pair`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  softbus pair                          show a PIN here, and wait for the other device
  softbus pair tv                       enter the PIN that the tv shows
  softbus pair 192.168.1.20:4433        the same, where discovery does not reach
  softbus pair --qr                     draw a link as a QR code, and print it
  softbus pair -                        enter the link that another device drew
  softbus pair --role guest --service camera/1 --expires 2d
  softbus pair --cancel

A PIN counts for 60 seconds and three tries. PIN and link are secrets: on a
command line other users of the machine may see them, and the shell keeps them.
`-` in their place asks for them, or reads them from standard input. A QR code
carries the link: softbus reads none itself, any phone's camera app shows it.

A membership lasts a year unless --expires says otherwise, a guest's a day; who
founds a circle is its owner without end. --circle, --role, --expires and
--service say on which terms the other device is admitted, if it is this one
that admits.")]
pub struct PairArgs {
    /// Device (as `softbus devices` shows it), IP:PORT, or a link softbus:… (`-`: ask for the link); nothing: show a PIN
    /// here
    #[arg(value_name = "DEVICE|ADDR|LINK")]
    pub with: Option<String>,
    /// The PIN that the other device shows; without it, or with `-`, it is asked for
    #[arg(long, requires = "with")]
    pub pin: Option<String>,
    /// Draw a QR code and print its link, instead of a PIN
    #[arg(long, conflicts_with_all = ["with", "cancel"])]
    pub qr: bool,
    /// How long the QR code's link counts (1min to 7d)
    #[arg(long, default_value = "10min", value_parser = super::parse_span, requires = "qr", value_name = "SPAN")]
    pub lives: std::time::Duration,
    /// Close pairing here; links given out end too
    #[arg(long, conflicts_with = "with")]
    pub cancel: bool,
    /// On which terms
    #[command(flatten)]
    pub terms: Terms,
}

/// On which terms a device is admitted.
#[derive(Args, Debug)]
pub struct Terms {
    /// What the other device becomes: owner, member (the default) or guest
    #[arg(long)]
    pub role: Option<Role>,
    /// Until when: 365d (the default; for guests 1d), 1d (the least), never (not for guests)
    #[arg(long, value_parser = parse_expiry)]
    pub expires: Option<Expiry>,
    /// A service that a guest may open; may be given more than once
    #[arg(long = "service", value_name = "NAME/VERSION")]
    pub services: Vec<String>,
    /// Which circle to offer, if this device owns several
    #[arg(long)]
    pub circle: Option<String>,
    /// Join the other device's circle, though this one is in a circle already
    #[arg(long)]
    pub join: bool,
}

impl From<Terms> for PairTerms {
    fn from(terms: Terms) -> Self {
        Self {
            circle: terms.circle,
            role: terms.role,
            expires: terms.expires,
            services: terms.services,
            join: terms.join,
        }
    }
}

/// What to do with the key.
#[derive(Subcommand, Debug)]
pub enum KeyCommand {
    /// Show this device's id (the default)
    Show,
    /// Write the key, sealed with a passphrase, to a file
    #[command(after_help = "Examples:
  softbus key backup key.softbus
  softbus key backup key.softbus --passphrase-file phrase.txt")]
    Backup {
        /// The file; it must not be there yet
        file: PathBuf,
        /// File with the passphrase (its first line); without it, it is asked for
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Put a backed-up key in place; the node must not run
    #[command(after_help = "Examples:
  softbus key restore key.softbus
  softbus key restore key.softbus --data-dir /mnt/new-disk/softbus

The device is the same one again for all others. Its circles are not in the
backup: they come back when it is paired once more with one of their devices,
with the role and end that it had. Never run two devices with one key.")]
    Restore {
        /// The file
        file: PathBuf,
        /// File with the passphrase (its first line); without it, it is asked for
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// Also if this device has another key already (which is kept beside, as before-restore.key)
        #[arg(long)]
        force: bool,
    },
}
