//! The models that are served, by name only: there is none behind them.

use crate::error::{ApiError, shown};

/// What a server with no `--model` calls its one listed model.
pub(crate) const DEFAULT_MODEL: &str = "mock-gpt-model";

/// Which models there are.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ModelOptions {
    /// A served model (repeatable); without any, every name is
    ///
    /// Once there is one, other names are 404.
    /// Example: --model gpt-4o --model gpt-4o-mini
    #[arg(long = "model", value_name = "NAME", value_parser = model_name,
        help_heading = clap::builder::Resettable::Reset)]
    pub model: Vec<String>,
}

/// One model, as the API lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name.
    pub id: String,
    /// When it came to be, in seconds since 1970: the start of the server.
    pub created: i64,
}

/// The served models.
#[derive(Debug)]
pub(crate) struct Models {
    /// Never empty.
    names: Vec<String>,
    /// Whether any other name is served as well.
    any: bool,
    created: i64,
}

impl Model {
    /// Who all models belong to (`owned_by`).
    pub const OWNER: &'static str = "tokenecho";
}

impl Models {
    /// The models of `options`, created at this time.
    pub(crate) fn new(options: &ModelOptions, created: i64) -> Self {
        let any = options.model.is_empty();
        let names = if any { vec![DEFAULT_MODEL.to_owned()] } else { options.model.clone() };
        Self { names, any, created }
    }

    /// What answers a request that names no model.
    pub(crate) fn default_name(&self) -> &str {
        &self.names[0]
    }

    /// The listed models, in the order they were given.
    pub(crate) fn list(&self) -> Vec<Model> {
        self.names.iter().map(|name| self.model(name)).collect()
    }

    /// The model of this name.
    ///
    /// # Errors
    /// [`ApiError::ModelNotFound`].
    pub(crate) fn get(&self, name: &str) -> Result<Model, ApiError> {
        if self.any || self.names.iter().any(|known| known == name) {
            return Ok(self.model(name));
        }
        Err(ApiError::ModelNotFound(shown(name)))
    }

    fn model(&self, name: &str) -> Model {
        Model { id: name.to_owned(), created: self.created }
    }
}

fn model_name(name: &str) -> Result<String, String> {
    if name.is_empty() || name.chars().count() > 256 || name.chars().any(char::is_control) {
        return Err("a model name has 1 to 256 characters and no control characters".into());
    }
    Ok(name.to_owned())
}
