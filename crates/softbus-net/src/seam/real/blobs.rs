use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use softbus_core::Hash;

use super::atomic::{self, Durable};
use super::folder::Folder;
use crate::seam::Blobs;

/// Longest blob, in bytes.
const BLOB_BYTES: u64 = 512 << 20;
/// Past so many blobs at once, syncing the whole file system is faster than one by one.
const SYNC_ONE_BY_ONE: usize = 64;

/// Blobs as files: `blobs/ab/cdef…`, the hash in hexadecimal, its first byte naming the folder.
pub(super) struct FileBlobs {
    root: PathBuf,
    /// Keeps the data folder ours.
    _folder: Arc<Folder>,
}

impl FileBlobs {
    pub(super) fn open(root: &Path, folder: Arc<Folder>) -> io::Result<Self> {
        atomic::make_folder(root)?;
        let blobs = Self { root: root.to_owned(), _folder: folder };
        for (_, folder) in blobs.folders()? {
            atomic::clean(&folder)?;
        }
        Ok(blobs)
    }

    fn place(&self, name: &Hash) -> (PathBuf, String) {
        (self.root.join(HEXLOWER.encode(&name.0[..1])), HEXLOWER.encode(&name.0[1..]))
    }

    /// The second-level folders, by their byte.
    fn folders(&self) -> io::Result<Vec<(u8, PathBuf)>> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            if let Ok(byte) = HEXLOWER.decode(name.as_encoded_bytes())
                && let [byte] = byte[..]
            {
                folders.push((byte, entry.path()));
            }
        }
        folders.sort();
        Ok(folders)
    }
}

impl Blobs for FileBlobs {
    fn put(&self, name: &Hash, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() as u64 > BLOB_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the blob is too long"));
        }
        let (folder, file) = self.place(name);
        // A power cut may have torn one that was never synced; its length shows it in most cases.
        if fs::metadata(folder.join(&file)).is_ok_and(|meta| meta.len() == bytes.len() as u64) {
            return Ok(());
        }
        match atomic::write(&folder, &file, bytes, Durable::Later) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                atomic::make_folder(&folder)?;
                atomic::write(&folder, &file, bytes, Durable::Later)
            }
            result => result,
        }
    }

    fn sync(&self, names: &[Hash]) -> io::Result<()> {
        if names.len() > SYNC_ONE_BY_ONE {
            for name in names {
                let (folder, file) = self.place(name);
                fs::metadata(folder.join(file))?;
            }
            #[cfg(any(target_os = "linux", target_os = "android"))]
            return Ok(rustix::fs::syncfs(File::open(&self.root)?)?);
        }
        let mut folders = BTreeSet::new();
        for name in names {
            let (folder, file) = self.place(name);
            File::open(folder.join(file))?.sync_all()?;
            folders.insert(folder);
        }
        for folder in &folders {
            atomic::sync_folder(folder)?;
        }
        if folders.is_empty() { Ok(()) } else { atomic::sync_folder(&self.root) }
    }

    fn get(&self, name: &Hash) -> io::Result<Option<Vec<u8>>> {
        let (folder, file) = self.place(name);
        let mut file = match File::open(folder.join(file)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = file.metadata()?.len();
        if len > BLOB_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the blob is too long"));
        }
        let mut bytes = Vec::with_capacity(len as usize);
        (&mut file).take(BLOB_BYTES).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn remove(&self, name: &Hash) -> io::Result<()> {
        let (folder, file) = self.place(name);
        match fs::remove_file(folder.join(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn list(&self) -> io::Result<Vec<Hash>> {
        let mut names = Vec::new();
        for (byte, folder) in self.folders()? {
            for entry in fs::read_dir(folder)? {
                let name = entry?.file_name();
                let Ok(rest) = HEXLOWER.decode(name.as_encoded_bytes()) else { continue };
                let mut hash = [byte; 32];
                if rest.len() == 31 {
                    hash[1..].copy_from_slice(&rest);
                    names.push(Hash(hash));
                }
            }
        }
        names.sort();
        Ok(names)
    }
}
