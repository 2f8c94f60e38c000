//! The data directory: its format version, its lock, and the secrets in it.
//!
//! One process at a time holds it; a second one is told which. It is made on first use, readable
//! by its owner only.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use event_schemas::ProducerId;

/// The layout this program reads and writes.
pub const FORMAT: u32 = 1;

/// The directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("the data directory `{dir}` is in use by process {pid}")]
    InUse {
        /// The directory.
        dir: String,
        /// The other process.
        pid: String,
    },
    /// Made by a later version of the program.
    #[error("the data directory `{dir}` has format {found}; this program reads format {FORMAT}: use a newer one")]
    Format {
        /// The directory.
        dir: String,
        /// Its format.
        found: String,
    },
    /// Not made by this program.
    #[error("`{dir}` is not empty and has no file FORMAT: it is not a data directory of Millrace")]
    Foreign {
        /// The directory.
        dir: String,
    },
    /// A secret is damaged.
    #[error("`{0}` does not hold what it should: put it back from a backup")]
    Damaged(String),
    /// The file system failed.
    #[error("can't use `{path}`")]
    Io {
        /// The path.
        path: String,
        /// What happened.
        #[source]
        source: io::Error,
    },
}

/// An open data directory; the lock goes with it.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    _lock: File,
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.display().to_string();
    |source| DataDirError::Io { path, source }
}

/// Writes a file that is either there whole or not at all, readable by its owner only.
fn write_secret(path: &Path, text: &str) -> Result<(), DataDirError> {
    let dir = path.parent().unwrap_or(path);
    let staged = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged).map_err(io_at(&staged))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io_at(&staged))?;
    std::fs::rename(&staged, path).map_err(io_at(path))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_at(dir))
}

fn read_or_make(path: &Path, make: impl FnOnce() -> String) -> Result<String, DataDirError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = make();
            write_secret(path, &text)?;
            Ok(text)
        }
        Err(error) => Err(io_at(path)(error)),
    }
}

impl DataDir {
    /// Opens the directory, making it if it is absent, and takes its lock.
    ///
    /// # Errors
    /// See [`DataDirError`].
    pub fn open(root: &Path) -> Result<Self, DataDirError> {
        DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(io_at(root))?;
        let root = root.canonicalize().map_err(io_at(root))?;
        let lock_path = root.join("LOCK");
        let format_path = root.join("FORMAT");
        if !format_path.exists() && !lock_path.exists() {
            let mut entries = std::fs::read_dir(&root).map_err(io_at(&root))?;
            if entries.next().is_some() {
                return Err(DataDirError::Foreign { dir: root.display().to_string() });
            }
        }
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(io_at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                lock.read_to_string(&mut pid).map_err(io_at(&lock_path))?;
                let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
                return Err(DataDirError::InUse { dir: root.display().to_string(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(io_at(&lock_path)(error)),
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()))
            .map_err(io_at(&lock_path))?;
        let found = read_or_make(&format_path, || FORMAT.to_string())?;
        if found != FORMAT.to_string() {
            return Err(DataDirError::Format { dir: root.display().to_string(), found });
        }
        let secrets = root.join("secrets");
        DirBuilder::new().recursive(true).mode(0o700).create(&secrets).map_err(io_at(&secrets))?;
        Ok(Self { root, _lock: lock })
    }

    /// The directory, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The secret under which grants and tokens are signed, made on first use.
    ///
    /// # Errors
    /// The file can't be read or made, or is damaged.
    pub fn signing_secret(&self) -> Result<[u8; 32], DataDirError> {
        let path = self.root.join("secrets/signing.key");
        let random = || rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect();
        let text = read_or_make(&path, random)?;
        let damaged = || DataDirError::Damaged(path.display().to_string());
        if text.len() != 64 || !text.is_ascii() {
            return Err(damaged());
        }
        let mut secret = [0; 32];
        for (byte, at) in secret.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| damaged())?;
        }
        Ok(secret)
    }

    /// The token by which this machine's operator commands reach the server, made on first use.
    ///
    /// # Errors
    /// The file can't be read or made.
    pub fn operator_token(&self) -> Result<String, DataDirError> {
        read_or_make(&operator_token_path(&self.root), access::who::new_secret)
    }

    /// Keeps the operator's token that the instance's processes share.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn keep_operator_token(&self, token: &str) -> Result<(), DataDirError> {
        keep_secret(&operator_token_path(&self.root), token)
    }

    /// This directory's id as a producer of log records.
    ///
    /// # Errors
    /// The file can't be read or made, or is damaged.
    pub fn producer_id(&self) -> Result<ProducerId, DataDirError> {
        let path = self.root.join("producer.id");
        let text = read_or_make(&path, || ProducerId::generate().to_string())?;
        text.parse().map_err(|_| DataDirError::Damaged(path.display().to_string()))
    }
}

/// Where the operator's token is kept.
#[must_use]
pub fn operator_token_path(root: &Path) -> PathBuf {
    root.join("secrets/operator.token")
}

/// Where the demo creator's login and password are kept.
#[must_use]
pub fn demo_login_path(root: &Path) -> PathBuf {
    root.join("secrets/demo.login")
}

/// Keeps a secret file of this directory.
///
/// # Errors
/// The file system failed.
pub fn keep_secret(path: &Path, text: &str) -> Result<(), DataDirError> {
    write_secret(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_the_first_ones_id() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        let first = DataDir::open(&root).unwrap();
        let error = DataDir::open(&root).unwrap_err().to_string();
        assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
        drop(first);
        DataDir::open(&root).unwrap();
    }

    #[test]
    fn secrets_stay_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        let read = || {
            let dir = DataDir::open(&root).unwrap();
            (dir.signing_secret().unwrap(), dir.operator_token().unwrap(), dir.producer_id().unwrap())
        };
        assert_eq!(read(), read());
    }

    #[test]
    fn foreign_and_later_directories_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.txt"), "mine").unwrap();
        assert!(matches!(DataDir::open(dir.path()), Err(DataDirError::Foreign { .. })));
        let root = dir.path().join("data");
        drop(DataDir::open(&root).unwrap());
        std::fs::write(root.join("FORMAT"), "2").unwrap();
        assert!(matches!(DataDir::open(&root), Err(DataDirError::Format { .. })));
    }
}
