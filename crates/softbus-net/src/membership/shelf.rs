//! How membership lies in the database.

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use softbus_core::{CircleId, Signed, WallMs};
use softbus_trust::circle::{CircleSecret, CircleSet};
use softbus_trust::pairing::GateRecord;
use softbus_trust::{AccessRules, Grant};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::keeper::Circle;
use crate::seam::store::{Store, StoreError, existing};

/// Statements by circle and number: parents before children.
const STATEMENTS: TableDefinition<'_, (&[u8; 32], u32), &[u8]> =
    TableDefinition::new("membership/statements");
/// The secrets of each circle, the one of today first.
const SECRETS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("membership/secrets");
/// Links given out, by name.
const TICKETS: TableDefinition<'_, &[u8; 8], &[u8]> = TableDefinition::new("membership/tickets");
/// Single values.
const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("membership/values");

const GATE: &str = "gate";
const RULES: &str = "rules";

/// Wrong tries after which a link is void.
pub(super) const TICKET_TRIES: u8 = 3;

/// A link given out and not used yet.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct TicketRecord {
    pub secret: [u8; 16],
    pub expires: WallMs,
    pub wrong: u8,
    pub circle: Option<CircleId>,
    pub grant: Option<Grant>,
    pub join: bool,
}

impl TicketRecord {
    /// Whether it may still be tried.
    pub fn counts_at(&self, now: WallMs) -> bool {
        now < self.expires && self.wrong < TICKET_TRIES
    }
}

/// All that is stored.
#[derive(Default)]
pub(super) struct Shelf {
    pub circles: BTreeMap<CircleId, Circle>,
    pub tickets: BTreeMap<[u8; 8], TicketRecord>,
    pub gate: GateRecord,
    pub rules: AccessRules,
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(format!("membership: {what}"))
}

fn write<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_allocvec(value).map_err(|e| StoreError::Misuse(format!("membership: {e}")))
}

fn read<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|_| corrupt(what))
}

/// For harnesses: reads bytes as each of the records that lie in the database, and says whether they were one.
pub fn read_stored(bytes: &[u8]) -> bool {
    let secrets = read::<Vec<Signed>>(bytes, "").map(|stored| {
        stored.into_iter().take(4).filter_map(|s| CircleSecret::reread(s, CircleId([0; 32])).ok()).count()
    });
    let ticket = read::<TicketRecord>(bytes, "");
    let gate = read::<GateRecord>(bytes, "").map(|record| {
        use softbus_core::BootMs;
        use softbus_trust::pairing::{Gate, Now};
        let now = Now { wall: WallMs(1_800_000_000_000), boot: BootMs(5_000) };
        Gate::restore(record, now).next_deadline()
    });
    let rules = read::<AccessRules>(bytes, "");
    let statement = read::<Signed>(bytes, "");
    secrets.is_ok() || ticket.is_ok() || gate.is_ok() || rules.is_ok() || statement.is_ok()
}

/// Reads everything.
pub(super) async fn load(store: &Store) -> Result<Shelf, StoreError> {
    store
        .read(|txn| {
            let mut shelf = Shelf::default();
            let mut statements: BTreeMap<CircleId, Vec<Signed>> = BTreeMap::new();
            if let Some(table) = existing(txn, STATEMENTS)? {
                for row in table.iter()? {
                    let (key, value) = row?;
                    let circle = CircleId(*key.value().0);
                    statements.entry(circle).or_default().push(read(value.value(), "a statement")?);
                }
            }
            let mut secrets: BTreeMap<CircleId, Vec<CircleSecret>> = BTreeMap::new();
            if let Some(table) = existing(txn, SECRETS)? {
                for row in table.iter()? {
                    let (key, value) = row?;
                    let circle = CircleId(*key.value());
                    let stored: Vec<Signed> = read(value.value(), "a circle's secret")?;
                    let stored = stored.into_iter().map(|signed| CircleSecret::reread(signed, circle));
                    let stored: Result<Vec<_>, _> = stored.collect();
                    secrets.insert(circle, stored.map_err(|_| corrupt("a circle's secret"))?);
                }
            }
            for (id, statements) in statements {
                let set = CircleSet::from_statements(statements, id)
                    .map_err(|_| corrupt("a circle's statements"))?;
                shelf.circles.insert(
                    id,
                    Circle { set: Arc::new(set), secrets: secrets.remove(&id).unwrap_or_default() },
                );
            }
            if let Some(table) = existing(txn, TICKETS)? {
                for row in table.iter()? {
                    let (key, value) = row?;
                    shelf.tickets.insert(*key.value(), read(value.value(), "a link")?);
                }
            }
            if let Some(table) = existing(txn, VALUES)? {
                if let Some(value) = table.get(GATE)? {
                    shelf.gate = read(value.value(), "the count of tries")?;
                }
                if let Some(value) = table.get(RULES)? {
                    shelf.rules = read(value.value(), "the access rules")?;
                }
            }
            Ok::<_, StoreError>(shelf)
        })
        .await
}

