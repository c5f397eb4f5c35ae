use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use zeroize::Zeroizing;

use super::SeamError;
use super::atomic;
use super::blobs::FileBlobs;
use super::folder::{Folder, refuse_exposed};
use crate::seam::store::{StoreError, check};
use crate::seam::{Blobs, Storage};

/// Name of the database in the data folder.
pub const DATABASE: &str = "softbus.redb";
/// Longest secret, in bytes.
const SECRET_BYTES: usize = 64 << 10;
/// Longest name of one.
const SECRET_NAME_BYTES: usize = 64;

/// A data folder: `softbus.redb`, `blobs/`, `secrets/` and `lock`, for its owner only and one process at a
/// time.
pub struct FileStorage {
    folder: Arc<Folder>,
    secrets: PathBuf,
    blobs: Arc<FileBlobs>,
}

impl FileStorage {
    /// Opens (or makes) the data folder, and removes what a crash left half written.
    ///
    /// # Errors
    /// See [`SeamError`]; above all [`SeamError::InUse`].
    pub fn open(folder: &Path) -> Result<Self, SeamError> {
        let folder = Arc::new(Folder::open(folder)?);
        let secrets = folder.path().join("secrets");
        atomic::make_folder(&secrets).map_err(SeamError::io("make", &secrets))?;
        let mode = fs::metadata(&secrets).map_err(SeamError::io("look at", &secrets))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(SeamError::Exposed {
                path: secrets,
                problem: "can be read or changed by other users",
                mode: mode & 0o777,
                wanted: 0o700,
            });
        }
        atomic::clean(&secrets).map_err(SeamError::io("clean", &secrets))?;
        let blobs = folder.path().join("blobs");
        let blobs = FileBlobs::open(&blobs, folder.clone()).map_err(SeamError::io("open", &blobs))?;
        atomic::sync_folder(folder.path()).map_err(SeamError::io("sync", folder.path()))?;
        Ok(Self { folder, secrets, blobs: Arc::new(blobs) })
    }
}

impl Storage for FileStorage {
    fn database(&self) -> io::Result<Box<dyn redb::StorageBackend>> {
        let path = self.folder.path().join(DATABASE);
        let fresh = !path.exists();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| SeamError::Io { what: "open", path: path.clone(), source })?;
        refuse_exposed(&path, &file)?;
        if fresh {
            atomic::sync_folder(self.folder.path())?;
        }
        let backend = FileBackend::new(file).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Box::new(Database { backend, _folder: self.folder.clone() }))
    }

    fn blobs(&self) -> Arc<dyn Blobs> {
        self.blobs.clone()
    }

    fn secret(&self, name: &str) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let path = self.secrets.join(secret_name(name)?);
        // A link may lead to a file that somebody else watches.
        let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SeamError::Io { what: "read the secret", path, source }.into()),
        };
        refuse_exposed(&path, &file)?;
        read_secret(file)
            .map(Some)
            .map_err(|source| SeamError::Io { what: "read the secret", path, source }.into())
    }

    fn put_secret(&self, name: &str, secret: &[u8]) -> io::Result<()> {
        let name = secret_name(name)?;
        if secret.len() > SECRET_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the secret {name} is too long"),
            ));
        }
        let wrote = atomic::write(&self.secrets, name, secret);
        wrote.map_err(|source| {
            SeamError::Io { what: "write the secret", path: self.secrets.join(name), source }.into()
        })
    }

    fn remove_secret(&self, name: &str) -> io::Result<()> {
        let path = self.secrets.join(secret_name(name)?);
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| atomic::sync_folder(&self.secrets)),
        };
        removed.map_err(|source| SeamError::Io { what: "remove the secret", path, source }.into())
    }
}

/// Checks the database of a data folder that no process has open, without changing anything; see
/// [`store::check`](crate::seam::store::check). `None` if there is none, or an empty file.
///
/// # Errors
/// [`StoreError`]: damaged, newer than this program, unreadable.
pub fn check_database(folder: &Path) -> Result<Option<()>, StoreError> {
    let path = folder.join(DATABASE);
    let open = || -> io::Result<Option<(File, u64)>> {
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Ok(file) => {
                let meta = file.metadata()?;
                if !meta.is_file() {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no plain file"));
                }
                Ok(Some((file, meta.len())))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    };
    match open().map_err(|e| StoreError::io(&e))? {
        None | Some((_, 0)) => Ok(None),
        Some((file, len)) => check(Untouched { file, len }).map(Some),
    }
}

/// A database's file that is read and never written.
#[derive(Debug)]
struct Untouched {
    file: File,
    len: u64,
}

impl redb::StorageBackend for Untouched {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// Reads into one piece of memory, so that no copy escapes the wiping.
fn read_secret(mut file: File) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; SECRET_BYTES + 1]);
    let mut len = 0;
    loop {
        match file.read(&mut bytes[len..])? {
            0 if len > SECRET_BYTES => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
            }
            0 => break,
            read => len += read,
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// Refuses names that would lead elsewhere.
fn secret_name(name: &str) -> io::Result<&str> {
    let fine = !name.is_empty()
        && name.len() <= SECRET_NAME_BYTES
        && !name.starts_with('.')
        && !name.ends_with(atomic::TEMPORARY)
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'));
    if fine {
        Ok(name)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} cannot be the name of a secret")))
    }
}

/// The database's file; the folder stays locked as long as it is open.
#[derive(Debug)]
struct Database {
    backend: FileBackend,
    _folder: Arc<Folder>,
}

impl redb::StorageBackend for Database {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.backend.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.backend.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.backend.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.backend.close()
    }
}
