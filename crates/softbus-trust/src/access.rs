//! Which device may open which service here. The rules are this device's own; the circle only says who is who.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use softbus_core::{DeviceId, ErrorCode, ServiceName};

use crate::{Member, Role};

/// Most rules, and most devices named in one.
pub const ACCESS_ENTRIES: usize = 256;

/// What one service asks of those who open it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// The least role that may open it; by default owner for `admin`, guest for `roster` (which tells a guest no more
    /// than the name and kind of the device it speaks with), else member. `guest` lets all guests in.
    pub least: Option<Role>,
    /// Devices that may open it whatever their role (but they must be in the circle).
    pub allow: BTreeSet<DeviceId>,
    /// Devices that may not. Stronger than all else: neither what a more exact rule allows nor a grant overrules it.
    pub deny: BTreeSet<DeviceId>,
}

/// Rules by service: by full name (`camera/1`), or by name without version (`camera`). The more exact one says whom it lets
/// in; whom either denies stays out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccessRules(BTreeMap<String, Rule>);

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asker<'a> {
    /// Somebody of a common circle, whose time is not over.
    Member(&'a Member),
    /// Anybody else.
    Stranger {
        /// Whether pairing is open here.
        pairing: bool,
    },
}

/// Why a rule cannot be set.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AccessError {
    /// Pairing and the circle's own protocol are not subject to rules.
    #[error("`{0}` is the bus's own and open to everybody it is for: no rule can be set for it")]
    System(String),
    /// Not a service's name.
    #[error("`{0}` is not a service, write `name` or `name/version`")]
    Name(String),
    /// Too many.
    #[error("more than {ACCESS_ENTRIES} rules, or devices in one rule")]
    TooMany,
}

impl AccessRules {
    /// Sets the rule of a service (`name/version` or `name`); an empty rule takes it back.
    pub fn set(&mut self, service: &str, rule: Rule) -> Result<(), AccessError> {
        let name = service.split('/').next().unwrap_or_default();
        if matches!(name, "pair" | "circle") {
            return Err(AccessError::System(name.to_owned()));
        }
        let full = if service.contains('/') { service.to_owned() } else { format!("{service}/1") };
        if full.parse::<ServiceName>().is_err() {
            return Err(AccessError::Name(service.chars().take(64).collect()));
        }
        if rule == Rule::default() {
            self.0.remove(service);
            return Ok(());
        }
        if rule.allow.len() > ACCESS_ENTRIES
            || rule.deny.len() > ACCESS_ENTRIES
            || (self.0.len() >= ACCESS_ENTRIES && !self.0.contains_key(service))
        {
            return Err(AccessError::TooMany);
        }
        self.0.insert(service.to_owned(), rule);
        Ok(())
    }

