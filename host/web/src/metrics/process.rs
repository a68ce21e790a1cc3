//! What the operating system says of this process, under Prometheus's standard names.
//!
//! Read from `/proc`, so absent elsewhere than on Linux.

use std::fs;

use aop_core::{Sample, SampleKind};

/// The unit of CPU times in `/proc`: 1/100 s in the ABI of every Linux architecture that Rust serves.
const CLOCK_TICKS_PER_SECOND: f64 = 100.0;

/// Memory, threads, file descriptors and CPU time; what cannot be read is left out.
pub(super) fn measure() -> Vec<Sample> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "a process has few files")]
    let open_files = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
    let sample = |name, help, kind, value: Option<f64>| {
        value.map(|value| Sample { name, help, kind, value, label: None })
    };
    [
        sample(
            "process_resident_memory_bytes",
            "Resident memory of this process.",
            SampleKind::Gauge,
            status_field(&status, "VmRSS:").map(|kib| kib * 1024.0),
        ),
        sample(
            "process_virtual_memory_bytes",
            "Address space of this process; sandboxes reserve far more than they use.",
            SampleKind::Gauge,
            status_field(&status, "VmSize:").map(|kib| kib * 1024.0),
        ),
        sample(
            "process_threads",
            "Threads of this process.",
            SampleKind::Gauge,
            status_field(&status, "Threads:"),
        ),
        sample("process_open_fds", "Open file descriptors.", SampleKind::Gauge, open_files),
        sample(
            "process_cpu_seconds",
            "User and system CPU time.",
            SampleKind::Counter,
            cpu_seconds(&stat),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The number of a line such as `VmRSS:  1234 kB`.
fn status_field(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time, fields 14 and 15. The command's name before them may contain anything, so
/// fields are counted from the parenthesis that ends it.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / CLOCK_TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formats_of_proc_are_read() {
        let status = "Name:\ta\nVmSize:\t  200 kB\nVmRSS:\t   100 kB\nThreads:\t7\n";
        assert_eq!(status_field(status, "VmRSS:"), Some(100.0));
        assert_eq!(status_field(status, "Threads:"), Some(7.0));
        assert_eq!(status_field(status, "Missing:"), None);
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("garbage"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_measured() {
        let samples = measure();
        assert_eq!(samples.len(), 5);
        assert!(samples.iter().take(4).all(|sample| sample.value > 0.0), "{samples:?}");
    }
}
