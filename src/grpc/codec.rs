//! How messages become bytes and bytes messages: prost's way, with small buffers, bounds, and our own errors.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::error::{ApiError, InvalidRequest};
use crate::ops::memory::Reservation;
use crate::pb::{self, health};

/// A buffer of 256 bytes at first (tonic's 8 KiB would be most of what an open stream costs), and messages
/// that are ready together are written together, up to 32 KiB.
const BUFFERS: (usize, usize) = (256, 32 * 1024);

/// The codec of all our services; named by the build script.
#[derive(Clone, Debug)]
pub(crate) struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Streamed + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = HeadEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        HeadEncoder { head: Vec::new(), _message: PhantomData }
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(PhantomData)
    }
}

/// A message that may be an item of a stream whose items all repeat some fields. Only the first item has them; the
/// encoder keeps their bytes and puts them in front of the others, as the order of fields does not matter.
pub(crate) trait Streamed: Message {
    /// The encoded fields that the items after this one leave out; `None` where this one has left them out.
    fn head(&self) -> Option<Vec<u8>> {
        Some(Vec::new())
    }
}

impl Streamed for pb::StreamChatCompletionResponse {
    fn head(&self) -> Option<Vec<u8>> {
        if self.id.is_empty() {
            return None;
        }
        Some(Self { choices: Vec::new(), usage: None, ..self.clone() }.encode_to_vec())
    }
}

// Health reports are whole, also those of a watch.
impl Streamed for health::HealthCheckRequest {}
impl Streamed for health::HealthCheckResponse {}
impl Streamed for health::HealthListRequest {}
impl Streamed for health::HealthListResponse {}

// Neither answers that are whole nor, in clients, requests repeat anything.
impl Streamed for pb::CreateChatCompletionResponse {}
impl Streamed for pb::ListModelsResponse {}
impl Streamed for pb::GetModelResponse {}
impl Streamed for pb::CreateChatCompletionRequest {}
impl Streamed for pb::ListModelsRequest {}
impl Streamed for pb::GetModelRequest {}

/// Writes messages, and what the first item of a stream had for all of them.
#[derive(Debug)]
pub(crate) struct HeadEncoder<T> {
    head: Vec<u8>,
    _message: PhantomData<T>,
}

impl<T: Streamed> Encoder for HeadEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        match item.head() {
            Some(head) => self.head = head,
            None => buffer.put_slice(&self.head),
        }
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFERS.0, BUFFERS.1)
    }
}

/// The error of a request whose bytes are not a message.
pub(crate) fn not_a_message(why: &str) -> ApiError {
    let message = format!("We could not read the message of your request: {why}");
    InvalidRequest { message, param: None, code: None }.into()
}

tokio::task_local! {
    /// What the call whose message is read holds of the budget of all bodies; `None` where it takes nothing of it.
    pub static RESERVATION: Option<Reservation>;
}

/// Reads messages, bounded in what they cost. Bytes that are not a message are a bad request; prost's own decoder
/// reports an internal error.
#[derive(Debug)]
pub(crate) struct BoundedDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let length = buffer.remaining();
        let (message, reads) = decode(buffer)?;
        // The body's bytes are held as they arrive. A compressed message is larger once inflated: hold the difference.
        let held = RESERVATION.try_with(|reservation| {
            let Some(reservation) = reservation else { return Ok(()) };
            let inflated = length.saturating_sub(usize::try_from(reservation.bytes()).unwrap_or(usize::MAX));
            reservation.hold(inflated + reads * BYTES_A_READ)
        });
        held.unwrap_or(Ok(()))?;
        Ok(Some(message))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFERS.0, BUFFERS.1)
    }
}

/// Reads a message; gives the number of reads as well.
///
/// # Errors
/// Bytes that are not a message, or a message of more fields than any request needs.
pub(crate) fn decode<U: Message + Default>(buffer: &mut impl Buf) -> Result<(U, usize), ApiError> {
    let mut counted = Counted { buffer, reads: 0 };
    let message = U::decode(&mut counted);
    // Asked first: what ends too early may end well.
    if counted.reads >= MOST_READS {
        return Err(not_a_message("it has too many fields"));
    }
    let message = message.map_err(|error| not_a_message(&error.to_string()))?;
    Ok((message, counted.reads))
}

/// A field takes two or three reads: far more than any request needs that we would not refuse.
const MOST_READS: usize = 1 << 18;

/// What a message grows to in memory by each: an empty item of a repeated field, two bytes and two reads on the wire,
/// is a struct of some hundred bytes in a vector that may be twice as large as what it holds.
const BYTES_A_READ: usize = 80;

/// Counts how often a message's bytes are read from, and is at its end when that is too often.
struct Counted<'a, B> {
    buffer: &'a mut B,
    reads: usize,
}

impl<B: Buf> Buf for Counted<'_, B> {
    fn remaining(&self) -> usize {
        if self.reads < MOST_READS { self.buffer.remaining() } else { 0 }
    }

    fn chunk(&self) -> &[u8] {
        if self.reads < MOST_READS { self.buffer.chunk() } else { &[] }
    }

    fn advance(&mut self, count: usize) {
        self.reads += 1;
        self.buffer.advance(count);
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        self.reads += 1;
        self.buffer.copy_to_bytes(length)
    }

    /// prost asks how much is left once, and then for so many single bytes.
    fn get_u8(&mut self) -> u8 {
        self.reads += 1;
        self.buffer.get_u8()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::CreateChatCompletionRequest;

    #[test]
    fn a_message_that_is_cut_anywhere_is_an_error_and_never_a_panic() {
        for tail in [
            &b"\x80\x80\x80\x80"[..],
            b"\x0a\x80\x80",
            b"\x0a\x05\x12\x03abc",
            b"\x0a\x00\x0a\x00",
            b"\x0a\x85",
        ] {
            for before in 0..12 {
                let mut buffer = tail;
                let mut counted = Counted { buffer: &mut buffer, reads: MOST_READS - before };
                let message = CreateChatCompletionRequest::decode(&mut counted);
                assert!(message.is_err() || counted.reads >= MOST_READS || buffer.is_empty());
            }
        }
    }
}
