//! What the roster keeps on disk: the highest version and boot used, the calibration, and the profiles of others,
//! so that a device knows its circle before anyone answers.

use redb::{ReadableTable, TableDefinition};
use softbus_core::{DeviceId, Signed, WallMs};
use softbus_net::seam::store::{Store, StoreError, existing};

use crate::calibrate::Calibration;
use crate::limits;

const PROFILES: TableDefinition<[u8; 32], &[u8]> = TableDefinition::new("roster/profiles");
const COUNTERS: TableDefinition<&str, u64> = TableDefinition::new("roster/counters");
const CALIBRATION: TableDefinition<&str, &[u8]> = TableDefinition::new("roster/calibration");

const VERSION: &str = "version";
const BOOT: &str = "boot";
const LAST: &str = "last";

/// What was kept.
pub(crate) struct Kept {
    /// Number of this start: greater than that of any earlier one.
    pub(crate) boot: u64,
    /// The highest version of our own profile used so far.
    pub(crate) version: u64,
    pub(crate) calibration: Option<Calibration>,
    pub(crate) profiles: Vec<Signed>,
}

/// Counts this start and reads what was kept. What cannot be read any more is left out: all of it can be had
/// again from others.
pub(crate) async fn open(store: &Store, wall: WallMs) -> Result<Kept, StoreError> {
    let boot = store
        .write(move |txn| {
            let mut counters = txn.open_table(COUNTERS)?;
            let last = counters.get(BOOT)?.map_or(0, |value| value.value());
            let boot = last.saturating_add(1).max(wall.0);
            counters.insert(BOOT, boot)?;
            Ok::<_, StoreError>(boot)
        })
        .await?;
    store
        .read(move |txn| {
            let version = match existing(txn, COUNTERS)? {
                Some(table) => table.get(VERSION)?.map_or(0, |value| value.value()),
                None => 0,
            };
            let calibration = match existing(txn, CALIBRATION)? {
                Some(table) => table.get(LAST)?.and_then(|value| postcard::from_bytes(value.value()).ok()),
                None => None,
            };
            let mut profiles = Vec::new();
            if let Some(table) = existing(txn, PROFILES)? {
                for row in table.iter()?.take(limits::DEVICES) {
                    let (_, value) = row?;
                    profiles.extend(postcard::from_bytes::<Signed>(value.value()));
                }
            }
            Ok(Kept { boot, version, calibration, profiles })
        })
        .await
}

/// Keeps the version of our own profile, before it is told to anyone.
pub(crate) async fn keep_version(store: &Store, version: u64) -> Result<(), StoreError> {
    store
        .write(move |txn| {
            txn.open_table(COUNTERS)?.insert(VERSION, version)?;
            Ok(())
        })
        .await
}

pub(crate) async fn keep_calibration(store: &Store, calibration: &Calibration) -> Result<(), StoreError> {
    let bytes = postcard::to_allocvec(calibration).map_err(|e| StoreError::Misuse(e.to_string()))?;
    store
        .write(move |txn| {
            txn.open_table(CALIBRATION)?.insert(LAST, bytes.as_slice())?;
            Ok(())
        })
        .await
}

/// Keeps (`Some`) or forgets (`None`) profiles of others.
pub(crate) async fn keep_profiles(
    store: &Store,
    profiles: Vec<(DeviceId, Option<Signed>)>,
) -> Result<(), StoreError> {
    store
        .write(move |txn| {
            let mut table = txn.open_table(PROFILES)?;
            for (id, signed) in &profiles {
                match signed {
                    Some(signed) => {
                        let bytes =
                            postcard::to_allocvec(signed).map_err(|e| StoreError::Misuse(e.to_string()))?;
                        table.insert(id.0, bytes.as_slice())?;
                    }
                    None => {
                        table.remove(id.0)?;
                    }
                }
            }
            Ok(())
        })
        .await
}
