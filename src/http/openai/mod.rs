//! The OpenAI API's endpoints, one a file or folder.

pub(super) mod chat;
pub(super) mod models;
