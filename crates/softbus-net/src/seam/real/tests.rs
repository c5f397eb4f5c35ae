use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Duration;

use softbus_core::Hash;
use tempfile::TempDir;

use super::*;
use crate::seam::memory::FixedSensors;
use crate::seam::store::Store;
use crate::seam::{Silent, Sockets as _, Storage, testing};

fn open(folder: &Path) -> Result<FileStorage, SeamError> {
    FileStorage::open(folder)
}

fn seam(folder: &Path) -> Result<Seam, SeamError> {
    RealSeam::new(folder, Arc::new(FixedSensors::named("test"))).discovery(Arc::new(Silent)).open()
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn secrets_are_for_their_owner_only() {
    let temp = TempDir::new().unwrap();
    let folder = temp.path().join("data");
    let storage = open(&folder).unwrap();
    assert!(storage.secret("device.key").unwrap().is_none());
    storage.put_secret("device.key", b"one").unwrap();
    storage.put_secret("device.key", b"two").unwrap();
    assert_eq!(storage.secret("device.key").unwrap().unwrap().as_slice(), b"two");
    let path = folder.join("secrets/device.key");
    assert_eq!((mode(&folder), mode(&folder.join("secrets")), mode(&path)), (0o700, 0o700, 0o600));
    assert_eq!(fs::read_dir(folder.join("secrets")).unwrap().count(), 1, "nothing temporary is left");

    for bad in [0o640, 0o604, 0o620] {
        chmod(&path, bad);
        let error = storage.secret("device.key").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let text = error.to_string();
        assert!(text.contains(&format!("{bad:03o}")) && text.contains("`chmod 600 '"), "{text}");
        assert!(text.contains("secrets/device.key"), "{text}");
        assert!(!text.contains("two"));
    }
    chmod(&path, 0o600);
    drop(storage);
    chmod(&folder.join("secrets"), 0o755);
    let text = open(&folder).err().unwrap().to_string();
    assert!(text.contains("`chmod 700 '") && text.contains("755"), "{text}");
    chmod(&folder.join("secrets"), 0o700);
    chmod(&folder, 0o777);
    assert!(matches!(open(&folder), Err(SeamError::Exposed { mode: 0o777, .. })));
}

#[test]
fn names_of_secrets_lead_nowhere_else() {
    let temp = TempDir::new().unwrap();
    let storage = open(temp.path()).unwrap();
    fs::write(temp.path().join("outside"), "x").unwrap();
    chmod(&temp.path().join("outside"), 0o600);
    for name in ["../outside", "/etc/passwd", "", ".", "..", ".hidden", "a/b", "A", "x.tmp", &"a".repeat(65)]
    {
        assert_eq!(storage.secret(name).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
        assert_eq!(storage.put_secret(name, b"x").unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
    }
    symlink(temp.path().join("outside"), temp.path().join("secrets/link")).unwrap();
    assert!(storage.secret("link").is_err(), "links are not followed");
    assert!(storage.put_secret("long", &vec![0; 65 << 10]).is_err());
    fs::write(temp.path().join("secrets/long"), vec![0; 65 << 10]).unwrap();
    chmod(&temp.path().join("secrets/long"), 0o600);
    assert!(storage.secret("long").unwrap_err().to_string().contains("too long"));
}

#[test]
fn one_process_at_a_time() {
    let temp = TempDir::new().unwrap();
    let first = open(temp.path()).unwrap();
    let text = open(temp.path()).err().unwrap().to_string();
    assert!(text.contains(&format!("by process {}", std::process::id())), "{text}");
    // Neither does a link lead around the lock.
    let link = temp.path().with_extension("link");
    symlink(temp.path(), &link).unwrap();
    assert!(matches!(open(&link), Err(SeamError::InUse { .. })));
    fs::remove_file(&link).unwrap();
    // The database or the blobs alone keep it locked.
    let blobs = first.blobs();
    drop(first);
    assert!(matches!(open(temp.path()), Err(SeamError::InUse { .. })));
    drop(blobs);
    let second = open(temp.path()).unwrap();
    let database = second.database().unwrap();
    drop(second);
    assert!(matches!(open(temp.path()), Err(SeamError::InUse { .. })));
    drop(database);
    open(temp.path()).unwrap();
}

#[test]
fn blobs_are_kept_by_name() {
    let temp = TempDir::new().unwrap();
    let storage = open(temp.path()).unwrap();
    let blobs = storage.blobs();
    let names: Vec<Hash> = (0..100u32).map(|n| Hash::of(&n.to_le_bytes())).collect();
    for (n, name) in names.iter().enumerate() {
        blobs.put(name, format!("blob {n}").as_bytes()).unwrap();
    }
    blobs.put(&names[0], b"blob X").unwrap();
    assert_eq!(blobs.get(&names[0]).unwrap().unwrap(), b"blob 0", "what is there is left alone");
    blobs.sync(&names[..3]).unwrap();
    blobs.sync(&names).unwrap();
    blobs.sync(&[]).unwrap();
    let missing = Hash::of(b"missing");
    assert!(blobs.get(&missing).unwrap().is_none());
    assert_eq!(blobs.sync(&[missing]).unwrap_err().kind(), io::ErrorKind::NotFound);
    blobs.remove(&missing).unwrap();
    blobs.remove(&names[1]).unwrap();
    assert!(blobs.get(&names[1]).unwrap().is_none());
    let mut expected = names.clone();
    expected.remove(1);
    expected.sort();
    assert_eq!(blobs.list().unwrap(), expected);
    let file = temp.path().join("blobs/0000000000000000.seg");
    assert_eq!(mode(&file), 0o600);
}

#[test]
fn what_a_crash_left_half_written_is_removed() {
    let temp = TempDir::new().unwrap();
    let storage = open(temp.path()).unwrap();
    drop(storage);
    let torn = temp.path().join("secrets/device.key.0.tmp");
    // However much of it there is: it counts from when it has its name, and then all of it is on the disk.
    let whole = b"the whole key";
    for len in 0..=whole.len() {
        fs::write(&torn, &whole[..len]).unwrap();
        let storage = open(temp.path()).unwrap();
        assert!(!torn.exists());
        assert!(storage.secret("device.key").unwrap().is_none());
        storage.put_secret("device.key", whole).unwrap();
        assert_eq!(storage.secret("device.key").unwrap().unwrap().as_slice(), whole);
        storage.remove_secret("device.key").unwrap();
    }
}

#[test]
fn a_disk_that_takes_no_more_leaves_nothing_behind() {
    let temp = TempDir::new().unwrap();
    let storage = open(temp.path()).unwrap();
    let blobs = storage.blobs();
    let name = Hash::of(b"x");
    // A file where the next segment should be: every write there fails.
    fs::write(temp.path().join("blobs/0000000000000000.seg"), b"").unwrap();
    assert!(blobs.put(&name, b"x").is_err());
    assert!(blobs.get(&name).unwrap().is_none());
    assert!(blobs.list().unwrap().is_empty());
    blobs.put(&name, b"x").unwrap();
    assert_eq!(blobs.get(&name).unwrap().unwrap(), b"x");
}

const TABLE: redb::TableDefinition<u64, &[u8]> = redb::TableDefinition::new("test/table");

#[tokio::test]
async fn the_database_is_there_after_a_restart_and_for_its_owner_only() {
    let temp = TempDir::new().unwrap();
    let first = seam(temp.path()).unwrap();
    let store = Store::open(&first).await.unwrap();
    store
        .write(|txn| {
            txn.open_table(TABLE)?.insert(7, &b"seven"[..])?;
            Ok::<_, crate::seam::StoreError>(())
        })
        .await
        .unwrap();
    assert!(matches!(seam(temp.path()), Err(SeamError::InUse { .. })));
    store.close().await;
    drop((store, first));
    // The thread that closed it may hold its last handle for a moment.
    let second = loop {
        match seam(temp.path()) {
            Err(SeamError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            result => break result.unwrap(),
        }
    };
    let path = temp.path().join("softbus.redb");
    assert_eq!(mode(&path), 0o600);
    let store = Store::open(&second).await.unwrap();
    let read = store
        .read(|txn| {
            Ok::<_, crate::seam::StoreError>(
                txn.open_table(TABLE)?.get(7)?.map(|value| value.value().to_vec()),
            )
        })
        .await;
    assert_eq!(read.unwrap().unwrap(), b"seven");
    store.close().await;
    chmod(&path, 0o644);
    let error = Store::open(&second).await.unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
    chmod(&path, 0o600);
    // A file that is no database.
    fs::write(&path, vec![0x55; 10_000]).unwrap();
    let error = Store::open(&second).await.unwrap_err();
    assert!(matches!(error, crate::seam::StoreError::Corrupt(_)), "{error}");
}

/// On a file system of two megabytes, in a mount namespace of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_really_full_is_told_and_heals() {
    let temp = TempDir::new().unwrap();
    let run = |what: &str| {
        let script =
            format!("mount -t tmpfs -o size=2m,mode=700 tmpfs '{}' && {what}", temp.path().display());
        std::process::Command::new("unshare").args(["-rm", "sh", "-c", &script]).output()
    };
    if !run("true").is_ok_and(|output| output.status.success()) {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            concat!("skipped: this process may not mount, or `unshare` is missing", "\n").as_bytes(),
        );
        return;
    }
    let exe = std::env::current_exe().unwrap();
    let inner = "seam::real::tests::on_a_small_disk";
    let output =
        run(&format!("SMALL_DISK='{}' '{}' --exact {inner} --ignored", temp.path().display(), exe.display()))
            .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "run by a_disk_that_is_really_full_is_told_and_heals"]
async fn on_a_small_disk() {
    let disk = PathBuf::from(std::env::var_os("SMALL_DISK").unwrap());
    let folder = disk.join("data");
    let seam = seam(&folder).unwrap();
    let store = Store::open(&seam).await.unwrap();
    let put = |key: u64, len: usize| {
        store.write(move |txn| {
            txn.open_table(TABLE)?.insert(key, &vec![7; len][..])?;
            Ok::<_, crate::seam::StoreError>(())
        })
    };
    put(1, 10).await.unwrap();
    seam.storage.put_secret("device.key", b"old").unwrap();
    // A big blob does not fit and leaves nothing behind; smaller ones fit until the disk is full.
    let blobs = seam.storage.blobs();
    let error = blobs.put(&Hash::of(b"big"), &vec![1; 4 << 20]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(blobs.list().unwrap().is_empty());
    let mut names = Vec::new();
    let error = loop {
        let name = Hash::of(&names.len().to_le_bytes());
        match blobs.put(&name, &vec![1; 4 << 10]) {
            Ok(()) => names.push(name),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(put(2, 1 << 20).await.is_err_and(|error| matches!(error, crate::seam::StoreError::Full(_))));
    assert_eq!(
        seam.storage.put_secret("device.key", &[9; 9000]).unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    assert_eq!(seam.storage.secret("device.key").unwrap().unwrap().as_slice(), b"old");
    // Some room again: everything goes on.
    for name in &names {
        blobs.remove(name).unwrap();
    }
    put(3, 10).await.unwrap();
    blobs.put(&names[0], b"x").unwrap();
    let keys = store
        .read(|txn| {
            use redb::ReadableTable as _;
            let table = txn.open_table(TABLE)?;
            let keys: Result<Vec<u64>, redb::StorageError> =
                table.iter()?.map(|e| e.map(|(k, _)| k.value())).collect();
            Ok::<_, crate::seam::StoreError>(keys?)
        })
        .await;
    assert_eq!(keys.unwrap(), [1, 3]);
}

fn has_ipv6_loopback() -> bool {
    interfaces::now(&Bind::Loopback).contains(&Ipv6Addr::LOCALHOST.into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quinn_speaks_both_families_over_a_composite_on_loopback() {
    let temp = TempDir::new().unwrap();
    let seam = seam(temp.path()).unwrap();
    let (client, server) = (testing::client(&seam, &Bind::Loopback), testing::server(&seam, &Bind::Loopback));
    let port = server.local_addr().unwrap().port();
    let mut to: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into()];
    if has_ipv6_loopback() {
        to.push(Ipv6Addr::LOCALHOST.into());
        assert!(server.local_addr().unwrap().is_ipv6());
    } else {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            concat!("no IPv6 on this machine: tried IPv4 alone", "\n").as_bytes(),
        );
    }
    for ip in to {
        let echoed = testing::echo(&client, &server, SocketAddr::new(ip, port), 1_000_000).await;
        assert_eq!(echoed, 1_000_000, "{ip}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quinn_speaks_both_families_over_the_dual_stack_socket() {
    let temp = TempDir::new().unwrap();
    let seam = seam(temp.path()).unwrap();
    // The server on all interfaces, reached over loopback only.
    let (client, server) = (testing::client(&seam, &Bind::All), testing::server(&seam, &Bind::All));
    let port = server.local_addr().unwrap().port();
    assert_eq!(testing::echo(&client, &server, (Ipv4Addr::LOCALHOST, port).into(), 100_000).await, 100_000);
    if has_ipv6_loopback() {
        assert_eq!(
            testing::echo(&client, &server, (Ipv6Addr::LOCALHOST, port).into(), 100_000).await,
            100_000
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_of_chosen_interfaces_carry_quinn() {
    let temp = TempDir::new().unwrap();
    let seam = seam(temp.path()).unwrap();
    let Some(lo) = if_addrs::get_if_addrs().unwrap().into_iter().find(|i| i.is_loopback()) else { return };
    let bind = Bind::Interfaces(vec![lo.name, "no-such-interface".into()]);
    let (client, server) = (testing::client(&seam, &bind), testing::server(&seam, &bind));
    let port = server.local_addr().unwrap().port();
    assert_eq!(testing::echo(&client, &server, (Ipv4Addr::LOCALHOST, port).into(), 100_000).await, 100_000);
    // None of them is there: it waits for them, on a port that it has already.
    let socket = seam.sockets.bind(&Bind::Interfaces(vec!["no-such-interface".into()]), 0).unwrap();
    assert_ne!(socket.local_addr().unwrap().port(), 0);
    // What is taken already is said at once.
    let taken = seam.sockets.bind(&bind, port).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse, "{taken}");
}

#[tokio::test]
async fn a_taken_port_is_refused_and_a_free_one_found() {
    let sockets = SystemSockets::new();
    let first = sockets.bind(&Bind::Loopback, 0).unwrap();
    let port = first.local_addr().unwrap().port();
    assert_ne!(port, 0);
    for bind in [Bind::Loopback, Bind::All] {
        let error = sockets.bind(&bind, port).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{bind:?}");
    }
    // A port that is free in one family only.
    if has_ipv6_loopback() {
        let taken = std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(sockets.bind(&Bind::Loopback, port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
    drop(first);
    sockets.bind(&Bind::Loopback, port).unwrap();
}

#[test]
fn folders_are_made_with_those_above_them() {
    let temp = TempDir::new().unwrap();
    let deep = temp.path().join("a/b/c");
    atomic::make_folders(&deep).unwrap();
    atomic::make_folders(&deep).unwrap();
    assert_eq!(fs::metadata(&deep).unwrap().permissions().mode() & 0o777, 0o700);
    fs::write(temp.path().join("file"), b"").unwrap();
    assert!(atomic::make_folders(&temp.path().join("file/d")).is_err());
}

#[tokio::test]
async fn a_database_is_checked_and_not_changed() {
    let temp = TempDir::new().unwrap();
    let path = temp.path().join(DATABASE);
    assert_eq!(check_database(temp.path()), Ok(None));
    assert!(!path.exists(), "looking makes nothing");
    let store = Store::open(&seam(temp.path()).unwrap()).await.unwrap();
    store.close().await;
    drop(store);
    let before = fs::read(&path).unwrap();
    assert_eq!(check_database(temp.path()), Ok(Some(())));
    assert_eq!(fs::read(&path).unwrap(), before);
    fs::write(&path, &before[..before.len() / 2]).unwrap();
    let cut = fs::read(&path).unwrap();
    assert!(check_database(temp.path()).is_err(), "half of it is gone");
    assert_eq!(fs::read(&path).unwrap(), cut);
    fs::write(&path, b"hello").unwrap();
    assert!(matches!(check_database(temp.path()), Err(crate::seam::StoreError::Corrupt(_))));
    fs::write(&path, b"").unwrap();
    assert_eq!(check_database(temp.path()), Ok(None));
}
