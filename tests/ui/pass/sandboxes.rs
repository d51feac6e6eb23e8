//! Confined functions in every form.

use crossmist::{Builder, Error, Object, SandboxPolicy, func};

#[func(sandbox = "parser")]
fn add(x: i32, y: i32) -> i32 {
    x + y
}

/// A policy of one's own, made stricter.
#[func(sandbox = "short", wall_time = "500ms", threads = 0, deny = "madvise", deny = "@threads")]
pub fn narrowed(text: String) -> usize {
    text.len()
}

#[func(sandbox = "pure")]
fn pair<T: Object + Clone>(x: T) -> (T, T) {
    (x.clone(), x)
}

#[func(sandbox = "worker")]
#[tokio::main(flavor = "current_thread")]
async fn later(x: u8) -> u8 {
    tokio::task::yield_now().await;
    x
}

#[func(sandbox = dynamic)]
fn chosen(x: u8) -> u8 {
    x
}

fn main() {
    let _: fn() -> Result<i32, Error> = || add.run(5, 7);
    let _: fn() -> Result<usize, Error> = || narrowed.builder().bind("a", "b").run(String::new());
    let _: fn() -> Result<(String, String), Error> = || pair.run(String::new());
    let _: fn() -> Result<u8, Error> = || later.run(1);
    let _: fn(&SandboxPolicy) -> Builder<_, (u8,)> = |policy| chosen.sandbox(policy);
    assert_eq!(add.call_unconfined(5, 7), 12);
    assert_eq!(pair.call_unconfined(1), (1, 1));
    assert_eq!(chosen.call_unconfined(1), 1);
    let _ = later.call_unconfined(1);
}
