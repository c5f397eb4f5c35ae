//! Static profiles as they are believed: signed by their subject, in time, within limits.

use std::sync::Arc;
use std::time::Duration;

use softbus_core::wire::roster::Digest;
use softbus_core::{Domain, Signed, Signer, StaticProfile, WallMs, decode, encode};

use crate::{ProfileError, limits};

/// A static profile whose signature and limits have been checked, with the signed bytes to pass on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Believed {
    /// As received.
    pub signed: Arc<Signed>,
    /// What it says.
    pub profile: Arc<StaticProfile>,
    /// Its version and hash.
    pub digest: Digest,
}

impl Believed {
    /// Checks foreign signed bytes: the signature first, then the envelope, then what it says.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(signed: Signed, wall: WallMs) -> Result<Self, ProfileError> {
        let believed = Self::verify(signed)?;
        believed.in_time(wall)?;
        Ok(believed)
    }

    /// All of it but whether it is in time.
    pub(crate) fn verify(signed: Signed) -> Result<Self, ProfileError> {
        let profile: StaticProfile = decode(signed.verify(Domain::PROFILE)?)?;
        if profile.id != signed.signer {
            return Err(ProfileError::Signer { signer: signed.signer, subject: profile.id });
        }
        if !profile.within_limits() {
            return Err(ProfileError::Limits);
        }
        let life = profile.expires.0.checked_sub(profile.issued.0).ok_or(ProfileError::Lifetime)?;
        if u128::from(life) > limits::LIFETIME_MAX.as_millis() {
            return Err(ProfileError::Lifetime);
        }
        let digest = Digest { id: profile.id, version: profile.version, hash: signed.hash() };
        Ok(Self { signed: Arc::new(signed), profile: Arc::new(profile), digest })
    }

    /// Whether it counts now.
    pub(crate) fn in_time(&self, wall: WallMs) -> Result<(), ProfileError> {
        let profile = &self.profile;
        if profile.issued > wall.after(limits::FUTURE) {
            return Err(ProfileError::Future { ahead_s: (profile.issued.0 - wall.0) / 1000 });
        }
        if profile.expires <= wall {
            return Err(ProfileError::Expired { ago_s: (wall.0 - profile.expires.0) / 1000 });
        }
        Ok(())
    }

    /// Whether its time is over.
    pub fn expired(&self, wall: WallMs) -> bool {
        self.profile.expires <= wall
    }
}

/// Makes and signs our own static profile, with versions that only grow, across restarts and jumps of the clock.
pub struct Author {
    signer: Arc<dyn Signer + Send + Sync>,
    /// The last version used, by this start or an earlier one.
    version: u64,
    lifetime: Duration,
    current: Option<StaticProfile>,
}

impl Author {
    /// `version` is the highest one used before (0 for none); `lifetime` is brought within its limits.
    pub fn new(signer: Arc<dyn Signer + Send + Sync>, version: u64, lifetime: Duration) -> Self {
        let lifetime = lifetime.clamp(limits::LIFETIME_MIN, limits::LIFETIME_MAX);
        Self { signer, version, lifetime, current: None }
    }

    /// The last version used.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether the present profile should be made anew: it is past half of its life, or was made by a clock
    /// that has been put back since.
    pub fn due(&self, wall: WallMs) -> bool {
        self.current.as_ref().is_none_or(|p| {
            wall >= p.issued.after(self.lifetime / 2) || p.issued > wall.after(limits::FUTURE / 2)
        })
    }

    /// A version at least this high is about under our key (a restored backup, a lost database): the next one
    /// goes beyond.
    pub fn outrun(&mut self, version: u64) {
        self.version = self.version.max(version);
        self.current = None;
    }

    /// Signs `draft` under the next version if it differs from the present profile or that is due. Id,
    /// version and times of the draft do not matter.
    ///
    /// The version must be durable before the profile is told to anyone.
    ///
    /// # Errors
    /// If the draft breaks a limit.
    pub fn issue(&mut self, draft: StaticProfile, wall: WallMs) -> Result<Option<Believed>, ProfileError> {
        let draft = StaticProfile { id: self.signer.id(), ..draft };
        if !self.due(wall)
            && let Some(current) = &self.current
            && same_but_for_times(current, &draft)
        {
            return Ok(None);
        }
        if !draft.within_limits() {
            return Err(ProfileError::Limits);
        }
        let version = self.version.saturating_add(1).max(wall.0);
        let profile = StaticProfile { version, issued: wall, expires: wall.after(self.lifetime), ..draft };
        let signed = Signed::new(&*self.signer, Domain::PROFILE, encode(&profile)?);
        self.version = version;
        self.current = Some(profile.clone());
        let digest = Digest { id: profile.id, version, hash: signed.hash() };
        Ok(Some(Believed { signed: Arc::new(signed), profile: Arc::new(profile), digest }))
    }
}

fn same_but_for_times(a: &StaticProfile, b: &StaticProfile) -> bool {
    let timeless = |p: &StaticProfile| StaticProfile {
        version: 0,
        issued: WallMs::default(),
        expires: WallMs::default(),
        ..p.clone()
    };
    timeless(a) == timeless(b)
}

#[cfg(test)]
pub(crate) mod tests {
    use softbus_core::{DeviceId, DeviceKind};
    use softbus_trust::DeviceKey;

    use super::*;

