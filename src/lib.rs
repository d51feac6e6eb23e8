//! Run Rust functions in sandboxed child processes, and talk to them over typed channels that treat every
//! peer as hostile.
//!
//! ```standalone_crate
//! use std::fs::File;
//! use std::io::Read;
//!
//! #[crossmist::func(sandbox = "parser")]
//! fn count_words(mut file: File) -> Result<usize, String> {
//!     let mut text = String::new();
//!     file.read_to_string(&mut text).map_err(|error| error.to_string())?;
//!     Ok(text.split_whitespace().count())
//! }
//!
//! #[crossmist::main]
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     assert!(count_words.run(File::open("Cargo.toml")?)?? > 10);
//!     Ok(())
//! }
//! ```
//!
//! A function with a [`sandbox`](macro@func#sandboxes) runs in a child that confines itself by a policy,
//! which was checked and compiled together with the program. The child has then received its descriptors, and
//! has not yet looked at its arguments. If the function does something that its policy denies, the call
//! returns [`Error::Violation`]. If a step of the confinement fails, it returns [`Error::Confine`], and the
//! function has not run.
//!
//! Without a sandbox, the child has the rights of its parent:
//!
//! ```
//! use crossmist::func;
//!
//! #[func]
//! fn add(nums: Vec<i32>) -> i32 {
//!     nums.into_iter().sum()
//! }
//!
//! #[crossmist::main]
//! fn main() {
//!     assert_eq!(add.run(vec![5, 7]).unwrap(), 12);
//!     // Still a function.
//!     assert_eq!(add(vec![5, 7]), 12);
//! }
//! ```
//!
//! [`#[func]`](func) makes a function callable in a child process. `run` waits for its result. `spawn`
//! returns a [`Child`]. `builder` returns a [`Builder`], which sets deadlines, standard descriptors, the
//! environment and limits. Arguments and results are [`Object`]s: numbers, strings, containers, your own
//! types with `#[derive(Object)]`, open files and sockets, callbacks, and the ends of channels.
//!
//! [`channel`] and [`duplex`] create typed channels. You can pass their ends to children and over other
//! channels. [`trusted`] channels carry code as well: callbacks, and boxes of traits that are marked with
//! [`#[object]`](object). A [`Blob`] shares memory instead of copying it.
//!
//! A [`Pool`] keeps children ready that have already started and confined themselves. By default, each child
//! answers one call. With [`preload`](macro@func#prepared-state), children share state that was prepared
//! once.
//!
//! # Calls, pools and workers
//!
//! A sandboxed function can be called in three ways. They differ in how many inputs one process sees.
//!
//! | | `run` | [`Pool`] | worker with a [`Duplex`] |
//! |---|---|---|---|
//! | choose it | for calls that are rare or long | for inputs of strangers, under load | for inputs of one origin, sessions and streams |
//! | a process sees | one input | one input, unless [`Reuse`] says otherwise | all inputs until it ends |
//! | a hostile input reaches | its own answer | its own answer | later answers, and what the process has kept of other inputs |
//! | state that is ready | that of [`preload`](macro@func#prepared-state) | that of `preload` | that of `preload`, and what the function keeps |
//! | costs on one processor | 0.4 to 0.9 ms with `parser` | 0.05 ms: its child has been started | 3 to 13 µs a request |
//! | the deadline is that of | [`Builder::deadline`] and `wall_time` | [`PoolBuilder::deadline`] and `wall_time` | [`RequestTimer`]; the policy says `wall_time = "none"` |
//! | how it failed is in | the result | the result; the child is replaced | [`Child::explain`]; start another worker |
//! | waits for a free process | never | in order, or [`Error::PoolBusy`] | as you write it |
//!
//! Begin with `run`. If it is too slow, use a pool. If inputs have to meet the same process, use a worker, and
//! give each origin one of its own. To send requests and receive answers at the same time, split its end by
//! [`Duplex::into_split`]. If both ends have a processor of their own, [`Duplex::set_busy_poll`] makes requests several
//! times faster.
//!
//! # What happens in a call
//!
//! The arguments are encoded as one message of three sections: bytes, descriptors and code references. The
//! program starts its own executable again with one socket, and the child branches off at the top of `main`,
//! at [`#[crossmist::main]`](main) or [`init`]. The child receives the message, decodes it, calls the
//! function and sends an answer. The answer is data, never code. If the call ends in any other way, the
//! caller gets an [`Error`] that says how.
//!
//! # Security
//!
//! Whatever a peer sends, you receive a value or a typed error. There is no undefined behaviour, panic or
//! signal, and no wait beyond a deadline. Bytes are checked before they become values, counts and lengths
//! before anything is allocated, nesting before the stack is used up, and descriptors before they become
//! files. [`Limits`] bound the rest.
//!
//! A child without a sandbox is not confined: it has the rights of its parent. The library does not hide how
//! long a call takes, and cannot tell a true answer from a lie. `SECURITY.md` lists what is promised, and
//! names a test for each promise.
//!
//! # Platforms
//!
//! The library runs on Linux 5.11 or newer, on x86-64 and AArch64. The program must be able to start itself
//! again. A shared object that another program loads cannot do so, and its calls fail with
//! [`Error::Unsupported`].
//!
//! # Features
//!
//! No feature is on by default, and none changes what calls without it do.
//!
//! * `tokio`: asynchronous channels and children, in the module `tokio`.
//! * `smol`: the same on async-io, for smol and every other executor, in the module `smol`.
//! * `tower`: [`Pool`] is a `tower::Service`, which is ready when a worker is free.
//! * `backtrace`: [`Panic::backtrace`], [`DeniedCall::at`], [`DeniedCall::by`] and the message of a [`Violation`] give
//!   names, files and lines. Every child sends addresses, unless its policy says `backtrace = "off"`; the parent looks
//!   them up in its own executable and in the shared libraries that the child was started with.
//! * `tracing`: events with the target `crossmist`:
//!
//!   | message | level | fields |
//!   |---|---|---|
//!   | a child process was started | debug | `function`, `pid`; `policy`, if it has one |
//!   | a child process has confined itself | debug | `pid`, and those of [`ConfinementStatus`] |
//!   | a child process was ended for a system call that its policy denies | warn | `pid`, `function`, `policy`; as the child reports them `call`, `denied_by`, `at` |
//!   | a child process was ended: it used up what its policy gives it | warn | `pid`, `function`, `policy`, `resource` |
//!   | a child process was ended: the call was not done in time | warn | `pid`, `after_seconds` |
//!   | the policy answered a child's call with an error number | debug | `function`, `policy`, `count`, `call`; if the policy says `trace_denials = true`, or the environment variable `CROSSMIST_TRACE_DENIALS` is 1 |
//!   | a child process could not be confined | warn | `pid`, `function`, `policy`, `reason` |
//!   | the process that watches over confined children was killed, and the child process with it | warn | `pid` |
//!   | the keeper was started | debug | |
//!   | the keeper was started again | warn | |
//!
//!   The end of a child is reported when somebody waits for it. Events never contain arguments, results, or a
//!   child's output. They do contain the paths in a denied call.
//! * `metrics`: figures for recorders of the crate `metrics`, such as the exporter to Prometheus:
//!
//!   | metric | kind | labels |
//!   |---|---|---|
//!   | `crossmist_calls_total` | counter | `function`; `outcome`, which is `ok`, the kind of error, as in `violation` or `deadline`, or `dropped` if nobody waited for the end. Calls that a pool has refused count, and so do the items of `map` |
//!   | `crossmist_call_seconds` | histogram | `function`. A call of a pool begins when it has a worker, and one that never had a worker has no time |
//!   | `crossmist_children` | gauge | `function`. Child processes that have not ended, those of pools included |
//!   | `crossmist_child_cpu_seconds` | histogram | `function`. What each child has used, with its threads, from its start to its end |
//!   | `crossmist_child_memory_bytes` | histogram | `function`. The most memory that each confined child had at a time. It counts the pages that the child shares with its keeper |
//!   | `crossmist_pool_running`, `crossmist_pool_waiting`, `crossmist_pool_spares` | gauges | `function`. Calls with a worker, calls that wait for one, children that wait for a call |
//!   | `crossmist_pool_wait_seconds` | histogram | `function`. How long calls waited for a worker, if they had to |
//!   | `crossmist_pool_children_total` | counter | `function`; `child`, which is `spare`, `reused`, or `new` if no spare was there |
//!   | `crossmist_keeper_restarts_total` | counter | Keepers that were started in place of another one |
//!
//!   Install the recorder before the first call or pool: gauges count what begins after that.
//!   `describe_metrics` gives it units and descriptions. A recorder must not call functions of this crate. If it
//!   panics, the figure is lost, and the call continues. A copy of the program that was made by `fork` reports only
//!   what began in it. Metrics never contain text from a child.
//! * `early-entry`: children branch off before `main`, in a constructor in `.init_array`. A library can then
//!   call functions in children without the help of its users, and so can a plain `#[test]`, whose `main`
//!   belongs to the test runner. Such a child has not run Rust's set-up before `main`, so a stack overflow ends
//!   it without a message. It has not run later constructors either, such as those of statics in linked C++
//!   libraries. A function that needs them belongs in a program with an entry in `main`. Earlier
//!   constructors run in every child.
//!
//! # Learning
//!
//! `cargo crossmist learn` compiles the program with `--cfg crossmist_learn`. If the variable
//! `CROSSMIST_LEARN` then names a folder, functions are watched and **not confined**, and what they
//! do is recorded in that folder. The flag is not a feature, so no dependency can turn it on. Do
//! not release a program that was built with it.
//!
//! # Names
//!
//! `#[func] fn add` makes `add` a constant. As with every constant, `let add = …` is then a pattern that
//! cannot match, not a new variable. Choose another name for the variable.