/// What is to be stored of a circle: statements from number `from` on, and its secrets.
pub(super) struct CirclePut {
    id: CircleId,
    from: u32,
    statements: Vec<Vec<u8>>,
    secrets: Vec<u8>,
}

impl CirclePut {
    /// The difference between `circle` and what was stored when it had `from` statements.
    pub fn new(circle: &Circle, from: usize) -> Result<Self, StoreError> {
        let statements = circle.set.statements().skip(from).map(write).collect::<Result<_, _>>()?;
        let secrets: Vec<&Signed> = circle.secrets.iter().map(CircleSecret::signed).collect();
        let from = u32::try_from(from).map_err(|_| StoreError::Misuse("too many statements".into()))?;
        Ok(Self { id: circle.set.id(), from, statements, secrets: write(&secrets)? })
    }

    fn put(&self, txn: &WriteTransaction) -> Result<(), StoreError> {
        let mut table = txn.open_table(STATEMENTS)?;
        for (number, statement) in (self.from..).zip(&self.statements) {
            table.insert((&self.id.0, number), statement.as_slice())?;
        }
        txn.open_table(SECRETS)?.insert(&self.id.0, self.secrets.as_slice())?;
        Ok(())
    }
}

/// Stores what is new of a circle, and forgets `forget`.
pub(super) async fn put_circle(
    store: &Store,
    put: CirclePut,
    forget: Vec<CircleId>,
) -> Result<(), StoreError> {
    store
        .write(move |txn| {
            put.put(txn)?;
            for id in &forget {
                let mut table = txn.open_table(STATEMENTS)?;
                table.retain(|key, _| key.0 != &id.0)?;
                drop(table);
                txn.open_table(SECRETS)?.remove(&id.0)?;
            }
            Ok::<_, StoreError>(())
        })
        .await
}

/// Stores the record of tries.
pub(super) async fn put_gate(store: &Store, record: GateRecord) -> Result<(), StoreError> {
    let bytes = write(&record)?;
    store.write(move |txn| put_value(txn, GATE, &bytes)).await
}

/// Stores the access rules.
pub(super) async fn put_rules(store: &Store, rules: &AccessRules) -> Result<(), StoreError> {
    let bytes = write(rules)?;
    store.write(move |txn| put_value(txn, RULES, &bytes)).await
}

fn put_value(txn: &WriteTransaction, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    txn.open_table(VALUES)?.insert(name, bytes)?;
    Ok(())
}

/// Stores links, or removes those that are `None`.
pub(super) async fn put_tickets(
    store: &Store,
    tickets: Vec<([u8; 8], Option<TicketRecord>)>,
) -> Result<(), StoreError> {
    store
        .write(move |txn| {
            let mut table = txn.open_table(TICKETS)?;
            for (name, record) in &tickets {
                match record {
                    Some(record) => drop(table.insert(name, write(record)?.as_slice())?),
                    None => drop(table.remove(name)?),
                }
            }
            Ok::<_, StoreError>(())
        })
        .await
}