    pub(crate) fn key(n: u8) -> Arc<DeviceKey> {
        Arc::new(DeviceKey::from_seed(&[n; 32]))
    }

    pub(crate) fn draft(name: &str) -> StaticProfile {
        StaticProfile {
            id: DeviceId([0; 32]),
            version: 0,
            issued: WallMs(0),
            expires: WallMs(0),
            name: name.into(),
            kind: DeviceKind::Tv,
            cores: 4,
            memory_bytes: 1 << 30,
            arch: "aarch64".into(),
            os: "linux".into(),
            accelerators: vec![],
            capabilities: vec![],
            services: vec![],
            task_types: vec![],
            battery_floor_permille: 0,
            declared: vec![],
        }
    }

    /// Signs whatever is given, right or wrong.
    pub(crate) fn sign(key: &DeviceKey, profile: &StaticProfile) -> Signed {
        Signed::new(key, Domain::PROFILE, encode(profile).unwrap())
    }

    const NOW: WallMs = WallMs(1_700_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    pub(crate) fn good() -> StaticProfile {
        StaticProfile { id: key(1).id(), version: 5, issued: NOW, expires: NOW.after(DAY), ..draft("a") }
    }

    #[test]
    fn refusals() {
        let check = |p: &StaticProfile| Believed::check(sign(&key(1), p), NOW).map(|b| b.digest.version);
        assert_eq!(check(&good()), Ok(5));
        assert!(matches!(
            check(&StaticProfile { id: key(2).id(), ..good() }),
            Err(ProfileError::Signer { .. })
        ));
        assert_eq!(check(&StaticProfile { expires: NOW, ..good() }), Err(ProfileError::Expired { ago_s: 0 }));
        assert_eq!(
            check(&StaticProfile { expires: WallMs(1), ..good() }),
            Err(ProfileError::Lifetime),
            "ends before it begins"
        );
        assert_eq!(
            check(&StaticProfile { expires: NOW.after(DAY * 32), ..good() }),
            Err(ProfileError::Lifetime)
        );
        let ahead = NOW.after(DAY + Duration::from_secs(5));
        assert_eq!(
            check(&StaticProfile { issued: ahead, expires: ahead.after(DAY), ..good() }),
            Err(ProfileError::Future { ahead_s: 86_405 })
        );
        assert_eq!(check(&StaticProfile { name: "x".repeat(65), ..good() }), Err(ProfileError::Limits));
        assert_eq!(
            check(&StaticProfile { issued: WallMs(u64::MAX), expires: WallMs(u64::MAX), ..good() }),
            Err(ProfileError::Future { ahead_s: (u64::MAX - NOW.0) / 1000 })
        );
    }

    #[test]
    fn flipped_bits_are_refused() {
        let signed = sign(&key(1), &good());
        for i in 0..signed.body.len() {
            let mut forged = signed.clone();
            forged.body[i] ^= 1;
            assert!(matches!(Believed::check(forged, NOW), Err(ProfileError::Signature(_))), "byte {i}");
        }
        let stolen = Signed { signer: key(2).id(), ..signed };
        assert!(matches!(Believed::check(stolen, NOW), Err(ProfileError::Signature(_))));
        let other_purpose = Signed::new(&*key(1), Domain::GRANT, encode(&good()).unwrap());
        assert!(matches!(Believed::check(other_purpose, NOW), Err(ProfileError::Signature(_))));
        let garbage = Signed::new(&*key(1), Domain::PROFILE, vec![7; 40]);
        assert!(matches!(Believed::check(garbage, NOW), Err(ProfileError::Bytes(_))));
    }

    #[test]
    fn versions_only_grow() {
        let mut author = Author::new(key(1), 0, DAY);
        let first = author.issue(draft("a"), NOW).unwrap().unwrap();
        assert_eq!(first.digest.version, NOW.0);
        assert!(author.issue(draft("a"), NOW.after(DAY / 4)).unwrap().is_none(), "nothing new");
        let second = author.issue(draft("b"), WallMs(NOW.0 - 5)).unwrap().unwrap();
        assert_eq!(second.digest.version, NOW.0 + 1, "the clock went back, the version did not");
        // A restart with what was stored, by a clock that was reset.
        let mut author = Author::new(key(1), author.version(), DAY);
        let third = author.issue(draft("b"), WallMs(1000)).unwrap().unwrap();
        assert!(third.digest.newer_than(&second.digest));
        author.outrun(NOW.0 * 2);
        let fourth = author.issue(draft("b"), WallMs(1000)).unwrap().unwrap();
        assert_eq!(fourth.digest.version, NOW.0 * 2 + 1);
        assert_eq!(Believed::check(Signed::clone(&fourth.signed), WallMs(1000)), Ok(fourth));
    }

    #[test]
    fn made_anew_at_half_its_life() {
        let mut author = Author::new(key(1), 0, DAY);
        author.issue(draft("a"), NOW).unwrap().unwrap();
        let half = NOW.after(DAY / 2);
        assert!(!author.due(WallMs(half.0 - 1)) && author.due(half));
        let again = author.issue(draft("a"), half).unwrap().unwrap();
        assert_eq!(again.profile.expires, half.after(DAY));
        assert_eq!(
            author.issue(StaticProfile { name: "x".repeat(99), ..draft("") }, half),
            Err(ProfileError::Limits)
        );
        // What was issued by a clock far ahead is made anew once the clock is right.
        assert!(author.due(WallMs(half.0 - 86_400_000)));
    }
}
