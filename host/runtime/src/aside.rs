//! Work of the host that nothing interrupts, done beside the threads that serve everybody.
//!
//! A guest gives its thread back every millisecond; a large result that is being encoded does not. Its thread has others'
//! timers, sockets and short calls waiting meanwhile, so they move to another thread first. That costs a few
//! microseconds, so it is for what takes longer than a guest's slice only.
//!
//! Unlike a thread of its own, what is done here needs nothing that lives for ever, and its time is measured where the
//! call is polled. Who does it has a turn of the lane, so that as many do it at one time as guests may compute.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does work that takes long. On a runtime with one thread only, nobody else could go on, and nothing is moved.
pub(crate) fn aside<T>(work: impl FnOnce() -> T) -> T {
    let has_others = Handle::try_current()
        .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if has_others { tokio::task::block_in_place(work) } else { work() }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::aside;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_while_something_large_is_worked_on() {
        let (done, other) = mpsc::channel();
        let large = tokio::spawn(async move {
            tokio::spawn(async move { done.send(()) });
            aside(|| other.recv_timeout(Duration::from_secs(60)))
        });
        assert_eq!(large.await.unwrap(), Ok(()), "the only thread of the runtime was held");
    }

    #[tokio::test]
    async fn a_runtime_with_one_thread_does_it_there() {
        assert_eq!(aside(|| 7), 7);
    }
}
