//! The services of `tokenecho.v1`, which mirror the OpenAI API's endpoints.

mod chat;
mod convert;
mod models;

pub use chat::Chat;
#[cfg(any(test, fuzzing))]
pub use convert::read as read_chat_request;
pub use models::Models;
