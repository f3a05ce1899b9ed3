//! The bodies being held, all together, within one budget of bytes.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::too_many;
use crate::error::ApiError;

/// The budget is counted in these, as a semaphore counts no further than some billions.
const UNIT: u64 = 1024;

/// What all bodies together may hold.
#[derive(Clone, Debug)]
pub struct UploadBudget(Arc<Semaphore>);

impl UploadBudget {
    /// A budget of so many bytes.
    pub fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes.div_ceil(UNIT)).unwrap_or(usize::MAX);
        Self(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))))
    }

    /// A body that holds nothing yet.
    pub fn upload(&self) -> Upload {
        Upload(Arc::new(Mutex::new(Held { budget: self.clone(), bytes: 0, permit: None })))
    }
}

/// One body's part of the budget. Clones are the same part; it is given back when the last is dropped, so what
/// was made of a body keeps it as long as it is kept itself.
#[derive(Clone, Debug)]
pub struct Upload(Arc<Mutex<Held>>);

#[derive(Debug)]
struct Held {
    budget: UploadBudget,
    bytes: u64,
    permit: Option<OwnedSemaphorePermit>,
}

impl Upload {
    /// How much it holds, in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// Takes `bytes` more.
    ///
    /// # Errors
    /// [`ApiError::RateLimited`] where other bodies hold too much.
    pub fn hold(&self, bytes: usize) -> Result<(), ApiError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = held.bytes + bytes as u64;
        let units = u32::try_from(bytes.div_ceil(UNIT) - held.bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let semaphore = Arc::clone(&held.budget.0);
        let more =
            semaphore.try_acquire_many_owned(units).map_err(|_| too_many("request bodies are being held"))?;
        match &mut held.permit {
            Some(permit) => permit.merge(more),
            None => held.permit = Some(more),
        }
        held.bytes = bytes;
        Ok(())
    }
}
