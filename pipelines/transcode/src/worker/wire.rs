//! The worker's two ends of the socket, each a task: one reads messages, one answers reads of the source.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
};

use super::{ReadError, SourceReader};
use crate::protocol::{self, FromChild, Header, MAX_RANGE, ProtocolError, ToChild};

/// What the tasks tell the session.
pub(super) enum Event {
    Message(FromChild, Bytes),
    /// The source has answered a read.
    Fetched,
    SourceFailed(ReadError),
    /// The socket closed.
    Closed,
    Broken(ProtocolError),
}

pub(super) async fn send(writing: &mut OwnedWriteHalf, message: &ToChild, body: &[u8]) -> Result<(), ProtocolError> {
    let head = protocol::encode_head(message, body.len())?;
    writing.write_all(&head).await?;
    writing.write_all(body).await?;
    Ok(())
}

pub(super) async fn next_message(reading: &mut OwnedReadHalf) -> Result<Option<(FromChild, Bytes)>, ProtocolError> {
    let mut head = [0; Header::LEN];
    if reading.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    reading.read_exact(&mut head[1..]).await?;
    let header = Header::parse(head)?;
    let mut meta = vec![0; header.meta];
    reading.read_exact(&mut meta).await?;
    let mut body = vec![0; header.body];
    reading.read_exact(&mut body).await?;
    Ok(Some((serde_json::from_slice(&meta)?, body.into())))
}

/// Reads messages; reads of the source go straight to [`serve`], so that a slow sink never delays them.
pub(super) async fn receive(
    mut reading: OwnedReadHalf,
    events: mpsc::Sender<Event>,
    requests: mpsc::Sender<(u64, u32)>,
    fetching: Arc<AtomicBool>,
) {
    loop {
        let event = match next_message(&mut reading).await {
            Ok(Some((FromChild::Read { offset, len }, _))) if (1..=MAX_RANGE).contains(&len) => {
                // One thread of the child reads, and waits for each answer.
                if fetching.swap(true, Ordering::SeqCst) {
                    Event::Broken(ProtocolError::Unexpected("two reads at once"))
                } else if requests.send((offset, len)).await.is_ok() {
                    continue;
                } else {
                    return;
                }
            }
            Ok(Some((message, body))) => Event::Message(message, body),
            Ok(None) => Event::Closed,
            Err(error) => Event::Broken(error),
        };
        let last = !matches!(event, Event::Message(..));
        if events.send(event).await.is_err() || last {
            return;
        }
    }
}

/// Answers reads and passes on the plan.
pub(super) async fn serve(
    mut writing: OwnedWriteHalf,
    source: Arc<dyn SourceReader>,
    mut requests: mpsc::Receiver<(u64, u32)>,
    mut answers: mpsc::Receiver<ToChild>,
    events: mpsc::Sender<Event>,
    fetching: Arc<AtomicBool>,
) {
    loop {
        let (message, body) = tokio::select! {
            request = requests.recv() => {
                let Some((offset, len)) = request else { return };
                let fetched = source.read_range(offset, len).await;
                fetching.store(false, Ordering::SeqCst);
                match fetched {
                    Ok(bytes) if bytes.len() <= len as usize => {
                        if events.send(Event::Fetched).await.is_err() {
                            return;
                        }
                        (ToChild::Range { offset }, bytes)
                    }
                    Ok(_) => (ToChild::RangeFailed, Bytes::new()),
                    Err(error) => {
                        let _ = events.send(Event::SourceFailed(error)).await;
                        return;
                    }
                }
            }
            answer = answers.recv() => {
                let Some(message) = answer else { return };
                (message, Bytes::new())
            }
        };
        // A child that has gone is an event of the reading side.
        if send(&mut writing, &message, &body).await.is_err() {
            return;
        }
    }
}
