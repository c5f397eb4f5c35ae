use std::time::Duration;

use softbus_core::ServiceName;

use crate::{Checked, Declared, limits};

/// Settings of the roster.
#[derive(Clone, Debug)]
pub struct RosterConfig {
    /// What configuration says of this device in place of the machine.
    pub declared: Declared,
    /// Services this device offers, for its profile.
    pub services: Vec<ServiceName>,
    /// Task types it can run, each `name/state-version`.
    pub task_types: Vec<String>,
    /// Below this charge (0–1000) it takes no foreign work; 0 for none.
    pub battery_floor_permille: u16,
    /// How long its static profile counts; it is made anew at half of that. Within
    /// [`limits::LIFETIME_MIN`] and [`limits::LIFETIME_MAX`].
    pub lifetime: Duration,
    /// How often the machine is sampled.
    pub sample_every: Duration,
    /// How often neighbours hear how it is even if nothing changed.
    pub tell_every: Duration,
    /// Profiles that buses of this process have checked already; `None` to check each for oneself.
    pub checked: Option<Checked>,
}

impl Default for RosterConfig {
    fn default() -> Self {
        Self {
            declared: Declared::default(),
            services: Vec::new(),
            task_types: Vec::new(),
            battery_floor_permille: 0,
            lifetime: limits::LIFETIME,
            sample_every: limits::SAMPLE_EVERY,
            tell_every: limits::TELL_EVERY,
            checked: None,
        }
    }
}
