//! The services of `tokenecho.v1`, which mirror the OpenAI API's endpoints.

mod chat;
mod convert;
mod models;

pub(super) use chat::Chat;
#[cfg(any(test, fuzzing))]
pub(crate) use convert::read as read_chat_request;
pub(super) use models::Models;
