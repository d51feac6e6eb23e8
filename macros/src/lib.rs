//! The attributes and derives of crossmist. Use them through the crate `crossmist`, which exports
//! them all: what they write names its items.

// What a library does not do; its tests may.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod errors;
mod func;
mod main_attr;
mod object;
mod spans;
mod trait_object;
mod types;
mod words;

use proc_macro::TokenStream;

/// Makes a function one that can run in a child process.
///
/// ```
/// use crossmist::func;
///
/// /// Adds numbers up.
/// #[func]
/// fn sum(numbers: Vec<i32>) -> i32 {
///     numbers.into_iter().sum()
/// }
///
/// #[crossmist::main]
/// fn main() -> Result<(), crossmist::Error> {
///     // In a child process, from start to end.
///     assert_eq!(sum.run(vec![5, 7])?, 12);
///
///     // In a child process that runs beside this one.
///     let child = sum.spawn(vec![1, 2, 3])?;
///     assert_eq!(child.join()?, 6);
///
///     // Here, as any other function.
///     assert_eq!(sum(vec![1, 2]), 3);
///     Ok(())
/// }
/// ```
///
/// # What the function becomes
///
/// A value of its name, which can be copied, sent and called. Its methods take the arguments that
/// the function takes:
///
/// | | |
/// |---|---|
/// | `sum(numbers)` | calls it in this process |
/// | `sum.run(numbers)` | runs it in a child process and gives its result |
/// | `sum.spawn(numbers)` | starts it in a child process and gives the child |
/// | `sum.builder()` | the same with a deadline, an environment, other standard streams |
/// | `sum.run_tokio(numbers).await`, `sum.spawn_tokio(numbers).await` | under tokio, with the feature `tokio` |
///
/// It is also a callback: a `FnObject`, `FnMutObject` and `FnOnceObject`, whose arguments can be
/// bound, and which can be sent in a `Box<dyn FnObject<(Vec<i32>,), Output = i32>>`.
///
/// In its own body the name means this value, too. A value can't be shadowed as a function can:
/// `let sum = sum.run(numbers)` is an error, where the variable wants another name.
///
/// # Arguments and result
///
/// Each is an `Object`: see there for what is one. An end of a channel, a file or a socket can be
/// passed, and the child has it then, too. Nothing can be borrowed: there is no memory that both
/// processes have. A result type of `!` is fine; so are up to 16 arguments, `mut` ones among them.
///
/// # Generic functions
///
/// A function can have type parameters and constants. What it takes and returns has to be an
/// `Object` for each of them, which a bound says:
///
/// ```
/// use crossmist::{Object, func};
/// use std::ops::Add;
///
/// #[func]
/// fn add<T: Add<Output = T> + Object>(x: T, y: T) -> T {
///     x + y
/// }
///
/// #[crossmist::main]
/// fn main() -> Result<(), crossmist::Error> {
///     assert_eq!(add.run(5, 7)?, 12);
///     assert_eq!(add::<f64>.run(0.5, 1.0)?, 1.5);
///     Ok(())
/// }
/// ```
///
/// # Async functions
///
/// An `async fn` needs a runtime in the child. Either `#[func(tokio)]` starts it, for which the
/// feature `tokio` is needed, and takes the arguments of `#[tokio::main]`:
/// `#[func(tokio(flavor = "multi_thread"))]`. Or an attribute below does:
///
/// ```
/// use crossmist::func;
///
/// #[func]
/// #[tokio::main(flavor = "current_thread")]
/// async fn add(x: i32, y: i32) -> i32 {
///     tokio::task::yield_now().await;
///     x + y
/// }
///
/// #[crossmist::main]
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), crossmist::Error> {
///     assert_eq!(add(5, 7).await, 12);
///     assert_eq!(add.run(5, 7)?, 12);
///     Ok(())
/// }
/// ```
///
/// The arguments are decoded within the runtime, as the objects of tokio need it. The direct call
/// gives the future in a box.
///
/// # Sandboxes
///
/// `#[func(sandbox = "parser")]` runs the function in a child that confines itself by the policy
/// `parser`, or not at all. The name is that of a built-in policy (`pure`, `parser`, `worker`,
/// `file-reader`, `network-client`, `unconfined`), or of a file `NAME.toml` in the crate's folder
/// `policies/`; the environment variable `CROSSMIST_POLICY_DIR`, or `policies = "…"` under
/// `[package.metadata.crossmist]` in its `Cargo.toml`, says where else, and a workspace's `policies/`
/// comes last. Policies are checked while the crate is compiled, and a change of one compiles it again.
///
/// ```standalone_crate
/// use crossmist::func;
///
/// #[func(sandbox = "pure", wall_time = "1s", memory = "64MiB")]
/// fn longest(words: Vec<String>) -> Option<String> {
///     words.into_iter().max_by_key(String::len)
/// }
///
/// #[crossmist::main]
/// fn main() -> Result<(), crossmist::Error> {
///     let words = ["a", "few", "words"].map(String::from);
///     assert_eq!(longest.run(words.to_vec())?.as_deref(), Some("words"));
///     // In this process, where nothing confines it.
///     assert_eq!(longest.call_unconfined(vec![]), None);
///     Ok(())
/// }
/// ```
///
/// Further arguments make the policy stricter for this function: `wall_time = "1s"`,
/// `cpu_time = "500ms"`, `memory = "64MiB"`, `threads = 0`, `open_files = 8`, `message_bytes = "1MiB"`,
/// `launch = "exec"`, and every other key of its tables `limits`, `limits.channel`, `process`,
/// `environment` and `scope`; `deny = "madvise"` takes a call or a group away. One that would allow more
/// is an error.
///
/// `sandbox = dynamic` leaves the policy to each call, which is set up by
/// `longest.sandbox(&policy)` with a `crossmist::SandboxPolicy`.
///
/// A function with a sandbox isn't called directly: the call in this process is
/// `longest.call_unconfined(…)`. It is no callback either. Its result is data; descriptors come up in
/// it only where its type names them. The child ends as by `_exit(2)` when it has answered: what was
/// printed is written, but handlers of `atexit(3)` and destructors of thread-locals don't run.
///
/// # Examples in documentation
///
/// From edition 2024 on, rustdoc merges the examples of a crate into one program. A child of that program
/// finds its example only if it inherits the environment, so calls of functions with a sandbox, and calls
/// with `env_clear`, fail there. To make an example a program of its own, begin it with
/// ```` ```standalone_crate ````.
///
/// # Arguments of the attribute
///
/// * `tokio`, `tokio(…)`: the runtime of an `async fn`; `tokio` alone is
///   `tokio(flavor = "current_thread")`.
/// * `sandbox = "name"`, `sandbox = dynamic`: see above.
/// * `callback`: the function is a callback only, without `run` and its like. Its arguments may
///   then be borrowed, for `bind_ref` and `bind_mut`.
/// * `crate = path`: where the library is found, if not at `::crossmist`; for a crate that
///   exports it under a name of its own.
///
/// Attributes below `#[func]` stay on the function. Of those, `#[cfg]` goes for all that it
/// becomes, and `#[deprecated]` and the levels of lints for the value, too.
///
/// # Where it can stand
///
/// Wherever a function can, in the blocks of other functions as well, but not in an `impl` or a
/// trait: the value itself would have to be passed as an argument there.
///
/// A generic function is imported by a glob (`use …::*`) into the place where it is written. So
/// another glob import there must not have the same name.
#[proc_macro_attribute]
pub fn func(arguments: TokenStream, item: TokenStream) -> TokenStream {
    func::func(arguments.into(), item.into()).into()
}

/// Makes a struct or an enum one that can be sent.
///
/// All its fields have to be such. A type parameter is bounded by `Object`; lifetimes can't be
/// had, as nothing that is borrowed can be sent. Recursive types, by way of a `Box` or a `Vec`,
/// need nothing special, whether they refer to themselves or to each other.
///
/// ```
/// use crossmist::Object;
///
/// #[derive(Object, Debug, PartialEq)]
/// struct Point<T> {
///     x: T,
///     y: T,
/// }
///
/// #[derive(Object, Debug, PartialEq)]
/// enum Figure {
///     Empty,
///     Circle(Point<f64>, f64),
///     Polygon { corners: Vec<Point<f64>> },
///     Group(Vec<Figure>),
/// }
///
/// let circle = Figure::Circle(Point { x: 0.0, y: 1.0 }, 0.5);
/// let bytes = crossmist::to_bytes(&circle).unwrap();
/// assert_eq!(crossmist::from_bytes::<Figure>(&bytes).unwrap(), circle);
/// ```
///
/// A value is its fields in the order in which they are written, an enum the number of its
/// variant, in one byte or in two, and that variant's fields. An unknown number is an error of
/// the decoder; what else a field has to be, beside a value of its type, the type has to check by
/// an implementation of its own.
///
/// `#[object(crate = path)]` on the type says where the library is found, if not at `::crossmist`.
#[proc_macro_derive(Object, attributes(object))]
pub fn derive_object(item: TokenStream) -> TokenStream {
    object::derive(item.into()).into()
}

/// Lets child processes in at the top of `main`.
///
/// A child is this same program, started again. The attribute has it go its way before anything
/// of `main` is done; without it, every attempt to start a child is an error that says so.
///
/// ```
/// use crossmist::func;
///
/// #[func]
/// fn double(x: i32) -> i32 {
///     2 * x
/// }
///
/// #[crossmist::main]
/// fn main() {
///     assert_eq!(double.run(21).unwrap(), 42);
/// }
/// ```
///
/// It comes before other attributes, so that no child starts a runtime that it has no use for:
///
/// ```
/// #[crossmist::main]
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() {
///     // …
/// }
/// ```
///
/// Where the attribute can't stand, call `crossmist::init()` first of all.
/// `#[crossmist::main(crate = path)]` says where the library is found, if not at `::crossmist`.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    main_attr::main(arguments.into(), item.into()).into()
}

/// Lets the boxed trait objects of a trait be sent.
///
/// With it, `Box<dyn Trait>` is an `Object`; so are `Box<dyn Trait + Send>`,
/// `Box<dyn Trait + Sync>` and `Box<dyn Trait + Send + Sync>`.
///
/// ```
/// use crossmist::{Object, func};
///
/// #[crossmist::object]
/// trait Speak {
///     fn speak(&self) -> String;
/// }
///
/// #[derive(Object)]
/// struct Dog {
///     name: String,
/// }
///
/// impl Speak for Dog {
///     fn speak(&self) -> String {
///         format!("{} barks", self.name)
///     }
/// }
///
/// #[func]
/// fn listen(speaker: Box<dyn Speak>) -> String {
///     speaker.speak()
/// }
///
/// #[crossmist::main]
/// fn main() {
///     let dog = Dog { name: "Rex".to_string() };
///     assert_eq!(listen.run(Box::new(dog)).unwrap(), "Rex barks");
/// }
/// ```
///
/// The trait gets `Object` as a supertrait, whether it says so or not: a type without it can't
/// implement the trait. The trait can have parameters, types and constants; it can't have
/// associated types, generic methods for trait objects, or anything else that `dyn Trait` can't.
///
/// A trait object is code: it can be passed to a function that is run or spawned, and over the
/// channels of `crossmist::trusted`, but never comes back as a result.
///
/// `#[crossmist::object(crate = path)]` says where the library is found, if not at `::crossmist`.
#[proc_macro_attribute]
pub fn object(arguments: TokenStream, item: TokenStream) -> TokenStream {
    trait_object::object(arguments.into(), item.into()).into()
}
