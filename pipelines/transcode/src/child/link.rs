//! The child's end of the socket: messages out from any thread, and the source's bytes in.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    os::fd::AsFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::protocol::{self, FromChild, ProtocolError, ToChild};

/// How much is asked for at once.
const BLOCK: u32 = 1 << 20;
/// Blocks kept: a file whose sound and pictures lie far apart is read at two places in turn.
const BLOCKS_KEPT: usize = 12;

/// Sends messages to the worker; threads take turns.
#[derive(Debug, Clone)]
pub(crate) struct Sender(Arc<Mutex<File>>);

impl Sender {
    /// Sends one message; blocks while the worker is busy.
    pub(crate) fn send(&self, message: &FromChild, body: &[u8]) -> Result<(), ProtocolError> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        protocol::write(&mut *file, message, body)
    }
}

/// Receives the worker's messages; one thread owns it.
#[derive(Debug)]
pub(crate) struct Receiver(BufReader<File>);

impl Receiver {
    /// Waits for the next message.
    pub(crate) fn receive(&mut self) -> Result<(ToChild, Vec<u8>), ProtocolError> {
        protocol::read(&mut self.0)
    }
}

/// Both ends of the inherited socket, which is standard input. Plain `read` and `write` calls are all
/// it takes, so that the sandbox need not allow a single socket call.
pub(crate) fn open() -> io::Result<(Sender, Receiver)> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    let reading = File::from(socket);
    let writing = reading.try_clone()?;
    Ok((Sender(Arc::new(Mutex::new(writing))), Receiver(BufReader::with_capacity(64 << 10, reading))))
}

/// The source as a seekable stream of blocks fetched from the worker.
pub(crate) struct Source {
    sender: Sender,
    receiver: Arc<Mutex<Receiver>>,
    len: Option<u64>,
    position: u64,
    blocks: VecDeque<(u64, Vec<u8>)>,
    failed: Arc<AtomicBool>,
}

impl Source {
    /// `failed` is set when the worker could not supply bytes, which FFmpeg would take for a
    /// damaged file.
    pub(crate) fn new(
        sender: Sender,
        receiver: Arc<Mutex<Receiver>>,
        len: Option<u64>,
        failed: Arc<AtomicBool>,
    ) -> Self {
        Self { sender, receiver, len, position: 0, blocks: VecDeque::with_capacity(BLOCKS_KEPT), failed }
    }

    fn fetch(&self, offset: u64) -> Result<Vec<u8>, ProtocolError> {
        self.sender.send(&FromChild::Read { offset, len: BLOCK }, &[])?;
        let (message, body) = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).receive()?;
        match message {
            ToChild::Range { offset: answered } if answered == offset && body.len() <= BLOCK as usize => Ok(body),
            _ => Err(ProtocolError::Unexpected("another answer to a read")),
        }
    }

    /// Makes the block that holds the position the front one.
    fn seek_block(&mut self) -> io::Result<()> {
        let start = self.position - self.position % u64::from(BLOCK);
        if let Some(at) = self.blocks.iter().position(|(offset, _)| *offset == start) {
            if let Some(block) = self.blocks.remove(at) {
                self.blocks.push_front(block);
            }
            return Ok(());
        }
        let bytes = self.fetch(start).map_err(|error| {
            self.failed.store(true, Ordering::SeqCst);
            io::Error::other(error)
        })?;
        self.blocks.truncate(BLOCKS_KEPT - 1);
        self.blocks.push_front((start, bytes));
        Ok(())
    }
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() || self.len.is_some_and(|len| self.position >= len) {
            return Ok(0);
        }
        self.seek_block()?;
        let Some((start, block)) = self.blocks.front() else { return Ok(0) };
        let within = usize::try_from(self.position - start).unwrap_or(usize::MAX);
        let available = block.get(within..).unwrap_or(&[]);
        let taken = available.len().min(buf.len());
        buf[..taken].copy_from_slice(&available[..taken]);
        self.position += taken as u64;
        Ok(taken)
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
            SeekFrom::End(delta) => self.len.ok_or(io::ErrorKind::Unsupported)?.checked_add_signed(delta),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
