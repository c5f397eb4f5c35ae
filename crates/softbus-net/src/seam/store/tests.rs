use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::seam::memory::{Crash, Host, InlineCompute, MemoryStorage, World};

const TABLE: TableDefinition<u64, u64> = TableDefinition::new("test/table");

async fn put(store: &Store, key: u64, value: u64) -> Result<(), StoreError> {
    store.write(move |txn| Ok(txn.open_table(TABLE)?.insert(key, value).map(drop)?)).await
}

async fn all(store: &Store) -> BTreeMap<u64, u64> {
    let read = |txn: &ReadTransaction| -> Result<BTreeMap<u64, u64>, StoreError> {
        use redb::ReadableTable as _;
        let Some(table) = existing(txn, TABLE)? else { return Ok(BTreeMap::new()) };
        table
            .iter()?
            .map(|entry| entry.map(|(k, v)| (k.value(), v.value())).map_err(StoreError::from))
            .collect()
    };
    store.read(read).await.unwrap()
}

async fn host() -> (Host, Store) {
    let host = World::new(1).host("a");
    let store = Store::open(&host.seam()).await.unwrap();
    (host, store)
}

#[tokio::test(start_paused = true)]
async fn what_was_written_survives_a_power_cut_and_what_failed_leaves_no_trace() {
    let (host, store) = host().await;
    assert_eq!(all(&store).await, BTreeMap::new());
    put(&store, 1, 10).await.unwrap();
    let failed: Result<(), StoreError> = store
        .write(|txn| {
            txn.open_table(TABLE)?.insert(2, 20)?;
            Err(StoreError::Misuse("on purpose".into()))
        })
        .await;
    assert_eq!(failed, Err(StoreError::Misuse("on purpose".into())));
    let died: Result<(), StoreError> = store
        .write(|txn| {
            txn.open_table(TABLE)?.insert(3, 30)?;
            panic!("on purpose");
        })
        .await;
    assert_eq!(died, Err(StoreError::Broke("on purpose".into())));
    put(&store, 4, 40).await.unwrap();
    host.crash();
    assert!(put(&store, 5, 50).await.is_err(), "the former run is cut off");
    host.restart();
    let store = Store::open(&host.seam()).await.unwrap();
    assert_eq!(all(&store).await, BTreeMap::from([(1, 10), (4, 40)]));
}

