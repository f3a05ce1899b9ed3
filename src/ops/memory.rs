//! The memory that requests hold, all together, within one budget of bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::ApiError;
use crate::units;

/// A budget of bytes; clones are the same budget.
#[derive(Clone, Debug)]
pub(crate) struct MemoryBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl MemoryBudget {
    /// A budget of so many bytes.
    pub(crate) fn new(limit: u64) -> Self {
        Self(Arc::new(Budget { limit, used: AtomicU64::new(0) }))
    }

    /// A reservation that holds nothing yet.
    pub(crate) fn reservation(&self) -> Reservation {
        Reservation(Arc::new(Held { budget: Arc::clone(&self.0), bytes: AtomicU64::new(0) }))
    }
}

/// A request's part of the budget. Clones are the same part; it is given back when the last is dropped, so whatever is
/// made of a body keeps the reservation as long as it lives.
#[derive(Clone, Debug)]
pub(crate) struct Reservation(Arc<Held>);

#[derive(Debug)]
struct Held {
    budget: Arc<Budget>,
    bytes: AtomicU64,
}

impl Reservation {
    /// How much it holds, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Takes `bytes` more.
    ///
    /// # Errors
    /// [`ApiError::RateLimited`] where other requests hold too much, [`ApiError::NeverFits`] where this one alone does.
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), ApiError> {
        let (budget, bytes) = (&self.0.budget, bytes as u64);
        // The counts guard no other memory, so their order with other loads and stores does not matter.
        let take = |used: u64| used.checked_add(bytes).filter(|used| *used <= budget.limit);
        budget
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .map_err(|_| self.refusal(bytes))?;
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// The error for `bytes` more than the budget has left.
    #[cold]
    fn refusal(&self, bytes: u64) -> ApiError {
        let limit = self.0.budget.limit;
        if self.bytes().saturating_add(bytes) > limit {
            return ApiError::NeverFits { limit };
        }
        let limit = units::shown_size(limit);
        ApiError::too_many(format!("Request bodies in memory are at their limit ({limit})"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_share_the_budget_and_give_back_what_they_hold() {
        let budget = MemoryBudget::new(100);
        let (first, second) = (budget.reservation(), budget.reservation());

        first.hold(60).expect("there is room");
        let copy = first.clone();
        drop(first);
        let refused = second.hold(41);
        assert!(matches!(refused, Err(ApiError::RateLimited { .. })), "the copy still holds its 60");
        second.hold(40).expect("there is just as much room");
        drop(copy);
        second.hold(60).expect("the 60 are back");
        assert_eq!(second.bytes(), 100);
        assert!(matches!(second.hold(usize::MAX), Err(ApiError::NeverFits { limit: 100 })));
        assert!(matches!(second.hold(1), Err(ApiError::NeverFits { .. })));
        drop(second);
        assert_eq!(budget.0.used.load(Ordering::Relaxed), 0);
    }
}
