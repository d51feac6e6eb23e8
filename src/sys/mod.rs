//! The system calls that no safe wrapper offers, and all `unsafe` code of this crate.
//!
//! Each function in this module is safe to call, or says in `# Safety` what its caller must ensure.
//! The module knows nothing of messages, objects or policies.
#![allow(
    unsafe_code,
    reason = "this module is the fence: everything outside it denies `unsafe_code`"
)]

pub(crate) mod attribute;
pub(crate) mod background;
pub(crate) mod clock;
pub(crate) mod closing;
pub(crate) mod confinement;
pub(crate) mod connection;
pub(crate) mod contested;
pub(crate) mod cpu_clock;
pub(crate) mod emulate;
pub(crate) mod epoll;
pub(crate) mod event;
pub(crate) mod fd;
pub(crate) mod fork;
pub(crate) mod group_fork;
pub(crate) mod image;
pub(crate) mod inherited;
pub(crate) mod kind;
pub(crate) mod mappings;
pub(crate) mod memory;
pub(crate) mod mounts;
pub(crate) mod namespaces;
#[cfg(crossmist_learn)]
pub(crate) mod notify;
pub(crate) mod passing;
pub(crate) mod poll;
pub(crate) mod privileges;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod raw;
#[cfg(feature = "__runtime")]
pub(crate) mod readiness;
pub(crate) mod shared;
pub(crate) mod signals;
pub(crate) mod sigsys;
pub(crate) mod socket;
pub(crate) mod socket_options;
pub(crate) mod stream;
pub(crate) mod system_files;
pub(crate) mod threads;
pub(crate) mod timer;
pub(crate) mod unwind;
pub(crate) mod usage;
pub(crate) mod user_end;
pub(crate) mod vfork;
mod workers;
