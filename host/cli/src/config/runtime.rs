//! The keys of what runs components: `[runtime]` and `[compile]`.

use aop_core::settings::keys::{Bounds, Key};

use super::Config;
use super::keys::{DAY, GIB, HOUR, KIB, MIB, SECOND};

pub(super) static RUNTIME_KEYS: &[Key<Config>] = &[
    Key::count(
        "instances_max",
        "Instances that may live at once, of components that use nothing asynchronous and of those that do, each.",
        Bounds::new(1, 4096, "each reserves 16 GiB of the 128 TiB of address space"),
        |config| u64::from(config.instances_max),
        |config, count| config.instances_max = u32::try_from(count).unwrap_or(u32::MAX),
    ),
    Key::count(
        "handle_instances_max",
        "Instances that may live on between calls because callers hold handles of what is in them. Never more than half of `instances_max`, so that calls find a place.",
        Bounds::new(0, 4096, "0 gives out no handles"),
        |config| u64::from(config.handles.instances_max),
        |config, count| config.handles.instances_max = u32::try_from(count).unwrap_or(u32::MAX),
    ),
    Key::count(
        "tenant_handle_instances_max",
        "The same for the callers of one tenant.",
        Bounds::new(0, 4096, "0 gives out no handles"),
        |config| u64::from(config.handles.tenant_instances_max),
        |config, count| {
            config.handles.tenant_instances_max = u32::try_from(count).unwrap_or(u32::MAX);
        },
    ),
    Key::size(
        "cache_max",
        "Compiled code kept on disk. What was unused for longest goes first and is compiled again when it is needed.",
        Bounds::new(64 * MIB, 16 << 40, "a Python component takes 35 MB, and disks end somewhere"),
        |config| config.cache_max_bytes,
        |config, bytes| config.cache_max_bytes = bytes,
    ),
];

pub(super) static COMPILE_KEYS: &[Key<Config>] = &[
    Key::time(
        "cpu",
        "CPU time, over all threads. The largest language runtime takes 40 s on two cores.",
        Bounds::new(SECOND, HOUR, "limits are kept to a second"),
        |config| config.compile.cpu_max,
        |config, time| config.compile.cpu_max = time,
    ),
    Key::time(
        "wall",
        "Time by the clock.",
        Bounds::new(SECOND, DAY, "limits are kept to a second"),
        |config| config.compile.wall_max,
        |config, time| config.compile.wall_max = time,
    ),
    Key::size(
        "memory",
        "Address space.",
        Bounds::new(256 * MIB, 64 * GIB, "the compiler itself must fit"),
        |config| config.compile.memory_max_bytes,
        |config, bytes| config.compile.memory_max_bytes = bytes,
    ),
    Key::size(
        "component",
        "The largest component.",
        Bounds::new(KIB, GIB, "it is held in memory while it is loaded"),
        |config| config.compile.component_max_bytes,
        |config, bytes| config.compile.component_max_bytes = bytes,
    ),
    Key::size(
        "code",
        "The largest compiled code.",
        Bounds::new(MIB, 16 * GIB, "it is kept on disk and mapped"),
        |config| config.compile.code_max_bytes,
        |config, bytes| config.compile.code_max_bytes = bytes,
    ),
];
