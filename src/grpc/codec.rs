//! How messages become bytes: prost's way, with small buffers and faults in our words.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

use crate::error::{ApiError, InvalidRequest};

/// A buffer of 256 bytes at first (tonic's 8 KiB would be most of what an open stream costs), and messages
/// that are ready together are written together, up to 32 KiB.
const BUFFERS: (usize, usize) = (256, 32 * 1024);

/// The codec of all our services; named by the build script.
#[derive(Clone, Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = FaultTelling<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::new(BUFFERS.0, BUFFERS.1))
    }

    fn decoder(&mut self) -> Self::Decoder {
        FaultTelling(ProstDecoder::new(BufferSettings::new(BUFFERS.0, BUFFERS.1)))
    }
}

/// The fault of a request whose bytes are no message.
pub fn no_message(why: &str) -> ApiError {
    let message = format!("We could not read the message of your request: {why}");
    InvalidRequest { message, param: None, code: None }.into()
}

/// Tells bytes that are no message as what they are, a bad request; prost's decoder calls it our own fault.
#[derive(Debug)]
pub struct FaultTelling<U>(ProstDecoder<U>);

impl<U: Message + Default> Decoder for FaultTelling<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        self.0.decode(buffer).map_err(|status| no_message(status.message()).into())
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}
