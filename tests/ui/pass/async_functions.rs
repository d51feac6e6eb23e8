//! Functions that need a runtime, which the attribute below ours starts in the child.

use crossmist::{FnOnceObject, Object, func};

#[func]
#[tokio::main(flavor = "current_thread")]
async fn add(x: i32, y: i32) -> i32 {
    tokio::task::yield_now().await;
    // The runtime is there, and so is the function object.
    if x == 0 { y } else { add(x - 1, y + 1).await }
}

#[func]
#[tokio::main(flavor = "current_thread")]
async fn pair<T: Object + Clone, const N: usize>(mut x: Vec<T>, y: [u8; N]) -> (Vec<T>, [u8; N])
where
    T: std::fmt::Debug,
{
    x.push(x[0].clone());
    (x, y)
}

#[func]
#[tokio::main(flavor = "current_thread")]
async fn nothing() {}

#[func]
#[tokio::main(flavor = "current_thread")]
async fn leave(status: i32) -> ! {
    std::process::exit(status)
}

/// Fails to be decoded outside of a runtime, as the objects of tokio do.
struct OfTokio;

impl Object for OfTokio {
    fn encode<'a>(&'a self, _: &mut crossmist::Encoder<'a>) {}

    fn decode(decoder: &mut crossmist::Decoder<'_>) -> Result<Self, crossmist::DecodeError> {
        match tokio::runtime::Handle::try_current() {
            Ok(_) => Ok(OfTokio),
            Err(_) => Err(decoder.error("a runtime", "none")),
        }
    }

    fn describe(_: &mut crossmist::Shape) {}
}

#[func]
#[tokio::main(flavor = "current_thread")]
async fn decoded_within(_: OfTokio) -> bool {
    true
}

#[func(callback)]
async fn later(x: i32) -> i32 {
    x + 1
}

#[crossmist::main]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), crossmist::Error> {
    assert_eq!(add.run(5, 7)?, 12);
    assert_eq!(add(5, 7).await, 12);
    assert_eq!(add.call_object_once((5, 7)).await, 12);
    assert_eq!(pair.run(vec!['x'], [1, 2])?, (vec!['x', 'x'], [1, 2]));
    assert_eq!(pair::<u8, 0>(vec![1], []).await, (vec![1, 1], []));
    nothing.run()?;
    assert!(matches!(leave.run(3), Err(crossmist::Error::Exited { status: 3, .. })));
    assert!(decoded_within.run(OfTokio)?);
    assert_eq!(later(1).await, 2);
    Ok(())
}
