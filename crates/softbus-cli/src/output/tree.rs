//! Files of a program's choosing, put into a folder of a person's choosing.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::write_file;
use crate::failure::{Failure, Kind};

/// Writes files into a folder, which is made if it is not there, each whole or not at all. Gives those that were left out, and why:
/// a path leads out of the folder, by itself or by a link that is there; it is a hidden one; or what is there is no file.
///
/// # Errors
/// A file cannot be written.
pub fn write_tree<'f>(
    folder: &Path,
    files: &'f [(String, Vec<u8>)],
) -> Result<Vec<(&'f str, Failure)>, Failure> {
    let failed = |e: &std::io::Error| Failure::io(format!("folder {}", folder.display()), e);
    fs::create_dir_all(folder).map_err(|e| failed(&e))?;
    let whole = folder.canonicalize().map_err(|e| failed(&e))?;
    let mut left_out = Vec::new();
    for (path, content) in files {
        match place(&whole, path) {
            Ok(file) => write_file(&file, content)?,
            Err(failure) if failure.kind == Kind::Refused => left_out.push((path.as_str(), failure)),
            Err(failure) => return Err(failure),
        }
    }
    Ok(left_out)
}

/// Where a file is to be put; the folders on the way are made.
fn place(whole: &Path, path: &str) -> Result<PathBuf, Failure> {
    let refused = || {
        Failure::new(
            Kind::Refused,
            format!("a file of the program would lie outside of {}: {path}", whole.display()),
        )
    };
    let mut at = whole.to_path_buf();
    let mut parts = Path::new(path).components().peekable();
    if parts.peek().is_none() {
        return Err(refused());
    }
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else { return Err(refused()) };
        if name.as_encoded_bytes().starts_with(b".") {
            let hidden =
                format!("a file of the program would be hidden, and may be the settings of another: {path}");
            return Err(Failure::new(Kind::Refused, hidden));
        }
        at.push(name);
        // What is there may be a link that leads elsewhere.
        if at.symlink_metadata().is_ok() {
            let leads = at.canonicalize().map_err(|_| refused())?;
            if !leads.starts_with(whole) {
                return Err(refused());
            }
            // A pipe or a device would be written to, and perhaps for ever.
            if parts.peek().is_none() && !leads.is_file() {
                return Err(Failure::new(Kind::Refused, format!("{} is there, and no file", at.display())));
            }
        } else if parts.peek().is_some() {
            fs::create_dir(&at).map_err(|e| Failure::io(format!("folder {}", at.display()), &e))?;
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stay_within_their_folder() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("new/out");
        let write = |path: &str| {
            let files = [(path.into(), b"x".to_vec()), ("z".into(), b"x".to_vec())];
            let left_out = write_tree(&out, &files).unwrap().into_iter().map(|(path, _)| path.to_string());
            assert!(out.join("z").is_file(), "the others are written");
            left_out.collect::<Vec<_>>()
        };
        for fine in ["a", "b/c/d", "b/e", "a"] {
            assert!(write(fine).is_empty(), "{fine}");
            assert_eq!(fs::read(out.join(fine)).unwrap(), b"x");
        }
        std::os::unix::fs::symlink(dir.path(), out.join("away")).unwrap();
        std::os::unix::fs::symlink("../../gone", out.join("gone")).unwrap();
        std::os::unix::fs::symlink("b", out.join("inside")).unwrap();
        assert!(write("inside/f").is_empty());
        for wrong in [
            "",
            "/a",
            "../a",
            "b/../../x",
            "away/x",
            "away",
            "gone",
            ".",
            "b/..",
            ".profile",
            "b/.git/config",
            "b",
        ] {
            assert_eq!(write(wrong), [wrong]);
        }
        let mut beside: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        beside.sort();
        assert_eq!(beside, ["new"]);
    }
}
