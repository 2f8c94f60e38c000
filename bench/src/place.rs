//! Where a suite's data lies while it runs, and where its results go.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use serde::Serialize;

use crate::machine::Machine;

/// Settings that every suite has.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// Folder for the data and the results; what a measurement makes there is removed again.
    #[arg(long, env = "MILLRACE_BENCH_DIR")]
    pub folder: PathBuf,
    /// Measure even where the folder lies in memory.
    #[arg(long)]
    pub in_memory: bool,
}

impl Place {
    /// Makes the folder, and looks at what it lies on.
    ///
    /// # Errors
    /// It can't be made; or it lies in memory, where durability costs nothing.
    pub fn prepare(&self) -> anyhow::Result<(PathBuf, Machine)> {
        std::fs::create_dir_all(&self.folder).with_context(|| format!("{} can't be made", self.folder.display()))?;
        let folder = self.folder.canonicalize()?;
        let machine = Machine::of(&folder)?;
        ensure!(
            self.in_memory || !machine.in_memory(),
            "{} lies in memory ({}), where an fsync does nothing: give another --folder, or --in-memory",
            folder.display(),
            machine.file_system
        );
        Ok((folder, machine))
    }

    /// Writes a suite's results as JSON into `SUITE.json` in the folder; gives the file.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, suite: &str, results: &impl Serialize) -> anyhow::Result<PathBuf> {
        let file = self.folder.join(format!("{suite}.json"));
        let text = serde_json::to_string_pretty(results)?;
        std::fs::write(&file, text + "\n").with_context(|| format!("{} can't be written", file.display()))?;
        Ok(file)
    }
}