// Library code must not do these things. Tests may.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr
)]

extern crate self as crossmist;

#[macro_use]
mod arity;
#[path = "private.rs"]
#[doc(hidden)]
pub mod __private;
mod call;
mod callback;
mod channel;
mod child;
mod confine;
mod error;
#[cfg(feature = "tracing")]
mod events;
mod executable;
mod func;
#[cfg(feature = "__fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod keeper;
#[cfg(feature = "metrics")]
mod meters;
mod object;
#[cfg(any(feature = "backtrace", crossmist_learn))]
mod places;
mod pool;
#[cfg(feature = "__runtime")]
pub mod runtime;
#[cfg(feature = "smol")]
pub mod smol;
mod sys;
#[doc(hidden)]
pub mod testing;
#[cfg(feature = "tokio")]
pub mod tokio;
mod transport;
mod wire;

pub use crate::call::{Builder, Child, KillHandle, RequestTimer, Stdio, prepare};
pub use crate::callback::{
    BindMut, BindRef, BindValue, BoundMut, BoundRef, BoundValue, Delayed, FnMutObject, FnObject,
    FnOnceObject, StaticRef,
};
pub use crate::channel::{
    ChannelError, Duplex, Incoming, Receiver, Sender, channel, duplex, trusted, wait_any,
};
pub use crate::child::init;
pub use crate::confine::{
    ConfinementStatus, ControlGroup, Namespace, PolicyError, SameUser, SandboxPolicy, SecondNet,
    can_deny_write_execute, landlock_abi,
};
pub use crate::error::{
    BacktraceFrame, Blame, ChildText, DeniedCall, Error, Panic, Resource, ResultLimit, Step,
    Traffic, UnsupportedKind, UnusableKind, Violation,
};
#[cfg(feature = "metrics")]
pub use crate::meters::describe_metrics;
pub use crate::object::{
    Blob, BlobBuf, DecodeError, Decoder, EncodeError, EncodeErrorKind, Encoder, Limits, Object,
    Serde, Shape, TrustedHasher,
};
pub use crate::pool::{Latency, Map, MapUnordered, Pool, PoolBuilder, PoolStats, Reuse};
pub use crate::wire::{BytesError, ProtocolError, encode_into, from_bytes, to_bytes};
pub use crossmist_macros::{Object, func, main, object};

