//! `softbus doctor`: looks at everything that is commonly wrong, and says what to do about it.

mod bundle;
mod disk;
mod network;
mod node;
mod store;

use serde::Serialize;

use crate::args::DoctorArgs;
use crate::commands::{Context, unexpected};
use crate::config::{Config, Interfaces, parse_interfaces};
use crate::control::{DiagnosisView, Request, Response};
use crate::failure::{Failure, Kind};
use crate::output::Paint;

/// How a check came out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// All is well.
    Good,
    /// Works, but look at it.
    Warn,
    /// Broken.
    Bad,
}

/// One thing looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What was looked at, by a name that does not change.
    pub check: &'static str,
    /// How it came out.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    pub(crate) fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Good, found: found.into(), advice: None }
    }

    pub(crate) fn warn(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, level: Level::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    pub(crate) fn bad(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, level: Level::Bad, found: found.into(), advice: Some(advice.into()) }
    }
}

/// Looks at everything.
pub(crate) async fn doctor(cx: Context, args: DoctorArgs) -> Result<(), Failure> {
    let mut findings = Vec::new();
    let config = match args.config.as_deref().map(Config::load) {
        None => Config::default(),
        Some(Ok(config)) => {
            findings.push(Finding::good("configuration", "the configuration file is fine"));
            config
        }
        Some(Err(failure)) => {
            findings.push(Finding::bad("configuration", failure.message, failure.advice.unwrap_or_default()));
            Config::default()
        }
    };
    findings.extend(disk::check(&cx.data_dir));

    let answer = cx.client().call(Request::Diagnose {}).await;
    let diagnosis = match answer {
        Ok(Response::Diagnosis(diagnosis)) => Some(*diagnosis),
        Ok(other) => {
            let failure = unexpected(&other);
            findings.push(Finding::bad("node", failure.message, failure.advice.unwrap_or_default()));
            None
        }
        Err(failure) => {
            findings.push(node::absent(&cx.data_dir, failure));
            None
        }
    };
    findings.extend(store::check(&cx.data_dir, diagnosis.as_ref()));
    let scope = scope(diagnosis.as_ref(), &config);
    findings.extend(network::check(&scope));
    if let Some(diagnosis) = &diagnosis {
        findings.extend(node::check(diagnosis));
    }

    if let Some(path) = &args.bundle {
        let of_node = diagnosis.as_ref().and_then(|d| d.config.as_deref());
        let config_file = args.config.as_deref().or(of_node);
        bundle::write(path, &cx.data_dir, config_file, &findings, diagnosis.as_ref())?;
    }
    tell(&cx, &findings)?;
    if let Some(path) = &args.bundle {
        cx.out.note(format!("\nall of it, without secrets, is in {}", path.display()));
    }
    match findings.iter().filter(|f| f.level == Level::Bad).count() {
        0 => Ok(()),
        1 => Err(Failure::new(Kind::Failed, "one thing is wrong")),
        n => Err(Failure::new(Kind::Failed, format!("{n} things are wrong"))),
    }
}

/// What of the network to look at: what the node uses, or else what the configuration says it would.
fn scope(diagnosis: Option<&DiagnosisView>, config: &Config) -> network::Scope {
    network::Scope {
        interfaces: match diagnosis {
            Some(d) => parse_interfaces(&d.interfaces).unwrap_or(match d.loopback_only {
                true => Interfaces::Loopback,
                false => config.interfaces.clone(),
            }),
            None => config.interfaces.clone(),
        },
        discovery: diagnosis.map_or(config.discovery, |d| d.discovery),
        port: diagnosis.map_or(config.port, |d| d.port),
        running: diagnosis.is_some(),
    }
}

fn tell(cx: &Context, findings: &[Finding]) -> Result<(), Failure> {
    if cx.out.json {
        return cx.out.json(&serde_json::json!({ "findings": findings }));
    }
    for finding in findings {
        let mark = match finding.level {
            Level::Good => cx.out.paint(Paint::Good, "✓"),
            Level::Warn => cx.out.paint(Paint::Warn, "!"),
            Level::Bad => cx.out.paint(Paint::Bad, "✗"),
        };
        cx.out.line(format!(
            "{mark} {:<14} {}",
            finding.check,
            finding.found.replace('\n', "\n                 ")
        ))?;
        if let Some(advice) = finding.advice.as_deref().filter(|a| !a.is_empty()) {
            cx.out.line(format!("                 {} {advice}", cx.out.paint(Paint::Strong, "→")))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_running_node_uses_goes_before_the_configuration() {
        let other = Config { interfaces: Interfaces::Loopback, ..Config::default() };
        for (told, interfaces) in [
            ("all", Interfaces::All),
            ("loopback", Interfaces::Loopback),
            ("eth0,wlan0", Interfaces::Named(vec!["eth0".into(), "wlan0".into()])),
        ] {
            let mut d = node::tests::view(serde_json::json!({ "interfaces": told }));
            assert_eq!(scope(Some(&d), &other).interfaces, interfaces);
            assert_eq!(interfaces.to_string(), told);
            // Of an older node.
            d.interfaces.clear();
            assert_eq!(scope(Some(&d), &Config::default()).interfaces, Interfaces::All);
        }
        assert_eq!(scope(None, &other).interfaces, Interfaces::Loopback);
    }
}
