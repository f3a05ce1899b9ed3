//! The OpenAI API's endpoints, one a file or folder.

pub mod chat;
pub mod models;
