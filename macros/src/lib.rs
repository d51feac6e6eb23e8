//! The attributes and derives of crossmist. Use them through the crate `crossmist`, which exports
//! all of them: the code that they generate names its items.

// Library code must not do these things. Tests may.
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

/// Makes a function callable in a child process.
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
/// The function becomes a value of the same name, which can be copied, sent and called. Its methods
/// take the function's arguments:
///
/// | | |
/// |---|---|
/// | `sum(numbers)` | calls the function in this process |
/// | `sum.run(numbers)` | runs it in a child process and returns its result |
/// | `sum.spawn(numbers)` | starts it in a child process and returns the `Child` |
/// | `sum.builder()` | returns a `Builder`, for a deadline, an environment, other standard streams |
/// | `sum.run_tokio(numbers).await`, `sum.spawn_tokio(numbers).await` | the same under tokio, with the feature `tokio` |
/// | `sum.run_smol(numbers).await`, `sum.spawn_smol(numbers).await` | the same on async-io, with the feature `smol` |
///
/// The value is also a callback: a `FnObject`, `FnMutObject` and `FnOnceObject`. You can bind its
/// arguments, and send it in a `Box<dyn FnObject<(Vec<i32>,), Output = i32>>`.
///
/// In the function's own body, the name also means this value. A value cannot be shadowed as a
/// function can: `let sum = sum.run(numbers)` is an error. Choose another name for the variable.
///
/// # Arguments and result
///
/// Each argument and the result must be an `Object`, such as a number, a string, a container, or
/// your own type with `#[derive(Object)]`. If you pass the end of a channel, a file or a socket,
/// the child receives it. Nothing can be borrowed, because the two processes have no memory in
/// common. There may be up to 16 arguments, and they may be `mut`. The result type may be `!`.
///
/// # Generic functions
///
/// A function can have type parameters and const parameters. Its arguments and its result must be
/// `Object`s for each of them, which a bound ensures:
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
/// An `async fn` needs a runtime in the child. `#[func(tokio)]` starts one; it needs the feature
/// `tokio`, and takes the arguments of `#[tokio::main]`: `#[func(tokio(flavor = "multi_thread"))]`.
/// `#[func(smol)]` runs the function in `async_io::block_on`, with the feature `smol`. Both start threads,
/// except for `tokio` alone, so a sandbox needs `threads = 2` or more.
/// An attribute below `#[func]` can start one instead:
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
/// The arguments are decoded within the runtime, because tokio's own types need it. A direct call
/// returns the future in a box.
///
/// # Sandboxes
///
/// `#[func(sandbox = "parser")]` runs the function in a child that confines itself by the policy
/// `parser`. If it cannot confine itself, the function does not run.
///
/// The name is that of a built-in policy (`pure`, `parser`, `worker`, `file-reader`,
/// `network-client`, `unconfined`), or of a file `NAME.toml` in the crate's folder `policies/`. To
/// use another folder, set `policies = "…"` under `[package.metadata.crossmist]` in `Cargo.toml`,
/// or the environment variable `CROSSMIST_POLICY_DIR`. If there is none of these, the folder
/// `policies/` of the workspace is used. Policies are checked when the crate is compiled, and a
/// changed policy causes it to be compiled again.
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
/// `cpu_time = "500ms"`, `memory = "64MiB"`, `threads = 0`, `open_files = 8`,
/// `message_bytes = "1MiB"`, `launch = "exec"`, and every other key of the policy's tables
/// `limits`, `limits.channel`, `process`, `environment` and `scope`. `deny = "madvise"` removes a
/// system call or a group of them. An argument that would allow more is an error.
///
/// `raise(wall_time = "5min", message_bytes = "256MiB")` raises sizes and times for this function, and nothing else.
/// It never exceeds the ceilings of a policy with `within`. `cargo crossmist check` shows it.
///
/// With `sandbox = dynamic`, each call chooses its policy: `longest.sandbox(&policy)` takes a
/// `crossmist::SandboxPolicy` and returns a `Builder`.
///
/// # Children that wait
///
/// With `spares = 2`, two children that are already confined wait for calls of `run`. Each is replaced after
/// one call. The first call starts them. A call by `builder()` or `spawn` starts its own child.
/// `crossmist::Pool` does the same, bounds how many calls run at once, and offers more.
///
/// With `spares = 2, reuse = 100`, each of these children answers up to 100 calls before it is replaced, and with
/// `reuse = always` any number. [`Reuse`](../crossmist/enum.Reuse.html) says what one hostile input can then do to
/// later ones.
///
/// # Long values
///
/// With `bulk`, each child shares memory with the program, through which long arguments, results and messages go
/// with one copy less. It works with and without a sandbox, and for all calls of the function: by `run`, `spawn`,
/// `builder()` and in a pool. [`Builder::bulk`](../crossmist/struct.Builder.html#method.bulk) says when that is
/// faster, and turns it off for one call.
///
/// # Prepared state
///
/// With `preload = load_fonts`, the function's children share the state that `load_fonts` has built: statics,
/// heap, initialized C libraries. That function takes no arguments, and returns nothing or a `Result<(), E>`.
/// It runs once, in a process that has seen no input, before the first call or when
/// [`prepare`](../crossmist/fn.prepare.html) is called. Each call then runs in a confined copy of that
/// process. Functions that name the same `preload` share the process.
///
/// ```standalone_crate
/// use std::sync::OnceLock;
/// use crossmist::func;
///
/// static WORDS: OnceLock<Vec<String>> = OnceLock::new();
///
/// fn load_words() -> Result<(), std::io::Error> {
///     let text = std::fs::read_to_string("/proc/self/status")?;
///     WORDS.get_or_init(|| text.split_whitespace().map(str::to_owned).collect());
///     Ok(())
/// }
///
/// #[func(sandbox = "pure", preload = load_words)]
/// fn is_known(word: String) -> bool {
///     WORDS.get().is_some_and(|words| words.contains(&word))
/// }
///
/// #[crossmist::main]
/// fn main() -> Result<(), crossmist::Error> {
///     assert!(is_known.run("Name:".to_owned())?);
///     Ok(())
/// }
/// ```
///
/// It runs with the rights of the program, no_new_privs, the environment of the keeper
/// (`crossmist::keeper::env`), and `/` as its working directory. Descriptors that it leaves open are closed
/// in the children, so no static that a call uses may own one. It must leave no thread behind, and no
/// shared mapping that can be made writable, as that of a `BlobBuf` is: each call could write there what the next
/// one reads. Copy what is to stay into ordinary memory, map files by MAP_PRIVATE or open them for reading only, or
/// keep a mapping from the children by `madvise(MADV_DONTFORK)`. If it panics, fails or exits, or takes longer than a minute, calls fail with `crossmist::Error::Preload`. If the files
/// that it has read change later, `crossmist::keeper::reload` runs it again.
///
/// Each call may write to its copy of what was prepared, beyond `limits.memory`: at worst, each child takes that much
/// memory again. `[limits] control_group` bounds that as well.
///
/// All children have the keys and random numbers that were drawn here. Std draws the keys of hash maps once for each
/// thread, so create the `HashMap`s of prepared state on a thread of their own, which has ended when this returns. Or
/// use a `BTreeMap`.
///
/// # Direct calls
///
/// A function with a sandbox cannot be called directly, and is not a callback. To call it in this process,
/// without confinement, use `longest.call_unconfined(…)`.
///
/// Its result is data, and can contain descriptors only if its type names them. After the child has answered,
/// it writes what is left in the buffers of its output, and ends by `_exit(2)`: handlers of `atexit(3)` and
/// destructors of thread-locals do not run.
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
/// * `tokio`, `tokio(…)`, `smol`: the runtime of an `async fn`. `tokio` alone means
///   `tokio(flavor = "current_thread")`.
/// * `sandbox = "name"`, `sandbox = dynamic`: see above.
/// * `raise(key = value, …)`: see above.
/// * `preload = function`, `spares = number`, `reuse = number`, `reuse = always`, `bulk`: see above.
/// * `callback`: the function is only a callback, without `run` and the other methods. Its
///   arguments may then be borrowed, for `bind_ref` and `bind_mut`.
/// * `crate = path`: the path of the library, if it is not `::crossmist`. For a crate that exports
///   it under a name of its own.
///
/// Attributes below `#[func]` stay on the function. `#[cfg]` applies to everything that is
/// generated for it, and `#[deprecated]` and lint levels also apply to the value.
///
/// # Where it can stand
///
/// The attribute can be used wherever a function can stand, including in the bodies of other
/// functions. It cannot be used in an `impl` or a trait, because the value itself would have to be
/// passed as an argument there.
///
/// For a generic function, the macro generates a glob import (`use …::*`) in the place where the
/// function is written. Another glob import in that place must not import the same name.
#[proc_macro_attribute]
pub fn func(arguments: TokenStream, item: TokenStream) -> TokenStream {
    func::func(arguments.into(), item.into()).into()
}

