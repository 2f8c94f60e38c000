//! Redis that keeps nothing on disk.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::process::{free_ports, kill, on_path, spawn};

/// A server, stopped when dropped.
pub struct Redis {
    child: Option<Child>,
    port: u16,
    folder: TempDir,
}

impl Redis {
    /// Starts one.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn start() -> Result<Self, String> {
        on_path("redis-server").ok_or("there is no redis-server on the PATH (Debian: apt install redis-server)")?;
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let [port] = free_ports();
        let mut server = Self { child: None, port, folder };
        server.restart();
        Ok(server)
    }

    /// Starts it on its port, empty.
    pub fn restart(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", "", "--dir"]);
        command.arg(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = spawn(command).unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let mut lines = String::new();
        while !lines.contains("Ready to accept connections") {
            assert!(log.read_line(&mut lines).unwrap() > 0, "redis-server ended:\n{lines}");
        }
        // Read on, so that the server never waits for us.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        self.child = Some(child);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        kill(&mut self.child);
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