    /// All rules, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Rule)> {
        self.0.iter().map(|(service, rule)| (service.as_str(), rule))
    }

    /// Whether `device` may open `service`.
    ///
    /// # Errors
    /// [`ErrorCode::NotTrusted`] for strangers, [`ErrorCode::Forbidden`] for members.
    pub fn may_open(
        &self,
        device: &DeviceId,
        asker: Asker<'_>,
        service: &ServiceName,
    ) -> Result<(), ErrorCode> {
        let member = match (asker, service.name()) {
            (Asker::Stranger { pairing: true } | Asker::Member(_), "pair") => return Ok(()),
            (Asker::Stranger { .. }, _) => return Err(ErrorCode::NotTrusted),
            // All of the circle, guests too: news of a removal must reach everybody.
            (Asker::Member(_), "circle") => return Ok(()),
            (Asker::Member(member), _) => member,
        };
        let rules = [self.0.get(service.as_str()), self.0.get(service.name())];
        let denied = rules.iter().flatten().any(|rule| rule.deny.contains(device));
        let (allowed, least) = match rules.into_iter().flatten().next() {
            Some(rule) => (rule.allow.contains(device), rule.least),
            None => (false, None),
        };
        let least = least.unwrap_or(match service.name() {
            "admin" => Role::Owner,
            "roster" => Role::Guest,
            _ => Role::Member,
        });
        let named = member.role == Role::Guest && member.services.contains(service);
        if !denied && (allowed || named || member.role >= least) { Ok(()) } else { Err(ErrorCode::Forbidden) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(role: Role, services: &[&str]) -> Member {
        Member { role, expires: None, services: services.iter().map(|s| s.parse().unwrap()).collect() }
    }

    fn may(rules: &AccessRules, n: u8, asker: Asker<'_>, service: &str) -> bool {
        rules.may_open(&DeviceId([n; 32]), asker, &service.parse().unwrap()).is_ok()
    }

    #[test]
    fn without_rules() {
        let rules = AccessRules::default();
        let (owner, plain, guest) =
            (member(Role::Owner, &[]), member(Role::Member, &[]), member(Role::Guest, &["print/1"]));
        for (asker, open) in [
            (Asker::Member(&owner), &["task/1", "admin/1", "circle/1", "roster/1", "print/1", "pair/1"][..]),
            (Asker::Member(&plain), &["task/1", "circle/1", "roster/1", "print/1", "pair/1"]),
            (Asker::Member(&guest), &["circle/1", "roster/1", "print/1", "pair/1"]),
            (Asker::Stranger { pairing: true }, &["pair/1"]),
            (Asker::Stranger { pairing: false }, &[]),
        ] {
            for service in ["task/1", "admin/1", "circle/1", "roster/1", "print/1", "print/2", "pair/1"] {
                let expected = open.contains(&service) || (service == "print/2" && open.contains(&"task/1"));
                assert_eq!(may(&rules, 1, asker, service), expected, "{asker:?} {service}");
            }
        }
    }

    #[test]
    fn a_more_exact_rule_does_not_let_in_whom_the_other_denies() {
        let mut rules = AccessRules::default();
        let (tv, phone) = (DeviceId([7; 32]), DeviceId([8; 32]));
        let deny = |device| Rule { deny: [device].into(), ..Rule::default() };
        rules.set("camera", Rule { least: Some(Role::Owner), ..deny(tv) }).unwrap();
        let exact = Rule { least: Some(Role::Guest), allow: [tv].into(), ..deny(phone) };
        rules.set("camera/1", exact).unwrap();
        let (owner, plain) = (member(Role::Owner, &[]), member(Role::Member, &[]));
        for asker in [Asker::Member(&owner), Asker::Member(&plain)] {
            assert!(!may(&rules, 7, asker, "camera/1") && !may(&rules, 7, asker, "camera/2"));
            assert!(!may(&rules, 8, asker, "camera/1"));
        }
        assert!(may(&rules, 1, Asker::Member(&plain), "camera/1"), "the exact rule says who is let in");
        assert!(
            !may(&rules, 8, Asker::Member(&plain), "camera/2")
                && may(&rules, 8, Asker::Member(&owner), "camera/2")
        );
    }

    #[test]
    fn rules_by_role_and_device() {
        let mut rules = AccessRules::default();
        let device = DeviceId([7; 32]);
        let rule =
            Rule { least: Some(Role::Owner), allow: [device].into(), deny: [DeviceId([8; 32])].into() };
        rules.set("camera", rule).unwrap();
        rules.set("radio/1", Rule { least: Some(Role::Guest), ..Rule::default() }).unwrap();
        let (owner, plain, guest) =
            (member(Role::Owner, &[]), member(Role::Member, &[]), member(Role::Guest, &["camera/1"]));
        assert!(may(&rules, 1, Asker::Member(&owner), "camera/1"));
        assert!(!may(&rules, 1, Asker::Member(&plain), "camera/1"));
        assert!(may(&rules, 7, Asker::Member(&plain), "camera/3"));
        assert!(!may(&rules, 8, Asker::Member(&owner), "camera/1"), "denied though owner");
        assert!(may(&rules, 1, Asker::Member(&guest), "camera/1"), "named in the guest's grant");
        assert!(!may(&rules, 8, Asker::Member(&guest), "camera/1"));
        assert!(
            !may(&rules, 7, Asker::Stranger { pairing: true }, "camera/1"),
            "a stranger, though allowed by name"
        );
        assert!(
            may(&rules, 1, Asker::Member(&guest), "radio/1")
                && !may(&rules, 1, Asker::Member(&guest), "radio/2")
        );
        assert!(matches!(rules.set("circle/1", Rule::default()), Err(AccessError::System(_))));
        assert!(matches!(rules.set("Camera!", Rule::default()), Err(AccessError::Name(_))));
        rules.set("camera", Rule::default()).unwrap();
        assert!(may(&rules, 8, Asker::Member(&plain), "camera/1"));
    }
}