/// Generates a `#[test]` that tests all policies of the crate: each is compiled for every
/// architecture and checked against its `[[expect]]`s.
///
/// `policy_tests!(live)` also tries each expectation in a real child under the policy, and requires
/// exactly that outcome. It needs the feature `early-entry`, because children cannot branch off in
/// the `main` of the standard test runner.
///
/// ```
/// crossmist::policy_tests!();
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! policy_tests {
    () => {
        $crate::policy_tests!(@ false);
    };
    (live) => {
        $crate::policy_tests!(@ true);
    };
    (@ $live:literal) => {
        #[test]
        fn policies_do_what_they_expect_of_themselves() {
            let manifest = ::core::env!("CARGO_MANIFEST_DIR");
            match $crate::testing::test_policies(manifest, $live) {
                ::core::result::Result::Ok(_) => {}
                ::core::result::Result::Err(failures) => ::core::panic!("{failures}"),
            }
        }
    };
}

#[cfg(feature = "tokio")]
#[doc(hidden)]
#[macro_export]
macro_rules! if_tokio {
    ($($item:item)*) => { $($item)* };
}

#[cfg(not(feature = "tokio"))]
#[doc(hidden)]
#[macro_export]
macro_rules! if_tokio {
    ($($item:item)*) => {};
}

#[cfg(feature = "smol")]
#[doc(hidden)]
#[macro_export]
macro_rules! if_smol {
    ($($item:item)*) => { $($item)* };
}

#[cfg(not(feature = "smol"))]
#[doc(hidden)]
#[macro_export]
macro_rules! if_smol {
    ($($item:item)*) => {};
}