/// Implements `Object` for a struct or an enum, so that it can be sent.
///
/// All its fields must be `Object`s. Each type parameter gets the bound `Object`. The type cannot
/// have lifetimes, since nothing that is borrowed can be sent. Recursive types work without further
/// attributes, whether they refer to themselves or to each other through a `Box` or a `Vec`.
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
/// A struct is encoded as its fields, in the order in which they are written. An enum is encoded as
/// the number of its variant, in one or two bytes, followed by that variant's fields. If the number
/// is unknown, decoding returns an error. If a type promises more than its fields do, implement
/// `Object` by hand and check the promise in `decode`.
///
/// `#[object(crate = path)]` on the type sets the path of the library, if it is not `::crossmist`.
#[proc_macro_derive(Object, attributes(object))]
pub fn derive_object(item: TokenStream) -> TokenStream {
    object::derive(item.into()).into()
}

/// Makes child processes branch off at the top of `main`.
///
/// A child process is this same program, started again. With the attribute, it branches off before
/// anything in `main` runs. Without it, every attempt to start a child returns an error that says
/// so.
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
/// Write it above other attributes, so that a child does not start a runtime that it does not need:
///
/// ```
/// #[crossmist::main]
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() {
///     // …
/// }
/// ```
///
/// If you cannot use the attribute, call `crossmist::init()` as the first thing in `main`.
/// `#[crossmist::main(crate = path)]` sets the path of the library, if it is not `::crossmist`.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    main_attr::main(arguments.into(), item.into()).into()
}

/// Makes the boxed trait objects of a trait sendable.
///
/// With this attribute, `Box<dyn Trait>` is an `Object`, and so are `Box<dyn Trait + Send>`,
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
/// `Object` becomes a supertrait of the trait, whether or not you write it. A type that is not an
/// `Object` cannot implement the trait. The trait can have type parameters and const parameters. It
/// cannot have associated types, methods that are generic and callable on trait objects, or
/// anything else that `dyn Trait` cannot have.
///
/// A trait object is code. It can be passed to a function that is run or spawned, and over the
/// channels of `crossmist::trusted`, but it is never accepted as a result.
///
/// `#[crossmist::object(crate = path)]` sets the path of the library, if it is not `::crossmist`.
#[proc_macro_attribute]
pub fn object(arguments: TokenStream, item: TokenStream) -> TokenStream {
    trait_object::object(arguments.into(), item.into()).into()
}
