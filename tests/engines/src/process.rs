//! Processes that end with the test, whichever of its threads started them.

use std::{
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command},
    sync::{
        OnceLock,
        mpsc::{Sender, channel},
    },
};

use nix::sys::{prctl::set_pdeathsig, signal::Signal};

type Order = (Command, Sender<std::io::Result<Child>>);

/// Starts a process that is killed should this one end without stopping it. The system ends it with
/// the *thread* that started it, so all are started by one that lasts.
pub fn spawn(mut command: Command) -> Result<Child, String> {
    static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in receiver {
                // Whoever asked has gone; the child is then dropped and ends with this process.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    // SAFETY: between fork and exec only `prctl` is called, which is async-signal-safe.
    unsafe { command.pre_exec(|| set_pdeathsig(Signal::SIGKILL).map_err(std::io::Error::from)) };
    let (reply, child) = channel();
    spawner.send((command, reply)).map_err(|error| error.to_string())?;
    child.recv().map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// Kills a process and waits for its end.
pub fn kill(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The program of this name on the PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Ports that were free a moment ago.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("its address").port())
}
