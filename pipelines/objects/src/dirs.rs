//! Directories whose existence is durable.
//!
//! A file in a directory is as durable as the entries of all directories above it. Two writers
//! may need the same new directory: the second finds it there, but the first may not have synced
//! the entry yet. So a directory counts only once this process has synced its parent.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::{Mutex, RwLock};

use crate::sync::Syncs;

/// From this many on, the memory of durable directories starts anew.
const REMEMBERED: usize = 65_536;

/// The directories under one root.
pub(crate) struct Dirs {
    root: PathBuf,
    sync: Arc<dyn Syncs>,
    durable: Mutex<HashSet<PathBuf>>,
    /// Writers share it; removing an empty directory takes it alone, so that no writer's
    /// directory goes away, or comes back undurable, under its hands.
    gate: RwLock<()>,
}

impl Dirs {
    /// Makes `root` and what is missing above it, durably.
    pub(crate) fn open(root: &Path, sync: Arc<dyn Syncs>) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        for dir in root.ancestors().skip(1) {
            // Not every directory above can be opened by this user; those it made itself can.
            match sync.dir(dir) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
                result => result?,
            }
        }
        Ok(Self { root, sync, durable: Mutex::default(), gate: RwLock::default() })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Runs `change`, which puts an entry into the directory of `path`, then makes that entry
    /// durable. A refusal because something is there already is made durable too: whoever is
    /// refused may rely on what it was refused for.
    pub(crate) fn change_at<T>(&self, path: &Path, change: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let dir = path.parent().unwrap_or(&self.root);
        let _shared = self.gate.read();
        self.ensure(dir)?;
        let mut result = change();
        if matches!(&result, Err(error) if error.kind() == io::ErrorKind::NotFound) && !dir.exists() {
            // Someone outside this process removed the directory.
            self.forget(dir);
            self.ensure(dir)?;
            result = change();
        }
        match &result {
            Ok(_) => self.sync.dir(dir)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.sync.dir(dir)?,
            Err(_) => {}
        }
        result
    }

    /// Removes the file at `path` durably, and the directories that it leaves empty.
    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        let dir = path.parent().unwrap_or(&self.root);
        {
            let _shared = self.gate.read();
            fs::remove_file(path)?;
            self.sync.dir(dir)?;
        }
        if dir != self.root && fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none()) {
            self.remove_empty(dir);
        }
        Ok(())
    }

    /// Empty directories are harmless and no part of what was acknowledged, so a failure is too.
    fn remove_empty(&self, dir: &Path) {
        let _alone = self.gate.write();
        let mut at = dir;
        while at != self.root && fs::remove_dir(at).is_ok() {
            self.durable.lock().remove(at);
            let Some(parent) = at.parent() else { break };
            at = parent;
        }
    }

    fn ensure(&self, dir: &Path) -> io::Result<()> {
        let above = dir.ancestors().take_while(|at| *at != self.root);
        let unknown: Vec<&Path> = {
            let durable = self.durable.lock();
            above.take_while(|at| !durable.contains(*at)).collect()
        };
        for at in unknown.into_iter().rev() {
            match fs::create_dir(at) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => result?,
            }
            self.sync.dir(at.parent().unwrap_or(&self.root))?;
            let mut durable = self.durable.lock();
            if durable.len() >= REMEMBERED {
                durable.clear();
            }
            durable.insert(at.to_owned());
        }
        Ok(())
    }

    fn forget(&self, dir: &Path) {
        let mut durable = self.durable.lock();
        for at in dir.ancestors().take_while(|at| *at != self.root) {
            durable.remove(at);
        }
    }
}
