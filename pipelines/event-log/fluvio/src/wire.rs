//! Frames of Fluvio's protocol on one connection: a length, then a message.
//!
//! The client's own socket would do but for one thing. A broker sends an answer that holds records
//! in two parts and does not set `TCP_NODELAY`: the second waits until the first is acknowledged,
//! which the reader's kernel delays by 40 ms. Here the kernel is told to acknowledge at once after
//! each part.

use std::{io, os::fd::BorrowedFd};

use bytes::{Buf, Bytes, BytesMut};
use fluvio_future::net::{BoxReadConnection, BoxWriteConnection, ConnectionFd};
use fluvio_protocol::{
    Encoder,
    api::{Request, RequestMessage},
};
use fluvio_socket::ClientConfig;
use futures::{AsyncReadExt, AsyncWriteExt};

/// No answer is as long as this.
const FRAME_MOST: usize = 256 << 20;
const READ_BYTES: usize = 64 << 10;

/// A connection.
pub(crate) struct Wire {
    write: BoxWriteConnection,
    read: BoxReadConnection,
    socket: ConnectionFd,
    /// What was read and not taken yet.
    buffer: BytesMut,
    part: Box<[u8]>,
}

impl Wire {
    /// Connects as `config` says.
    pub async fn connect(config: &ClientConfig) -> io::Result<Self> {
        let (write, read, socket) = config.connector().connect(config.addr()).await?;
        let wire = Self { write, read, socket, buffer: BytesMut::new(), part: vec![0; READ_BYTES].into() };
        socket2::SockRef::from(&wire.socket()).set_tcp_nodelay(true)?;
        Ok(wire)
    }

    fn socket(&self) -> BorrowedFd<'_> {
        // SAFETY: `read` and `write` keep the descriptor open for as long as `self` lives.
        unsafe { BorrowedFd::borrow_raw(self.socket) }
    }

    /// Sends a request.
    pub async fn send<R: Request>(&mut self, message: &RequestMessage<R>) -> io::Result<()> {
        let message = message.as_bytes(0)?;
        let length = u32::try_from(message.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut frame = Vec::with_capacity(4 + message.len());
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&message);
        self.write.write_all(&frame).await?;
        self.write.flush().await?;
        self.acknowledge()
    }

    /// The next message: its correlation id and what follows. Cancel-safe.
    pub async fn next(&mut self) -> io::Result<(i32, Bytes)> {
        loop {
            if let Some(length) = self.buffer.get(..4) {
                let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
                if !(4..=FRAME_MOST).contains(&length) {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
                }
                if self.buffer.len() >= 4 + length {
                    self.buffer.advance(4);
                    let mut message = self.buffer.split_to(length).freeze();
                    return Ok((message.get_i32(), message));
                }
                self.buffer.reserve(4 + length - self.buffer.len());
            }
            // Cancelled here, nothing was taken from the socket yet.
            let count = self.read.read(&mut self.part).await?;
            if count == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
            self.buffer.extend_from_slice(&self.part[..count]);
            self.acknowledge()?;
        }
    }

    /// Has the kernel acknowledge what has arrived and what arrives next. It falls back to delays
    /// by itself.
    fn acknowledge(&self) -> io::Result<()> {
        socket2::SockRef::from(&self.socket()).set_tcp_quickack(true)
    }
}
