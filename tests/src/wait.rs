//! Waiting, in one place.

use std::future::Future;
use std::time::Duration;

/// How long a test waits for what should happen soon. Only a broken host or a machine that is
/// hopelessly overloaded takes this long.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// "Answered, not hung": an upper bound where the contract is one.
pub const BOUND: Duration = Duration::from_secs(10);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks again until `look` finds something.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let searching = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(PATIENCE, searching).await {
        Ok(found) => found,
        Err(_) => panic!("waited {PATIENCE:?} in vain: {what}"),
    }
}

/// Waits for a future, but not forever.
///
/// # Panics
/// When it is not ready within `bound`.
pub async fn within<T>(bound: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(bound, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {bound:?}: {what}"),
    }
}
