//! The keys of quotas: declared once, for the tables of an agent, of tenants and of the node. Which of them a table has
//! is said there.

/// One key of a [`Quota`](crate::quota::Quota) that is somewhere in the target of a file.
///
/// ```
/// # use aop_core::{Settings, quota_key, settings::keys::Key};
/// static KEYS: &[Key<Settings>] = &[quota_key!(calls_per_second, |settings| settings.quota)];
/// ```
#[macro_export]
macro_rules! quota_key {
    (calls_per_second, |$target:ident| $quota:expr) => {
        $crate::quota_key!(
            "calls_per_second",
            "Calls that may begin per second, over time. Further ones are refused with `rate_limited`.",
            (Count, 1, 1_000_000_000, "who may call nothing should be unloaded"),
            |$target| $quota.calls_per_second
        )
    };
    (burst, |$target:ident| $quota:expr) => {
        $crate::quota_key!(
            "burst",
            "Calls that may begin at once after a pause. `none` is as many as per second.",
            (Count, 1, 1_000_000_000, "a call must be able to begin"),
            |$target| $quota.burst
        )
    };
    (concurrency, |$target:ident| $quota:expr) => {
        $crate::quota_key!(
            "concurrency",
            "Calls at one time; further ones wait. No owner gets all instances of the host anyway.",
            (Count, 1, 65_536, "who may run nothing should be unloaded"),
            |$target| $quota.concurrency
        )
    };
    (queue, |$target:ident| $quota:expr) => {
        $crate::quota_key!(
            "queue",
            "Calls that may wait for a place; further ones are refused.",
            (Count, 0, 10_000_000, "0 refuses at once, and a waiting call costs about a kilobyte"),
            |$target| $quota.queue
        )
    };
    (queue_wait, |$target:ident| $quota:expr) => {
        $crate::quota_key!(
            "queue_wait",
            "How long a call may wait for its place. `none` is until its deadline.",
            (Milliseconds, 1, 86_400_000, "0 is a queue of 0, and no client waits for a day"),
            |$target| $quota.queue_wait_ms
        )
    };
    (memory, |$target:ident| $quota:expr) => {
        $crate::quota_key!(
            "memory",
            "Linear memory of all instances together, the idle ones included. It counts what they have, not what they might.",
            (Bytes, 64 << 10, 1 << 50, "a wasm page, and more than machines have"),
            |$target| $quota.memory_max_bytes
        )
    };
    (cpu_per_minute, |$target:ident| $quota:expr) => {
        $crate::quota_key!(
            "cpu_per_minute",
            "Time per minute during which cores may work for it. Over that, calls are refused, and running ones pause until time comes back.",
            (Milliseconds, 1, 3_600_000, "times are kept to a millisecond, and 60 cores work an hour per minute"),
            |$target| $quota.cpu_ms_per_minute
        )
    };
    (code, |$target:ident| $quota:expr) => {
        $crate::quota_key!(
            "code",
            "Compiled code of what is loaded. A component of 64 KiB takes about 0.5 MiB, Python 35 MiB.",
            (Bytes, 1 << 10, 1 << 50, "the smallest component must fit"),
            |$target| $quota.code_max_bytes
        )
    };
    (stored, |$target:ident| $quota:expr) => {
        $crate::quota_key!(
            "stored",
            "What it remembers in all buckets together, keys and their overhead included.",
            (Bytes, 0, 1 << 50, "0 remembers nothing, and more than disks have"),
            |$target| $quota.stored_max_bytes
        )
    };
    (components, |$target:ident| $quota:expr) => {
        $crate::quota_key!(
            "components",
            "Components that came through the API as files, those of the revisions that are kept for rollback included.",
            (Bytes, 1 << 10, 1 << 50, "the smallest component must fit"),
            |$target| $quota.components_max_bytes
        )
    };
    (egress_per_hour, |$target:ident| $quota:expr) => {
        $crate::quota_key!(
            "egress_per_hour",
            "Bodies of outgoing requests and of their answers, per hour.",
            (Bytes, 1, 1 << 50, "who may send nothing needs no `http` in its policy"),
            |$target| $quota.egress_bytes_per_hour
        )
    };
    (tokens_per_day, |$target:ident| $quota:expr) => {
        $crate::quota_key!(
            "tokens_per_day",
            "Tokens of language models, read and written, per day (UTC). `none` is `model.tenant_tokens_per_day`.",
            (Count, 0, 1_000_000_000_000, "0 refuses every completion"),
            |$target| $quota.tokens_per_day
        )
    };
    (weight, |$target:ident| $quota:expr) => {
        $crate::quota_key!(
            "weight",
            "How much it counts where others want the same: cores, places, the compiler, models. Twice the weight is twice the part. `none` is 100.",
            (Count, 1, 1000, "more than a thousand to one is starvation"),
            |$target| $quota.weight
        )
    };
    ($name:literal, $meaning:literal, ($unit:ident, $min:expr, $max:expr, $reason:literal), |$target:ident| $limit:expr) => {
        $crate::settings::keys::Key::limit(
            $name,
            $meaning,
            (
                $crate::settings::keys::Unit::$unit,
                $crate::settings::keys::Bounds::new($min, $max, $reason),
            ),
            |$target| $limit,
            |$target, limit| $limit = limit,
        )
    };
}