#[tokio::test(start_paused = true)]
async fn a_second_store_and_a_closed_one_are_refused() {
    let (host, store) = host().await;
    assert_eq!(Store::open(&host.seam()).await.unwrap_err(), StoreError::Locked);
    store.close().await;
    assert_eq!(put(&store, 1, 1).await, Err(StoreError::Closed));
    Store::open(&host.seam()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_told_and_heals() {
    let (host, store) = host().await;
    put(&store, 0, 0).await.unwrap();
    host.disk().set_capacity(Some(host.disk().used_bytes()));
    let big = |store: &Store| {
        let store = store.clone();
        async move {
            store
                .write(|txn| {
                    let table: TableDefinition<u64, Vec<u8>> = TableDefinition::new("test/big");
                    for key in 0..16 {
                        txn.open_table(table)?.insert(key, vec![7; 100_000])?;
                    }
                    Ok::<_, StoreError>(())
                })
                .await
        }
    };
    for _ in 0..2 {
        let error = big(&store).await.unwrap_err();
        assert!(matches!(error, StoreError::Full(_)), "{error}");
    }
    assert_eq!(all(&store).await, BTreeMap::from([(0, 0)]));
    host.disk().set_capacity(None);
    big(&store).await.unwrap();
    put(&store, 1, 1).await.unwrap();
    assert_eq!(all(&store).await, BTreeMap::from([(0, 0), (1, 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_failing_disk_is_told_and_heals() {
    let (host, store) = host().await;
    host.disk().fail_after(Some(1));
    let error = put(&store, 1, 1).await.unwrap_err();
    assert!(matches!(error, StoreError::Io(ref what) if what.contains("the virtual disk fails")), "{error}");
    assert!(matches!(put(&store, 1, 1).await.unwrap_err(), StoreError::Io(_)));
    host.disk().fail_after(None);
    put(&store, 2, 2).await.unwrap();
    assert_eq!(all(&store).await.get(&2), Some(&2));
}

#[tokio::test(start_paused = true)]
async fn a_rotten_database_is_an_error_and_no_panic() {
    let (host, store) = host().await;
    for key in 0..100 {
        put(&store, key, key).await.unwrap();
    }
    store.close().await;
    // In the header: it is no database any more.
    host.disk().rot_database(0, 0xff);
    let error = Store::open(&host.seam()).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    host.disk().rot_database(0, 0xff);
    Store::open(&host.seam()).await.unwrap();
}

fn add_a_table(txn: &WriteTransaction) -> Result<(), StoreError> {
    txn.open_table(TABLE)?.insert(1000, 1)?;
    Ok(())
}

fn double_all(txn: &WriteTransaction) -> Result<(), StoreError> {
    use redb::ReadableTable as _;
    let mut table = txn.open_table(TABLE)?;
    let entries: Vec<_> = table
        .iter()?
        .map(|entry| entry.map(|(k, v)| (k.value(), v.value())))
        .collect::<Result<_, redb::StorageError>>()?;
    for (key, value) in entries {
        table.insert(key, value * 2)?;
    }
    Ok(())
}

fn fails(_: &WriteTransaction) -> Result<(), StoreError> {
    Err(StoreError::Misuse("cannot migrate".into()))
}

#[tokio::test(start_paused = true)]
async fn formats_are_migrated_once_and_newer_ones_refused() {
    let disk = MemoryStorage::new();
    let open = |migrations: &'static [Migration]| {
        Store::open_with(Arc::new(disk.connect()), Arc::new(InlineCompute::new()), migrations)
    };
    let store = open(&[]).await.unwrap();
    put(&store, 1, 21).await.unwrap();
    drop(store);
    // A migration that fails changes nothing.
    assert_eq!(open(&[add_a_table, fails]).await.unwrap_err(), StoreError::Misuse("cannot migrate".into()));
    assert_eq!(all(&open(&[]).await.unwrap()).await, BTreeMap::from([(1, 21)]));
    for _ in 0..2 {
        let store = open(&[add_a_table, double_all]).await.unwrap();
        assert_eq!(all(&store).await, BTreeMap::from([(1, 42), (1000, 2)]));
    }
    let error = open(&[add_a_table]).await.unwrap_err();
    assert_eq!(error, StoreError::Newer { found: 3, known: 2 });
    assert!(error.to_string().contains("update softbus"));
    // A fresh database begins in the newest format, without migrations.
    let fresh = MemoryStorage::new();
    let store = Store::open_with(Arc::new(fresh), Arc::new(InlineCompute::new()), &[fails]).await.unwrap();
    assert_eq!(all(&store).await, BTreeMap::new());
}

#[tokio::test(start_paused = true)]
async fn a_database_of_somebody_else_is_refused() {
    let disk = MemoryStorage::new();
    let db = redb::Builder::new().create_with_backend(Raw(disk.database().unwrap())).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(TABLE).unwrap();
    txn.commit().unwrap();
    drop(db);
    let opened = Store::open_with(Arc::new(disk.connect()), Arc::new(InlineCompute::new()), &[]).await;
    assert!(matches!(opened.unwrap_err(), StoreError::Corrupt(_)));
}

/// A boxed backend is none itself.
#[derive(Debug)]
struct Raw(Box<dyn StorageBackend>);

impl StorageBackend for Raw {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}

/// Writes until the disk fails at its `fail_at`th operation, then the power goes, with writes torn by `tear`.
/// Whatever was acknowledged must be there; the one in doubt may be; nothing else.
fn crash_anywhere(fail_at: u64, tear: Option<u64>, writes: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let disk = MemoryStorage::new();
        let connect = || async {
            Store::open_with(Arc::new(disk.connect()), Arc::new(InlineCompute::new()), &[]).await
        };
        // From the first moment of its life on: also while the database is being made.
        disk.fail_after(Some(fail_at));
        let store = connect().await;
        let mut acknowledged = 0;
        for key in 1..=writes {
            let Ok(store) = &store else { break };
            if put(store, key, key * 3).await.is_err() {
                break;
            }
            acknowledged = key;
        }
        // The power goes while the store is still open: no clean shutdown.
        let _after_death = disk.connect();
        disk.fail_after(None);
        disk.crash(tear.map_or(Crash::Clean, Crash::Torn));
        drop(store);
        let store = connect().await.unwrap();
        let found = all(&store).await;
        let count = found.len() as u64;
        assert!(count >= acknowledged, "{count} of {acknowledged} acknowledged writes are there");
        assert!(count <= acknowledged + 1, "a write that never began is there");
        assert!(found.iter().zip(1..).all(|((k, v), n)| (*k, *v) == (n, n * 3)));
        put(&store, 999, 999).await.unwrap();
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_at_any_moment_loses_nothing_acknowledged(
        fail_at in 0u64..200, tear in proptest::option::of(any::<u64>()), writes in 1u64..12
    ) {
        crash_anywhere(fail_at, tear, writes);
    }

    #[test]
    fn a_rotten_byte_anywhere_is_an_error_or_harmless(offset in any::<u64>(), mask in 1u8..) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let disk = MemoryStorage::new();
            let connect = || Store::open_with(Arc::new(disk.connect()), Arc::new(InlineCompute::new()), &[]);
            let store = connect().await.unwrap();
            for key in 0..20 {
                put(&store, key, key).await.unwrap();
            }
            drop(store);
            disk.rot_database(offset, mask);
            // The database's library may panic; nobody but the store may notice.
            if let Ok(store) = connect().await {
                for key in 0..3 {
                    let _ = put(&store, key, 2).await;
                }
                drop(store);
                let _ = connect().await;
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_finds_damage_and_newer_formats_and_no_fault_in_what_a_power_cut_left() {
    let (host, store) = host().await;
    for key in 0..100 {
        put(&store, key, key).await.unwrap();
    }
    assert_eq!(store.probe().await, Ok(()));
    host.crash();
    host.restart();
    let look = || check(Raw(host.seam().storage.database().unwrap()));
    assert_eq!(look(), Ok(()), "not closed in order, but sound");
    let store = Store::open(&host.seam()).await.unwrap();
    assert_eq!(all(&store).await.len(), 100, "the check has changed nothing");
    store.close().await;
    assert_eq!(store.probe().await, Err(StoreError::Closed));
    assert_eq!(look(), Ok(()));

    // Some byte that stands for something, beyond the header: what a start does not always look at.
    let backend = host.seam().storage.database().unwrap();
    let len = backend.len().unwrap();
    backend.close().unwrap();
    let mut found = 0;
    for at in (4096..len).step_by(509) {
        host.disk().rot_database(at, 0xff);
        match look() {
            Ok(()) => {} // nothing was stored there
            Err(StoreError::Corrupt(_)) => found += 1,
            Err(other) => panic!("at {at}: {other:?}"),
        }
        host.disk().rot_database(at, 0xff);
    }
    assert!(found > 0, "no damage was noticed in {len} bytes");
    assert_eq!(look(), Ok(()));

    let db = redb::Builder::new().create_with_backend(Raw(host.seam().storage.database().unwrap())).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(META).unwrap().insert(FORMAT_KEY, FORMAT + 1).unwrap();
    txn.commit().unwrap();
    drop(db);
    assert_eq!(look(), Err(StoreError::Newer { found: FORMAT + 1, known: FORMAT }));
}
